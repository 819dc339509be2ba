"""What has reached one life of a node: messages not yet read, and the news of connections that broke.

A connection is with a *life* (incarnation) of a peer, and inside a collective also with a *generation* of the group.
Messages that came before a connection broke can still be read; after them comes PeerLost.

A life that is *suspected* may well be up. Who suspects it has closed the connection of the group's generation for good,
and leaves the collective that it is in, whoever it waits for there. Outside of groups the next message, either way,
makes a new connection and takes the suspicion back; so does the next group that both are in. What is not here: waiting
(`node.py`), travelling (`network.py`), and who suspects whom (`heartbeat.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ringsim.errors import PeerLost, Restarted, Suspected
from ringsim.node import Group, Member, Message

# Which conversation a message belongs to: a group's generation, or None outside of collectives.
Channel = int | None


@dataclass(frozen=True)
class _Lost:
    """The news, between messages, that a peer is gone: for those who receive from anybody."""

    peer: str


@dataclass
class Mailbox:
    """Unread messages and broken connections.

    >>> box = Mailbox()
    >>> box.put(Message("node1", 0, "hello", 42, 8))
    >>> box.lose("node1", 0, restarted=False)
    >>> box.take("node1", None).payload
    42
    >>> box.take("node1", None)
    Traceback (most recent call last):
    ...
    ringsim.errors.PeerLost: lost the connection to node1
    """

    group: Group | None = None
    _unread: list[Message | _Lost] = field(default_factory=list)
    _lost: dict[str, int] = field(default_factory=dict)  # peer -> its latest life that is known to be over
    _restarted: dict[str, int] = field(default_factory=dict)  # ... known because a later life answered
    _suspected: dict[str, int] = field(default_factory=dict)  # peer -> its latest life that is taken for lost
    _closed: dict[tuple[str, int], None] = field(default_factory=dict)  # (peer, generation) that either has left
    _missed: dict[int, str] = field(default_factory=dict)  # generation -> the first of its members that was suspected
    has_bad_news: bool = False  # some connection is broken
    _view: dict[str, int] = field(default_factory=dict)  # peer -> the life of it that we talk to

    def put(self, message: Message) -> None:
        """Take in a message that has arrived."""
        if message.incarnation >= self._suspected.get(message.source, message.incarnation):
            self._suspected.pop(message.source, None)
        self._view[message.source] = max(message.incarnation, self._view.get(message.source, 0))
        self._unread.append(message)

    def lose(self, peer: str, incarnation: int, *, restarted: bool) -> None:
        """Note that the connections to one life of `peer` broke."""
        if incarnation <= self._lost.get(peer, -1):
            return
        self._lost[peer] = incarnation
        self.has_bad_news = True
        if restarted:
            self._restarted[peer] = incarnation
        if self._view.get(peer, 0) <= incarnation and self._suspected.get(peer, -1) < incarnation:
            # If we have heard from a later life, or thought so all along, the end of this one is no news.
            self._unread.append(_Lost(peer))

    def suspect(self, peer: str, incarnation: int) -> None:
        """Take the connections to one life of `peer` for broken."""
        if self.distrusts(peer, incarnation):
            return
        self._suspected[peer] = incarnation
        self.has_bad_news = True
        group = self.group
        if group is not None and Member(peer, incarnation) in group.members:
            self._closed[peer, group.generation] = None
            self._missed.setdefault(group.generation, peer)
        if self._view.get(peer, 0) <= incarnation:
            self._unread.append(_Lost(peer))

    def has_lost(self, peer: str, incarnation: int) -> bool:
        """Say whether one life of `peer` is known to be over."""
        return incarnation <= self._lost.get(peer, -1)

    def distrusts(self, peer: str, incarnation: int) -> bool:
        """Say whether one life of `peer` is known to be over, or taken for lost."""
        return self.has_lost(peer, incarnation) or incarnation <= self._suspected.get(peer, -1)

    def has_closed(self, peer: str, generation: int) -> bool:
        """Say whether the connection to `peer` in a generation of the group is closed."""
        return (peer, generation) in self._closed

    def refuse(self, peer: str) -> None:
        """Note that no new life of `peer` answers: we still have only the connection that broke."""
        if peer in self._lost:
            self._view[peer] = min(self._view.get(peer, 0), self._lost[peer])

    def close(self, peer: str, generation: int) -> None:
        """Note that `peer` has left a generation of the group."""
        self._closed[peer, generation] = None
        self.has_bad_news = True

    def join(self, group: Group) -> None:
        """Talk to the members of `group` in collectives from now on, by new connections: none is suspected yet."""
        self.group = group
        # By the few that are suspected and not by all members: of a thousand, each would look at a thousand.
        self._suspected = {
            peer: incarnation
            for peer, incarnation in self._suspected.items()
            if peer not in group.ranks or incarnation > group.members[group.ranks[peer]].incarnation
        }
        self._closed = {key: None for key in self._closed if key[1] >= group.generation}

    def meet(self, peers: Iterable[Member]) -> None:
        """Begin to talk to these lives of our peers: who begins anew finds whoever is there now."""
        self._view.update(peers)

    def life(self, peer: str, channel: Channel) -> int:
        """Return which life of `peer` a message on `channel` is for."""
        if channel is None:
            return self._view.setdefault(peer, 0)
        assert self.group is not None, "a collective needs a group"
        assert self.group.generation == channel, "a collective is played in the group that was joined last"
        return self.group.members[self.group.ranks[peer]].incarnation

    def reconnect(self, peer: str) -> None:
        """Talk to the next life of `peer` from now on, if the one we talked to is over; or anew, if it is suspected."""
        self._suspected.pop(peer, None)
        if self._is_lost(peer, None):
            self._view[peer] = self._lost[peer] + 1

    def take(self, source: str | None, tag: Any) -> Message | None:
        """Return the first message that fits, or None if it may still come. Raises PeerLost if it cannot.

        A receive from anybody also gets the news of lost peers, each once, in the order in which all this came.
        """
        for position, item in enumerate(self._unread):
            if isinstance(item, _Lost):
                if source is None:
                    del self._unread[position]
                    raise self._lost_error(item.peer)
            elif source in (None, item.source) and tag in (None, item.tag):
                del self._unread[position]
                return item
        if source is not None:
            self.check(source, None)
        return None

    def check(self, peer: str, channel: Channel) -> None:
        """Raise PeerLost if the connection to `peer` is broken."""
        if self._is_lost(peer, channel):
            raise self._lost_error(peer)

    def check_group(self, generation: int) -> None:
        """Raise Suspected if a member of this generation is taken for lost, though perhaps nobody waits for it."""
        if generation in self._missed:
            raise Suspected(self._missed[generation])

    def _is_lost(self, peer: str, channel: Channel) -> bool:
        if channel is not None and (peer, channel) in self._closed:
            return True
        if peer in self._lost and self._lost[peer] >= self.life(peer, channel):
            return True
        # A group has connections of its own: those that a suspicion broke are closed.
        return channel is None and peer in self._suspected and self._suspected[peer] >= self.life(peer, None)

    def _lost_error(self, peer: str) -> PeerLost:
        lost = self._lost.get(peer, -1)
        if self._suspected.get(peer, -1) > lost:
            return Suspected(peer)
        return Restarted(peer) if lost >= 0 and self._restarted.get(peer) == lost else PeerLost(peer)
