"""The heartbeats of one life of a node: to whom it sends them, whose it waits for, and when it takes somebody for lost.

    node0   ♥─────────♥─────────♥──── ✝                          a beat every `interval_ns`
    node1     ♥         ♥         ♥                    suspect   no beat of it for `timeout_ns`
                                  └───── timeout ─────┘

A beat is a real message on a connection of its own: it does not wait behind a big one, but shares the links with it. So
a full, slow or lossy link holds it up, and who is suspected may well be alive. Beats keep no run going: they are
daemons. A watch may still wake somebody, as long as the beat that it counts from is older than the last thing that
happened (`Detector.may_suspect`). What is not here: what a suspicion does (`mailbox.py`), and whom to watch
(`strategies/detection.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringsim.errors import UsageError
from ringsim.node import Member, Message
from ringsim.world.clock import Entry, Phase
from ringsim.world.connection import Transfer
from ringsim.world.mailbox import Channel

if TYPE_CHECKING:
    from ringsim.world.node import SimNode
    from ringsim.world.world import World

SIZE_BYTES = 64  # of a beat, and of a verdict

# Channels of their own, before those of the groups. A verdict is waited for, so it goes behind no beat.
HEARTBEATS: Channel = -2
VERDICTS: Channel = -3


class Beat(Transfer):
    """A heartbeat on its way; its payload is when it was sent. It keeps no run going."""

    __slots__ = ()

    daemon = True


@dataclass
class _Watch:
    """A life of a peer that is watched. Its entry in the agenda may stand before its deadline, and is moved then."""

    sent_ns: int  # when the beat that it counts from was sent, or since when it watches
    deadline_ns: int
    entry: Entry | None = None


class Detector:
    """What one life of a node does to find out who has died."""

    def __init__(self, node: SimNode, world: World):
        self._node = node
        self._world = world
        self._targets: tuple[Member, ...] = ()
        self._interval_ns = 0
        self._tick: Entry | None = None
        self._watches: dict[Member, _Watch] = {}
        self._timeout_ns = 0

    # --- sending ------------------------------------------------------------------------------------------------------

    def beat(self, peers: Iterable[Member], interval_ns: int) -> None:
        """Send a heartbeat to each of `peers` now, and every `interval_ns` from now on; to nobody else any more."""
        self._targets, self._interval_ns = self._others(peers, interval_ns), interval_ns
        self._world.clock.cancel(self._tick)
        if self._targets and self._node.alive:
            self._beat()

    def _beat(self) -> None:
        clock = self._world.clock
        for peer in self._targets if not self._node.is_paused else ():
            if not self._node.mailbox.has_lost(*peer):
                self._send(peer)
        key = (self._node.address.index, 2)
        self._tick = clock.at(clock.now_ns + self._interval_ns, Phase.WAKE, key, self._beat, daemon=True)

    def _send(self, peer: Member) -> None:
        network, target = self._world.network, self._world.address(peer.name)
        connection = network.connection(self._node.address, target, HEARTBEATS)
        if connection.current is not None and not connection.current.has_left:
            return  # The one before is held up. Another behind it would say nothing more.
        sent_ns = self._world.clock.now_ns
        network.send(Beat(connection, self._node, sent_ns, SIZE_BYTES, "heartbeat", peer.incarnation))

    def tell_lost(self, to: Member, lost: Member) -> None:
        """Let `to` take the connections to `lost` for broken, as soon as a message has told it."""
        if to.name == self._node.name or not self._node.alive:
            return
        connection = self._world.network.connection(self._node.address, self._world.address(to.name), VERDICTS)
        verdict = Transfer(connection, self._node, lost, SIZE_BYTES, "lost", to.incarnation)
        self._world.network.send(verdict)

    # --- watching -----------------------------------------------------------------------------------------------------

    def watch(self, peers: Iterable[Member], timeout_ns: int) -> None:
        """Suspect each of `peers` when no beat of it has come for `timeout_ns`, from now on; nobody else any more."""
        others = self._others(peers, timeout_ns)
        self._forget()
        self._timeout_ns = timeout_ns
        if self._node.alive:
            now_ns = self._world.clock.now_ns
            self._watches = {peer: _Watch(now_ns, now_ns + timeout_ns) for peer in others}
            for peer, watch in self._watches.items():
                self._arm(peer, watch)

    def hear(self, message: Message) -> None:
        """A beat or a verdict has come."""
        if isinstance(message.payload, Member):
            if message.payload.name != self._node.name:
                self._node.suspect(message.payload)
            return
        watch = self._watches.get(Member(message.source, message.incarnation))
        if watch is not None:
            watch.sent_ns, watch.deadline_ns = message.payload, self._world.clock.now_ns + self._timeout_ns

    def may_suspect(self, stirred_ns: int) -> bool:
        """Say whether a suspicion may still come, if the last thing that happened did so at `stirred_ns`.

        A beat that was sent since then has shown that its sender lives, and that its beats get through as they are. Who
        stands still suspects nobody until something makes it go on.
        """
        return not self._node.is_paused and any(
            watch.sent_ns <= stirred_ns and not self._node.mailbox.distrusts(*peer)
            for peer, watch in self._watches.items()
        )

    def _arm(self, peer: Member, watch: _Watch) -> None:
        # Before this node's other timers: a suspicion says more than that nothing has come.
        key = (self._node.address.index, -1, self._world.address(peer.name).index)
        expire = lambda: self._node.unless_paused(lambda: self._expire(peer, watch))  # noqa: E731
        watch.entry = self._world.clock.at(watch.deadline_ns, Phase.WAKE, key, expire, daemon=True)

    def _expire(self, peer: Member, watch: _Watch) -> None:
        if self._watches.get(peer) is not watch:
            return  # It was forgotten while this node stood still.
        if watch.deadline_ns > self._world.clock.now_ns:
            self._arm(peer, watch)
            return
        del self._watches[peer]
        if not self._node.mailbox.distrusts(*peer):
            self._world.clock.stir()
            self._node.record("suspect", peer=peer.name, incarnation=peer.incarnation, timeout_ns=self._timeout_ns)
            self._node.suspect(peer)

    # --- the end ------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Neither beat nor watch any more."""
        self._world.clock.cancel(self._tick)
        self._targets = ()
        self._forget()

    def _forget(self) -> None:
        for watch in self._watches.values():
            self._world.clock.cancel(watch.entry)
        self._watches = {}

    def _others(self, peers: Iterable[Member], duration_ns: int) -> tuple[Member, ...]:
        if duration_ns <= 0:
            raise UsageError(f"{self._node.name} beats or watches every {duration_ns} ns; it must be more than 0 ns")
        for peer in peers:
            self._world.address(peer.name)
        return tuple(peer for peer in peers if peer.name != self._node.name)
