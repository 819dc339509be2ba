"""Scenario files: each kind of mistake with its sentence and place, overrides, and texts that give the scenario back."""

# Sentences stand on one line each, so that a search for one finds it.
# ruff: noqa: E501

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringsim import scenario as keys
from ringsim.errors import ScenarioInvalid, UsageError
from ringsim.scenario import STRATEGY_NAMES, Mlp, RingElastic, Scenario, Settings
from ringsim.scenario_file import MODELINE, dump, load, parse, template
from ringsim.scenario_file.schema import json_schema
from ringsim.scenario_file.strict_yaml import BROKEN, read, read_scalar
from ringsim.scenario_file.words import listed

BASE = """\
name: demo
seed: 1
task:
  epochs: 3
cluster:
  nodes: 4
strategy:
  name: ring
"""
ELASTIC = BASE.replace("name: ring", "name: ring\n  on_failure: elastic\n  commit_every: 5\n  timeout: 3 s")
FULL = """\
name: full
seed: 7
max_virtual_time: 2 h
task:
  dataset: {kind: synthetic, samples: 640, features: 64, classes: 4, noise: 0.5}
  model: {kind: mlp, hidden: [16, 8]}
  optimizer: {kind: adam, learning_rate: 0.01, b1: 0.8, b2: 0.99, eps: 1.0e-6}
  steps: 40
  batch_size: 8
  learning_rate_scaling: sqrt
  warm_up_epochs: 0.5
  evaluate_every: 10
  target_accuracy: 99.5 %
  flop_per_sample: 1.5 MFLOP
cluster:
  nodes:
    - {name: fast, speed: 20 GFLOP/s, jitter: 1 %, straggle: {probability: 2 %, factor: 3}}
    - {name: slow, bandwidth: 10 Mbit/s, latency: 5 ms, shard_weight: 0.5, processes: 2}
    - {}
  speed: 1.25 GFLOP/s
  jitter: 12.5 %
  straggle: {probability: 500 ppm, factor: 10}
  network:
    topology: {kind: two_tier, racks: 2, oversubscription: 2.5}
    drop: 0.1 %
    resend_after: 100 ms
    links:
    - {source: slow, target: rack0.switch, bandwidth: 5 Mbit/s, latency: 1 ms, drop: 1 %, one_way: true}
    background:
    - {source: fast, target: node2, rate: 1 Mbit/s, start: 1 s, stop: 2 s, burst: 10 ms, pause: 90 ms}
    bandwidth: 1 Gbit/s
    latency: 50 us
    message_overhead: 1 us
    transport: {kind: framed, payload: 1448 B, header: 66 B}
    loopback: {bandwidth: 12 GB/s, latency: 300 ns}
strategy:
  name: ring
  on_failure: elastic
  commit_every: 4
  min_workers: 2
  rendezvous_timeout: 1 min
  set_aside: {cooldown: 10 s}
  timeout: 30 s
faults:
  - {kind: crash, node: fast, at: 3 s, restart_after: 2 s, notice: silence}
  - {kind: crash, node: slow, at: {step: 12, segment: 3}}
  - {kind: crash, node: rendezvous, at: {time: 4 s}}
"""


def mistakes(text: str, *overrides: str, seed: int | None = None) -> list[str]:
    with pytest.raises(ScenarioInvalid) as caught:
        parse(text, "f.yaml", overrides, seed)
    return [str(problem) for problem in caught.value.problems]


