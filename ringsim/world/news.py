"""What a node learns of another without a message of it: that it has left a group, that a life of it is over.

News travels like a reset on a real connection: one path latency, behind the data already on its way; while no way is
open from one to the other, it waits. What is not here: what a node does with it (`mailbox.py`), and who is told what
when (`world.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING

from ringsim.world.clock import Clock, Phase
from ringsim.world.connection import Address
from ringsim.world.mailbox import Channel
from ringsim.world.network import Network

if TYPE_CHECKING:
    from ringsim.world.node import SimNode

_AFTER_ALL_CHANNELS = 1 << 62


class _Kind(IntEnum):
    """Of one instant, in this order."""

    LEFT = 0  # it has left a generation of the group
    LOST = 1  # a life of it is over
    REFUSED = 2  # no later life of it answers


class News:
    """The news on its way. Nothing may be foreseen any more for the group that it is about."""

    def __init__(self, clock: Clock, network: Network):
        self._clock = clock
        self._network = network

    def left(self, leaver: Address, generation: int, to: SimNode) -> None:
        """`leaver` has left a generation of the group."""
        self._tell(leaver, to, (_Kind.LEFT, generation), lambda: to.mailbox.close(leaver.name, generation), generation)

    def lost(self, life: Address, to: SimNode, *, restarted: bool) -> None:
        """A life is over; restarted: known because a later one answered."""
        note = lambda: to.mailbox.lose(life.name, life.incarnation, restarted=restarted)  # noqa: E731
        self._tell(life, to, (_Kind.LOST, life.incarnation, restarted), note)

    def refused(self, by: Address, to: SimNode) -> None:
        """No life later than this one answers."""
        self._tell(by, to, (_Kind.REFUSED, by.incarnation), lambda: to.mailbox.refuse(by.name))

    def _tell(
        self,
        of: Address,
        to: SimNode,
        order: tuple[int, ...],
        note: Callable[[], None],
        generation: Channel = None,
    ) -> None:
        """`order`: among what is learned of one node at one instant. generation: whose connection ends; None: all."""
        if not self._network.is_open(of.host, to.address.host):
            self._network.when_altered(lambda: self._tell(of, to, order, note, generation))
            return

        def arrive() -> None:
            if to.alive:
                note()
                to.look()

        when_ns = self._network.news_ns(of, to.address, generation)
        key = ((to.address.index, of.index, _AFTER_ALL_CHANNELS), order)
        self._clock.at(when_ns, Phase.DELIVER, key, arrive)
