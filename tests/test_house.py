"""The order of the house: who may import whom, and what a plain import costs."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import captum_sing

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "captum_sing"
FILES = sorted(PACKAGE.rglob("*.py"))

# Each room and the rooms it may import; what those may import, it may import too.
ALL_ABOVE = None
ROOMS: dict[str, set[str] | None] = {
    "errors": set(),
    "files": {"errors"},
    "inputs": {"errors"},
    "membership": {"errors"},
    "angles": {"errors"},
    "linear_head": {"errors"},
    "memory": set(),
    "wrapping": set(),
    "null_space": {"linear_head", "errors"},
    "hub": set(),
    "forward_pass": {"errors"},
    "hooks": {"forward_pass", "inputs", "linear_head", "memory", "wrapping"},
    "head": {"hooks", "errors"},
    "pretrained": {"errors", "files", "hub"},
    "devices": {"errors"},
    "state_dicts": {"errors"},
    "encoders": {"pretrained", "devices", "state_dicts"},
    "quality": {"angles"},
    "authors": {"errors"},
    "translator_base": {"null_space", "quality", "membership", "errors"},
    "translator": {"translator_base", "authors", "files"},
    "sums": set(),
    "ridge": {"sums", "errors"},
    "fitter": {"translator", "ridge"},
    "nonlinear": {"translator_base", "authors", "files"},
    "nonlinear_fitter": {"nonlinear"},
    "prompts": {"errors"},
    "vocabularies": {"prompts", "errors"},
    "concepts": {"encoders", "authors", "vocabularies", "files"},
    "decomposition": {"concepts"},
    "descriptions": {"decomposition", "angles"},
    "targets": {"null_space"},
    "baselines": {"targets", "translator"},
    "headings": {"concepts"},
    "remarks": {"null_space"},
    "steering": {"targets", "translator", "angles"},
    "verification": {"targets"},
    "evidence": {"descriptions", "translator", "angles"},
    "checks": {"concepts", "baselines", "inputs"},
    "controls": {"baselines", "ridge"},
    "score": ALL_ABOVE,
    "pooling": {"linear_head", "errors"},
    "localization": ALL_ABOVE,
    "sing": ALL_ABOVE,
    "render": {"sing"},
    "visualization": {"render"},
    "attributions": {"visualization", "localization"},
    "integrations": {"attributions"},
    "report": {"visualization"},
    "demo": ALL_ABOVE,
    "classifiers": {"demo"},
    "datasets": {"classifiers"},
    "fitting": {"datasets"},
    "study": ALL_ABOVE,
    "plots": {"study", "visualization"},
    "benchmark": {"study", "demo", "fitting"},
    "cli": ALL_ABOVE,
    "testing": {"null_space", "encoders"},
}
ORDER = list(ROOMS)
DOORS = {"__init__", "__main__"}  # they only hand on what the rooms hold
COMMANDS = {PACKAGE / "demo" / "benchmark.py": {"benchmark"}}  # so do these, of rooms above


def reachable(room: str) -> set[str]:
    direct = ROOMS[room]
    if direct is ALL_ABOVE:
        return set(ORDER[: ORDER.index(room)])
    return direct.union(*(reachable(other) for other in direct))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, tree: ast.AST) -> Iterator[str]:
    """Absolute dotted names of everything a file imports, at its top or inside a function."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *(node.module or "").split(".")]).strip(".")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def without_type_checking(tree: ast.Module) -> ast.Module:
    """The file as it runs: what only a type checker reads is left out."""

    class Drop(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST:
            self.generic_visit(node)
            return ast.Pass() if "TYPE_CHECKING" in ast.unparse(node.test) else node

    return Drop().visit(tree)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def rooms_imported(path: Path, tree: ast.Module) -> set[str]:
    inner = {name.split(".")[1] for name in imports(path, tree) if name.startswith("captum_sing.")}
    return inner - {room_of(path), "__version__"}


def test_table_points_downwards() -> None:
    for room in ORDER:
        assert reachable(room) <= set(ORDER[: ORDER.index(room)]), room


@pytest.mark.parametrize("room", sorted({room_of(path) for path in FILES} - DOORS))
def test_room_has_a_test_of_the_same_name(room: str) -> None:
    pattern = f"test_{room}*.py" if (PACKAGE / room).is_dir() else f"test_{room}.py"
    found = list((ROOT / "tests").glob(pattern))
    assert found, f"tests/test_{room}.py is missing"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
class TestFile:
    def test_imports_point_downwards(self, path: Path) -> None:
        room = room_of(path)
        if room in DOORS:
            return
        assert room in ROOMS, f"{room} has no place in the table of rooms"
        handed_on = COMMANDS.get(path, set())
        wrong = rooms_imported(path, without_type_checking(parse(path))) - reachable(room)
        wrong -= handed_on
        assert not wrong, f"{room} may import {sorted(reachable(room))}, not {sorted(wrong)}"
        named = rooms_imported(path, parse(path)) - set(ORDER[: ORDER.index(room)]) - handed_on
        assert not named, f"types of {sorted(named)} are named in {room}, which stands above"

    def test_validates_without_assert(self, path: Path) -> None:
        lines = [node.lineno for node in ast.walk(parse(path)) if isinstance(node, ast.Assert)]
        assert not lines

    def test_uses_public_names_of_captum(self, path: Path) -> None:
        names = [name for name in imports(path, parse(path)) if name.split(".")[0] == "captum"]
        private = [name for name in names if re.search(r"\._(?!_)", name)]
        assert not private

    def test_has_one_idea(self, path: Path) -> None:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


@pytest.mark.parametrize("path", COMMANDS, ids=lambda p: p.name)
def test_command_only_hands_on(path: Path) -> None:
    """It imports the room's main and calls it; nothing in the package imports it."""
    tree = parse(path)
    assert not [
        node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    ]
    assert rooms_imported(path, tree) == COMMANDS[path] and len(tree.body) <= 5
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    assert not [file for file in FILES if name in set(imports(file, parse(file)))]


def test_door_is_sorted_and_open() -> None:
    """Constants and acronyms, then classes, then functions."""
    key = lambda name: (not name.isupper(), not name[0].isupper(), name)  # noqa: E731
    assert captum_sing.__all__ == sorted(set(captum_sing.__all__), key=key)
    for name in captum_sing.__all__:
        assert getattr(captum_sing, name) is not None


@functools.cache
def top_levels(statement: str) -> set[str]:
    """Packages that a fresh interpreter imports for ``statement``."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=sys.prefix,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    names = re.findall(r"^import time: +\d+ \| +\d+ \| +([\w.]+)$", run.stderr, re.MULTILINE)
    return {name.split(".")[0] for name in names}


HEAVY = {"diffusers", "open_clip", "pandas", "rich", "sklearn", "timm", "torchvision",
         "transformers", "typer"}  # fmt: skip


@pytest.mark.parametrize("statement", ["import captum_sing", "from captum_sing import *"])
def test_import_is_light(statement: str) -> None:
    ours = top_levels(statement)
    assert "captum_sing" in ours
    assert not ours & HEAVY
    assert "matplotlib" not in ours - top_levels("import captum.attr")


def test_light_import_is_measured() -> None:
    assert "pandas" in top_levels("import pandas")
