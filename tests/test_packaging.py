"""What is promised to those who install it: the README's commands, the wheel, the pinned set."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m pip install .*$", README, flags=re.MULTILINE)


def run(*command: str | Path, cwd: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--wheel-dir", folder, ROOT),
        cwd=folder,
    )
    (built,) = folder.glob("ringsim-*.whl")
    return built


def test_the_readme_shows_two_commands_and_ci_runs_the_second_word_for_word() -> None:
    first, second = COMMANDS
    assert first.endswith("python -m ringsim run scenarios/4node_fail.yaml")
    assert second.endswith("python -m pytest")
    assert second in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_table_in_the_readme_is_what_the_main_job_prints() -> None:
    from rich.console import Console

    from ringsim import load, simulate
    from ringsim.report.table import run_table

    result = simulate(load("4node_fail").scenario)
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        console.print(run_table(result))
    printed = [line.rstrip() for line in console.export_text().splitlines()]
    shown = README.split("```text\n")[1].split("```")[0].splitlines()
    # Accuracy and the digest of the numbers belong to a kind of processor, and the command to the test.
    here_only = ("accuracy", "numbers", "repeat it")
    words = [[line.split() for line in lines if not line.startswith(here_only)] for lines in (printed, shown)]
    assert words[0] == words[1]


def test_the_wheel_holds_the_scenarios_the_digits_and_the_typing_mark(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "ringsim/scenarios/4node_fail.yaml",
        "ringsim/scenarios/4node_fail.record.json",
        "ringsim/learning/digits.csv.gz",
        "ringsim/learning/DATA_LICENSE.md",
        "ringsim/py.typed",
    ):
        assert name in names
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]


def test_the_wheel_plays_the_main_job_in_an_empty_environment_outside_the_clone(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    summary = json.loads(run(python.parent / "ringsim", "run", "4node_fail", "--json", cwd=tmp_path))
    record = json.loads((ROOT / "scenarios" / "4node_fail.record.json").read_text())
    assert summary["digest"]["schedule"] == record["digest"]["schedule"]
    assert summary["accuracy"] > 0.93
    where = run(python, "-c", "import ringsim; print(ringsim.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(home.resolve()) or Path(where.strip()).is_relative_to(home)


def test_the_pinned_set_is_plain_and_holds_every_dependency() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.+]*", line) for line in lines)
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {re.split(r"[^A-Za-z0-9_-]", line)[0].lower() for line in wanted}
    assert names <= pinned


def test_every_dependency_has_its_reason_in_the_docs() -> None:
    reasons = (ROOT / "docs" / "dependencies.md").read_text().lower()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in (*project["dependencies"], *project["optional-dependencies"]["docs"]):
        assert re.split(r"[^A-Za-z0-9_-]", line)[0].lower() in reasons
