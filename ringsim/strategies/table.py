"""The table from a scenario's strategy settings to the file that plays them. What is not here: the strategies."""

from __future__ import annotations

from collections.abc import Callable

from ringsim import scenario as settings
from ringsim.scenario import Scenario
from ringsim.strategies import (
    adpsgd,
    diloco,
    dpsgd,
    gossip,
    gpipe,
    local,
    local_sgd,
    model_parallel,
    parameter_server,
    pipedream,
    ring,
    ring_compressed,
    ring_elastic,
    ring_peer_recovery,
    ring_spares,
    ring_wait,
    server_asynchronous,
    server_chain,
    server_checkpoint,
    server_co_located,
    server_sharded,
    spectrain,
)
from ringsim.strategies.training import Deployment


def _parameter_server(scenario: Scenario) -> Deployment:
    server = getattr(scenario.strategy, "server", None)
    assert isinstance(server, settings.Server)
    if not isinstance(getattr(scenario.strategy, "consistency", settings.Bsp(kind="bsp")), settings.Bsp):
        return server_asynchronous.deploy(scenario)
    if server.co_located:
        return server_co_located.deploy(scenario)
    if server.shards > 1:
        return server_sharded.deploy(scenario)
    if server.replicas > 1:
        return server_chain.deploy(scenario)
    if server.checkpoint_every is not None:
        return server_checkpoint.deploy(scenario, server.checkpoint_every)
    return parameter_server.deploy(scenario)


def _ring(scenario: Scenario) -> Deployment:
    if getattr(scenario.strategy, "compression", None) is not None:
        return ring_compressed.deploy(scenario)
    return ring.deploy(scenario)


_DEPLOY: dict[type[settings.Settings], Callable[[Scenario], Deployment]] = {
    settings.Local: local.deploy,
    settings.RingAbort: _ring,
    settings.RingElastic: ring_elastic.deploy,
    settings.ParameterServerWait: _parameter_server,
    settings.ParameterServerTimeout: _parameter_server,
    settings.ParameterServerBackup: _parameter_server,
    settings.RingWait: ring_wait.deploy,
    settings.RingSpares: ring_spares.deploy,
    settings.RingPeerRecovery: ring_peer_recovery.deploy,
    settings.ModelParallel: model_parallel.deploy,
    settings.GPipe: gpipe.deploy,
    settings.PipeDream: pipedream.deploy,
    settings.SpecTrain: spectrain.deploy,
    settings.LocalSgd: local_sgd.deploy,
    settings.DiLoCo: diloco.deploy,
    settings.DPsgd: dpsgd.deploy,
    settings.Gossip: gossip.deploy,
    settings.AdPsgd: adpsgd.deploy,
}


def deploy(scenario: Scenario) -> Deployment:
    """Return who does what under the scenario's strategy."""
    return _DEPLOY[type(scenario.strategy)](scenario)
