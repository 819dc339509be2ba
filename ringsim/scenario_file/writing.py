"""Writing scenario files.

    dump            a scenario to a text that gives an equal scenario again
    template        a commented file to start from

What is not here: reading them (`reading.py`).
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from ringsim.errors import UsageError
from ringsim.scenario import Host, Scenario, Settings
from ringsim.scenario_file.strict_yaml import read_scalar

# Editors with a YAML language server read the keys from this file, which `ringsim schema` writes.
MODELINE = "# yaml-language-server: $schema=ringsim.schema.json"


def dump(scenario: Scenario) -> str:
    """Return the whole scenario, defaults included, as YAML that `parse` reads back to an equal one.

    >>> from ringsim.scenario_file import parse
    >>> scenario = parse("{name: a, task: {steps: 3}, cluster: {nodes: 4}, strategy: {name: ring}}").scenario
    >>> print(dump(scenario))  # doctest: +ELLIPSIS
    # yaml-language-server: $schema=ringsim.schema.json
    name: a
    seed: 0
    task:
    ...
    >>> parse(dump(scenario)).scenario == scenario
    True
    """
    data = _without_needless_nulls(scenario, scenario.model_dump(mode="json"))
    hosts = scenario.cluster.nodes
    if hosts == tuple(Host.model_validate({"name": f"node{index}"}) for index in range(len(hosts))):
        data["cluster"]["nodes"] = len(hosts)
    return f"{MODELINE}\n{yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)}"


class _Dumper(yaml.SafeDumper):
    """Writes YAML that the strict reader accepts, which puts a few more texts in quotes than PyYAML does."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = read_scalar(text) == (text, None)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def _without_needless_nulls(model: Settings, data: Any) -> Any:
    """Leave out what is None by default; a None that overrules a default has to stay."""
    if not isinstance(data, dict):
        return data
    for key, info in type(model).model_fields.items():
        value = getattr(model, key)
        if value is None and info.default is None:
            data.pop(key, None)
        elif isinstance(value, Settings):
            data[key] = _without_needless_nulls(value, data[key])
        elif isinstance(value, tuple) and value and isinstance(value[0], Settings):
            data[key] = [_without_needless_nulls(item, inner) for item, inner in zip(value, data[key], strict=True)]
    return data


# --- a file to start from ---------------------------------------------------------------------------------------------