BROKEN_FILES = [
    (
        "unknown key",
        BASE.replace("seed: 1", "sed: 1"),
        ['f.yaml:2:1: sed: there is no key "sed" here; did you mean "seed"?'],
    ),
    (
        "unknown key, nothing like it",
        BASE.replace("seed: 1", "colour: 1"),
        [
            'f.yaml:2:1: colour: there is no key "colour" here; the keys are name, seed, task, cluster, strategy, faults and max_virtual_time'
        ],
    ),
    (
        "key in the wrong place",
        BASE.replace("seed: 1", "batch_size: 16"),
        ['f.yaml:2:1: batch_size: there is no key "batch_size" here; did you mean task.batch_size?'],
    ),
    (
        "key with two homes",
        BASE.replace("nodes: 4", "nodes: 4\n  latency: 1 ms"),
        [
            'f.yaml:7:3: cluster.latency: there is no key "latency" here; did you mean cluster.nodes.latency or cluster.network.latency?'
        ],
    ),
    (
        "key of another strategy",
        BASE.replace("name: ring", "name: ring\n  server: {}"),
        ['f.yaml:9:3: strategy.server: "server" belongs to strategy parameter_server, and here it is ring'],
    ),
    (
        "key of another policy",
        BASE.replace("name: ring", "name: ring\n  commit_every: 5"),
        [
            'f.yaml:9:3: strategy.commit_every: "commit_every" belongs to on_failure: elastic, wait or spares, '
            "and here it is abort"
        ],
    ),
    (
        "key of another model",
        BASE.replace("epochs: 3", "epochs: 3\n  model: {kind: softmax, hidden: [8]}"),
        ['f.yaml:5:26: task.model.hidden: "hidden" belongs to model mlp, and here it is softmax'],
    ),
    (
        "key of another policy, further in",
        BASE.replace("name: ring", "name: ring\n  heartbeat: {by: rendezvous}"),
        [
            'f.yaml:9:15: strategy.heartbeat.by: "by" belongs to on_failure: elastic, wait, spares or peer_recovery, and here it is abort'
        ],
    ),
    (
        "key of another strategy that this one has further in",
        BASE.replace("name: ring", "name: parameter_server\n  checkpoint_every: 3"),
        [
            'f.yaml:9:3: strategy.checkpoint_every: "checkpoint_every" belongs to strategy ring, and here it is parameter_server; did you mean strategy.server.checkpoint_every?'
        ],
    ),
    (
        "key that belongs further in",
        BASE.replace("name: ring", "name: parameter_server\n  replicas: 3"),
        ['f.yaml:9:3: strategy.replicas: there is no key "replicas" here; did you mean strategy.server.replicas?'],
    ),
    (
        "key of two places, the nearer first",
        BASE + "bandwidth: 1 Mbit/s\n",
        [
            'f.yaml:9:1: bandwidth: there is no key "bandwidth" here; did you mean cluster.nodes.bandwidth or cluster.network.bandwidth?'
        ],
    ),
    (
        "key of another section",
        BASE.replace("name: ring", "name: ring\n  nodes: 3"),
        ['f.yaml:9:3: strategy.nodes: there is no key "nodes" here; did you mean cluster.nodes?'],
    ),
    (
        "key that belongs further out",
        BASE + "faults:\n  - {kind: crash, node: node1, at: {time: 3 s, restart_after: 1 s}}\n",
        [
            'f.yaml:10:48: faults[0].at.restart_after: there is no key "restart_after" here; did you mean faults[0].restart_after?'
        ],
    ),
    (
        "key that only something far away has",
        BASE + "faults:\n  - {kind: crash, node: node1, at: {every: {kind: exponential, mean: 3 s, rate: 0.1}}}\n",
        ['f.yaml:10:75: faults[0].at.every.rate: there is no key "rate" here; the keys are kind and mean'],
    ),
    (
        "another word for a section",
        BASE + "failures: []\n",
        ['f.yaml:9:1: failures: there is no key "failures" here; did you mean "faults"?'],
    ),
    (
        "another word for an instant",
        BASE + "faults:\n  - {kind: crash, node: node1, time: 3 s}\n",
        ['f.yaml:10:32: faults[0].time: there is no key "time" here; did you mean "at"?'],
    ),
    (
        "instant in the fault itself",
        BASE + "faults:\n  - {kind: crash, node: node1, at: 3 s, step: 3}\n",
        ['f.yaml:10:41: faults[0].step: there is no key "step" here; did you mean faults[0].at.step?'],
    ),
    (
        "other words for a duration",
        BASE
        + "faults:\n  - {kind: pause, node: node1, at: 3 s, for: 1 s}\n  - {kind: pause, node: node1, at: 3 s, duration: 1 s}\n",
        [
            'f.yaml:10:41: faults[0].for: there is no key "for" here; did you mean "lasts"?',
            'f.yaml:11:41: faults[1].duration: there is no key "duration" here; did you mean "lasts"?',
        ],
    ),
    (
        "several machines in one fault",
        BASE + "faults:\n  - {kind: crash, node: [node0, node1], at: 3 s}\n",
        ["f.yaml:10:19: faults[0].node: must be text, such as node0, not a list; write an entry of faults for each"],
    ),
    (
        "several instants in one fault",
        BASE + "faults:\n  - {kind: crash, node: node1, at: [3 ms, 5 ms]}\n",
        [
            "f.yaml:10:32: faults[0].at: must be like 3 s, or a mapping with the keys time, step, segment, node, every, start, stop and file, not a list"
        ],
    ),
    (
        "instant left empty",
        BASE + "faults:\n  - {kind: crash, node: node1, at: null}\n",
        [
            "f.yaml:10:36: faults[0].at: must be like 3 s, or a mapping with the keys time, step, segment, node, every, start, stop and file, and has no value"
        ],
    ),
    (
        "duration for a wait",
        BASE + "faults:\n  - {kind: crash, node: node1, at: {every: 3 s}}\n",
        ['f.yaml:10:44: faults[0].at.every: must be a mapping, such as {kind: exponential, mean: 20 s}, not "3 s"'],
    ),
    (
        "missing section",
        BASE.replace("task:\n  epochs: 3\n", ""),
        ['f.yaml:1:1: lacks the key "task", such as task: {steps: 20}'],
    ),
    (
        "missing key",
        BASE.replace("name: ring", "name: ring\n  on_failure: elastic\n  set_aside: {}"),
        ['f.yaml:10:3: strategy.set_aside: lacks the key "cooldown", such as cooldown: 10 s'],
    ),
    (
        "missing key in a list",
        BASE + "faults:\n  - {kind: crash, at: 3 s}\n",
        ['f.yaml:10:5: faults[0]: lacks the key "node", such as node: node0'],
    ),
    (
        "misspelt required key",
        BASE.replace("nodes: 4", "nodse: 4"),
        ['f.yaml:6:3: cluster.nodse: there is no key "nodse" here; did you mean "nodes"?'],
    ),
    (
        "missing name of a strategy",
        BASE.replace("name: ring", "on_failure: abort"),
        [f'f.yaml:7:1: strategy: lacks the key "name": {listed(STRATEGY_NAMES)}'],
    ),
    (
        "missing kind",
        BASE.replace("epochs: 3", "epochs: 3\n  optimizer: {learning_rate: 0.2}"),
        ['f.yaml:5:3: task.optimizer: lacks the key "kind": sgd, momentum or adam'],
    ),
    (
        "unknown strategy",
        BASE.replace("name: ring", "name: rign"),
        [
            f'f.yaml:8:9: strategy.name: there is no strategy "rign"; choose {listed(STRATEGY_NAMES)}; did you mean "ring"?'
        ],
    ),
    (
        "unknown policy",
        BASE.replace("name: ring", "name: ring\n  on_failure: elastik"),
        [
            'f.yaml:9:15: strategy.on_failure: there is no on_failure "elastik"; choose abort, elastic, '
            'wait, spares or peer_recovery; did you mean "elastic"?'
        ],
    ),
    (
        "unknown kind",
        BASE.replace("epochs: 3", "epochs: 3\n  model: {kind: transformer}"),
        ['f.yaml:5:17: task.model.kind: there is no model "transformer"; choose softmax, mlp or cnn'],
    ),
    (
        "unknown choice",
        BASE.replace("epochs: 3", "epochs: 3\n  learning_rate_scaling: liner"),
        [
            'f.yaml:5:26: task.learning_rate_scaling: there is no learning_rate_scaling "liner"; choose none, linear, sqrt or inverse; did you mean "linear"?'
        ],
    ),
    (
        "scalar for a choice",
        BASE.replace("strategy:\n  name: ring", "strategy: ring"),
        ['f.yaml:7:11: strategy: must be a mapping, such as {name: ring}, not "ring"'],
    ),
    (
        "scalar for a mapping",
        BASE.replace("nodes: 4", "nodes: 4\n  network: fast"),
        [
            'f.yaml:7:12: cluster.network: must be a mapping with the keys topology, bandwidth, latency, drop, resend_after, message_overhead, transport, loopback, links and background, not "fast"'
        ],
    ),
    (
        "list for a mapping",
        BASE.replace("task:\n  epochs: 3", "task: [3]"),
        [
            "f.yaml:3:1: task: must be a mapping with the keys dataset, shards, model, epochs, steps, batch_size, accumulate, optimizer, learning_rate_scaling, warm_up_epochs, evaluate_every, target_accuracy and flop_per_sample, not a list"
        ],
    ),
    (
        "mapping for a list",
        BASE + "faults: {kind: crash}\n",
        ["f.yaml:9:1: faults: must be a list, such as [{kind: crash, node: node0, at: 3 s}], not a mapping"],
    ),
    (
        "mapping for a number",
        BASE.replace("seed: 1", "seed: {a: 1}"),
        ["f.yaml:2:1: seed: must be a whole number, such as 0, not a mapping"],
    ),
    (
        "text for a number",
        BASE.replace("seed: 1", 'seed: "1"'),
        ['f.yaml:2:7: seed: must be a whole number, such as 0, not "1"'],
    ),
    (
        "fraction for a whole number",
        BASE.replace("epochs: 3", "epochs: 3\n  batch_size: 32.0"),
        ["f.yaml:5:15: task.batch_size: must be a whole number, such as 32, not 32.0"],
    ),
    (
        "truth for a number",
        BASE.replace("seed: 1", "seed: true"),
        ["f.yaml:2:7: seed: must be a whole number, such as 0, not true"],
    ),
    (
        "number for a text",
        BASE.replace("name: demo", "name: 12"),
        ["f.yaml:1:7: name: must be text, such as my_scenario, not 12"],
    ),
    (
        "name with a space",
        BASE.replace("name: demo", "name: my demo"),
        ['f.yaml:1:7: name: must be letters, digits, "-" and "_", and begin with a letter or a digit, not "my demo"'],
    ),
    (
        "name too long",
        BASE.replace("name: demo", "name: " + "a" * 65),
        ["f.yaml:1:7: name: must have at most 64 characters, not 65"],
    ),
    ("number too small", BASE.replace("seed: 1", "seed: -1"), ["f.yaml:2:7: seed: must be at least 0, not -1"]),
    (
        "number too large",
        BASE.replace("epochs: 3", "epochs: 3\n  optimizer: {kind: momentum, momentum: 1.0}"),
        ["f.yaml:5:41: task.optimizer.momentum: must be less than 1, not 1.0"],
    ),
    (
        "required value left empty",
        BASE.replace("strategy:\n  name: ring", "strategy:"),
        ["f.yaml:7:10: strategy: must be a mapping, such as {name: local}, and has no value"],
    ),
    (
        "optional value left empty",
        BASE.replace("seed: 1", "seed:"),
        ["f.yaml:2:6: seed: must be a whole number, such as 0, and has no value; or leave the key out"],
    ),
    (
        "no machines",
        BASE.replace("nodes: 4", "nodes: 0"),
        ["f.yaml:6:10: cluster.nodes: must be from 1 to 100000, or a list of machines"],
    ),
    (
        "empty list of machines",
        BASE.replace("nodes: 4", "nodes: []"),
        ["f.yaml:6:3: cluster.nodes: must have at least 1 item"],
    ),
    (
        "too many machines",
        BASE.replace("nodes: 4", "nodes: 100001"),
        ["f.yaml:6:10: cluster.nodes: must be from 1 to 100000, or a list of machines"],
    ),
    (
        "machine that is none",
        BASE.replace("nodes: 4", "nodes: [{}, node1]"),
        [
            'f.yaml:6:15: cluster.nodes[1]: must be a mapping with the keys name, speed, jitter, straggle, shard_weight, processes, bandwidth and latency, not "node1"'
        ],
    ),
    (
        "missing unit",
        BASE.replace("nodes: 4", "nodes: 4\n  network: {latency: 50}"),
        [
            'f.yaml:7:22: cluster.network.latency: 50 has no unit; a duration is written like "50 us"; did you mean "50 s"?'
        ],
    ),
    (
        "missing unit in quotes",
        BASE.replace("nodes: 4", 'nodes: 4\n  network: {bandwidth: "10"}'),
        [
            'f.yaml:7:24: cluster.network.bandwidth: "10" has no unit; a rate is written like "10 Gbit/s"; did you mean "10 Gbit/s"?'
        ],
    ),
    (
        "wrong unit",
        BASE.replace("nodes: 4", "nodes: 4\n  speed: 2 GHz"),
        [
            'f.yaml:7:10: cluster.speed: "GHz" is not a unit for a speed (they are FLOP/s, KFLOP/s, MFLOP/s, GFLOP/s, TFLOP/s, PFLOP/s)'
        ],
    ),
    (
        "unit of another kind",
        BASE.replace("nodes: 4", "nodes: 4\n  network: {latency: 5 MB}"),
        [
            'f.yaml:7:22: cluster.network.latency: "MB" is a unit for a size, not for a duration (they are ns, us, ms, s, min, h)'
        ],
    ),
    (
        "list for a quantity",
        BASE.replace("nodes: 4", "nodes: 4\n  jitter: [5 %]"),
        ['f.yaml:7:3: cluster.jitter: a list is not a share; write it like "5 %"'],
    ),
    (
        "quantity too small",
        BASE + "faults:\n  - {kind: crash, node: node1, at: 3 s, restart_after: 0 s}\n",
        ['f.yaml:10:56: faults[0].restart_after: "0 s" is too small; it must be more than 0'],
    ),
    (
        "a ring without patience",
        BASE.replace("name: ring", "name: ring\n  timeout: 0 s"),
        ['f.yaml:9:12: strategy.timeout: "0 s" is too small; it must be more than 0; for never write null'],
    ),
    (
        "an elastic ring without patience",
        ELASTIC.replace("timeout: 3 s", "timeout: 0 s"),
        ['f.yaml:11:12: strategy.timeout: "0 s" is too small; it must be more than 0; for never write null'],
    ),
    (
        "a server without patience",
        BASE.replace("name: ring", "name: parameter_server\n  on_failure: timeout\n  timeout: 0 s"),
        ['f.yaml:10:12: strategy.timeout: "0 s" is too small; it must be more than 0'],
    ),
    (
        "a share as a number",
        BASE.replace("nodes: 4", "nodes: 4\n  jitter: 0.1"),
        ['f.yaml:7:11: cluster.jitter: 0.1 has no unit; a share is written like "5 %"; did you mean "10 %"?'],
    ),
    (
        "missing unit of an instant",
        BASE + "faults:\n  - {kind: crash, node: node1, at: 3}\n",
        ['f.yaml:10:36: faults[0].at: 3 has no unit; a duration is written like "50 us"; did you mean "3 s"?'],
    ),
    (
        "neither epochs nor steps",
        BASE.replace("epochs: 3", "batch_size: 8"),
        ['f.yaml:3:1: task: lacks its length: write "epochs" (passes over the data) or "steps" (updates)'],
    ),
    (
        "both epochs and steps",
        BASE.replace("epochs: 3", "epochs: 3\n  steps: 9"),
        ['f.yaml:5:10: task.steps: stands beside "epochs"; keep one of them'],
    ),
    (
        "node that does not exist",
        BASE + "faults:\n  - {kind: crash, node: node7, at: 3 s}\n",
        ["f.yaml:10:25: faults[0].node: there is no node7; the nodes are node0 to node3"],
    ),
    (
        "misspelt node",
        BASE + "faults:\n  - {kind: crash, node: nod1, at: 3 s}\n",
        ['f.yaml:10:25: faults[0].node: there is no nod1; the nodes are node0 to node3; did you mean "node1"?'],
    ),
    (
        "node of a named cluster",
        BASE.replace("nodes: 4", "nodes: [{name: anna}, {name: bert}]\nfaults: [{kind: crash, node: ann, at: 3 s}]"),
        ['f.yaml:7:30: faults[0].node: there is no ann; the nodes are anna and bert; did you mean "anna"?'],
    ),
    (
        "node of a cluster of one",
        BASE.replace("nodes: 4", "nodes: 1\nfaults: [{kind: crash, node: node1, at: 3 s}]"),
        ["f.yaml:7:30: faults[0].node: there is no node1; the only node is node0"],
    ),
    (
        "two nodes of one name",
        BASE.replace("nodes: 4", "nodes: [{name: a}, {name: b}, {name: a}]"),
        ['f.yaml:6:40: cluster.nodes[2].name: "a" is the name of cluster.nodes[0] already; choose another'],
    ),
    (
        "node with a reserved name",
        BASE.replace("nodes: 4", "nodes: [{name: server3}]"),
        ['f.yaml:6:18: cluster.nodes[0].name: "server3" is a name that ringsim keeps for itself; choose another'],
    ),
    (
        "step beyond the last",
        BASE + "faults:\n  - {kind: crash, node: node1, at: {step: 36}}\n",
        ["f.yaml:10:43: faults[0].at.step: is beyond the last step, which is 35 (steps count from 0), not 36"],
    ),
    (
        "message beyond the last",
        BASE + "faults:\n  - {kind: crash, node: node1, at: {step: 2, segment: 7}}\n",
        ["f.yaml:10:55: faults[0].at.segment: is beyond the last message of a step, which is 6 in a ring of 4, not 7"],
    ),
    (
        "segment without its step",
        BASE + "faults:\n  - {kind: crash, node: node1, at: {segment: 3}}\n",
        ["f.yaml:10:46: faults[0].at.segment: lacks its step; write both, such as {step: 12, segment: 3}"],
    ),
    (
        "no instant",
        BASE + "faults:\n  - {kind: crash, node: node1, at: {}}\n",
        ["f.yaml:10:32: faults[0].at: lacks an instant; write a time, such as 3 s, or a step, such as {step: 12}"],
    ),
    (
        "two instants",
        BASE + "faults:\n  - {kind: crash, node: node1, at: {time: 3 s, step: 2}}\n",
        ["f.yaml:10:32: faults[0].at: has both a time and a step; keep one of them"],
    ),
    (
        "more workers needed than there are",
        BASE.replace("name: ring", "name: ring\n  on_failure: elastic\n  min_workers: 5"),
        ["f.yaml:10:16: strategy.min_workers: must be at most 4, the number of workers, not 5"],
    ),
    (
        "more spares than there are workers",
        BASE.replace("name: ring", "name: ring\n  on_failure: spares\n  spares: 4"),
        ["f.yaml:10:11: strategy.spares: must be less than 4, the number of workers, not 4"],
    ),
    (
        "a spare is wanted in the ring",
        BASE.replace("name: ring", "name: ring\n  on_failure: spares\n  min_workers: 4"),
        ["f.yaml:10:16: strategy.min_workers: must be at most 3, the number of workers that are no spares, not 4"],
    ),
    (
        "more peers needed than there are",
        BASE.replace("name: ring", "name: ring\n  on_failure: peer_recovery\n  min_workers: 5"),
        ["f.yaml:10:16: strategy.min_workers: must be at most 4, the number of workers, not 5"],
    ),
    (
        "segment beyond the smaller ring",
        BASE.replace("name: ring", "name: ring\n  on_failure: spares")
        + "faults:\n  - {kind: crash, node: node1, at: {step: 1, segment: 5}}\n",
        ["f.yaml:11:55: faults[0].at.segment: is beyond the last message of a step, which is 4 in a ring of 3, not 5"],
    ),
    (
        "jitter of the whole",
        BASE.replace("nodes: 4", "nodes: [{jitter: 100 %}]"),
        [
            "f.yaml:6:20: cluster.nodes[0].jitter: must be less than 100 %, or a computation could take no time; not 100 %"
        ],
    ),
    (
        "probability above one",
        BASE.replace("nodes: 4", "nodes: 4\n  straggle: {probability: 101 %, factor: 2}"),
        ["f.yaml:7:27: cluster.straggle.probability: must be at most 100 %, not 101 %"],
    ),
    (
        "target above one",
        BASE.replace("epochs: 3", "epochs: 3\n  target_accuracy: 950 %"),
        ["f.yaml:5:20: task.target_accuracy: must be more than 0 % and at most 100 %"],
    ),
    (
        "points that are no image",
        BASE.replace("epochs: 3", "epochs: 3\n  dataset: {kind: synthetic}\n  model: {kind: cnn}"),
        [
            "f.yaml:5:3: task.dataset.features: must be a square of 6 or more, such as 36 or 64, for the cnn reads images; not 32"
        ],
    ),
    (
        "duplicate key",
        BASE.replace("seed: 1", "seed: 1\nseed: 2"),
        ["f.yaml:3:1: seed: this key stands in line 2 already; keep one of them"],
    ),
    (
        "exponent without a sign",
        BASE.replace("epochs: 3", "epochs: 3\n  optimizer: {kind: sgd, learning_rate: 1e-3}"),
        [
            'f.yaml:5:41: task.optimizer.learning_rate: "1e-3" is a number to some readers of YAML and text to others; write 0.001 or 1.0e-3'
        ],
    ),
    (
        "exponent without a point",
        BASE.replace("epochs: 3", "steps: 1e3"),
        ['f.yaml:4:10: task.steps: "1e3" is a number to some readers of YAML and text to others; write 1000 or 1.0e+3'],
    ),
    (
        "word for a truth",
        BASE.replace("name: demo", "name: no"),
        ['f.yaml:1:7: name: "no" is read as false by YAML; write false, or put it in quotes to mean the text'],
    ),
    (
        "sexagesimal",
        BASE.replace("seed: 1", "max_virtual_time: 12:30"),
        [
            'f.yaml:2:19: max_virtual_time: "12:30" is read as 750 by YAML; write a duration with its unit, such as "12 min", or put it in quotes'
        ],
    ),
    (
        "octal",
        BASE.replace("seed: 1", "seed: 010"),
        ['f.yaml:2:7: seed: "010" is read as 8 by YAML; write 8, or 10 without the zero'],
    ),
    (
        "leading zero",
        BASE.replace("seed: 1", "seed: 08"),
        ['f.yaml:2:7: seed: "08" has a leading zero, which readers of YAML differ about; write 8'],
    ),
    (
        "octal of YAML 1.2",
        BASE.replace("seed: 1", "seed: 0o17"),
        ['f.yaml:2:7: seed: "0o17" is a number to some readers of YAML and text to others; write 15'],
    ),
    (
        "hexadecimal",
        BASE.replace("seed: 1", "seed: 0x1F"),
        ['f.yaml:2:7: seed: "0x1F" is a number to some readers of YAML and text to others; write 31'],
    ),
    (
        "underscore",
        BASE.replace("epochs: 3", "steps: 1_000"),
        ['f.yaml:4:10: task.steps: "1_000" is a number to some readers of YAML and text to others; write 1000'],
    ),
    (
        "date",
        BASE.replace("name: demo", "name: 2026-11-22"),
        ['f.yaml:1:7: name: "2026-11-22" is read as a date by YAML; put it in quotes'],
    ),
    (
        "infinity",
        BASE.replace("epochs: 3", "epochs: 3\n  warm_up_epochs: .inf"),
        ['f.yaml:5:19: task.warm_up_epochs: ".inf" is not a finite number; write a number'],
    ),
    (
        "not a number",
        BASE.replace("epochs: 3", "epochs: 3\n  warm_up_epochs: .nan"),
        ['f.yaml:5:19: task.warm_up_epochs: ".nan" is not a finite number; write a number'],
    ),
    (
        "warm-up to nowhere",
        BASE.replace("epochs: 3", "epochs: 3\n  warm_up_epochs: 1.0"),
        [
            "f.yaml:5:19: task.warm_up_epochs: warms up to a scaled rate, and learning_rate_scaling is none; choose linear, sqrt or inverse"
        ],
    ),
    (
        "own tag",
        BASE.replace("seed: 1", "seed: !secret 1"),
        ['f.yaml:2:7: seed: the tag "!secret" is not read; write the value without it'],
    ),
    (
        "python tag",
        BASE.replace("seed: 1", "seed: !!python/object/apply:os.system [ls]"),
        ['f.yaml:2:7: seed: the tag "!!python/object/apply:os.system" is not read; write the value without it'],
    ),
    (
        "standard tag",
        BASE.replace("seed: 1", "seed: !!int 1"),
        ['f.yaml:2:7: seed: the tag "!!int" is not read; write the value without it'],
    ),
    (
        "alias that holds itself",
        BASE + "faults: &all [*all]\n",
        ['f.yaml:9:15: faults[0]: "*all" stands inside "&all", so it would hold itself'],
    ),
    (
        "alias without an anchor",
        BASE.replace("seed: 1", "seed: *other"),
        ['f.yaml:2:7: seed: there is no anchor "&other" before this "*other"'],
    ),
    (
        "merge key",
        BASE.replace("  name: ring", "  <<: {name: ring}"),
        ['f.yaml:8:3: strategy: the merge key "<<" is not read; write the keys out'],
    ),
    (
        "number for a key",
        BASE.replace("seed: 1", "1: 1"),
        ['f.yaml:2:1: a key must be text; "1" is not, unless it is put in quotes'],
    ),
    (
        "list for a key",
        BASE.replace("seed: 1", "? [a]\n: 1"),
        ["f.yaml:2:3: a key must be text, not a list, a mapping or an alias"],
    ),
    ("tab", BASE.replace("  epochs: 3", "\tepochs: 3"), ["f.yaml:4:1: a tab cannot stand here; indent with spaces"]),
    (
        "quote that stays open",
        BASE.replace("name: demo", 'name: "demo'),
        ["f.yaml:1:7: the quote that opens here is never closed"],
    ),
    (
        "bracket that stays open",
        BASE.replace("nodes: 4", "nodes: [{}, {}"),
        ['f.yaml:6:10: the list that "[" opens here lacks a comma or its end'],
    ),
    (
        "colon in a text",
        BASE.replace("name: demo", "name: demo: two"),
        ["f.yaml:1:11: this colon makes a key where none can stand; check the indentation, or put the text in quotes"],
    ),
    (
        "character that text cannot begin with",
        BASE.replace("name: demo", "name: @demo"),
        ['f.yaml:1:7: unquoted text cannot begin with "@"; put it in quotes'],
    ),
    (
        "escape that does not exist",
        BASE.replace("name: demo", 'name: "\\d"'),
        ["f.yaml:1:7: a backslash in this text is not one of YAML's; use single quotes"],
    ),
    (
        "line that does not fit",
        BASE.replace("  nodes: 4", "  nodes: 4\n network: {}"),
        ["f.yaml:7:2: this does not continue what stands above; check the indentation and the quotes"],
    ),
    (
        "several documents",
        BASE.replace("strategy:", "---\nstrategy:"),
        ["f.yaml:7:1: a second document begins here; a file holds one, so remove this line"],
    ),
    (
        "control character",
        BASE.replace("name: demo", "name: de\u0007mo"),
        ["f.yaml:1:9: the control character U+0007 stands here; is this a text file?"],
    ),
    ("empty file", "", ['f.yaml:1:1: the file is empty; "ringsim new FILE" writes a scenario to start from']),
    (
        "only comments",
        "# nothing\n",
        ['f.yaml:1:1: the file is empty; "ringsim new FILE" writes a scenario to start from'],
    ),
    (
        "list at the top",
        "- name: demo\n",
        ["f.yaml:1:1: a scenario is a mapping of keys such as name, task, cluster and strategy, not a list"],
    ),
    (
        "scalar at the top",
        "demo\n",
        ['f.yaml:1:1: a scenario is a mapping of keys such as name, task, cluster and strategy, not "demo"'],
    ),
    ("nesting without end", "a: " + "[" * 50 + "]" * 50, ["f.yaml:1:44: the nesting is deeper than 40 levels"]),
]


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in BROKEN_FILES], ids=[row[0] for row in BROKEN_FILES])
def test_a_broken_file(text: str, expected: list[str]) -> None:
    assert mistakes(text) == expected


