"""What was found about a new translator, to be kept with it and to be printed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from captum_sing.fitting.accuracy import Accuracy
from captum_sing.quality import Fit, TranslatorReport

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["FitReport"]

_PARTS = ("whole", "principal", "null")


@dataclass(frozen=True)
class FitReport:
    """The quality of a new translator, on the images that were held out.

    Attributes:
        translation (TranslatorReport or None): None where nothing was held out.
        accuracy (dict of str to Accuracy): what a linear classifier reads -> how well it does;
            empty where that could not be judged.
        truth (str): what it had to name: "labels", or "model's predictions".
        notes (tuple of str): what there is to know before the translator is used, in sentences.

    Example::

        >>> from captum_sing.quality import Fit
        >>> report = FitReport(TranslatorReport(500, 0, Fit(0.9, 20.0, 0.7)), {}, "labels")
        >>> report == FitReport.from_dict(report.to_dict())
        True
    """

    translation: TranslatorReport | None
    accuracy: Mapping[str, Accuracy]
    truth: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it in the types that JSON holds; None where there is no finite number."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> FitReport:
        """What :meth:`to_dict` made, as ``translator.facts["report"]`` keeps it."""
        found = facts["translation"]
        translation = found and TranslatorReport(
            found["count"], found["in_sample"], **{name: _fit(found[name]) for name in _PARTS}
        )
        accuracy = {name: Accuracy(**numbers) for name, numbers in facts["accuracy"].items()}
        return cls(translation, accuracy, facts["truth"], tuple(facts["notes"]))

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=100)
        with console.capture() as printed:
            console.print(self)
        return printed.get().rstrip()

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        parts: list[RenderableType] = []
        if self.translation is not None:
            title = f"Translation of {self.translation.count:,} held-out images"
            table = Table("part of the feature", title=title)
            for column in ("cosine", "degrees", "R²"):
                table.add_column(column, justify="right")
            for name in _PARTS:
                fit: Fit | None = getattr(self.translation, name)
                if fit is not None:
                    table.add_row(name, f"{fit.cosine:.3f}", f"{fit.degrees:.1f}", f"{fit.r2:.3f}")
            parts.append(table)
        if self.accuracy:
            table = Table("read from", title=f"A linear classifier names the {self.truth}")
            for column in ("right", "95 % interval", "images"):
                table.add_column(column, justify="right")
            for name, found in self.accuracy.items():
                interval = f"{found.low:.1%} to {found.high:.1%}"
                table.add_row(name, f"{found.share:.1%}", interval, f"{found.count:,}")
            parts.append(table)
        return Group(*parts, *(Text(f"* {note}") for note in self.notes))


def _fit(numbers: Mapping[str, float | None] | None) -> Any:
    """A fit, or None where there was none."""
    if numbers is None:
        return None
    return Fit(**{name: math.nan if value is None else value for name, value in numbers.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
