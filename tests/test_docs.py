"""The documentation says what the program does: its code runs, its YAML is valid, and nothing is left out."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from pydantic import BaseModel

import ringsim
from ringsim import parse
from ringsim import scenario as scenario_module
from ringsim.cli import run_command
from ringsim.report.run_folder import metrics_csv, read_trace
from ringsim.trace import KINDS, Event

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
MAIN_JOB = "4node_fail"
PART = "# part of a scenario\n"

# What a part is completed with: every other key of a valid scenario.
BASE = {"name": "whole", "task": {"steps": 20}, "cluster": {"nodes": 4}, "strategy": {"name": "ring"}}


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def codes(text: str) -> set[str]:
    """Return what stands between backticks in a page, outside of its blocks."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)))


def models() -> list[type[BaseModel]]:
    found = vars(scenario_module).values()
    return [one for one in found if isinstance(one, type) and issubclass(one, scenario_module.Settings)]


# --- nothing is left out ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_scenario_key_is_described(model: type[BaseModel]) -> None:
    said = codes(page("scenario.md"))
    assert not [key for key in model.model_fields if key not in said]


def test_every_variant_of_a_strategy_is_described() -> None:
    said = codes(page("scenario.md"))
    assert {part for key in scenario_module.STRATEGIES for part in key if part is not None} <= said


def test_every_kind_of_event_is_described() -> None:
    text = page("outputs.md")
    described = dict(re.findall(r"^\| `(\w+)` \| ([^|]*)\|", text, re.MULTILINE))
    assert not [kind for kind in KINDS if kind not in described]


class MainJob(NamedTuple):
    """One `ringsim run 4node_fail`, played once for all tests here."""

    printed: str
    summary: dict[str, Any]
    trace: tuple[Event, ...]


@pytest.fixture(scope="module")
def main_job(tmp_path_factory: pytest.TempPathFactory) -> MainJob:
    folder, printed = tmp_path_factory.mktemp("run"), io.StringIO()
    with contextlib.redirect_stdout(printed):
        run_command(["run", MAIN_JOB, "--trace", "messages", "--out", str(folder)])
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return MainJob(printed.getvalue(), summary, read_trace(folder))


def test_every_figure_of_a_result_is_described(main_job: MainJob) -> None:
    said = codes(page("outputs.md"))
    summary = main_job.summary
    inner = [*summary["failures"][0], *summary["nodes"][0], *summary["samples"], *summary["environment"]]
    columns = next(csv.reader(io.StringIO(metrics_csv([]))))
    assert not {*summary, *inner, *summary["digest"], *summary["learning_rate"], *columns} - said


def test_the_events_have_the_fields_that_are_described(main_job: MainJob) -> None:
    text = page("outputs.md").split("## trace.jsonl")[1].split("## The other")[0]
    described = dict(re.findall(r"^\| `(\w+)` \| ([^|]*)\|", text, re.MULTILINE))
    described["collective_finish"] = described["collective_abort"] = described["collective_enter"]
    wrong = {
        event.kind
        for event in main_job.trace
        if set(event.fields) != set(re.findall(r"`(\w+)`", described[event.kind]))
    }
    assert not wrong


# --- the pages are right ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [path.name for path in PAGES])
def test_yaml_in_the_pages_is_valid(name: str) -> None:
    for block in blocks(page(name), "yaml"):
        text = block
        if block.startswith(PART):
            text = yaml.safe_dump(BASE | yaml.safe_load(block), sort_keys=False)
        assert parse(text, name).scenario.name


@pytest.mark.parametrize("name", [path.name for path in PAGES])
def test_python_in_the_pages_runs_and_prints_what_is_shown(name: str) -> None:
    namespace: dict[str, Any] = {}
    for code, shown in re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", page(name), re.M | re.S):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, name, "exec"), namespace)
        assert printed.getvalue() == shown


def shown_as(printed: str) -> list[str]:
    """Return printed lines as the pages show them, without the figures that another jaxlib may change."""
    printed = re.sub("sha256:[0-9a-f]{64}", "sha256:...", printed)
    lines = [re.sub(r" +[+-][0-9.]+ points", " ... points", line.rstrip()) for line in printed.splitlines()]
    return [line for line in lines if not line.startswith(("accuracy ", "loss "))]


def console_blocks() -> list[Any]:
    found = []
    for block in blocks(page("first_run.md") + page("collectives.md") + page("comparing.md"), "console"):
        command, _, printed = block.removeprefix("$ ").partition("\n")
        marks = [pytest.mark.long] if " compare " in command else []
        found.append(pytest.param(command, printed, id=command, marks=marks))
    return found


@pytest.mark.parametrize(("command", "printed"), console_blocks())
def test_a_command_prints_what_the_pages_show(
    command: str, printed: str, main_job: MainJob, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *arguments = shlex.split(command)
    assert program == "ringsim"
    if arguments == ["run", MAIN_JOB]:
        assert shown_as(main_job.printed) == shown_as(printed)
    else:
        run_command(arguments)
        assert shown_as(capsys.readouterr().out) == shown_as(printed)


@pytest.mark.long
def test_the_table_of_overrides_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    rows = re.findall(r"^\| `([^`]+=[^`]+)` \| ([^|]+) \| ([^|]+) \| (\d+) \| ([^|]+) \|$", page("first_run.md"), re.M)
    assert len(rows) == 3
    for override, virtual, detected, rolled_back, resumed in rows:
        run_command(["run", "4node_fail", "--set", override])
        printed = re.sub(" +", " ", capsys.readouterr().out)
        assert f"virtual time {virtual}\n" in printed
        assert f" {detected} {rolled_back} {resumed} " in printed


def test_the_timeline_of_the_crash_is_in_the_trace(main_job: MainJob) -> None:
    happened = {(event.time_ns, event.node, event.kind) for event in main_job.trace}
    rows = re.findall(r"^\| (\d+)\.(\d{6}) \| (\w+) \| (\w+) \|", page("first_run.md"), re.MULTILINE)
    assert len(rows) > 20
    assert not [row for row in rows if (int(row[0] + row[1]), row[2], row[3]) not in happened]


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_modules_that_are_named_exist(path: Path) -> None:
    there = [f"/{module.relative_to(ROOT).as_posix()}" for module in ROOT.glob("*/**/*.py")]
    named = re.findall(r"(?<![\w/])[\w/]+\.py\b", path.read_text(encoding="utf-8"))
    # Horovod's, torchft's; and the one that there shall never be
    elsewhere = {"common/elastic.py", "keras_mnist.py", "torchft/manager.py", "utils.py"}
    assert not [name for name in named if name not in elsewhere and not any(m.endswith(f"/{name}") for m in there)]


def test_links_lead_somewhere() -> None:
    for path in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", path.read_text(encoding="utf-8")):
            there = path.parent / target if target else path
            assert there.exists(), f"{path.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
                slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in slugs, f"{path.name}: {target}#{anchor}"


def test_every_page_is_on_the_map() -> None:
    index = page("index.md")
    tree = index.split("```{toctree}")[1].split()
    for path in PAGES:
        assert path.name == "index.md" or (f"({path.name})" in index and path.stem in tree)


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert str(citation["version"]) == ringsim.__version__
    assert ringsim.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
