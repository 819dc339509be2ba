"""The errors of ringsim, all in one tree.

    RingsimError                    something went wrong; has an exit code
    ├── UsageError                  the command line makes no sense                (2)
    ├── ScenarioInvalid             the scenario file is wrong, with every place   (3)
    ├── EnvironmentRefused          JAX was started with other settings            (1)
    ├── DataUnavailable             a data set cannot be fetched                   (1)
    └── InvariantBroken             ringsim itself is wrong                        (1)

    NodeError                       may cross a `yield from` of a strategy; nothing else does
    ├── PeerLost                    the connection to a peer broke
    │   ├── Restarted               ... and the peer is back, with nothing of what it held
    │   └── Suspected               ... or is taken for broken: no heartbeat of the peer came in time
    └── ReceiveTimeout              nothing came in time

What is not here: outcomes of a simulated training (`result.Outcome`): those are data, not errors.
"""

from __future__ import annotations

from dataclasses import dataclass


class RingsimError(Exception):
    """Something went wrong that ringsim can say in one sentence.

    >>> UsageError("there is no scenario 4nod").exit_code
    2
    """

    exit_code = 1


class UsageError(RingsimError):
    """The command line asks for something that does not exist."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One mistake in a scenario: where it is, which key, and a sentence that says what would be right.

    >>> str(Problem("a.yaml:3:7", "cluster.nodes", "must be at least 1"))
    'a.yaml:3:7: cluster.nodes: must be at least 1'
    """

    place: str
    path: str
    sentence: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.path, self.sentence) if part)


class ScenarioInvalid(RingsimError):
    """A scenario cannot be played; `problems` lists every mistake, in the order of the file."""

    exit_code = 3

    def __init__(self, problems: tuple[Problem, ...]):
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class EnvironmentRefused(RingsimError):
    """This process cannot promise the bits, because JAX was started before ringsim with other settings."""


class DataUnavailable(RingsimError):
    """A data set that is not shipped cannot be fetched, by this machine or at this moment.

    Neither the scenario (3) nor the command line (2) is at fault: another machine plays the same. So it is 1, as where
    JAX refuses.
    """


class InvariantBroken(RingsimError):
    """Something that can never be false was false: a fault in ringsim itself, not in the scenario."""


class NodeError(Exception):
    """What an operation of a `Node` may raise at a `yield from`.

    SimPy rebuilds exceptions as `type(error)(*error.args)`, so these take plain positional arguments.
    """


class PeerLost(NodeError):
    """The connection to `peer` broke: it died, or it gave up and closed.

    >>> print(PeerLost("node2"))
    lost the connection to node2
    """

    def __init__(self, peer: str):
        super().__init__(peer)
        self.peer = peer

    def __str__(self) -> str:
        return f"lost the connection to {self.peer}"


class Restarted(PeerLost):
    """The connection to `peer` broke, and a new incarnation of it already runs."""

    def __str__(self) -> str:
        return f"lost the connection to {self.peer}, which has restarted"


class Suspected(PeerLost):
    """The connection to `peer` is taken for broken, because its heartbeats do not come. It may be alive.

    A suspicion names the one who is missed, not a neighbour that has only closed.
    """

    def __str__(self) -> str:
        return f"lost the connection to {self.peer}, whose heartbeats do not come"


class ReceiveTimeout(NodeError):
    """Nothing came from `source` (None: from anybody) for `timeout_ns` nanoseconds.

    A timeout names whom we waited for, who need not be the one who died.

    >>> print(ReceiveTimeout("node1", 3_000_000_000))
    nothing from node1 for 3 s
    """

    def __init__(self, source: str | None, timeout_ns: int):
        super().__init__(source, timeout_ns)
        self.source = source
        self.timeout_ns = timeout_ns

    def __str__(self) -> str:
        from ringsim.units import format_duration

        return f"nothing from {self.source or 'anybody'} for {format_duration(self.timeout_ns)}"
