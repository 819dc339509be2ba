"""Where one node's time went: compute + exposed communication + idle + recovery + down = virtual time.

    down         its machine is dead
    recovery     from the failure of a collective, or its own restart, to the next training step
    compute      it computes
    exposed      it waits while bytes that it sends, or that are on their way to it, are on the wire
    idle         it waits otherwise, or has finished

The first that holds, from the top, is where a nanosecond goes. What is not here: who caused it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
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

    def set(
        self, now_ns: int, *, up: bool | None = None, recovering: bool | None = None, computing: bool | None = None
    ) -> None:
        """Note a change of state at `now_ns`."""
        self._book(now_ns)
        self.up = self.up if up is None else up
        self.recovering = self.recovering if recovering is None else recovering
        self.computing = self.computing if computing is None else computing

    def wire(self, now_ns: int, change: int) -> None:
        """Note that a message of this node's, either way, went on the wire (+1) or off it (-1)."""
        self._book(now_ns)
        self.on_wire += change
        assert self.on_wire >= 0, "more messages left the wire than went on it"

    def close(self, now_ns: int) -> None:
        """Book what is left at the end of the run."""
        self._book(now_ns)

    def _book(self, now_ns: int) -> None:
        elapsed_ns = now_ns - self._since_ns
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