def test_every_mistake_at_once_in_the_order_of_the_file() -> None:
    text = """\
name: no
sed: 1
task: {epochs: 3, epochs: 4, batch_size: 8.0, model: {kind: mpl}}
cluster: {nodes: [{name: a, speed: 5}, {name: a}], network: {latency: 1 parsec}}
strategy: {name: rign}
faults:
  - {kind: crash, node: node9, at: {step: 1, segment: 99}, restart_after: 1}
  - {kind: crash, node: a}
  - {kind: crash, node: a, at: {step: 999}}
"""
    assert mistakes(text) == [
        'f.yaml:1:7: name: "no" is read as false by YAML; write false, or put it in quotes to mean the text',
        'f.yaml:2:1: sed: there is no key "sed" here; did you mean "seed"?',
        "f.yaml:3:19: task.epochs: this key stands in line 3 already; keep one of them",
        "f.yaml:3:42: task.batch_size: must be a whole number, such as 32, not 8.0",
        'f.yaml:3:61: task.model.kind: there is no model "mpl"; choose softmax, mlp or cnn; did you mean "mlp"?',
        'f.yaml:4:36: cluster.nodes[0].speed: 5 has no unit; a speed is written like "2 GFLOP/s"; '
        'did you mean "5 GFLOP/s"?',
        'f.yaml:4:47: cluster.nodes[1].name: "a" is the name of cluster.nodes[0] already; choose another',
        'f.yaml:4:71: cluster.network.latency: "parsec" is not a unit for a duration (they are ns, us, ms, s, min, h)',
        f'f.yaml:5:18: strategy.name: there is no strategy "rign"; choose {listed(STRATEGY_NAMES)}; '
        'did you mean "ring"?',
        "f.yaml:7:25: faults[0].node: there is no node9; the nodes are a and a",
        'f.yaml:7:75: faults[0].restart_after: 1 has no unit; a duration is written like "50 us"; did you mean "1 s"?',
        'f.yaml:8:5: faults[1]: lacks the key "at", such as at: 3 s',
    ]


