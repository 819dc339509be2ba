"""The canonical line of an event, against Python's own JSON; and the kinds that nothing is counted from."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ringsim import trace
from ringsim.scenario_file import load
from ringsim.simulation import simulate
from ringsim.trace import Event

ROOT = Path(__file__).parents[1]

names = st.text(max_size=8).filter(lambda name: name not in ("time_ns", "node", "kind"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(st.integers(0), st.text(max_size=8), st.text(max_size=8), st.dictionaries(names, values, max_size=5))
def test_a_line_is_the_record_as_json_with_sorted_keys(time_ns, node, kind, fields):
    record = {"time_ns": time_ns, "node": node, "kind": kind, **fields}
    expected = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert Event(time_ns, node, kind, fields).line() == expected


def test_nothing_is_counted_from_the_kinds_that_are_left_out_of_it(monkeypatch):
    scenario = load(ROOT / "scenarios" / "4node_fail.yaml").scenario
    expected = simulate(scenario)
    assert {event.kind for event in expected.trace} > trace.UNCOUNTED_KINDS - set(trace.MESSAGE_KINDS)
    monkeypatch.setattr("ringsim.simulation.UNCOUNTED_KINDS", frozenset())
    found = simulate(scenario)
    for name in ("samples", "epochs", "metrics", "failures", "checkpoints", "false_suspicions", "steps", "measures"):
        assert getattr(found, name) == getattr(expected, name)