_TEMPLATE = """\
{modeline}
# What does this experiment ask? `ringsim validate` checks this file, `ringsim run` plays it.
# A line that begins with # and no space is an example: take the # away to use it.
# Quantities have units: 50 us, 2 ms, 3 s, 1 min | 64 KiB, 1 MB | 100 Mbit/s, 1.25 GB/s | 2 GFLOP/s | 3 MFLOP | 5 %

name: {name}  # letters, digits, "-" and "_"
seed: 0  # decides every random number; the same seed gives the same run
#max_virtual_time: 1000 h  # a run that lasts longer on the virtual clock has stalled

task:
  dataset:
    kind: digits  # digits (1,437 real images of 8x8 to train on), or:
    # kind: digits28, the same at the size of MNIST, has samples (6000) and shift (2: pixels from the middle at most)
    # kind: synthetic has samples (1024), features (32: numbers in a point), classes (10), noise (1.0: the spread)
    # kind: mnist has samples (60000 images of 28x28) and folder (of its files; without it they are fetched once)
  #shards: {{kind: dirichlet, alpha: 0.5}}  # each worker has samples of its own, with its own mixture of labels
  model:
    kind: mlp  # softmax, mlp (with hidden) or cnn (with dropout: true)
    hidden: [64]  # widths of the hidden layers
  optimizer:
    kind: sgd  # sgd, momentum (with momentum: 0.9) or adam (with b1: 0.9, b2: 0.999, eps: 1.0e-8)
    learning_rate: 0.1
  learning_rate_scaling: sqrt  # none, linear, sqrt or inverse: the rate times 1, k, sqrt(k) or 1/k for k workers
  #warm_up_epochs: 1.0  # the scaled rate is reached gradually over so many epochs
  batch_size: 32  # samples a step for each worker
  #accumulate: 4  # so many batches make a step together: their gradients are added up before they go
  epochs: 5  # passes over the data; or `steps`, a number of updates, but not both
  #evaluate_every: 10  # steps between evaluations; without it only at the end
  #target_accuracy: 95 %  # stop at the first evaluation that reaches it
  #flop_per_sample: 100 KFLOP  # work of one sample; without it counted from the model

cluster:
  # A number (node0, node1, ...), or a list of machines, each with any of these keys of its own: name, speed, jitter,
  # straggle, shard_weight (samples a step, times batch_size), processes (ranks on it), bandwidth, latency:
  #   nodes: [{{name: fast, speed: 20 GFLOP/s}}, {{name: slow, bandwidth: 10 Mbit/s, latency: 5 ms, shard_weight: 0.5}}]
  nodes: {nodes}
  speed: 100 MFLOP/s  # of one machine
  #jitter: 5 %  # each computation takes up to so much more or less
  #straggle: {{probability: 1 %, factor: 4}}  # now and then a computation takes 4 times as long
  network:
    topology: star  # every machine has one link to one switch; also ring, line, full (all with all), fat_tree, or:
    # kind: torus has dimensions ([2, 2]); two_tier has racks, oversubscription, placement (in_turn);
    # fat_tree may say its k (ports);
    # wan has sites ([{{name: paris, nodes: 2}}, ...]), latencies (a matrix) and bandwidth between them;
    # graph has its links below, or in a file: {{kind: graph, file: net.graphml}}
    bandwidth: 100 Mbit/s  # of a link, in each direction
    latency: 50 us  # of a link; a path through the switch has two
    #drop: 0.1 %  # how probable it is that a link loses a message
    #resend_after: 200 ms  # a lost message is sent again after so long
    #message_overhead: 10 us  # time a connection is busy before each message's first byte
    # transport: ideal (payload only), framed (bytes a packet), or tcp, which also has acknowledgement (66 B),
    # acknowledge_every (2 segments), initial_window (10 segments) and retransmission_timeout (200 ms)
    #transport: {{kind: framed, payload: 1448 B, header: 66 B}}
    #links: [{{source: node0, target: switch, bandwidth: 10 Mbit/s, latency: 5 ms, drop: 1 %, one_way: true}}]
    #loopback: {{bandwidth: 100 Gbit/s, latency: 1 us}}  # between ranks on one machine
    # background: other people's traffic, limited to rate, from start to stop; sends for burst, is silent for pause
{background}  #storage: {{bandwidth: 1 GB/s, latency: 1 ms}}  # where checkpoints are saved

strategy:
{strategy}
# What goes wrong, and when. `node` is a machine of the cluster, or one that the strategy adds (server0, rendezvous), or
# any (drawn anew each time); `at` is a virtual time, such as 3 s, a step and, in a ring, a message of that step
# (segment), or comes again and again: every, with kind exponential (mean), weibull (scale, shape), llama_3 or li_2014
# (accelerated), from start to stop; or the rows of a file: {{file: failures.csv}}.
# notice: reset (peers see the connection break) or silence (nothing comes any more).
#faults:
#- {{kind: crash, node: {victim}, at: {at}, restart_after: 2 s, notice: reset}}
#- {{kind: pause, node: {victim}, at: 3 s, lasts: 200 ms}}  # it stands still
#- {{kind: slow_down, node: {victim}, at: 3 s, lasts: 2 s, factor: 4}}
#- {{kind: churn, up: {{kind: exponential, mean: 20 s}}, down: {{kind: exponential, mean: 2 s}}}}  # all, or: nodes
#- {{kind: link_down, source: {victim}, target: switch, at: 3 s, lasts: 1 s, one_way: true}}
#- {{kind: link_degrade, source: {victim}, target: switch, at: 3 s, bandwidth: 1 Mbit/s, latency: 20 ms}}
#- {{kind: drop, source: {victim}, target: switch, at: 3 s, probability: 5 %}}
#- {{kind: corrupt, source: {victim}, target: switch, at: 3 s, probability: 5 %, detected: false}}
#- {{kind: switch_down, switch: switch, at: 3 s, restart_after: 2 s}}
{partition}"""

_BACKGROUND = """\
    #background:
    #- {source: node0, target: node1, rate: 20 Mbit/s, start: 1 s, stop: 9 s, burst: 10 ms, pause: 90 ms}
"""