def test_what_rests_on_a_mistaken_value_is_not_reported() -> None:
    """The number of nodes is unknown, so nobody can say that node9 is not one, nor that step 999 is too late."""
    text = BASE.replace("nodes: 4", "nodes: four") + "faults: [{kind: crash, node: node9, at: {step: 999}}]\n"
    assert [line.split(": ")[1] for line in mistakes(text)] == ["cluster.nodes"]


def test_a_segment_without_a_ring_is_no_mistake() -> None:
    text = (
        BASE.replace("name: ring", "name: local") + "faults: [{kind: crash, node: node0, at: {step: 1, segment: 99}}]"
    )
    assert parse(text).scenario.faults[0].at.segment == 99


def test_machines_that_a_strategy_may_add_can_fail() -> None:
    text = BASE + "faults: [{kind: crash, node: server0, at: 1 s}, {kind: crash, node: rendezvous, at: 1 s}]"
    assert len(parse(text).scenario.faults) == 2


def test_plain_aliases_are_read_and_bombs_are_not() -> None:
    text = BASE.replace("nodes: 4", "nodes: [&a {speed: 1 GFLOP/s}, *a]")
    assert [host.name for host in parse(text).scenario.cluster.nodes] == ["node0", "node1"]
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))
    assert mistakes(bomb) == ["f.yaml:1:31: the aliases unfold to more than 100,000 values; write fewer"]


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "demo.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    assert load(file) == parse(BASE)
    file.write_bytes(b"name: demo\nseed: \xff\n")
    with pytest.raises(ScenarioInvalid) as caught:
        load(file)
    assert str(caught.value) == f"{file}:2:7: this is not UTF-8 text; save the file as UTF-8"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path} is a folder, not a scenario file")):
        load(tmp_path)
    with pytest.raises(UsageError, match=r"there is no file nowhere\.yaml"):
        load("nowhere.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        load("a\0b")


def test_reading_imports_nothing_heavy() -> None:
    code = "import sys, ringsim.scenario_file; print({'jax', 'numpy', 'networkx', 'rich', 'simpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# --- overrides --------------------------------------------------------------------------------------------------------


def test_overrides() -> None:
    without_names = ["faults=[]", "cluster.network.links=[]", "cluster.network.background=[]"]
    loaded = parse(
        FULL,
        overrides=[*without_names, "cluster.nodes=8", "cluster.nodes=6", "task.optimizer.learning_rate=0.05", "seed=3"],
        seed=9,
    )
    assert len(loaded.scenario.cluster.nodes) == 6
    assert loaded.scenario.faults == ()
    assert loaded.scenario.task.optimizer.learning_rate == 0.05
    assert loaded.scenario.seed == 9
    assert loaded.notes == ()


@pytest.mark.parametrize(
    "words", ["faults[0].at=4 s", "faults.0.at=4 s", "faults[0].at={time: 4 s}", "faults.0.at.time=4 s"]
)
def test_an_entry_of_a_list_is_overridden(words: str) -> None:
    assert parse(FULL, overrides=[words]).scenario.faults[0].at.time == 4_000_000_000


def test_an_override_reaches_into_a_count_and_into_defaults() -> None:
    loaded = parse(BASE, overrides=["cluster.nodes[2].speed=1 GFLOP/s", "task.model.hidden=[4]"])
    assert [host.speed for host in loaded.scenario.cluster.nodes] == [None, None, 10**9, None]
    assert isinstance(loaded.scenario.task.model, Mlp)
    assert loaded.scenario.task.model.hidden == (4,)


@pytest.mark.parametrize(
    ("text", "words", "notes"),
    [
        (
            ELASTIC,
            "strategy.name=parameter_server",
            [
                "dropped strategy.on_failure: elastic, strategy.commit_every and strategy.timeout, "
                "which parameter_server does not have"
            ],
        ),
        (
            ELASTIC,
            "strategy.on_failure=abort",
            ["dropped strategy.commit_every, which on_failure: abort does not have"],
        ),
        (ELASTIC, "strategy={name: local}", []),
        (ELASTIC, "strategy.name=ring", []),
        (FULL, "task.model.kind=softmax", ["dropped task.model.hidden, which softmax does not have"]),
        (
            FULL,
            "task.optimizer.kind=momentum",
            ["dropped task.optimizer.b1, task.optimizer.b2 and task.optimizer.eps, which momentum does not have"],
        ),
        (BASE, "task.steps=5", ["dropped task.epochs, because --set gives task.steps"]),
        (FULL, "task.epochs=5", ["dropped task.steps, because --set gives task.epochs"]),
    ],
)
def test_an_override_drops_what_no_longer_fits_and_says_so(text: str, words: str, notes: list[str]) -> None:
    assert list(parse(text, overrides=[words]).notes) == notes


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["cluster.nodes=x"],
            "--set cluster.nodes=x: cluster.nodes: must be a number of machines, such as 4, or a list of them, "
            'such as [{name: "node0"}]',
        ),
        (["task.batch_sise=3"], '--set task.batch_sise=3: task.batch_sise: there is no key "batch_sise" here; '
         'did you mean "batch_size"?'),
        (["seed.x=3"], "--set seed.x=3: seed: must be a whole number, such as 0, not a mapping"),
        (
            ["strategy.name=local", "strategy.commit_every=3"],
            '--set strategy.commit_every=3: strategy.commit_every: "commit_every" belongs to strategy ring, '
            "and here it is local",
        ),
        (["task.steps=5", "task.epochs=5"], '--set task.steps=5: task.steps: stands beside "epochs"; keep one of them'),
        (
            ["faults=[{kind: crash, node: node9, at: 1 s}]"],
            "--set faults=[{kind: crash, node: node9, at: 1 s}]: faults[0].node: there is no node9; "
            "the nodes are node0 to node3",
        ),
    ],
)  # fmt: skip
def test_a_mistaken_override(overrides: list[str], expected: str) -> None:
    assert mistakes(ELASTIC, *overrides) == [expected]


