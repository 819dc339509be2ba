"""The collectives of one group: who has entered which, and whether it is played in closed form or by messages.

A collective that nothing disturbs need not be played. Its members enter, and when the last one has, the plan's closed
form says when each of them is done (`undisturbed.py`). When something is about to touch it (a fault on a member, a flow
on one of its links, a timeout, the end of the run), it is played again from its beginning, message by message, up to
that very instant, in time that is wound back; from there it goes on by messages. So a disturbed collective is exact by
construction, and an undisturbed one is so where the closed form is: this is what `Stage.may_be_foreseen` asks.

What is not here: what a member does (`seat.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ringsim.errors import InvariantBroken, NodeError
from ringsim.node import Group, Member
from ringsim.plan import Plan
from ringsim.world.connection import Connection
from ringsim.world.seat import Seat
from ringsim.world.undisturbed import Footprint, Undisturbed, footprint

if TYPE_CHECKING:
    from ringsim.world.node import SimNode
    from ringsim.world.world import World


class Stage:
    """All collectives of one group, in order."""

    def __init__(self, world: World, group: Group):
        self.world = world
        self.group = group
        self.member_names = list(group.names)  # one list for what all members tell the trace
        self._undisturbed: dict[int, Undisturbed] = {}  # by sequence; at most two at a time
        # sequence -> how many members are not done; one that has given it up never is.
        self._by_messages: dict[int, int] = {}
        self._results: dict[int, dict[int, Any]] = {}  # sequence -> rank -> result
        self.lives = {member.name: member.incarnation for member in group.members}
        self._footprints: dict[tuple[tuple[int, int], ...], Footprint] = {}
        self._is_torn = False  # a member takes another for lost, and has closed its connection to it
        # While time is wound back: what members do at the present moment, to be done when it is back.
        self._postponed: list[Callable[[], None]] | None = None

    def connection(self, node: SimNode, to: str) -> Connection:
        """Return a member's connection to another, in this group."""
        return self.world.network.connection(node.address, self.world.address(to), self.group.generation)

    # --- entering and leaving -----------------------------------------------------------------------------------------

    def enter(self, seat: Seat) -> None:
        """A member enters collective `seat.sequence`."""
        sequence = seat.sequence
        self.step_begins(seat.node, seat.node.step)
        foreseen = self._undisturbed.get(sequence)
        if foreseen is None and sequence not in self._by_messages:
            if self.may_be_foreseen(seat):
                foreseen = self._undisturbed[sequence] = self._open(seat)
            else:
                self._play_by_messages(sequence)
        if foreseen is None:
            for before in self._undisturbed.values():
                before.number(seat.rank)
            seat.begin()
        else:
            foreseen.enter(seat)

    def step_begins(self, node: SimNode, step: int) -> None:
        """A member is now in `step`: messages are to be counted if a fault waits for them, also those under way."""
        if self._undisturbed and self.world.moments.waits and self.world.moments.is_near((node.name,), step):
            self.disturb()

    def may_be_foreseen(self, first: Seat) -> bool:
        """Say whether the closed form of a collective is exact, as far as can be known when its first member enters."""
        world = self.world
        if world.fidelity == "message" or self._by_messages or not first.plan.has_closed_form or self._is_torn:
            return False
        if any(not world.lives(member) for member in self.group.members) or not world.network.conditions.are_normal:
            return False
        if world.moments.is_near(self.group.names, first.node.step):
            return False  # A fault waits for a member to receive so many messages: somebody must count them.
        links = self.footprint(first.plan)
        if not links.is_steady:
            return False
        for before in self._undisturbed.values():
            # Somebody is not done with the collective before: only the same connections know when they are free.
            if before.footprint is not links or not links.is_disjoint:
                return False
        claims = world.network.claims
        own = self.disturbed_at
        return all(claims.get(resource, own) == own for resource in links.resources) and world.network.is_quiet(
            links.resources
        )

    def footprint(self, plan: Plan) -> Footprint:
        """Return the links of a plan's connections between the members."""
        key = tuple(plan.connections(len(self.group.members)))
        found = self._footprints.get(key)
        if found is None:
            members = [self.world.address(name) for name in self.group.names]
            found = self._footprints[key] = footprint(self.world.network, members, key, self.group.generation)
        return found

    def finish(self, seat: Seat, result: Any) -> None:
        """A member has its result."""
        known_ns = seat.finished_ns
        if known_ns is not None and seat.sequence in self._by_messages:
            # It was told long ago, and this is what followed from playing it again.
            if known_ns != self.world.clock.now_ns:
                raise InvariantBroken(
                    f"{seat.node.name} finished {seat.plan.name} at {known_ns} ns by its closed form, and at "
                    f"{self.world.clock.now_ns} ns by its messages"
                )
            seat.leave()
            seat.node.drop(seat)
        elif self._postponed is not None:
            self._postponed.append(partial(self.finish, seat, result))
            return
        else:
            self._compare(seat, result)
            seat.leave()
            seat.node.finished(seat, result)
        if seat.sequence in self._by_messages:
            self._by_messages[seat.sequence] -= 1
            if not self._by_messages[seat.sequence]:
                del self._by_messages[seat.sequence]

    def _compare(self, seat: Seat, result: Any) -> None:
        """When the last member has its result, see that all agree."""
        results = self._results.setdefault(seat.sequence, {})
        results[seat.rank] = result
        if len(results) == len(self.group.members):
            del self._results[seat.sequence]
            if self.world.has_wrong_numbers:
                return  # A flipped bit that nobody has noticed: replicas may differ, and this is what it does.
            difference = seat.plan.disagreement([results[rank] for rank in range(len(results))])
            if difference is not None:
                where = f"generation {self.group.generation}, collective {seat.sequence}"
                raise InvariantBroken(f"{where}: {difference}")

    def tear(self, member: Member) -> None:
        """Somebody in the group takes this member for lost: from now on, some collective may fail."""
        if self.lives.get(member.name) == member.incarnation:
            self.disturb()
            self._is_torn = True

    def abort(self, seat: Seat, error: NodeError) -> None:
        """A member has given a collective up. The one before may not be over for the others; then it is played."""
        if self._postponed is not None:
            self._postponed.append(partial(self.abort, seat, error))
            return
        self.disturb()
        seat.leave()
        seat.node.aborted(seat, error)

    # --- closed form --------------------------------------------------------------------------------------------------

    def _open(self, first: Seat) -> Undisturbed:
        links = self.footprint(first.plan)
        self.world.network.claims.update(dict.fromkeys(links.resources, self.disturbed_at))
        return Undisturbed(self, first, links, list(self._undisturbed.values()))

    def disturbed_at(self, resource: int) -> None:
        """A flow is about to begin on a resource that this stage has claimed."""
        if any(one.still_needs(resource) for one in self._undisturbed.values()):
            self.disturb()

    def disturb(self) -> bool:
        """Play by messages what was foreseen, up to this instant, and go on so; say whether there was anything."""
        if not self._undisturbed:
            return False
        foreseen = list(self._undisturbed.values())
        self._undisturbed.clear()
        self._unclaim(foreseen)
        for one in foreseen:
            self._play_by_messages(one.sequence)
        self._wind_back(foreseen)
        return True

    def over(self, one: Undisturbed) -> None:
        """Everybody is done with a collective that nothing has disturbed."""
        del self._undisturbed[one.sequence]
        if not self._undisturbed:
            self._unclaim([one])
        self.world.collectives.in_closed_form += 1

    def _unclaim(self, foreseen: Iterable[Undisturbed]) -> None:
        for one in foreseen:
            for resource in one.footprint.resources:
                self.world.network.claims.pop(resource, None)

    def _play_by_messages(self, sequence: int) -> None:
        self._by_messages[sequence] = len(self.group.members)
        self.world.collectives.by_messages += 1

    def _wind_back(self, foreseen: list[Undisturbed]) -> None:
        clock, links = self.world.clock, foreseen[0].footprint
        free_again = self.world.network.rewound(links.connections.values())
        back = self.world.sharing.rewound(links.resources)
        numbers = [one.number_again() for one in foreseen]
        for one in foreseen:
            one.give_up()
        foreseen[0].occupy()
        seats = [seat for one in foreseen for seat in one.seats.values()]
        # One after another collective, because a member may have entered the second as it was done with the first.
        order = sorted(seats, key=lambda seat: (seat.entered_moment, seat.sequence, seat.rank))
        for seat in seats:
            if seat.node.has(seat):
                seat.node.drop(seat)
        postponed = self._postponed = []
        clock.rewound([(seat.entered_moment, seat.take_and_begin) for seat in order])
        back()
        free_again()
        for count_on in numbers:
            count_on()
        self._postponed = None
        for seat in seats:
            seat.node.account.release()
            known_ns = seat.finished_ns
            if known_ns is not None and known_ns < clock.now_ns and seat.node.has(seat):
                raise InvariantBroken(
                    f"{seat.node.name} finished {seat.plan.name} at {known_ns} ns by its closed form, and not yet by "
                    "its messages"
                )
        for action in postponed:
            action()
