"""From the events of a trace to what each failure cost: who noticed it and when, what was rolled back, when training
went on. And how often somebody was taken for dead who was not.

Everything here is a pure function of the events and of what the faults struck. What is not here: what became of the
samples (`accounting.py`), and what a fault does (`world/faults.py`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ringsim.result import Failure, StepRow
from ringsim.scenario import RENDEZVOUS
from ringsim.trace import Event


class Injected(Protocol):
    """A fault that has happened: what it struck, which ranks the others may miss, and from when to when."""

    @property
    def struck(self) -> str: ...
    @property
    def ranks(self) -> Sequence[str]: ...
    @property
    def at_ns(self) -> int: ...
    @property
    def ended_at_ns(self) -> int | None: ...


# Where a life begins or ends.
_TURNS = ("crash", "ended", "restart")

# What holds messages up, so that somebody may wait in vain for one who is waiting himself.
_HOLDS_UP = ("pause", "slow_down", "link_down", "link_degrade", "drop", "partition")


class Failures:
    """What each fault did, of one run. Made once, because there may be thousands of faults and of events.

    rows: the updates (`accounting.step_rows`). full_size: how many workers all are.
    """

    def __init__(self, events: Sequence[Event], rows: Sequence[StepRow], full_size: int):
        self._signs = list(_signs(events))
        self._aborts = [event for event in events if event.kind == "collective_abort"]
        self._updates = [event for event in events if event.kind == "update"]
        self._full = [event for event in self._updates if event.fields["world_size"] == full_size]
        self._deaths_ns: dict[str, list[int]] = defaultdict(list)
        self._begun_ns: dict[tuple[int, int], int] = {}  # when the first one began a step: by generation and step
        # When a generation was last gone on with. Groups are joined; a parameter server that goes on from a checkpoint
        # begins a generation without a group.
        self._last_ns: dict[int, int] = {}
        joined = {event.fields["generation"] for event in events if event.kind == "world"}
        for event in events:
            if event.kind == "crash":
                self._deaths_ns[event.node].append(event.time_ns)
            elif event.kind == "step_begin":
                self._begun_ns.setdefault((event.fields["generation"], event.fields["step"]), event.time_ns)
            elif event.kind in ("world", "restore"):
                generation: int = event.fields["generation"]
                if event.kind == "world" or generation not in joined:
                    self._last_ns[generation] = event.time_ns
        self._generations = sorted(self._last_ns)
        self._given_up_ns = sorted(_given_up_ns(events, rows))

    def of(self, kind: str, injected: Injected) -> Failure:
        """Return what one fault did, one time that it struck."""
        noticed_ns = self._detected_at_ns(injected)
        if noticed_ns is None and kind in _HOLDS_UP:
            noticed_ns = self._waited_in_vain_at_ns(injected)
        found = Failure(injected.struck, kind, injected.at_ns, injected.ended_at_ns, noticed_ns, None, None, 0)
        if noticed_ns is None:
            return found
        abort = next(_since(self._aborts, noticed_ns), None)
        unbroken = None if abort is None else self._unbroken(noticed_ns, abort)
        if unbroken is not None:
            recovered_ns = _first_of(self._full, unbroken.time_ns, unbroken.fields["generation"])
            return replace(found, resumed_at_ns=unbroken.time_ns, recovered_at_ns=recovered_ns)
        first = self._goes_on_in(noticed_ns, abort)
        resumed_ns = _first_of(self._updates, noticed_ns, first)
        until = len(self._given_up_ns) if resumed_ns is None else bisect_right(self._given_up_ns, resumed_ns)
        return replace(
            found,
            resumed_at_ns=resumed_ns,
            recovered_at_ns=_first_of(self._full, noticed_ns, first),
            rolled_back_steps=until - bisect_left(self._given_up_ns, noticed_ns),
        )

    def _unbroken(self, noticed_ns: int, abort: Event) -> Event | None:
        """Return the first update of a step that began after a fault was noticed, in the ring that breaks only later.

        It is another fault that breaks it then: who died was a spare, say, or had been set aside.
        """
        for update in _since(self._updates, noticed_ns):
            if update.time_ns > abort.time_ns:
                return None
            generation, step = update.fields["generation"], update.fields["step"]
            # A step that an earlier ring had begun is taken up as soon as this one is formed.
            begun_ns = self._begun_ns.get((generation, step - 1), self._last_ns.get(generation, 0))
            if generation == abort.fields["generation"] and begun_ns > noticed_ns:
                return update
        return None

    def _goes_on_in(self, noticed_ns: int, abort: Event | None) -> int:
        """Return the generation in which training goes on.

        Where a ring breaks, an update that it still finishes is no resumption: the next ring's first one is.
        """
        later, default = self._generations, 0
        if abort is not None:
            broken: int = abort.fields["generation"]
            later, default = later[bisect_right(later, broken) :], broken + 1
        return next((one for one in later if self._last_ns[one] >= noticed_ns), default)

    def _detected_at_ns(self, injected: Injected) -> int | None:
        signs = (event.time_ns for event in _since(self._signs, injected.at_ns) if self._is_sign(event, injected))
        # Where the news takes any time at all, a sign at the very instant of the fault is of an earlier one.
        at_once = next(signs, None)
        return at_once if at_once != injected.at_ns else next((ns for ns in signs if ns > injected.at_ns), at_once)

    def _waited_in_vain_at_ns(self, injected: Injected) -> int | None:
        """Return when somebody first waited in vain, while a fault that holds messages up was in force.

        In a ring everybody waits for everybody: not only whoever waits for those whom the fault has struck. Where
        somebody died meanwhile, that may be why.
        """
        for event in _since(self._signs, injected.at_ns):
            if event.kind != "receive_timeout" or event.fields["source"] == RENDEZVOUS:
                continue
            waits_since_ns = event.time_ns - event.fields["timeout_ns"]
            died_ns = self._died_ns(tuple(self._deaths_ns), event.time_ns)
            is_over = injected.ended_at_ns is not None and injected.ended_at_ns < waits_since_ns
            if not is_over and (died_ns is None or died_ns < waits_since_ns):
                return event.time_ns
        return None

    def _is_sign(self, event: Event, injected: Injected) -> bool:
        """Say whether a node learns by this event that one is gone whom the fault struck, and by this fault.

        It names one of them, or nobody at all. A later death explains it, unless who noticed had been waiting since
        before the fault. What had ended before the wait began explains nothing.
        """
        if not _names(event, injected.ranks):
            return False
        waits_since_ns = event.time_ns - event.fields.get("timeout_ns", 0)
        named = event.fields.get("peer", event.fields.get("source"))
        died_ns = self._died_ns(injected.ranks if named is None else (named,), event.time_ns)
        if died_ns is not None and died_ns >= injected.at_ns:
            return died_ns == injected.at_ns or waits_since_ns <= injected.at_ns
        return injected.ended_at_ns is None or waits_since_ns <= injected.ended_at_ns

    def _died_ns(self, ranks: Sequence[str], until_ns: int) -> int | None:
        """Return when one of `ranks` last died."""
        deaths = (self._deaths_ns.get(rank, []) for rank in ranks)
        return max((times[known - 1] for times in deaths if (known := bisect_right(times, until_ns))), default=None)


def _signs(events: Sequence[Event]) -> Iterator[Event]:
    """Yield where a node learns that another is gone, or waits in vain.

    Not where the other is there, and has left the ring because it had learned of somebody itself: so an error runs
    round a ring.
    """
    left_ns = {
        (event.node, event.fields["generation"]): event.time_ns for event in events if event.kind == "collective_abort"
    }
    generations: dict[str, int] = {}
    dead: set[str] = set()
    for event in events:
        if event.kind == "world":
            generations[event.node] = event.fields["generation"]
        elif event.kind in _TURNS:
            (dead.discard if event.kind == "restart" else dead.add)(event.node)
        elif event.kind in ("suspect", "receive_timeout"):
            yield event
        elif event.kind == "peer_lost":
            peer = event.fields["peer"]
            has_left_ns = left_ns.get((peer, generations.get(event.node, -1)))
            if peer in dead or has_left_ns is None or has_left_ns > event.time_ns:
                yield event


def _given_up_ns(events: Sequence[Event], rows: Sequence[StepRow]) -> Iterator[int]:
    """Yield for each update that is not in the final history when a later generation first went back behind it."""
    to_come = sorted((row for row in rows if not row.committed), key=lambda row: -row.generation)
    made: list[StepRow] = []
    for event in events:
        if event.kind == "restore":
            while to_come and to_come[-1].generation < event.fields["generation"]:
                made.append(to_come.pop())
            kept = [row for row in made if row.step <= event.fields["step"]]
            yield from [event.time_ns] * (len(made) - len(kept))
            made = kept


def _names(event: Event, ranks: Sequence[str]) -> bool:
    """Say whether a sign names one of `ranks`, or nobody at all.

    No ranks: a link between switches, say, where whoever misses anybody may miss it for that.
    """
    if event.kind != "receive_timeout":
        return event.fields["peer"] in ranks or not ranks
    source = event.fields["source"]
    # Who waits for the rendezvous has been told for how long: until its cooldown is over.
    return source != RENDEZVOUS and (source in (None, *ranks) or not ranks)


def _since(events: Sequence[Event], time_ns: int) -> Iterator[Event]:
    begin = bisect_left(events, time_ns, key=lambda event: event.time_ns)
    return (events[index] for index in range(begin, len(events)))


def _first_of(updates: Sequence[Event], since_ns: int, generation: int) -> int | None:
    """Return when the first update of a generation, or of a later one, was made."""
    return next((one.time_ns for one in _since(updates, since_ns) if one.fields["generation"] >= generation), None)


@dataclass(frozen=True)
class _Life:
    """Which life of a node is up (None: it is dead), and since when."""

    incarnation: int | None = 0
    since_ns: int = 0


def false_suspicions(events: Sequence[Event]) -> int:
    """Return how often somebody was taken for dead who was not.

    That is a `suspect` whose life was up; and a `receive_timeout` against one who trains and was up all the while. (A
    rendezvous is only waited for so long because it said so.)

    >>> crash, back = Event(5, "a", "crash", {"notice": "silence"}), Event(7, "a", "restart", {"incarnation": 1})
    >>> suspect = lambda at, life: Event(at, "b", "suspect", {"peer": "a", "incarnation": life, "timeout_ns": 3})
    >>> false_suspicions([suspect(4, 0), crash, suspect(6, 0), back, suspect(8, 0), suspect(9, 1)])
    2
    """
    trains = {event.node for event in events if event.kind in ("step_begin", "update")}
    lives: dict[str, _Life] = defaultdict(_Life)
    count = 0
    # Of one instant, deaths come first: who dies at the very instant of a suspicion was rightly suspected.
    telling = [event for event in events if event.kind in _TURNS or event.kind in ("suspect", "receive_timeout")]
    for event in sorted(telling, key=lambda event: (event.time_ns, event.kind not in _TURNS)):
        if event.kind in _TURNS:
            lives[event.node] = _Life(event.fields.get("incarnation"), event.time_ns)
        elif event.kind == "suspect":
            count += lives[event.fields["peer"]].incarnation == event.fields["incarnation"]
        elif event.kind == "receive_timeout" and event.fields["source"] in trains:
            life, began_ns = lives[event.fields["source"]], event.time_ns - event.fields["timeout_ns"]
            count += life.incarnation is not None and life.since_ns <= began_ns
    return count
