"""Where one node's time went: compute + exposed communication + idle + recovery + down = virtual time.

    down         its machine is dead
    recovery     from the failure of a collective, or its own restart, to the next training step
    compute      it computes
    exposed      it waits while bytes that it sends, or that are on their way to it, are on the wire
    idle         it waits otherwise, or has finished

The first that holds, from the top, is where a nanosecond goes. What is not here: who caused it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter

_State = tuple[bool | None, bool | None, bool | None]  # up, recovering, computing; None: as before


@dataclass(slots=True)
class Account:
    """The books of one node. Every setter first books the time since the last change.

    >>> account = Account()
    >>> account.set(10, computing=True)
    >>> account.set(25, computing=False)
    >>> account.close(30)
    >>> account.compute_ns, account.idle_ns
    (15, 15)
    """

    compute_ns: int = 0
    exposed_communication_ns: int = 0
    idle_ns: int = 0
    recovery_ns: int = 0
    down_ns: int = 0
    up: bool = True
    recovering: bool = False
    computing: bool = False
    on_wire: int = 0
    _since_ns: int = 0
    _holders: int = 0
    _held: list[tuple[int, int, _State | None]] = field(default_factory=list)  # when, what on the wire, or what state

    def set(
        self, now_ns: int, *, up: bool | None = None, recovering: bool | None = None, computing: bool | None = None
    ) -> None:
        """Note a change of state at `now_ns`."""
        if self._holders:
            self._held.append((now_ns, 0, (up, recovering, computing)))
        else:
            self._set(now_ns, up, recovering, computing)

    def wire(self, now_ns: int, change: int) -> None:
        """Note that messages of this node's, either way, went on the wire (+) or off it (-)."""
        if self._holders:
            self._held.append((now_ns, change, None))
            return
        # Twice a message for each of two nodes: what `_wire` does, without another call.
        before = self.on_wire
        if before and before + change > 0:
            self.on_wire = before + change
        else:
            self._wire(now_ns, change)

    def hold(self) -> None:
        """From now on changes may be told late, and in any order, until as many releases."""
        self._holders += 1

    def release(self) -> None:
        """No change will be told any more that is older than what comes next."""
        self._holders -= 1
        if not self._holders:
            # A sort by time keeps the order of what was told of one instant.
            changes, self._held = sorted(self._held, key=itemgetter(0)), []
            for then_ns, change, state in changes:
                if state is None:
                    self._wire(then_ns, change)
                else:
                    self._set(then_ns, *state)

    def close(self, now_ns: int) -> None:
        """Book what is left at the end of the run."""
        assert not self._holders, "somebody still has something to tell"
        self._book(now_ns)

    def _set(self, now_ns: int, up: bool | None, recovering: bool | None, computing: bool | None) -> None:
        self._book(now_ns)
        self.up = self.up if up is None else up
        self.recovering = self.recovering if recovering is None else recovering
        self.computing = self.computing if computing is None else computing

    def _wire(self, now_ns: int, change: int) -> None:
        if not self.on_wire or not self.on_wire + change:
            self._book(now_ns)
        self.on_wire += change
        assert self.on_wire >= 0, "more messages left the wire than went on it"

    def _book(self, now_ns: int) -> None:
        elapsed_ns = now_ns - self._since_ns
        assert elapsed_ns >= 0, "the books are kept in the order of time"
        self._since_ns = now_ns
        if not self.up:
            self.down_ns += elapsed_ns
        elif self.recovering:
            self.recovery_ns += elapsed_ns
        elif self.computing:
            self.compute_ns += elapsed_ns
        elif self.on_wire:
            self.exposed_communication_ns += elapsed_ns
        else:
            self.idle_ns += elapsed_ns