def test_a_mistaken_seed() -> None:
    assert mistakes(BASE, seed=-4) == ["--seed -4: seed: must be at least 0, not -4"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("cluster.nodes", "write key=value, such as --set cluster.nodes=8"),
        ("=3", '"" is not a path of keys, such as faults[0].at'),
        ("a..b=3", '"a..b" is not a path of keys, such as faults[0].at'),
        ("faults[x]=3", '"faults[x]" is not a path of keys, such as faults[0].at'),
        ("faults[3].at=1 s", "faults has 3 entries, counted from 0"),
        ("faults.at=1 s", "faults is a list; say which entry, such as faults[0]"),
        ("task[0]=1", "task is not a list"),
        ("seed=1e3", '"1e3" is a number to some readers of YAML and text to others; write 1000 or 1.0e+3'),
        ("faults=[", "a bracket before this place is never closed"),
    ],
)
def test_an_override_that_makes_no_sense(words: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(FULL, overrides=[words])
    assert str(caught.value) == f"--set {words}: {sentence}"


# --- back to text -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [BASE, ELASTIC, FULL, *(template(nodes, "t") for nodes in (1, 4, 16))])
def test_what_is_dumped_parses_back(text: str) -> None:
    scenario = parse(text).scenario
    dumped = dump(scenario)
    assert dumped.startswith(MODELINE + "\n")
    assert parse(dumped).scenario == scenario
    assert dump(parse(dumped).scenario) == dumped


def test_a_none_that_overrules_a_default_survives() -> None:
    scenario = parse(ELASTIC.replace("timeout: 3 s", "timeout: null")).scenario
    assert isinstance(scenario.strategy, RingElastic)
    assert scenario.strategy.timeout is None
    assert parse(dump(scenario)).scenario == scenario


@pytest.mark.parametrize("name", ["1e3", "010", "no", "0o17", "2026-11-22", "12", "null", "1_0", "0x1F"])
def test_names_that_look_like_something_else_survive(name: str) -> None:
    scenario = parse(BASE.replace("name: demo", f'name: "{name}"')).scenario
    assert parse(dump(scenario)).scenario.name == name
    assert parse(template(4, name)).scenario.name == name


@given(st.text(max_size=20))
@settings(max_examples=200)
def test_unquoted_text_is_read_as_text_only_if_pyyaml_agrees(text: str) -> None:
    value, wrong = read_scalar(text)
    if wrong is None and not isinstance(value, str):
        assert yaml.safe_load(text) == value


# --- the template -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 16, 1_000])
def test_the_template_validates_as_it_is_and_with_its_examples(nodes: int) -> None:
    text = template(nodes, "my run")
    assert len(parse(text).scenario.cluster.nodes) == nodes
    with_examples = re.sub(r"(?m)^( *)#(?=\S)", r"\1", text)
    assert parse(with_examples).scenario.faults


def test_the_template_names_every_key() -> None:
    text = template(4, "t")
    missing = {key for model in models() for key in model.model_fields if not re.search(rf"\b{key}\b", text)}
    assert missing == set()


def test_a_template_for_no_machine_is_refused() -> None:
    with pytest.raises(UsageError, match="from 1 to 100000 machines, not 0"):
        template(0, "t")


# --- the schema -------------------------------------------------------------------------------------------------------


def models() -> Iterator[type[Settings]]:
    """Yield every model of the scenario's keys."""
    for thing in vars(keys).values():
        if isinstance(thing, type) and issubclass(thing, Settings) and thing is not Settings:
            yield thing


def test_the_schema_has_every_key_with_its_meaning() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "ringsim scenario"
    for model in models():
        shown = schema if model is Scenario else schema["$defs"][model.__name__]
        assert shown["description"], model
        properties = next((part for part in shown.get("oneOf", []) if "properties" in part), shown)["properties"]
        assert set(properties) == set(model.model_fields)
        for key, info in model.model_fields.items():
            meant = properties[key]
            assert {"title", "description", "$ref", "anyOf"} & set(meant), f"{model.__name__}.{key} says nothing"
            assert info.description is None or meant["description"] == info.description


def test_the_schema_is_well_formed() -> None:
    """Every reference leads somewhere, every pattern compiles, and every default of a quantity is written with its unit."""
    schema = json_schema()

    def walk(part: Any) -> Iterator[dict[str, Any]]:
        if isinstance(part, dict):
            yield part
        for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from walk(inner)

    for part in walk(schema):
        if isinstance(part.get("$ref"), str):
            assert part["$ref"].removeprefix("#/$defs/") in schema["$defs"]
        if isinstance(part.get("pattern"), str) and isinstance(part.get("default"), str):
            assert re.match(part["pattern"], part["default"]), part
        assert part.get("type") != "string" or isinstance(part.get("default", ""), str), part


def test_every_required_key_has_an_example_that_may_stand_there() -> None:
    """The examples are shown when a key is missing, and stand in for it while the rest is checked."""
    for model in models():
        required = {key: info for key, info in model.model_fields.items() if info.is_required()}
        examples = {}
        for key, info in required.items():
            literal = getattr(info.annotation, "__args__", ())
            assert info.examples or isinstance(literal[0], str), f"{model.__name__}.{key} has no example"
            examples[key] = info.examples[0] if info.examples else literal[0]
        model.model_validate(examples)


# --- anything at all --------------------------------------------------------------------------------------------------

LEAKS = re.compile(
    "Input should|not permitted|Field required|Value error|type=|pydantic|Unable to extract|after validation|<class|"
    "BROKEN|None|Undefined|invalid literal|Traceback"
)
SCALARS = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        -1,
        1,
        7,
        10**30,
        0.5,
        -2.5,
        1e300,
        "",
        "ring",
        "elastic",
        "digits",
        "mlp",
        "5 s",
        "5",
        "5 %",
        "2 GFLOP/s",
        "a\nb",
        "node1",
        "x" * 70,
        "kind",
        "1e3",
        "no",
        "\u2028",
        "é",
    ]
) | st.text(max_size=5).map(lambda text: "".join(letter for letter in text if letter.isprintable()))
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "name", "step", "x", "a.b"]), inner, max_size=3)
    ),
    max_leaves=4,
)
PLAIN = [yaml.safe_load(text) for text in (BASE, ELASTIC, FULL)]
ALL_KEYS = sorted({key for model in models() for key in model.model_fields})


