"""All-reduce by parameter servers: push to those who add up, pull the sum (Li et al. 2014, one synchronous round).

    worker 0 ──┐             ┌──► worker 0        push    every worker sends each server its range, all at once
    worker 1 ──┼──► server ──┼──► worker 1        add     a server sums its range in rank order
    worker 2 ──┘             └──► worker 2        pull    it sends the sum to every worker, all at once

The last M ranks of the group are the servers; each owns a contiguous range of near-equal length. Cost, on uniform links
with W workers:

    T = 2 (path latency + max(W/M, 1) S / bandwidth)

because W pushes of S/M bytes meet on a server's link; with many servers the worker's own link is the bottleneck. What
is not here: a server that outlives one sum (`strategies/parameter_server.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from ringsim.collectives.cost import alpha_beta_ns
from ringsim.collectives.in_memory import play_in_memory
from ringsim.collectives.vectors import cut, join, odd_one_out
from ringsim.errors import InvariantBroken, UsageError
from ringsim.node import Operation
from ringsim.plan import Seat, Times, Wires


@dataclass(frozen=True)
class ParameterServerAllReduce:
    """Sum the workers' float32 vectors of any length on `servers` servers, the last ranks of the group.

    A worker's result is the sum, a server's is its range of it, both read-only. What a server passes as its buffer is
    not added. A group without a worker raises UsageError. A receive that takes longer than `timeout_ns` (None: never)
    raises ReceiveTimeout.
    """

    servers: int = 1
    timeout_ns: int | None = None
    name: str = "parameter_server"
    has_closed_form: ClassVar[bool] = False

    def messages(self, seat: Seat, buffer: Any) -> Operation[Any]:
        """Play it for one rank; `buffer` is a worker's float32 vector, or a Blank."""
        workers = self._workers(len(seat.members))
        role = self._worker if seat.rank < workers else self._server
        return (yield from role(seat, workers, buffer))

    def _worker(self, seat: Seat, workers: int, buffer: Any) -> Operation[Any]:
        servers = seat.members[workers:]
        ranges = cut(buffer, len(servers))
        for server, own in zip(servers, ranges, strict=True):
            seat.send(server, own, own.nbytes, tag="push")
        for index, server in enumerate(servers):
            watching = [other for other in servers if other != server]
            message = yield from seat.receive(server, tag="pull", timeout_ns=self.timeout_ns, watching=watching)
            ranges[index] = message.payload
        return join(ranges)

    def _server(self, seat: Seat, workers: int, buffer: Any) -> Operation[Any]:
        names = seat.members[:workers]
        message = yield from seat.receive(names[0], tag="push", timeout_ns=self.timeout_ns)
        total = message.payload
        for worker in names[1:]:
            message = yield from seat.receive(worker, tag="push", timeout_ns=self.timeout_ns)
            total = total + message.payload
        total = join([total])
        for worker in names:
            seat.send(worker, total, total.nbytes, tag="pull")
        return total

    def _workers(self, ranks: int) -> int:
        if self.servers < 1 or ranks <= self.servers:
            raise UsageError(
                f"a group of {ranks} with {self.servers} parameter servers; it needs a server, and a worker beside them"
            )
        return ranks - self.servers

    def connections(self, ranks: int) -> list[tuple[int, int]]:
        """Each worker's to each server, and back."""
        workers = self._workers(ranks)
        pushes = [(worker, server) for worker in range(workers) for server in range(workers, ranks)]
        return [*pushes, *((server, worker) for worker, server in pushes)]

    def times(self, buffer: Any, enter_ns: Sequence[int], wires: Wires, every_flight: bool) -> Times:
        """Raise InvariantBroken: the pushes meet on the servers' links."""
        raise InvariantBroken("parameter servers have no closed form, because the pushes meet on their links")

    def results(self, buffers: Sequence[Any]) -> list[Any]:
        """Return the sum for each worker, and its range for each server."""
        return play_in_memory(self, buffers)

    def predicted_ns(self, ranks: int, size_bytes: int, alpha_ns: int, bandwidth: int) -> int:
        """Return 2 (alpha + max(W/M, 1) S/B) in ns, W of the ranks being workers (Jiang et al. 2020).

        >>> plan = ParameterServerAllReduce()
        >>> plan.predicted_ns(ranks=5, size_bytes=1_000, alpha_ns=40_000, bandwidth=50_000_000)
        1360000
        """
        share = max(Fraction(self._workers(ranks), self.servers), Fraction(1))
        return alpha_beta_ns(2, 2 * share * size_bytes, alpha_ns, bandwidth)

    def number_of_messages(self, ranks: int) -> int:
        """Return how many messages all ranks send together: 2WM for W workers and M servers."""
        return 2 * self._workers(ranks) * self.servers

    def disagreement(self, results: Sequence[Any]) -> str | None:
        """Say which worker ended with other bits than worker 0. (A server has only its range.)"""
        return odd_one_out("a sum by parameter servers", results[: self._workers(len(results))])
