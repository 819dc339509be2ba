"""What a node keeps in order to train if it tells of no `memory` itself: one version of the parameters, and what goes
with it.

    worker                          parameters, a gradient, what the optimizer remembers
    worker of a parameter server    parameters, a gradient: the optimizer is the server's
    parameter server                parameters, what the optimizer remembers, and the gradients of all workers, which it
                                    adds up in rank order once they are all in; of workers not in step, one gradient
    one that holds a range          the same, of its range; on a worker's machine, beside what the worker keeps
    another one of a chain          parameters, what the optimizer remembers, a mean gradient; or as the first one, if
                                    pushes are replicated
    rendezvous                      nothing

A commit costs nothing while it is of the newest update; later it is a version more, which is not counted. What is not
here: activations, samples, and messages on their way.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringsim.learning.engine import Engine
from ringsim.measures import Memory
from ringsim.scenario import RENDEZVOUS, SERVER, Bsp, Scenario, Server, added_machines, worker_names
from ringsim.strategies.server_sharded import ranges
from ringsim.strategies.training import Role


def footprints(scenario: Scenario, strategy: str, engine: Engine, roles: Sequence[Role]) -> tuple[Memory, ...]:
    """Return what each node keeps by this rule, in the order of `roles`; sizes in bytes, of float32 parameters."""
    server = getattr(scenario.strategy, "server", None) if strategy == scenario.strategy.name else None
    memories = []
    for role in roles:
        if role.node == RENDEZVOUS:
            memories.append(Memory(role.node, 0, 0))
        elif isinstance(server, Server):
            memories.append(Memory(role.node, 1, _served(scenario, server, engine, role)))
        else:
            memories.append(Memory(role.node, 1, 4 * engine.size + engine.size_bytes(engine.initial())))
    return tuple(memories)


def _served(scenario: Scenario, server: Server, engine: Engine, role: Role) -> int:
    holders = worker_names(scenario) if server.co_located else added_machines(scenario.strategy)
    is_cut = server.co_located or server.shards > 1
    where = ranges(engine.size, holders) if is_cut else dict.fromkeys(holders, slice(0, engine.size))
    worker = 2 * 4 * engine.size
    if role.node not in where:
        return worker
    part = where[role.node]
    numbers = 4 * (part.stop - part.start)
    in_step = isinstance(getattr(scenario.strategy, "consistency", Bsp(kind="bsp")), Bsp)
    adds_up = in_step and (is_cut or role.node == SERVER or server.replicate == "pushes")
    gradients = numbers * (len(worker_names(scenario)) if adds_up else 1)
    held = engine.size_bytes(engine.cut(engine.initial(), part)) + gradients
    return worker + held - numbers if role.worker else held
