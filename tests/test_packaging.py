"""One source of metadata, a wheel with everything in it, and documents whose code runs."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import setuptools

import captum_sing

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "tutorials").glob("*.ipynb"))


def code_blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The keywords that setup.py hands to setuptools."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **keywords: given.update(keywords))
    runpy.run_path(str(ROOT / "setup.py"))
    return given


def test_metadata_has_one_source(metadata: dict[str, Any]) -> None:
    assert "[project" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not (ROOT / "setup.cfg").exists()
    assert metadata["version"] == captum_sing.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {captum_sing.__version__}\n" in citation


def test_every_import_is_a_requirement(metadata: dict[str, Any]) -> None:
    required = {re.split(r"[<>=!~\[ ]", line)[0] for line in metadata["install_requires"]}
    required = {name.lower().replace("-", "_") for name in required}
    providers = packages_distributions()
    for path in sorted((ROOT / "captum_sing").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            else:
                continue
            for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names:
                if name == "captum_sing":
                    continue
                known = {d.lower().replace("-", "_") for d in providers.get(name, [name])}
                assert known & required, f"{path.name} imports {name}, which setup.py does not name"


def test_wheel_is_complete(tmp_path: Path) -> None:
    """Built from a copy, so that no earlier build leaks in and the checkout stays clean."""
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(
        ROOT / "captum_sing",
        source / "captum_sing",
        ignore=shutil.ignore_patterns("__pycache__", ".*"),
    )
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = out.glob("captum_sing-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    shipped = {
        str(path.relative_to(source))
        for path in (source / "captum_sing").rglob("*")
        if path.is_file()
    }
    assert {name for name in sizes if ".dist-info/" not in name} == shipped
    assert "captum_sing/py.typed" in sizes
    weights = {name: size for name, size in sizes.items() if "/demo/weights/" in name}
    assert [name for name in weights if name.endswith(".safetensors")]
    assert sum(weights.values()) <= 10_000_000


def test_readme_has_two_commands() -> None:
    blocks = code_blocks(ROOT / "README.md", "bash")
    assert len(blocks) == 2
    run, check = (block.strip() for block in blocks)
    assert "\n" not in run
    assert "pip install" in run and "captum-sing demo" in run
    assert "\n" not in check
    assert "pip install" in check and "pytest" in check


def run_code(blocks: list[str], name: str) -> None:
    exec(compile("\n".join(blocks), name, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of one page, top to bottom, in one namespace."""
    monkeypatch.chdir(tmp_path)
    run_code(code_blocks(page, "python"), page.name)


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_notebooks_run_and_are_stored_without_output(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    monkeypatch.chdir(tmp_path)
    run_code(["".join(cell["source"]) for cell in code], notebook.name)
