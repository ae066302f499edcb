"""What a control returns: a number, its interval, and a star or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """A number found on n images (or classes).

    Attributes:
        value (float): the number; NaN where there is none.
        n (int): how many images, or classes, it is made of.
        interval (tuple of float or None): its 95 % interval.
        p (float or None): of the test; None where no test applies.
        note (str or None): why no star is given, whatever p is.

    Example::

        >>> Result(0.4, 200, (0.3, 0.5), 0.001).starred(), Result(0.4, 200).starred()
        (True, False)
    """

    value: float
    n: int
    interval: tuple[float, float] | None = None
    p: float | None = None
    note: str | None = None

    def starred(self, level: float = 0.05) -> bool:
        """Whether the test holds at this level, and nothing speaks against it."""
        return self.note is None and self.p is not None and self.p <= level

    def excludes(self, number: float) -> bool:
        """Whether there is an interval and it leaves this number out."""
        if self.interval is None:
            return False
        low, high = self.interval
        return number < low or number > high
