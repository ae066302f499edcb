"""Every error is a SINGError and the matching builtin, and reads in one pattern."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import captum_sing
from captum_sing import errors
from captum_sing.errors import SINGError, SINGNameError, expected

KINDS = {
    "SINGValueError": ValueError,
    "SINGTypeError": TypeError,
    "SINGNameError": KeyError,
    "SINGFileError": OSError,
    "SINGRuntimeError": RuntimeError,
    "NoNullSpaceError": ValueError,
    "HeadNotFoundError": ValueError,
}
FILES = sorted(Path(captum_sing.__file__).parent.rglob("*.py"))


def test_every_public_error_is_in_the_table() -> None:
    classes = {name for name in errors.__all__ if name.endswith("Error")}
    assert classes - {"SINGError"} == set(KINDS)


@pytest.mark.parametrize(("name", "builtin"), KINDS.items())
def test_is_a_sing_error_and_the_builtin(name: str, builtin: type[Exception]) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, SINGError)
    assert issubclass(kind, builtin)
    assert str(kind("what, and what to do.")) == "what, and what to do."


def test_key_error_itself_would_quote_the_message() -> None:
    assert str(KeyError("no red")) == "'no red'"
    assert str(SINGNameError("no red")) == "no red"


def test_pattern() -> None:
    message = expected("there", "x", "above 0", -1, "Add two")
    assert message == "there: expected x above 0, got -1. Add two."


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_messages_are_written_in_the_pattern(path: Path) -> None:
    """Each ``raise SING...Error(...)`` calls ``expected`` with a remedy that ends without a dot."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
            continue
        if ast.unparse(node.exc.func) not in errors.__all__:
            continue
        (message,) = node.exc.args
        where = f"{path.name}:{node.lineno}"
        assert isinstance(message, ast.Call), where
        assert ast.unparse(message.func) == "expected", where
        assert len(message.args) == 5, where
        remedy = message.args[-1]
        assert not (isinstance(remedy, ast.Constant) and remedy.value.endswith(".")), where
