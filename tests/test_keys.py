"""No key is accepted and ignored: for every key of a scenario there is a change that changes the run."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, get_args

import pytest
from mnist_files import pictures, write_idx
from pydantic import BaseModel

from ringsim import load, parse, simulate
from ringsim.scenario import STRATEGIES, Scenario
from ringsim.scenario_file import Loaded

BASE = """\
name: base
task: {dataset: {kind: synthetic, samples: 120, features: 36}, model: {kind: softmax}, steps: 4, batch_size: 8}
cluster:
  nodes: [{name: a}, {name: b}, {name: c}]
  speed: 1 MFLOP/s
  network: {bandwidth: 1 Mbit/s}
strategy: {name: ring}
"""
NO_CHANGE_WANTED = {"name"}  # A label: it is told in the summary, and decides nothing.

MNIST = "task.dataset={kind: mnist, folder: one, samples: 12}"
MOMENTUM = "task.optimizer={kind: momentum, learning_rate: 0.5}"
ADAM = "task.optimizer={kind: adam, learning_rate: 0.01}"
HIDDEN = "task.model={kind: mlp, hidden: [16]}"
TWO_RANKS = "cluster.nodes[0].processes=2"
STRAGGLE = "cluster.straggle={probability: 50 %, factor: 2.0}"
FRAMED = "cluster.network.transport={kind: framed}"
TCP = "cluster.network.transport=tcp"
LOSSY = "cluster.network.drop=20 %"
# A window matters only where much is sent and an answer takes long.
COLD = ["task.model={kind: mlp, hidden: [512]}", "cluster.network={bandwidth: 100 Mbit/s, latency: 100 ms}", TCP]
FOUR = "cluster.nodes=4"
TORUS = ["cluster.nodes=6", "cluster.network.topology={kind: torus, dimensions: [2, 3]}"]
RACKS = [FOUR, "cluster.network.topology={kind: two_tier, racks: 2}"]
SITES = "cluster.network.topology.sites=[{name: p, nodes: 1}, {name: q, nodes: 3}]"
WAN = [
    FOUR,
    "cluster.network.topology={kind: wan, sites: [{name: p, nodes: 2}, {name: q, nodes: 2}], "
    "latencies: [[0 s, 9 ms], [9 ms, 0 s]]}",
]
GRAPH = [
    "cluster.network={topology: graph, bandwidth: 1 Mbit/s, links: [{source: a, target: b}, {source: b, target: c}]}"
]
TRIANGLE = Path(__file__).with_name("triangle.json").as_posix()
ROWS = Path(__file__).with_name("failures.csv").as_posix()
FLOW = "cluster.network.background=[{source: a, target: b, rate: 500 kbit/s}]"
PULSE = "cluster.network.background=[{source: a, target: b, burst: 2 ms, pause: 2 ms}]"
LINK = "cluster.network.links=[{source: a, target: switch}]"
ELASTIC = "strategy={name: ring, on_failure: elastic, commit_every: 2, set_aside: {cooldown: 1 ms}, timeout: 1 s}"
WAITS = "strategy={name: ring, on_failure: wait, commit_every: 2, timeout: 1 s}"
SPARES = "strategy={name: ring, on_failure: spares, commit_every: 2, set_aside: {cooldown: 1 ms}, timeout: 1 s}"
PEERS = "strategy={name: ring, on_failure: peer_recovery, set_aside: {cooldown: 1 ms}, timeout: 1 s}"
CRASH = "faults=[{kind: crash, node: b, at: {step: 1, segment: 1}, restart_after: 10 ms}]"
SILENT = "faults=[{kind: crash, node: b, at: {step: 1, segment: 1}, notice: silence}]"
BEATS = "strategy.heartbeat={interval: 5 ms, timeout: 20 ms}"
HUSHED = "faults=[{kind: crash, node: b, at: {step: 1}, notice: silence}]"
PAUSE = "faults=[{kind: pause, node: b, at: 5 ms, lasts: 30 ms}]"
SLOW_DOWN = "faults=[{kind: slow_down, node: b, at: 5 ms, lasts: 30 ms, factor: 4}]"
CHURN = "faults=[{kind: churn, up: {kind: exponential, mean: 20 ms}, down: {kind: exponential, mean: 2 ms}}]"
PARTITION = "faults=[{kind: partition, groups: [[a], [b]], at: 5 ms, lasts: 30 ms}]"
SWITCH = "faults=[{kind: switch_down, switch: rack0.switch, at: 5 ms, restart_after: 30 ms}]"
AGAIN = "faults=[{kind: slow_down, node: any, factor: 2, lasts: 1 ms, at: {every: {kind: exponential, mean: 10 ms}}}]"
WEIBULL = "faults[0].at.every={kind: weibull, scale: 10 ms, shape: 0.5}"
SERVER = "strategy={name: parameter_server}"
SAVES = "strategy={name: parameter_server, server: {checkpoint_every: 2}}"
BACKUP = "strategy={name: parameter_server, on_failure: backup, backups: 1}"
DROPS = "strategy={name: parameter_server, on_failure: timeout, timeout: 50 ms}"
ALONE = "strategy={name: local_sgd, average_every: 2}"
UNEVEN = "cluster.nodes=[{name: a}, {name: b}, {name: c, speed: 100 KFLOP/s}]"
# A timeout that a slow machine cannot meet: the ring is re-formed again and again.
FLAPS = "cluster.nodes=[{name: a}, {name: b}, {name: c, speed: 1 KFLOP/s}]"
SLOW = "cluster.nodes=[{name: a}, {name: b, speed: 1 KFLOP/s}, {name: c, speed: 1 KFLOP/s}]"
LONE = "faults=[{kind: crash, node: b, at: 20 ms}, {kind: crash, node: c, at: 20 ms}]"


def stages(name: str) -> list[str]:
    """Return the overrides of a pipeline that has a layer to spare, over more than an epoch."""
    return [f"strategy={{name: {name}}}", "task.model={kind: mlp, hidden: [8, 9, 10]}", "task.steps=8"]


# (model, key): the overrides that both runs have, and the one that only the second has.
CHANGES: dict[tuple[str, str], tuple[list[str], str]] = {
    ("Scenario", "seed"): ([], "seed=1"),
    ("Scenario", "max_virtual_time"): ([], "max_virtual_time=10 ms"),
    ("Task", "dataset"): ([], "task.dataset={kind: digits}"),
    ("Task", "model"): ([], "task.model={kind: mlp}"),
    ("Task", "shards"): ([], "task.shards={kind: dirichlet}"),
    ("Dirichlet", "alpha"): (["task.shards={kind: dirichlet}"], "task.shards.alpha=0.5"),
    ("Task", "epochs"): ([], "task.epochs=2"),
    ("Task", "steps"): ([], "task.steps=3"),
    ("Task", "batch_size"): ([], "task.batch_size=9"),
    ("Task", "optimizer"): ([], ADAM),
    ("Task", "learning_rate_scaling"): ([], "task.learning_rate_scaling=sqrt"),
    ("Task", "warm_up_epochs"): (["task.learning_rate_scaling=linear"], "task.warm_up_epochs=3.0"),
    ("Task", "evaluate_every"): ([], "task.evaluate_every=2"),
    ("Task", "target_accuracy"): (["task.evaluate_every=1"], "task.target_accuracy=1 %"),
    ("Task", "flop_per_sample"): ([], "task.flop_per_sample=1 KFLOP"),
    ("Synthetic", "samples"): ([], "task.dataset.samples=121"),
    ("Synthetic", "features"): ([], "task.dataset.features=37"),
    ("Synthetic", "classes"): ([], "task.dataset.classes=9"),
    ("Synthetic", "noise"): ([], "task.dataset.noise=0.5"),
    ("Digits28", "samples"): (["task.dataset={kind: digits28, samples: 48}"], "task.dataset.samples=49"),
    ("Digits28", "shift"): (["task.dataset={kind: digits28, samples: 48}"], "task.dataset.shift=1"),
    ("Mnist", "folder"): ([MNIST], "task.dataset.folder=other"),
    ("Mnist", "samples"): ([MNIST], "task.dataset.samples=11"),
    ("Mlp", "hidden"): (["task.model={kind: mlp, hidden: [8]}"], "task.model.hidden=[9]"),
    ("Cnn", "kind"): ([], "task.model={kind: cnn}"),
    ("Cnn", "dropout"): (["task.model={kind: cnn}"], "task.model.dropout=false"),
    ("Server", "speed"): ([SERVER], "strategy.server.speed=1 MFLOP/s"),
    ("Sgd", "learning_rate"): ([], "task.optimizer={kind: sgd, learning_rate: 0.2}"),
    ("Momentum", "learning_rate"): ([MOMENTUM], "task.optimizer.learning_rate=0.2"),
    ("Momentum", "momentum"): ([MOMENTUM], "task.optimizer.momentum=0.5"),
    ("Adam", "learning_rate"): ([ADAM], "task.optimizer.learning_rate=0.2"),
    ("Adam", "b1"): ([ADAM], "task.optimizer.b1=0.5"),
    ("Adam", "b2"): ([ADAM], "task.optimizer.b2=0.5"),
    ("Adam", "eps"): ([ADAM], "task.optimizer.eps=0.5"),
    ("Cluster", "nodes"): ([], "cluster.nodes=4"),
    ("Cluster", "speed"): ([], "cluster.speed=2 MFLOP/s"),
    ("Cluster", "jitter"): ([], "cluster.jitter=5 %"),
    ("Cluster", "straggle"): ([], STRAGGLE),
    ("Cluster", "network"): ([], "cluster.network={bandwidth: 3 Mbit/s}"),
    ("Host", "name"): ([], "cluster.nodes[0].name=z"),
    ("Host", "speed"): ([], "cluster.nodes[0].speed=2 MFLOP/s"),
    ("Host", "jitter"): ([], "cluster.nodes[0].jitter=5 %"),
    ("Host", "straggle"): ([], "cluster.nodes[0].straggle={probability: 50 %, factor: 2.0}"),
    ("Host", "shard_weight"): ([], "cluster.nodes[0].shard_weight=2.0"),
    ("Host", "processes"): ([], TWO_RANKS),
    ("Host", "bandwidth"): ([], "cluster.nodes[0].bandwidth=2 kbit/s"),
    ("Host", "latency"): ([], "cluster.nodes[0].latency=2 ms"),
    ("Straggle", "probability"): ([STRAGGLE], "cluster.straggle.probability=90 %"),
    ("Straggle", "factor"): ([STRAGGLE], "cluster.straggle.factor=3.0"),
    ("Network", "bandwidth"): ([], "cluster.network.bandwidth=2 Mbit/s"),
    ("Network", "latency"): ([], "cluster.network.latency=51 us"),
    ("Network", "topology"): ([], "cluster.network.topology=ring"),
    ("Network", "drop"): ([], LOSSY),
    ("Network", "resend_after"): ([LOSSY], "cluster.network.resend_after=300 ms"),
    ("Network", "links"): ([], "cluster.network.links=[{source: a, target: switch, latency: 5 ms}]"),
    ("Network", "background"): ([], FLOW),
    ("Torus", "dimensions"): (TORUS, "cluster.network.topology.dimensions=[6]"),
    ("TwoTier", "racks"): (RACKS, "cluster.network.topology.racks=4"),
    ("TwoTier", "placement"): (RACKS, "cluster.network.topology.placement=in_turn"),
    ("TwoTier", "oversubscription"): (RACKS, "cluster.network.topology.oversubscription=8.0"),
    ("FatTree", "k"): ([FOUR, "cluster.network.topology=fat_tree"], "cluster.network.topology.k=6"),
    ("Wan", "sites"): (WAN, SITES),
    ("Wan", "latencies"): (WAN, "cluster.network.topology.latencies=[[0 s, 9 ms], [8 ms, 0 s]]"),
    ("Wan", "bandwidth"): (WAN, "cluster.network.topology.bandwidth=1 kbit/s"),
    ("Site", "nodes"): (WAN, SITES),
    ("Graph", "file"): ([], f"cluster.network.topology={{kind: graph, file: '{TRIANGLE}'}}"),
    ("Link", "source"): ([LINK, "cluster.network.links[0].latency=5 ms"], "cluster.network.links[0].source=b"),
    ("Link", "target"): (
        [*GRAPH, "cluster.network.links[1].latency=5 ms"], "cluster.network.links[0].target=c"),
    ("Link", "bandwidth"): ([LINK], "cluster.network.links[0].bandwidth=9 kbit/s"),
    ("Link", "latency"): ([LINK], "cluster.network.links[0].latency=5 ms"),
    ("Link", "drop"): ([LINK], "cluster.network.links[0].drop=50 %"),
    ("Link", "one_way"): ([LINK, "cluster.network.links[0].latency=5 ms"], "cluster.network.links[0].one_way=true"),
    ("Background", "source"): ([FLOW], "cluster.network.background[0].source=c"),
    ("Background", "target"): ([FLOW], "cluster.network.background[0].target=c"),
    ("Background", "rate"): ([FLOW], "cluster.network.background[0].rate=600 kbit/s"),
    ("Background", "start"): ([FLOW], "cluster.network.background[0].start=20 ms"),
    ("Background", "stop"): ([FLOW], "cluster.network.background[0].stop=20 ms"),
    ("Background", "burst"): ([PULSE], "cluster.network.background[0].burst=3 ms"),
    ("Background", "pause"): ([PULSE], "cluster.network.background[0].pause=3 ms"),
    ("Tcp", "payload"): ([TCP], "cluster.network.transport.payload=100 B"),
    ("Tcp", "header"): ([TCP], "cluster.network.transport.header=100 B"),
    ("Tcp", "acknowledgement"): ([TCP], "cluster.network.transport.acknowledgement=100 B"),
    ("Tcp", "acknowledge_every"): (COLD, "cluster.network.transport.acknowledge_every=1"),
    ("Tcp", "initial_window"): (COLD, "cluster.network.transport.initial_window=1"),
    ("Tcp", "retransmission_timeout"): (COLD, "cluster.network.transport.retransmission_timeout=10 s"),
    ("Network", "message_overhead"): ([], "cluster.network.message_overhead=1 us"),
    ("Network", "transport"): ([], FRAMED),
    ("Network", "loopback"): ([TWO_RANKS], "cluster.network.loopback={latency: 5 ms}"),
    ("Framed", "payload"): ([FRAMED], "cluster.network.transport.payload=100 B"),
    ("Framed", "header"): ([FRAMED], "cluster.network.transport.header=100 B"),
    ("Loopback", "bandwidth"): ([TWO_RANKS], "cluster.network.loopback.bandwidth=1 kbit/s"),
    ("Loopback", "latency"): ([TWO_RANKS], "cluster.network.loopback.latency=5 ms"),
    ("Scenario", "strategy"): ([], "strategy={name: local}"),
    ("RingAbort", "on_failure"): ([CRASH], "strategy.on_failure=elastic"),
    ("RingAbort", "timeout"): ([SILENT], "strategy.timeout=1 s"),
    ("RingAbort", "collective"): ([], "strategy.collective=tree"),
    ("RingAbort", "order"): (TORUS, "strategy.order=topology"),
    ("RingAbort", "bucket_size"): ([HIDDEN], "strategy.bucket_size=1 KiB"),
    ("RingAbort", "cycle_time"): ([HIDDEN], "strategy.cycle_time=1 ms"),
    ("RingElastic", "collective"): ([ELASTIC], "strategy.collective=tree"),
    ("RingElastic", "order"): ([*TORUS, ELASTIC], "strategy.order=topology"),
    ("RingElastic", "bucket_size"): ([HIDDEN, ELASTIC], "strategy.bucket_size=1 KiB"),
    ("RingElastic", "cycle_time"): ([HIDDEN, ELASTIC], "strategy.cycle_time=1 ms"),
    ("RingElastic", "commit_every"): ([ELASTIC, CRASH], "strategy.commit_every=1"),
    ("RingElastic", "min_workers"): ([ELASTIC, CRASH], "strategy.min_workers=3"),
    ("RingElastic", "reset_limit"): (
        [ELASTIC, FLAPS, "strategy.timeout=9 ms", "strategy.reset_limit=9"], "strategy.reset_limit=2"),
    ("RingElastic", "rendezvous_timeout"): (
        [ELASTIC, LONE, "strategy.min_workers=2"], "strategy.rendezvous_timeout=1 s"),
    ("RingElastic", "set_aside"): ([ELASTIC, CRASH], "strategy.set_aside=null"),
    ("RingElastic", "timeout"): ([ELASTIC, SILENT], "strategy.timeout=2 s"),
    ("RingWait", "commit_every"): ([WAITS, CRASH], "strategy.commit_every=1"),
    ("RingWait", "reset_limit"): (
        [WAITS, FLAPS, "strategy.timeout=9 ms", "strategy.reset_limit=9"], "strategy.reset_limit=2"),
    ("RingWait", "timeout"): ([WAITS, SILENT], "strategy.timeout=2 s"),
    ("RingWait", "collective"): ([WAITS], "strategy.collective=tree"),
    ("RingWait", "order"): ([*TORUS, WAITS], "strategy.order=topology"),
    ("RingWait", "bucket_size"): ([HIDDEN, WAITS], "strategy.bucket_size=1 KiB"),
    ("RingWait", "cycle_time"): ([HIDDEN, WAITS], "strategy.cycle_time=1 ms"),
    ("RingSpares", "spares"): ([SPARES], "strategy.spares=2"),
    ("RingSpares", "commit_every"): ([SPARES, CRASH], "strategy.commit_every=1"),
    ("RingSpares", "min_workers"): ([SPARES, LONE], "strategy.min_workers=2"),
    ("RingSpares", "reset_limit"): (
        [SPARES, SLOW, "strategy.timeout=9 ms", "strategy.reset_limit=9"], "strategy.reset_limit=2"),
    ("RingSpares", "rendezvous_timeout"): (
        [SPARES, LONE, "strategy.min_workers=2"], "strategy.rendezvous_timeout=1 s"),
    ("RingSpares", "set_aside"): ([SPARES, CRASH], "strategy.set_aside=null"),
    ("RingSpares", "timeout"): ([SPARES, SILENT], "strategy.timeout=2 s"),
    ("RingSpares", "collective"): ([SPARES], "strategy.collective=tree"),
    ("RingSpares", "order"): ([*TORUS, SPARES], "strategy.order=topology"),
    ("RingSpares", "bucket_size"): ([HIDDEN, SPARES], "strategy.bucket_size=1 KiB"),
    ("RingSpares", "cycle_time"): ([HIDDEN, SPARES], "strategy.cycle_time=1 ms"),
    ("RingPeerRecovery", "min_workers"): ([PEERS, CRASH], "strategy.min_workers=3"),
    ("RingPeerRecovery", "reset_limit"): (
        [PEERS, HIDDEN, ADAM, CRASH, "strategy.timeout=20 ms", "strategy.reset_limit=9"], "strategy.reset_limit=2"),
    ("RingPeerRecovery", "rendezvous_timeout"): (
        [PEERS, LONE, "strategy.min_workers=2"], "strategy.rendezvous_timeout=1 s"),
    ("RingPeerRecovery", "set_aside"): ([PEERS, CRASH], "strategy.set_aside=null"),
    ("RingPeerRecovery", "timeout"): ([PEERS, SILENT], "strategy.timeout=2 s"),
    ("RingPeerRecovery", "order"): ([*TORUS, PEERS], "strategy.order=topology"),
    **{
        (model, "heartbeat"): ([strategy, HUSHED], "strategy.heartbeat={interval: 5 ms, timeout: 20 ms}")
        for model, strategy in (
            ("RingAbort", "strategy.name=ring"), ("RingElastic", ELASTIC), ("RingWait", WAITS), ("RingSpares", SPARES),
            ("RingPeerRecovery", PEERS))
    },
    **{
        (model, "checkpoint_every"): ([strategy, "strategy.checkpoint_every=2"], "strategy.checkpoint_every=3")
        for model, strategy in (
            ("RingElastic", ELASTIC), ("RingWait", WAITS), ("RingSpares", SPARES), ("RingPeerRecovery", PEERS))
    },
    ("NeighbourHeartbeat", "interval"): ([HUSHED, BEATS], "strategy.heartbeat.interval=3 ms"),
    ("NeighbourHeartbeat", "timeout"): ([HUSHED, BEATS], "strategy.heartbeat.timeout=30 ms"),
    ("Heartbeat", "interval"): ([ELASTIC, HUSHED, BEATS], "strategy.heartbeat.interval=3 ms"),
    ("Heartbeat", "timeout"): ([ELASTIC, HUSHED, BEATS], "strategy.heartbeat.timeout=30 ms"),
    ("Heartbeat", "by"): ([ELASTIC, HUSHED, BEATS], "strategy.heartbeat.by=rendezvous"),
    ("SetAside", "cooldown"): ([ELASTIC, CRASH], "strategy.set_aside.cooldown=20 ms"),
    ("ParameterServerWait", "on_failure"): ([SERVER, LONE], "strategy.on_failure=timeout"),
    ("ParameterServerWait", "server"): ([SERVER], "strategy.server={bandwidth: 9 Mbit/s}"),
    ("ParameterServerWait", "consistency"): ([SERVER], "strategy.consistency=asp"),
    ("ParameterServerTimeout", "consistency"): ([DROPS], "strategy.consistency=asp"),
    ("BoundedDelay", "tau"): ([SERVER, UNEVEN, "strategy.consistency=bounded_delay"], "strategy.consistency.tau=0"),
    ("Ssp", "slack"): ([SERVER, "strategy.consistency=ssp"], "strategy.consistency.slack=0"),
    ("Server", "replicate"): (
        ["strategy={name: parameter_server, server: {replicas: 2}}"],
        "strategy.server.replicate=pushes",
    ),
    ("Server", "shards"): ([SERVER], "strategy.server.shards=2"),
    ("Server", "co_located"): ([SERVER], "strategy.server.co_located=true"),
    ("ModelParallel", "layers"): (stages("model_parallel"), "strategy.layers=[2, 1, 1]"),
    ("GPipe", "layers"): (stages("gpipe"), "strategy.layers=[2, 1, 1]"),
    ("GPipe", "workers"): (stages("gpipe"), "strategy.workers=[2, 1]"),
    ("GPipe", "micro_batches"): (stages("gpipe"), "strategy.micro_batches=2"),
    ("PipeDream", "layers"): (stages("pipedream"), "strategy.layers=[2, 1, 1]"),
    ("PipeDream", "workers"): (stages("pipedream"), "strategy.workers=[2, 1]"),
    ("PipeDream", "stashing"): (stages("pipedream"), "strategy.stashing=false"),
    ("PipeDream", "vertical_sync"): (stages("pipedream"), "strategy.vertical_sync=true"),
    ("PipeDream", "drain"): (stages("pipedream"), "strategy.drain=epoch"),
    ("SpecTrain", "layers"): (stages("spectrain"), "strategy.layers=[2, 1, 1]"),
    ("SpecTrain", "drain"): (stages("spectrain"), "strategy.drain=epoch"),
    ("Task", "accumulate"): ([], "task.accumulate=2"),
    ("RingAbort", "compression"): ([], "strategy.compression=fp16"),
    ("TopK", "share"): (["strategy={name: ring, compression: topk}"], "strategy.compression.share=20 %"),
    ("TopK", "error_feedback"): (
        ["strategy={name: ring, compression: topk}"],
        "strategy.compression.error_feedback=false",
    ),
    ("LocalSgd", "average_every"): ([ALONE], "strategy.average_every=3"),
    ("LocalSgd", "collective"): ([ALONE], "strategy.collective=tree"),
    ("LocalSgd", "timeout"): ([ALONE, HUSHED], "strategy.timeout=1 s"),
    ("DiLoCo", "average_every"): (["strategy={name: diloco}"], "strategy.average_every=3"),
    ("DiLoCo", "outer_learning_rate"): (["strategy={name: diloco}"], "strategy.outer_learning_rate=0.5"),
    ("DiLoCo", "outer_momentum"): (["strategy={name: diloco}"], "strategy.outer_momentum=0.5"),
    ("DiLoCo", "collective"): (["strategy={name: diloco}"], "strategy.collective=tree"),
    ("DiLoCo", "timeout"): (["strategy={name: diloco}", HUSHED], "strategy.timeout=1 s"),
    ("DPsgd", "graph"): (["strategy={name: dpsgd}"], "strategy.graph=line"),
    ("DPsgd", "edges"): (["strategy={name: dpsgd}"], "strategy.edges=[[a, c], [c, b]]"),
    ("DPsgd", "timeout"): (["strategy={name: dpsgd}", HUSHED], "strategy.timeout=1 s"),
    ("Gossip", "probability"): (["strategy={name: gossip}"], "strategy.probability=100 %"),
    ("ParameterServerTimeout", "timeout"): ([DROPS, HUSHED], "strategy.timeout=60 ms"),
    ("ParameterServerTimeout", "server"): ([DROPS], "strategy.server={bandwidth: 9 Mbit/s}"),
    ("ParameterServerBackup", "backups"): ([BACKUP], "strategy.backups=2"),
    ("ParameterServerBackup", "server"): ([BACKUP], "strategy.server={bandwidth: 9 Mbit/s}"),
    ("Server", "checkpoint_every"): ([SAVES], "strategy.server.checkpoint_every=3"),
    ("Server", "replicas"): ([SERVER], "strategy.server.replicas=2"),
    ("Storage", "bandwidth"): ([SAVES], "cluster.storage.bandwidth=1 MB/s"),
    ("Storage", "latency"): ([SAVES], "cluster.storage.latency=2 ms"),
    ("Cluster", "storage"): ([SAVES], "cluster.storage={latency: 3 ms}"),
    ("Server", "bandwidth"): ([SERVER], "strategy.server.bandwidth=9 Mbit/s"),
    ("Server", "latency"): ([SERVER], "strategy.server.latency=2 ms"),
    ("Scenario", "faults"): ([], CRASH),
    ("Crash", "node"): ([CRASH], "faults[0].node=c"),
    ("Crash", "at"): ([CRASH], "faults[0].at=30 ms"),
    ("Crash", "restart_after"): ([ELASTIC, CRASH], "faults[0].restart_after=20 ms"),
    ("Crash", "notice"): ([CRASH], "faults[0].notice=silence"),
    ("Pause", "node"): ([PAUSE], "faults[0].node=c"),
    ("Pause", "at"): ([PAUSE], "faults[0].at=12 ms"),
    ("Pause", "lasts"): ([PAUSE], "faults[0].lasts=60 ms"),
    ("SlowDown", "node"): ([SLOW_DOWN], "faults[0].node=c"),
    ("SlowDown", "at"): ([SLOW_DOWN], "faults[0].at=12 ms"),
    ("SlowDown", "factor"): ([SLOW_DOWN], "faults[0].factor=5.0"),
    ("SlowDown", "lasts"): ([SLOW_DOWN], "faults[0].lasts=60 ms"),
    ("Churn", "nodes"): ([ELASTIC, CHURN], "faults[0].nodes=[b]"),
    ("Churn", "up"): ([ELASTIC, CHURN], "faults[0].up={kind: exponential, mean: 15 ms}"),
    ("Churn", "down"): ([ELASTIC, CHURN], "faults[0].down={kind: exponential, mean: 3 ms}"),
    ("Churn", "notice"): ([ELASTIC, CHURN], "faults[0].notice=silence"),
    **{
        (model, key): (
            [f"faults=[{{kind: {kind}, source: a, target: switch, at: 5 ms, {more}}}]"], f"faults[0].{change}")
        for model, kind, more, own in (
            ("LinkDown", "link_down", "lasts: 30 ms", ()),
            ("LinkDegrade", "link_degrade", "lasts: 60 ms, bandwidth: 1 kbit/s",
             (("bandwidth", "bandwidth=2 kbit/s"), ("latency", "latency=5 ms"))),
            ("Drop", "drop", "lasts: 60 ms, probability: 50 %", (("probability", "probability=90 %"),)),
            ("Corrupt", "corrupt", "lasts: 60 ms, probability: 50 %",
             (("probability", "probability=90 %"), ("detected", "detected=false"))),
        )
        for key, change in (
            ("source", "source=b"), ("at", "at=30 ms"), ("lasts", "lasts=20 ms"), ("one_way", "one_way=true"), *own)
    },
    **{
        (model, "target"): (
            ["cluster.network.topology=line",
             f"faults=[{{kind: {kind}, source: b, target: a, at: 5 ms, lasts: 60 ms, {more}}}]"],
            "faults[0].target=c")
        for model, kind, more in (
            ("LinkDown", "link_down", "one_way: true"), ("LinkDegrade", "link_degrade", "bandwidth: 1 kbit/s"),
            ("Drop", "drop", "probability: 50 %"), ("Corrupt", "corrupt", "probability: 50 %"))
    },
    ("Partition", "groups"): ([PARTITION], "faults[0].groups=[[a, b], [c]]"),
    ("Partition", "at"): ([PARTITION], "faults[0].at=6 ms"),
    ("Partition", "lasts"): ([PARTITION], "faults[0].lasts=60 ms"),
    ("SwitchDown", "switch"): ([*RACKS, ELASTIC, SWITCH], "faults[0].switch=rack1.switch"),
    ("SwitchDown", "at"): ([*RACKS, ELASTIC, SWITCH], "faults[0].at=6 ms"),
    ("SwitchDown", "restart_after"): ([*RACKS, ELASTIC, SWITCH], "faults[0].restart_after=20 ms"),
    ("SwitchDown", "notice"): ([*RACKS, ELASTIC, SWITCH], "faults[0].notice=reset"),
    ("Exponential", "mean"): ([AGAIN], "faults[0].at.every.mean=30 ms"),
    ("Weibull", "scale"): ([AGAIN, WEIBULL], "faults[0].at.every.scale=30 ms"),
    ("Weibull", "shape"): ([AGAIN, WEIBULL], "faults[0].at.every.shape=2.0"),
    ("Llama3", "accelerated"): (
        [AGAIN, "faults[0].at.every={kind: llama_3, accelerated: 1.0e+10}"], "faults[0].at.every.accelerated=2.0e+10"),
    ("Li2014", "accelerated"): (
        [AGAIN, "faults[0].at.every={kind: li_2014, accelerated: 1.0e+11}"], "faults[0].at.every.accelerated=2.0e+11"),
    ("At", "every"): ([AGAIN], WEIBULL),
    ("At", "start"): ([AGAIN], "faults[0].at.start=3 ms"),
    ("At", "stop"): ([AGAIN], "faults[0].at.stop=1 ms"),
    ("At", "file"): ([CRASH], f"faults=[{{kind: crash, at: {{file: '{ROWS}'}}, restart_after: 10 ms}}]"),
    ("At", "time"): (["faults=[{kind: crash, node: b, at: 2 ms}]"], "faults[0].at=3 ms"),
    ("At", "step"): ([CRASH], "faults[0].at={step: 2, segment: 1}"),
    ("At", "node"): ([CRASH], "faults[0].at={step: 1, segment: 1, node: c}"),
    ("At", "segment"): ([CRASH], "faults[0].at={step: 1, segment: 2}"),
}  # fmt: skip


def digests(loaded: Loaded) -> tuple[str, str]:
    result = simulate(loaded.scenario)
    return result.schedule_digest, result.numbers_digest


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of a few images each."""
    folder = tmp_path_factory.mktemp("images")
    write_idx(folder / "one")
    write_idx(folder / "other", pictures(12, seed=2))
    return folder


