"""Imports go down only: the floors of the house, checked on the source text of every module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import ringsim

ROOT = Path(ringsim.__file__).parent

# From the ground up; rooms on one floor do not know each other. What is not listed is a front door.
FLOORS = (
    ({"errors", "units", "seeds"},),
    ({"scenario"},),
    ({"topology"},),
    ({"scenario_file", "node", "plan", "trace", "result", "accounting", "measures", "checkpointing", "failures"},),
    ({"world"}, {"learning"}),
    ({"collectives"},),
    ({"strategies"},),
    ({"simulation"},),
)
FRONT_DOORS = len(FLOORS)

ONLY_UNDER = {"simpy": "world", "jax": "learning", "jaxlib": "learning", "optax": "learning"}

# Strategies compute with numbers and meet machines through ringsim.node alone.
NEVER = {"strategies": {"world"}, "collectives": {"world", "learning"}}


class Import(NamedTuple):
    """One import: in which module it stands, at which line, and what it names."""

    module: str
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module by its dotted name; a package goes by its own."""
    trees = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("ringsim", *path.relative_to(ROOT).with_suffix("").parts)
        trees[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf-8"))
    return trees


TREES = modules()


def imports(module: str, tree: ast.AST) -> Iterator[Import]:
    """Yield all imports, those inside functions and under TYPE_CHECKING and by name included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(module, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield Import(module, node.lineno, inner if inner in TREES else str(node.module))
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in ("import_module", "__import__", "importorskip"):
                yield Import(module, node.lineno, str(node.args[0].value))


ALL = [found for module, tree in TREES.items() for found in imports(module, tree)]
INSIDE = [found for found in ALL if found.target.split(".")[0] == "ringsim"]


def room(module: str) -> str:
    """Return the part of the house that a module is in: its package, or itself."""
    return [*module.split("."), ""][1]


def place(module: str) -> tuple[int, int]:
    """Return the floor and which room on it."""
    for floor, rooms in enumerate(FLOORS):
        for index, names in enumerate(rooms):
            if room(module) in names:
                return floor, index
    return FRONT_DOORS, 0


def goes_down(found: Import) -> bool:
    here, there = place(found.module), place(found.target)
    return there == here or there[0] < here[0]


def test_the_table_names_only_what_exists():
    existing = {room(module) for module in TREES}
    assert {name for rooms in FLOORS for names in rooms for name in names} <= existing


def test_there_is_something_to_check():
    assert len(TREES) > 30
    assert len(INSIDE) > 100
    assert {found.target for found in ALL} >= {"simpy", "jax", "optax"}


def test_imports_go_down_only():
    # The package itself is only asked for its version; what it offers to users, it fetches when asked.
    inner = [found for found in INSIDE if found.target != "ringsim" and found.module != "ringsim"]
    assert [str(found) for found in inner if not goes_down(found)] == []


def test_the_package_asks_for_nothing_when_it_is_imported():
    body = [node for node in TREES["ringsim"].body if isinstance(node, (ast.Import, ast.ImportFrom))]
    targets = {found.target for node in body for found in imports("ringsim", node)}
    assert targets <= {"__future__", "typing"}


@pytest.mark.parametrize("library", ONLY_UNDER)
def test_a_library_is_imported_in_its_own_room_only(library):
    users = [found for found in ALL if found.target.split(".")[0] == library]
    assert [str(found) for found in users if room(found.module) != ONLY_UNDER[library]] == []


def test_the_graph_is_known_to_topology_and_world_alone():
    users = {room(found.module) for found in ALL if found.target.split(".")[0] == "networkx"}
    assert users == {"topology", "world"}


@pytest.mark.parametrize("who", NEVER)
def test_strategies_and_collectives_never_import_what_is_kept_from_them(who):
    taken = [found for found in INSIDE if room(found.module) == who and room(found.target) in NEVER[who]]
    assert [str(found) for found in taken] == []


def test_no_module_below_the_front_doors_imports_in_a_circle():
    down: dict[str, set[str]] = {module: set() for module in TREES}
    for found in INSIDE:
        if found.target != found.module and found.target != "ringsim" and not _under_type_checking(found):
            down[found.module].add(found.target)

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for target in sorted(down.get(module, ())):
                visit(target, (*path, module))
            done.add(module)

    done: set[str] = set()
    for module in TREES:
        if place(module)[0] < FRONT_DOORS:
            visit(module, ())


def _under_type_checking(found: Import) -> bool:
    guarded = (
        inner
        for node in ast.walk(TREES[found.module])
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    )
    return any(getattr(inner, "lineno", 0) == found.line for inner in guarded)


# --- the check itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ringsim.node", "import ringsim.world.world"),
        ("ringsim.world.node", "from ringsim.learning import engine"),
        ("ringsim.learning.engine", "def f():\n    from ringsim.world.clock import Clock"),
        ("ringsim.errors", "from ringsim import scenario"),
        ("ringsim.strategies.ring", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ringsim.cli"),
        ("ringsim.collectives.ring", "from ringsim.strategies.training import State"),
    ],
)
def test_an_import_that_goes_up_or_next_door_is_found(module, source):
    assert not all(goes_down(found) for found in imports(module, ast.parse(source)) if found.target != "typing")


def test_an_import_by_name_is_found():
    found = list(imports("ringsim.cli", ast.parse('import importlib\nimportlib.import_module("jax.numpy")')))
    assert found[1].target == "jax.numpy"
