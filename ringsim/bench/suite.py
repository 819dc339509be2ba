"""All cases of `ringsim bench`, in the order of the table, and the choice among them.

What is not here: what a case runs; that is imported when it is prepared, so that nobody waits for JAX in vain.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ringsim.bench.case import Bars, Case, Contest
from ringsim.errors import UsageError

NAIVE = "naive SimPy"
REFILL = "global refill"
LOOP = "plain JAX loop"
ONE_CORE = "held to one core"
_RING = "4.8 MB ring all-reduce, {size} machines"
_CLOSED_FORM, _WHOLE, _MESSAGES = f"{_RING}: closed form", f"{_RING}: whole run", f"{_RING}: whole run by messages"
_CNN, _MLP = "12 steps of cnn, ring, {size} workers", "50 steps of mlp, ring, {size} workers"
_FIRST = "first step, mlp, {size} machines: fresh process"
_OTHERS_1024 = "ASTRA-sim's analytical back end, whole process, 1,024 machines: 3.7 s"


def _closed_form(ranks: int) -> Contest:
    from ringsim.bench.rings import closed_form

    return closed_form(ranks)


def _closed_form_and_naive(ranks: int) -> Contest:
    from ringsim.bench.rings import closed_form

    return closed_form(ranks, against_naive=True)


def _whole(ranks: int) -> Contest:
    from ringsim.bench.rings import whole

    return whole(ranks)


def _whole_and_naive(ranks: int) -> Contest:
    from ringsim.bench.rings import whole

    return whole(ranks, against_naive=True)


def _messages_and_naive(ranks: int) -> Contest:
    from ringsim.bench.rings import whole

    return whole(ranks, fidelity="message", against_naive=True)


def _growth(ranks: int) -> Contest:
    from ringsim.bench.rings import growth

    return growth(ranks)


def _one_link(count: int) -> Contest:
    from ringsim.bench.flows import one_link

    return one_link(count, refilled=True)


def _fat_tree(count: int) -> Contest:
    from ringsim.bench.flows import fat_tree

    return fat_tree(count, refilled=True)


def _softmax(workers: int) -> Contest:
    from ringsim.bench.training import against_loop, softmax_scenario

    return against_loop(softmax_scenario(workers))


def _cnn(workers: int) -> Contest:
    from ringsim.bench.training import against_loop, cnn_scenario

    return against_loop(cnn_scenario(workers))


def _mlp(workers: int) -> Contest:
    from ringsim.bench.training import against_big_batch, mlp_scenario

    return against_big_batch(mlp_scenario(workers))


def _numbers(workers: int) -> Contest:
    from ringsim.bench.training import mlp_scenario, numbers_against_big_batch

    return numbers_against_big_batch(mlp_scenario(workers))


def _cnn_cores(workers: int) -> Contest:
    from ringsim.bench.children import cores
    from ringsim.bench.training import cnn_scenario

    return cores(cnn_scenario(workers))


def _mlp_cores(workers: int) -> Contest:
    from ringsim.bench.children import cores
    from ringsim.bench.training import mlp_scenario

    return cores(mlp_scenario(workers))


def _memory(workers: int) -> Contest:
    from ringsim.bench.children import memory
    from ringsim.bench.training import memory_scenario

    return memory(memory_scenario(workers))


def _first_step_cold(nodes: int) -> Contest:
    from ringsim.bench.start import first_step_cold

    return first_step_cold(nodes)


def _first_step_warm(nodes: int) -> Contest:
    from ringsim.bench.start import first_step_warm

    return first_step_warm(nodes)


def _validate(nodes: int) -> Contest:
    from ringsim.bench.start import validate

    return validate(nodes)


CASES = (
    Case("closed_form_256", _CLOSED_FORM, 256, _closed_form_and_naive, NAIVE, Bars(0.012, 1 / 300)),
    Case("whole_256", _WHOLE, 256, _whole_and_naive, NAIVE),
    Case("messages_64", _MESSAGES, 64, _messages_and_naive, NAIVE, Bars(ratio_max=1 / 4)),
    Case("messages_256", _MESSAGES, 256, _messages_and_naive, NAIVE, Bars(ratio_max=1 / 4)),
    Case("closed_form_1024", _CLOSED_FORM, 1_024, _closed_form, bars=Bars(0.15), rounds=5, elsewhere=_OTHERS_1024),
    Case("whole_1024", _WHOLE, 1_024, _whole, elsewhere=_OTHERS_1024),
    Case("closed_form_4096", _CLOSED_FORM, 4_096, _closed_form, bars=Bars(0.5, bytes_max=10**9), is_slow=True),
    Case("whole_4096", _WHOLE, 4_096, _whole, bars=Bars(bytes_max=10**9), is_slow=True),
    Case("growth", _CLOSED_FORM, 4_096, _growth, "the same, 1/8 of them", Bars(ratio_max=64), rounds=5, is_slow=True),
    Case("flows_one_link", "{size} flows into one link", 1_024, _one_link, REFILL, Bars(1.0)),
    Case("flows_fat_tree", "{size} flows on a fat tree", 1_024, _fat_tree, REFILL, Bars(5.0)),
    Case(
        "thousand_nodes",
        "100 steps of softmax, ring, {size} workers: whole run",
        1_000,
        _softmax,
        LOOP,
        Bars(60.0),
        rounds=2,
        is_slow=True,
    ),
    Case("cnn_4_workers", _CNN, 4, _cnn, LOOP, Bars(ratio_max=1.10), rounds=5),
    Case("mlp_64_workers", _MLP, 64, _mlp, "one big batch", Bars(ratio_max=2.5), rounds=5),
    Case("numbers_64_workers", f"{_MLP}: its numbers alone", 64, _numbers, "one big batch", rounds=5),
    Case("cnn_4_workers_all_cores", f"{_CNN}, all cores", 4, _cnn_cores, ONE_CORE, rounds=5),
    Case("mlp_64_workers_all_cores", f"{_MLP}, all cores", 64, _mlp_cores, ONE_CORE, rounds=5),
    Case(
        "memory_64_workers",
        "3 steps of cnn with adam, ring, {size} workers: fresh process",
        64,
        _memory,
        bars=Bars(bytes_max=2 * 10**9),
        rounds=1,
        is_slow=True,
    ),
    Case("first_step_cold", f"{_FIRST}, nothing compiled", 4, _first_step_cold, "all compiled", rounds=5),
    Case("first_step_warm", f"{_FIRST}, all compiled", 4, _first_step_warm, "plain JAX step", rounds=5),
    Case(
        "validate",
        "ringsim validate, {size} machines: fresh process",
        4,
        _validate,
        "imports alone",
        Bars(ratio_max=1.4),
        rounds=10,
    ),
)


def chosen(only: str | None = None, *, quick: bool = False) -> list[Case]:
    """Return the cases named in `only` (with commas between them), or all; `quick`: without the slow ones.

    Raises UsageError for a name that does not exist, and for a slow one with `quick`.

    >>> [case.name for case in chosen("validate, messages_64")]
    ['messages_64', 'validate']
    """
    if only is None:
        return [case for case in CASES if not (quick and case.is_slow)]
    cases = {case.name: case for case in CASES}
    names = [name.strip() for name in only.split(",")]
    for name in names:
        _refuse(name, cases, quick)
    return [case for case in CASES if case.name in names]


def _refuse(name: str, cases: dict[str, Case], quick: bool) -> None:
    if name not in cases:
        guess: Sequence[str] = difflib.get_close_matches(name, cases, n=1) or list(cases)
        raise UsageError(f'--only: there is no row "{name}"; choose from {", ".join(guess)}')
    if quick and cases[name].is_slow:
        raise UsageError(f"--only: {name} is one of the rows that --quick leaves out; say one or the other")