@pytest.fixture(autouse=True)
def beside_the_images(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images)


@pytest.mark.parametrize("key", CHANGES, ids=".".join)
def test_a_change_of_this_key_changes_the_run(key: tuple[str, str]) -> None:
    common, change = CHANGES[key]
    before, after = parse(BASE, overrides=common), parse(BASE, overrides=[*common, change])
    assert digests(before) != digests(after)


def test_there_is_a_change_for_every_key() -> None:
    # A choice that a parent's row changes, or nothing but its own keys.
    told_apart = {"kind", "task", "cluster"}
    wanted = {
        (model.__name__, key)
        for model in models(Scenario)
        for key in model.model_fields
        if key not in told_apart and not (key == "name" and model.__name__ != "Host")
    }
    # The policies of a strategy are told apart by on_failure: one row changes it, both ways.
    wanted -= {(settings.__name__, "on_failure") for settings in STRATEGIES.values()}
    assert wanted <= set(CHANGES)
    assert set(CHANGES) - wanted <= {
        ("Cnn", "kind"),
        *((settings.__name__, "on_failure") for settings in STRATEGIES.values()),
    }


def test_the_name_is_told_and_decides_nothing() -> None:
    one, other = load("1node", ["task.epochs=1"]), load("1node", ["task.epochs=1", "name=other"])
    assert digests(one) == digests(other)
    assert simulate(other.scenario).summary()["scenario"] == "other"


def models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return every model that is part of `model`, itself included, each once."""
    found: dict[type[BaseModel], None] = {}
    todo: list[Any] = [model]
    while todo:
        kind = todo.pop()
        if isinstance(kind, type) and not isinstance(kind, types.GenericAlias) and issubclass(kind, BaseModel):
            if kind not in found:
                found[kind] = None
                todo.extend(field.annotation for field in kind.model_fields.values())
        else:
            todo.extend(get_args(kind))
    return list(found)
