"""Plots of studies as PNG files, drawn before any is written; what has no data is left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from captum_sing.cli.studying import Finding

__all__ = ["EVIDENCE", "Drawn", "Plot", "draw", "drift_plot", "joint_plot", "slug", "study_plots"]

EVIDENCE = "evidence-*.png"
"""What plots of classes are called."""

_DPI = 120
_CLASSES = 3  # that have a plot of their own


class Plot(NamedTuple):
    """A file, why it cannot be drawn, or what draws it."""

    name: str
    lacking: str | None
    make: Callable[[], Figure]


class Drawn(NamedTuple):
    """PNG files by name, and why there is none of others."""

    files: dict[str, bytes]
    lacking: dict[str, str]

    @property
    def left_out(self) -> list[str]:
        """A sentence a reason."""
        reasons: dict[str, list[str]] = {}
        for name, reason in self.lacking.items():
            reasons.setdefault(reason, []).append(name)
        return [f"No {' or '.join(names)}: {reason}." for reason, names in reasons.items()]


def draw(plots: Sequence[Plot]) -> Drawn:
    """Draw into memory, so that files are all new or none."""
    files, lacking = {}, {}
    for plot in plots:
        if plot.lacking is not None:
            lacking[plot.name] = plot.lacking
            continue
        figure, drawn = plot.make(), BytesIO()
        figure.savefig(drawn, format="png", dpi=_DPI)
        figure.clear()
        files[plot.name] = drawn.getvalue()
    return Drawn(files, lacking)


def study_plots(found: Finding) -> list[Plot]:
    """All that there is to see of one model.

    Args:
        found (Finding): what was found with it.
    """
    from captum_sing import plots

    study, steered = found.study, found.steered
    known = _lacking(found)
    three = dict(zip(_slugs(_largest(found)), _largest(found), strict=True))
    return [
        joint_plot([found]),
        Plot("classes.png", known.labels, lambda: plots.plot_class_violins(study)),
        Plot("arrows.png", known.images, lambda: plots.plot_concept_arrows(study)),
        drift_plot([found]),
        Plot("evidence.png", known.shares, lambda: plots.plot_seen_and_ignored(study)),
        *(
            Plot(
                EVIDENCE.replace("*", name),
                known.evidence,
                lambda label=label: plots.plot_seen_and_ignored(study, level=label),  # type: ignore[misc]
            )
            for name, label in three.items()
        ),
        Plot(
            "axes.png",
            None if found.axes else "no axes were asked for, or none can be found",
            lambda: plots.plot_null_axes(found.axes, found.ends),
        ),
        Plot(
            "steered.png",
            "nothing to steer towards (--steer)" if steered is None else None,
            lambda: plots.plot_steered(steered),
        ),
    ]


def joint_plot(found: Sequence[Finding]) -> Plot:
    """IS and AS of one model, or of several, beside each other."""
    from captum_sing import plots

    lacking = next(filter(None, (_lacking(one).images for one in found)), None)
    studies = [one.study for one in found]
    return Plot("joint.png", lacking, lambda: plots.plot_joint_scores(studies))


def drift_plot(found: Sequence[Finding]) -> Plot:
    """How far the logits move, of one model or of several."""
    from captum_sing import plots

    drifts = {one.study.facts["model"]: one.drift for one in found}
    return Plot("drift.png", None, lambda: plots.plot_logit_drift(drifts))


def slug(name: str) -> str:
    """A name as a file has it.

    Example::

        >>> slug("demo/resnet/neck_color"), slug("tabby, tabby cat")
        ('demo-resnet-neck_color', 'tabby-tabby-cat')
    """
    return re.sub(r"[^\w.]+", "-", name).strip("-.") or "unnamed"


def _slugs(names: Sequence[str]) -> list[str]:
    """No two alike."""
    plain = [slug(name) for name in names]
    return [f"{one}-{place}" if one in plain[:place] else one for place, one in enumerate(plain)]


class _Lacking(NamedTuple):
    """Why plots of these cannot be drawn; None where they can."""

    images: str | None
    labels: str | None
    evidence: str | None
    shares: str | None


def _lacking(found: Finding) -> _Lacking:
    table = found.study.tested
    images = None if len(table) else "the translator was fitted on all images"
    labels = None if table["label"].notna().any() else "the images have no labels"
    evidence = None if len(found.study.words) else "the translator has no statistics"
    evidence = images or evidence
    unknown = None if len(found.study.groups) else "no image's word is known"
    return _Lacking(images, images or labels, evidence, evidence or unknown)


def _largest(found: Finding) -> list[str]:
    """The classes with most images."""
    counts = found.study.tested["label"].value_counts()
    return [str(label) for label in counts[counts > 0].index[:_CLASSES]]
