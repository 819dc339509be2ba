"""Who sends heartbeats to whom, and who watches whom: one detector for a ring's neighbours, one for a rendezvous.

    neighbours    a ─♥─► b ─♥─► c ─♥─► a, and back    each member watches those it sends to and receives from; a
                                                      suspicion runs round the ring like any other error
    rendezvous    a, b, c ─♥─► rendezvous             it watches everybody, and tells the neighbours of the lost one

In an interval a ring of N sends 2N heartbeats, two on each direction of a star's links. A rendezvous takes N on its one
link, and is the only one that accuses anybody (torchft's lighthouse is one: 100 ms, and dead after 5 s). What is not
here: how heartbeats travel, and what a suspicion does (`Node.beat`, `Node.watch`, `Node.tell_lost`).
"""

from __future__ import annotations

from ringsim.node import Group, Member, Node


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


def watch_neighbours(node: Node, interval_ns: int, timeout_ns: int) -> None:
    """Exchange heartbeats with the neighbours in the ring that was joined last, and with nobody else any more."""
    beside = neighbours(node.group, node.name)
    node.beat(beside, interval_ns)
    node.watch(beside, timeout_ns)


def report_to(node: Node, rendezvous: Member, interval_ns: int) -> None:
    """Send heartbeats to the rendezvous, in a ring or between two."""
    node.beat((rendezvous,), interval_ns)


def watch_everybody(node: Node, ring: Group, timeout_ns: int) -> None:
    """As the rendezvous: watch all members of the ring that has just been formed."""
    node.watch(ring.members, timeout_ns)


def tell_neighbours(node: Node, ring: Group, lost: str) -> None:
    """As the rendezvous: let the neighbours of a lost member leave the ring, so that the others learn of it."""
    if lost in ring.ranks:
        member = ring.members[ring.ranks[lost]]
        for neighbour in neighbours(ring, lost):
            node.tell_lost(neighbour, member)
