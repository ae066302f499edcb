"""The errors of this package: each is a :class:`SINGError` and the matching builtin.

Messages follow one pattern: *where*, what was expected, what came, what to do.
"""

from __future__ import annotations

__all__ = [
    "HeadNotFoundError",
    "NoNullSpaceError",
    "SINGError",
    "SINGFileError",
    "SINGNameError",
    "SINGRuntimeError",
    "SINGTypeError",
    "SINGValueError",
    "expected",
]


class SINGError(Exception):
    """Base of all errors that this package raises on purpose."""


class SINGValueError(SINGError, ValueError):
    """An argument has the right type and a value that cannot be used."""


class SINGTypeError(SINGError, TypeError):
    """An argument has a type that cannot be used."""


class SINGNameError(SINGError, KeyError):
    """A name (of a word, model, layer or file entry) that does not exist."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # KeyError would print the repr of the message


class SINGFileError(SINGError, OSError):
    """A file is missing, truncated, unreadable or not what it says it is."""


class SINGRuntimeError(SINGError, RuntimeError):
    """Something that must come first has not been done, or a model failed under us."""


class NoNullSpaceError(SINGValueError):
    """The head sees every direction of its input: nothing is ignored exactly."""


class HeadNotFoundError(SINGValueError):
    """No single linear layer makes the model's output."""


def expected(where: str, argument: str, constraint: str, actual: object, remedy: str) -> str:
    """One message in the package's pattern.

    Args:
        where (str): the function or class that complains.
        argument (str): the argument it complains about.
        constraint (str): what it has to be.
        actual (object): what came.
        remedy (str): what the reader can do, a sentence without its full stop.

    Returns:
        str: ``{where}: expected {argument} {constraint}, got {actual}. {remedy}.``

    Example::

        >>> expected("angle", "u", "of shape (..., E)", "a str", "Pass a tensor")
        'angle: expected u of shape (..., E), got a str. Pass a tensor.'
    """
    return f"{where}: expected {argument} {constraint}, got {actual}. {remedy}."