def containers(data: Any) -> Iterator[Any]:
    if isinstance(data, (dict, list)):
        yield data
        for inner in data.values() if isinstance(data, dict) else data:
            yield from containers(inner)


def mutate(data: Any, draw: Any) -> None:
    container = draw(st.sampled_from(list(containers(data))))
    steps = list(container) if isinstance(container, dict) else list(range(len(container)))
    action = draw(st.sampled_from(["replace", "replace", "remove", "add", "rename"]))
    if action == "add" or not steps:
        if isinstance(container, dict):
            container[draw(st.sampled_from(ALL_KEYS))] = draw(VALUES)
        else:
            container.append(draw(VALUES))
        return
    step = draw(st.sampled_from(steps))
    if action == "replace" or (action == "rename" and isinstance(container, list)):
        container[step] = draw(VALUES)
    elif action == "remove":
        del container[step]
    else:
        container[step[1:] + "e"] = container.pop(step)


def check_any(text: str, overrides: list[str] | None = None) -> None:
    try:
        scenario = parse(text, "f.yaml", overrides or ()).scenario
    except ScenarioInvalid as error:
        assert error.problems  # noqa: PT017
        for problem in error.problems:
            assert re.match(r"f\.yaml:\d+:\d+$|--set ", problem.place)
            assert problem.sentence
            assert str(problem).isprintable(), str(problem)
            ours = re.sub('".*?"', "", problem.sentence)  # Without what it quotes from the file.
            assert not LEAKS.search(ours), str(problem)
        return
    assert parse(dump(scenario)).scenario == scenario


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_scenario_parses_or_is_answered_in_our_words(data: st.DataObject) -> None:
    scenario = copy.deepcopy(data.draw(st.sampled_from(PLAIN)))
    for _ in range(data.draw(st.integers(1, 4))):
        mutate(scenario, data.draw)
    check_any(yaml.safe_dump(scenario, sort_keys=False, allow_unicode=True))


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_text_parses_or_is_answered_in_our_words(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([BASE, FULL]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        piece = data.draw(
            st.sampled_from([*list("\"'[]{}:,#&*!|>%@`-?~<\\\t\n\r\x00 1"), "*a", "&a ", "<<: ", "- ", "...\n"])
        )
        text = text[:at] + piece + text[at + data.draw(st.integers(0, 3)) :]
    check_any(text)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_garbage_is_answered_in_our_words(text: str) -> None:
    check_any(text)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_override_applies_or_is_answered_in_our_words(data: st.DataObject) -> None:
    path = data.draw(st.lists(st.sampled_from([*ALL_KEYS, "0", "1", "x"]), min_size=1, max_size=3))
    start = data.draw(st.sampled_from(["", "task.", "cluster.", "strategy.", "faults[0].", "cluster.nodes.1."]))
    value = yaml.safe_dump(data.draw(VALUES), default_flow_style=True, width=10_000).split("\n...")[0]
    try:
        check_any(data.draw(st.sampled_from([BASE, FULL])), [f"{start}{'.'.join(path)}={value}"])
    except UsageError as error:
        assert str(error).isprintable(), str(error)  # noqa: PT017


def test_broken_is_itself_when_copied() -> None:
    assert copy.deepcopy(read("a: no").data) == {"a": BROKEN}
