"""Several values after one option: ``--models A B C``."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

__all__ = ["SeveralValues", "spread"]


class SeveralValues(TyperCommand):
    """A command whose options that may be repeated take several values at once, too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As of every command, after :func:`spread`."""
        several = {
            name
            for option in self.params
            if getattr(option, "multiple", False)
            for name in option.opts
        }
        return super().parse_args(ctx, spread(args, several))


def spread(arguments: list[str], several: set[str]) -> list[str]:
    """Repeat an option before each further value that follows it.

    What begins with a hyphen is the next option; a value that does is given as ``--steer=-x``.

    Args:
        arguments (list of str): of a command that has options alone.
        several (set of str): the options that may be repeated.

    Example::

        >>> spread(["--models", "a", "b", "--seed", "1"], {"--models"})
        ['--models', 'a', '--models', 'b', '--seed', '1']
        >>> spread(["--models=a", "b"], {"--models"})
        ['--models=a', '--models', 'b']
    """
    found: list[str] = []
    option, further = "", False
    for argument in arguments:
        if argument.startswith("-"):
            option, equals, _ = argument.partition("=")
            further = bool(equals)
        elif further and option in several:
            found.append(option)
        else:
            further = True
        found.append(argument)
    return found