_PARTITION = """\
#- {kind: partition, groups: [[node0], [node1]], at: 3 s, lasts: 1 s}
"""

_ONE = """\
  name: local  # one machine computes every sample; for several there are ring and parameter_server
"""

_SEVERAL = """\
  name: ring  # ring, parameter_server, local (one machine computes every sample), or a pipeline (below)
  # ring, on_failure: abort (a death ends the job), elastic (the others go on without it), wait (until it is back),
  # spares (one of the last ones, which stood by, takes its place: say spares: 2) or peer_recovery (no rollback)
  # parameter_server, on_failure: wait (for ever), timeout (drop who is late) or backup (with backups: so many pushes of
  # a step are not waited for), and server: {speed, bandwidth, latency; and one of: checkpoint_every (5 updates),
  # replicas (2; replicate: means or pushes), shards (2 servers with a range each) or co_located (true: every worker
  # serves a range)}
  # parameter_server, consistency: bsp (workers in step, the default), {kind: bounded_delay, tau: 2} (nearly in step),
  # {kind: ssp, slack: 2} (the same, and from copies that may be so old) or asp (nobody waits)
  # model_parallel, gpipe (micro_batches: 4, workers: [2, 1, 1]), pipedream (workers, stashing: false,
  # vertical_sync: true, drain: epoch) and spectrain (drain) give each worker some of the model's layers, such as
  # layers: [1, 1, 2, 1]
  # local_sgd (average_every: 4 steps) and diloco (average_every, outer_learning_rate: 0.7, outer_momentum: 0.9) average
  # now and then; dpsgd (graph: ring, line, star or full; or edges: [[node0, node1], ...]; timeout), gossip
  # (probability: 25 %) and adpsgd average with neighbours, and each worker has parameters of its own
  #on_failure: elastic
  #collective: tree  # ring: add the gradients up by ring (the default), tree, halving_doubling or hierarchical
  #bucket_size: 256 KB  # all-reduce the gradient in pieces, while the backward pass goes on
  # ring, abort: compression: fp16, qsgd, or {kind: topk, share: 1 %, error_feedback: true}
  #cycle_time: 5 ms  # ... a piece is sent off after so long at the latest
  #order: topology  # neighbours in the ring are near each other; default: as listed
  #commit_every: 5  # elastic, wait, spares: steps between commits; a failure rolls back to the last one
  #checkpoint_every: 20  # elastic, wait, spares, peer_recovery: updates between saves, in case that nobody is left
  #min_workers: 1  # elastic, spares, peer_recovery: below this the job waits ...
  #rendezvous_timeout: 10 min  # ... and after so long fails
  #reset_limit: 100  # the job fails if the ring is re-formed so often without a new commit
  #set_aside: {cooldown: 1 s}  # ... a machine that failed may join again after so long; without it never
  #timeout: 30 s  # give up waiting for a message after so long
  #heartbeat: {interval: 100 ms, timeout: 5 s}  # ring: who is silent for so long is taken for dead
"""


def template(nodes: int, name: str) -> str:
    """Return a commented scenario with `nodes` machines to start from; a `name` that cannot be one is adapted.

    Raises UsageError if there cannot be so many machines.

    >>> from ringsim.scenario_file import parse
    >>> parse(template(4, "my first run")).scenario.name
    'my-first-run'
    """
    if not 1 <= nodes <= 100_000:
        raise UsageError(f"a scenario has from 1 to 100000 machines, not {nodes}")
    fitting = re.sub("[^A-Za-z0-9_-]+", "-", name).strip("-_")[:64] or "scenario"
    return _TEMPLATE.format(
        modeline=MODELINE,
        name=fitting if read_scalar(fitting) == (fitting, None) else f'"{fitting}"',
        nodes=nodes,
        strategy=_ONE if nodes == 1 else _SEVERAL,
        background="" if nodes == 1 else _BACKGROUND,
        partition="" if nodes == 1 else _PARTITION,
        victim=f"node{min(2, nodes - 1)}",
        at="3 s" if nodes == 1 else f"{{step: 4, segment: {min(3, 2 * (nodes - 1))}}}",
    )
