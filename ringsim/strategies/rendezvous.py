"""The rendezvous: a machine of its own that says who is in the ring (Horovod's driver; torchft's lighthouse).

    worker       register ─► join ─► train ... ─► register ─► ... ─► register (finished)
    rendezvous   wait until all of the present ring have registered or are lost ─► tell everybody the new ring

It alone decides, so nobody can disagree: survivors keep their order, the oldest is rank 0, and newcomers follow in the
order in which they came, up to the greatest size that a ring may have. Who is too many stays registered and waits: a
spare. Who failed and comes back waits for a cooldown first, is taken at once, or never again. What makes the policies
differ is said by `Rules`; what a ring trains, and what a new one goes on from, the rendezvous does not know. A worker
tells it how far it is, and it tells all members what each of them has said.

What is not here: who is waited for, and who is set aside (`lobby.py`); what a worker says and hears (`membership.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ringsim.node import Group, Member, Node, Operation
from ringsim.scenario import RENDEZVOUS, Host, SetAside
from ringsim.strategies import detection
from ringsim.strategies.lobby import Lobby, Rules
from ringsim.strategies.membership import JobOver
from ringsim.strategies.training import Deployment, GaveUp, Role, State, Training
from ringsim.units import format_duration

MACHINE = Host(name=RENDEZVOUS)


def cooldown_ns(set_aside: SetAside | None) -> int | None:
    """Return for how long a setting sets aside who failed; None: for ever."""
    return None if set_aside is None else set_aside.cooldown


def around_a_rendezvous(
    run: Callable[[Node, Training], Operation[State | GaveUp | None]], shares: Mapping[str, int], rules: Rules
) -> Deployment:
    """Put `run` on every rank, which begins anew when its machine restarts, and the rendezvous on its own machine."""
    workers = [Role(name, run, restarts=True) for name in shares]
    launcher = Role(RENDEZVOUS, partial(rendezvous, rules=rules, workers=tuple(shares)), worker=False)
    return Deployment([*workers, launcher], shares, (MACHINE,), full_size=rules.most)


def rendezvous(node: Node, training: Training, rules: Rules, workers: tuple[str, ...]) -> Operation[None]:
    """Form one ring after another until the job is over. It knows nothing of what is trained."""
    del training
    ring = Group(-1, tuple(Member(name, 0) for name in workers))
    lobby = Lobby(node, rules, workers)
    furthest, in_vain = -1, 0
    while True:
        detection.watch_ring(node, ring, rules.heartbeat)
        enough = yield from lobby.gather(ring)
        if not enough:
            assert rules.patience_ns is not None, "only patience that has an end can come to it"
            few = f"fewer than min_workers ({rules.least}) workers are left"
            gone = "nobody is left of the last ring, who had the state, though some of it may be alive"
            reason = few if len(lobby.present) < rules.least else gone
            reason += f", and nobody came for {format_duration(rules.patience_ns)}"
            return (yield from lobby.close(GaveUp(reason)))
        step = max(registration.standing.step for registration in lobby.present.values())
        furthest, in_vain = (step, 0) if step > furthest else (furthest, in_vain + 1)
        if in_vain > rules.reset_limit:
            reason = f"the ring was re-formed {in_vain} times without a new commit (reset_limit)"
            return (yield from lobby.close(GaveUp(reason)))
        survivors = lobby.survivors(ring)
        if not survivors and ring.generation >= 0 and not rules.is_saved:
            return (yield from lobby.close(GaveUp("nobody is left of the last ring, who had the state")))
        if lobby.have_finished(survivors):
            return (yield from lobby.close(JobOver(survivors)))
        newcomers = tuple(
            Member(name, registration.incarnation)
            for name, registration in lobby.present.items()
            if Member(name, registration.incarnation) not in survivors
        )
        ring = Group(ring.generation + 1, (survivors + newcomers)[: rules.most])
        lobby.let_go(ring, survivors)
