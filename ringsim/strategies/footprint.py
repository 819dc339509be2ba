"""What a node keeps in order to train if it tells of no `memory` itself: one version of the parameters, and what goes
with it.

    worker                          parameters, a gradient, what the optimizer remembers
    worker of a parameter server    parameters, a gradient: the optimizer is the server's
    parameter server                parameters, what the optimizer remembers, and the gradients of all workers, which it
                                    adds up in rank order once they are all in
    another one of its chain        parameters, what the optimizer remembers, a mean gradient
    rendezvous                      nothing

A commit costs nothing while it is of the newest update; later it is a version more, which is not counted. What is not
here: activations, samples, and messages on their way.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringsim.learning.engine import Engine
from ringsim.measures import Memory
from ringsim.scenario import RENDEZVOUS, SERVER, Scenario, worker_names
from ringsim.strategies.training import Role


def footprints(scenario: Scenario, strategy: str, engine: Engine, roles: Sequence[Role]) -> tuple[Memory, ...]:
    """Return what each node keeps by this rule, in the order of `roles`; sizes in bytes, of float32 parameters."""
    parameters, with_optimizer = 4 * engine.size, engine.size_bytes(engine.initial())

    def size_bytes(role: Role) -> int:
        if role.worker:
            return parameters + (parameters if strategy == "parameter_server" else with_optimizer)
        return with_optimizer + parameters * (len(worker_names(scenario)) if role.node == SERVER else 1)

    return tuple(
        Memory(role.node, 0, 0) if role.node == RENDEZVOUS else Memory(role.node, 1, size_bytes(role)) for role in roles
    )
