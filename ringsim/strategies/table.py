"""The table from a scenario's strategy settings to the file that plays them. What is not here: the strategies."""

from __future__ import annotations

from collections.abc import Callable

from ringsim import scenario as settings
from ringsim.scenario import Scenario
from ringsim.strategies import (
    local,
    parameter_server,
    ring,
    ring_elastic,
    ring_peer_recovery,
    ring_spares,
    ring_wait,
)
from ringsim.strategies.training import Deployment

_DEPLOY: dict[type[settings.Settings], Callable[[Scenario], Deployment]] = {
    settings.Local: local.deploy,
    settings.RingAbort: ring.deploy,
    settings.RingElastic: ring_elastic.deploy,
    settings.RingWait: ring_wait.deploy,
    settings.RingSpares: ring_spares.deploy,
    settings.RingPeerRecovery: ring_peer_recovery.deploy,
    settings.ParameterServerWait: parameter_server.deploy,
    settings.ParameterServerTimeout: parameter_server.deploy,
}


def deploy(scenario: Scenario) -> Deployment:
    """Return who does what under the scenario's strategy."""
    return _DEPLOY[type(scenario.strategy)](scenario)
