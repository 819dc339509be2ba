"""What a transport adds to a message: framing, acknowledgements on the way back, and slow start.

What is not here: flows (`network.py`), and resending what a link loses.
"""

from __future__ import annotations

from math import gcd
from typing import Protocol

from ringsim.scenario import Framed, Ideal, Tcp


def wire_size_bytes(transport: Ideal | Framed | Tcp, size_bytes: int) -> int:
    """Return what a message of `size_bytes` takes on the wire, framing included.

    >>> wire_size_bytes(Framed(kind="framed"), 1_449)
    1581
    """
    if isinstance(transport, Ideal):
        return size_bytes
    return int(size_bytes + segments(transport, size_bytes) * transport.header)


def segments(transport: Framed | Tcp, size_bytes: int) -> int:
    """Return how many frames a message takes; an empty one takes one.

    >>> segments(Tcp(kind="tcp"), 0), segments(Tcp(kind="tcp"), 1_449)
    (1, 2)
    """
    return max(1, -(-size_bytes // int(transport.payload)))


def acknowledgement_bytes(transport: Ideal | Framed | Tcp, size_bytes: int) -> int:
    """Return what the acknowledgements of a message take on the way back.

    >>> acknowledgement_bytes(Tcp(kind="tcp"), 3 * 1_448)
    132
    """
    if not isinstance(transport, Tcp):
        return 0
    return int(-(-segments(transport, size_bytes) // transport.acknowledge_every) * transport.acknowledgement)


def acknowledgement_weights(transport: Tcp) -> tuple[int, int]:
    """Return how a stream of full segments and its acknowledgements load the two directions, in lowest terms.

    >>> acknowledgement_weights(Tcp(kind="tcp"))
    (1514, 33)
    """
    data, back = (transport.payload + transport.header) * transport.acknowledge_every, transport.acknowledgement
    return data // gcd(data, back), back // gcd(data, back)


class Window(Protocol):
    """What a sender may send of a message before it hears of its peer."""

    passed_bytes: int  # of the present message, in rounds that are over

    @property
    def has_more(self) -> bool:
        """Whether the present message goes on after what is under way."""
        ...

    def ready_ns(self, now_ns: int) -> int:
        """Return when something may be sent: now, or later."""
        ...

    def take(self, now_ns: int, wire_bytes: int) -> int:
        """Return how many bytes of a message of `wire_bytes` leave in one go from `now_ns` on, which is ready."""
        ...

    def ended(self, now_ns: int) -> None:
        """What was under way has left."""
        ...

    def forget(self) -> None:
        """The present message has left, or is not sent any further."""
        ...


class _Open:
    """A window that holds nothing back and remembers nothing, so that all connections can have the same one."""

    passed_bytes = 0
    has_more = False

    def ready_ns(self, now_ns: int) -> int:
        return now_ns

    def take(self, now_ns: int, wire_bytes: int) -> int:  # noqa: ARG002 - it is open at any time.
        return wire_bytes

    def ended(self, now_ns: int) -> None: ...

    def forget(self) -> None: ...


OPEN = _Open()


class SlowStart:
    """The window of one connection (Jacobson 1988; RFC 5681, section 3.1; RFC 6928 for its first size).

    A connection that is new, or has been idle for longer than its retransmission timeout, sends `initial_window`
    segments and waits until a round trip after it began; what was sent is acknowledged then, and the window grows by
    as much. Once a round trip is not enough to send a whole window, nothing holds it back any more. What is not here:
    losses, which would shrink the window.

    >>> start = SlowStart(Tcp(kind="tcp"), round_trip_ns=10**7, capacity=10**9)
    >>> start.take(0, 100 * 1_514), start.has_more, start.ready_ns(200_000)
    (15140, True, 10000000)
    >>> start.take(10**7, 100 * 1_514), start.ready_ns(10_300_000)
    (30280, 20000000)
    """

    def __init__(self, transport: Tcp, round_trip_ns: int, capacity: int):
        self._segment_bytes = transport.payload + transport.header
        self._initial = transport.initial_window
        self._idle_ns = transport.retransmission_timeout + round_trip_ns
        self._round_trip_ns = round_trip_ns
        # So many segments keep the connection busy for a round trip.
        self._enough = -(-round_trip_ns * capacity // (8 * 10**9 * self._segment_bytes))
        self._window = 0
        self._round_ns = 0  # when this round began
        self._sent = 0  # segments, in this round
        self._last_ns: int | None = None  # when something was sent last; None: never
        self._rest_bytes = 0  # of the present message
        self._chunk_bytes = 0  # of it under way
        self.passed_bytes = 0  # of it, in rounds that are over

    @property
    def has_more(self) -> bool:
        return self._rest_bytes > 0

    def ready_ns(self, now_ns: int) -> int:
        if self._is_cold(now_ns) or self._window >= self._enough or self._sent < self._window:
            return now_ns
        return max(now_ns, self._round_ns + self._round_trip_ns)

    def take(self, now_ns: int, wire_bytes: int) -> int:
        if self._is_cold(now_ns):
            self._window, self._sent, self._round_ns = self._initial, 0, now_ns
        elif now_ns >= self._round_ns + self._round_trip_ns:
            self._window, self._sent, self._round_ns = self._window + self._sent, 0, now_ns
        if not self._rest_bytes:
            self._rest_bytes = wire_bytes
        self._chunk_bytes = self._rest_bytes
        if self._window < self._enough:
            self._chunk_bytes = min(self._rest_bytes, (self._window - self._sent) * self._segment_bytes)
        self._sent += -(-self._chunk_bytes // self._segment_bytes)
        self._rest_bytes -= self._chunk_bytes
        return self._chunk_bytes

    def ended(self, now_ns: int) -> None:
        self._last_ns = now_ns
        self.passed_bytes += self._chunk_bytes

    def forget(self) -> None:
        self._rest_bytes = self.passed_bytes = 0

    def _is_cold(self, now_ns: int) -> bool:
        if self._rest_bytes:
            return False
        return self._last_ns is None or now_ns - self._last_ns > self._idle_ns


def payload_bytes(transport: Ideal | Framed | Tcp, wire_bytes: int, size_bytes: int) -> int:
    """Return how much of a message of `size_bytes` is in its first `wire_bytes`; each frame begins with its header.

    >>> payload_bytes(Framed(kind="framed"), 1_514 + 70, 5_000)
    1452
    """
    if isinstance(transport, Ideal):
        return min(wire_bytes, size_bytes)
    frames, rest = divmod(wire_bytes, transport.payload + transport.header)
    return int(min(frames * transport.payload + max(0, rest - transport.header), size_bytes))
