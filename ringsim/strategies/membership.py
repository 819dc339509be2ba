"""How a worker comes into a ring: what it says to the rendezvous, and what it hears.

    worker       register ─► ......................... ─► the ring that it is in now
                 register ─► come again after the cooldown ─► register ─► ...
                 register ─► ......................... ─► the job is over, or was given up

What is not here: who decides it (`rendezvous.py`), and what workers do with a ring (`ring_elastic.py`,
`ring_peer_recovery.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ringsim.collectives.broadcast import Broadcast
from ringsim.errors import ReceiveTimeout
from ringsim.node import Group, Member, Node, Operation
from ringsim.scenario import RENDEZVOUS
from ringsim.strategies.training import GaveUp

CONTROL_BYTES = 256  # A registration, or the answer to it; small beside any gradient.


@dataclass(frozen=True)
class Standing:
    """What a worker tells the rendezvous: the last update that it could go on from, whether that is the end of the
    task, and whether it has ever had the state: one that restarted has not, until a ring has given it to it.

    `carries` is for the other members, if it has the state. `accused` is whose heartbeats it has missed in the ring.
    """

    step: int
    finished: bool
    has_state: bool
    carries: Any = None
    accused: str | None = None


@dataclass(frozen=True)
class Ring:
    """The rendezvous' answer to those in the new ring: who is in it, and how each of them stands, in rank order.

    Only of a survivor of the last ring it is said that it has the state: who comes anew may hold another history.
    """

    group: Group
    standings: tuple[Standing, ...]

    def has_state(self, name: str) -> bool:
        """Say whether this member has the state that the ring goes on from."""
        return self.standings[self.group.ranks[name]].has_state


@dataclass(frozen=True)
class AskAgain:
    """The rendezvous' answer to one who failed: come again after the cooldown."""

    cooldown_ns: int


@dataclass(frozen=True)
class JobOver:
    """The rendezvous' answer to everybody when all have finished, or to one it will never take again.

    `finishers` have the result. Who was wrongly given up may have come to an end as well, but of a history that the
    others have not gone on from.
    """

    finishers: tuple[Member, ...] = ()

    def is_result_of(self, node: Node) -> bool:
        """Say whether what this node ended with is the result."""
        return Member(node.name, node.incarnation) in self.finishers


Answer = Ring | AskAgain | JobOver | GaveUp


def register(node: Node, standing: Standing) -> Operation[Ring | JobOver | GaveUp]:
    """Ask for a place in the next ring, and wait for it; who is set aside asks again after the cooldown."""
    patience_ns = None
    while True:
        node.send(RENDEZVOUS, standing, CONTROL_BYTES, tag="register")
        try:
            while True:
                message = yield from node.receive(RENDEZVOUS, tag="answer", timeout_ns=patience_ns)
                answer: Answer = message.payload
                if isinstance(answer, AskAgain):
                    patience_ns = answer.cooldown_ns
                elif not isinstance(answer, Ring) or Member(node.name, node.incarnation) in answer.group.members:
                    return answer
                # Else it is what our former life asked for; the answer to us is still to come.
        except ReceiveTimeout:
            patience_ns = None


def newcomer_waits(node: Node, timeout_ns: int | None) -> Operation[bool]:
    """Let rank 0 say whether to re-form the ring, so that all leave it at the same step."""
    asked = node.rank == 0 and node.poll(RENDEZVOUS, tag=newcomer_tag(node.group)) is not None
    word: bool = yield from node.collective(Broadcast(size_bytes=1, timeout_ns=timeout_ns), asked)
    return word


def newcomer_tag(group: Group) -> str:
    """Return the tag of the word to rank 0 that somebody waits: another in each ring, for they may be in by then."""
    return f"newcomer for generation {group.generation}"
