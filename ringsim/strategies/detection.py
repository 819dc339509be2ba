"""Who sends heartbeats to whom, and who watches whom: one detector for a ring's neighbours, one for a rendezvous.

    neighbours    a ─♥─► b ─♥─► c ─♥─► a, and back    each member watches those it sends to and receives from; a
                                                      suspicion runs round the ring like any other error, and whoever
                                                      has it accuses the suspect at the rendezvous
    rendezvous    a, b, c ─♥─► rendezvous             it watches everybody itself

Of whoever is given up in one of these ways, or because its next life has come, the rendezvous tells all in the ring: in
a broadcast or a copy one may wait for another who is no neighbour.

In an interval a ring of N sends 2N heartbeats, two on each direction of a star's links. A rendezvous takes N on its one
link, and is the only one that accuses anybody (torchft's lighthouse is one: 100 ms, and dead after 5 s). In all
functions a `heartbeat` of None is none. What is not here: how heartbeats travel, and what a suspicion does
(`Node.beat`, `Node.watch`, `Node.tell_lost`).
"""

from __future__ import annotations

from ringsim.errors import NodeError, Suspected
from ringsim.node import Group, Member, Node
from ringsim.scenario import RENDEZVOUS, Heartbeat, NeighbourHeartbeat


def neighbours(ring: Group, name: str) -> tuple[Member, ...]:
    """Return the members to the left and right of one in a ring. Of two they are the same; alone there is none.

    >>> ring = Group(0, (Member("a", 0), Member("b", 2), Member("c", 0)))
    >>> [member.name for member in neighbours(ring, "a")]
    ['c', 'b']
    >>> neighbours(Group(0, ring.members[:2]), "a")
    (Member(name='b', incarnation=2),)
    """
    rank, size = ring.ranks[name], len(ring.members)
    beside = dict.fromkeys((ring.members[rank - 1], ring.members[(rank + 1) % size]))
    return tuple(member for member in beside if member.name != name)


# --- what a worker does -----------------------------------------------------------------------------------------------


def report(node: Node, heartbeat: Heartbeat | None) -> None:
    """Send heartbeats to the rendezvous from now on, if it is the one that watches."""
    if heartbeat is not None and heartbeat.by == "rendezvous":
        node.beat((Member(RENDEZVOUS, 0),), heartbeat.interval)


def watch_neighbours(node: Node, heartbeat: NeighbourHeartbeat | Heartbeat | None) -> None:
    """Exchange heartbeats with the neighbours in the ring that was joined last, unless the rendezvous watches."""
    if heartbeat is not None and (isinstance(heartbeat, NeighbourHeartbeat) or heartbeat.by == "neighbours"):
        beside = neighbours(node.group, node.name)
        node.beat(beside, heartbeat.interval)
        node.watch(beside, heartbeat.timeout)


def watch_nobody(node: Node, heartbeat: Heartbeat | None) -> None:
    """Suspect nobody from now on; who is still in the last ring hears from us until it leaves as well."""
    if heartbeat is not None:
        node.watch((), heartbeat.timeout)


def accused_by(error: NodeError) -> str | None:
    """Return whom an error accuses: only who is missed itself, not who left, or who was waited for in vain."""
    return error.peer if isinstance(error, Suspected) else None


# --- what the rendezvous does -----------------------------------------------------------------------------------------


def watch_ring(node: Node, ring: Group, heartbeat: Heartbeat | None) -> None:
    """Watch all members of the ring that has just been formed, if the rendezvous is the one that watches."""
    if heartbeat is not None and heartbeat.by == "rendezvous":
        node.watch(ring.members, heartbeat.timeout)


def tell_ring(node: Node, ring: Group, lost: Member) -> None:
    """Let all others leave a ring of which one is lost: in a tree, more than its neighbours wait for it."""
    for member in ring.members:
        if member != lost:
            node.tell_lost(member, lost)
