"""Draws the figure of the ideas page, ``_static/ideas.svg``: ``python docs/make_figures.py``."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Arc

INK, SEEN, IGNORED, WORD = "#222222", "#1f6fb4", "#d1495b", "#2e8b57"
FEATURE, MEAN = np.array([3.0, 2.2]), np.array([1.3, 0.5])
TRANSLATOR = np.array([[0.70, -0.45], [0.35, 0.85]])
TEXT = np.array([0.1, 2.9])


def arrow(axes: Axes, tip: np.ndarray, color: str, start: tuple[float, float] = (0, 0)) -> None:
    style = {"arrowstyle": "-|>", "color": color, "lw": 2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=tuple(tip), xytext=start, arrowprops=style)


def frame(axes: Axes, title: str, limits: tuple[float, float, float, float]) -> None:
    axes.set(xlim=limits[:2], ylim=limits[2:], aspect="equal")
    axes.set_title(title, fontsize=11, color=INK, pad=10)
    axes.set_axis_off()


def feature_space(axes: Axes) -> None:
    """The feature, its two parts, and all features that share its logits."""
    frame(axes, "Feature space: what the head reads", (-0.5, 4.9, -0.9, 3.6))
    arrow(axes, np.array([4.7, 0]), "#bbbbbb")
    arrow(axes, np.array([0, 3.4]), "#bbbbbb")
    axes.text(4.75, -0.3, "principal (seen)", color=SEEN, ha="right", va="center")
    axes.text(0.1, 3.42, "null (ignored)", color=IGNORED, ha="left", va="center")
    axes.plot([FEATURE[0]] * 2, [-0.1, 3.2], color=INK, lw=1, ls=":")
    axes.text(FEATURE[0] + 0.12, 3.0, "all of these have\nthe same logits", fontsize=9, va="center")
    seen, mean_removed = np.array([FEATURE[0], 0.0]), np.array([FEATURE[0], MEAN[1]])
    arrow(axes, FEATURE, INK)
    arrow(axes, seen, SEEN)
    arrow(axes, seen, IGNORED, tuple(FEATURE))
    axes.plot(*MEAN, "o", color="#888888", ms=6)
    axes.plot([MEAN[0], mean_removed[0]], [MEAN[1]] * 2, color="#888888", lw=1, ls="--")
    axes.plot(*mean_removed, "s", color=IGNORED, ms=7)
    axes.text(MEAN[0], MEAN[1] - 0.25, "mean", color="#666666", ha="center", fontsize=9)
    axes.text(1.45, 1.45, "$f$", fontsize=14)
    axes.text(2.1, -0.35, r"$\tilde f = f - P_n f$", color=SEEN, fontsize=12, ha="center")
    axes.text(FEATURE[0] + 0.12, 1.6, r"$P_n f$", color=IGNORED, fontsize=12)
    axes.text(
        mean_removed[0] + 0.17, MEAN[1], r"$\tilde f$, baseline: mean", fontsize=9, va="center"
    )


def translated_space(axes: Axes) -> None:
    """The same two features as a vision-language model would see them."""
    frame(axes, "Vision-language space: what it means", (-0.6, 3.6, -0.4, 3.3))
    original = TRANSLATOR @ FEATURE
    equivalent = TRANSLATOR @ (FEATURE * [1, 0])
    arrow(axes, TEXT, WORD)
    arrow(axes, original, INK)
    arrow(axes, equivalent, SEEN)
    arrow(axes, equivalent, IGNORED, tuple(original))
    first, second, third = (
        float(np.degrees(np.arctan2(v[1], v[0]))) for v in (equivalent, original, TEXT)
    )
    axes.add_patch(Arc((0, 0), 1.6, 1.6, theta1=first, theta2=second, color=IGNORED, lw=2))
    axes.add_patch(Arc((0, 0), 2.5, 2.5, theta1=second, theta2=third, color=WORD, lw=1.2))
    axes.add_patch(Arc((0, 0), 2.9, 2.9, theta1=first, theta2=third, color=WORD, lw=1.2))
    axes.text(0.95, 0.73, "IS", color=IGNORED, fontsize=11, weight="bold")
    axes.text(*(original + [0.05, 0.12]), "$T(f)$", fontsize=12)
    axes.text(*(equivalent + [0.08, -0.05]), r"$T(\tilde f)$", color=SEEN, fontsize=12, va="center")
    axes.text(*(TEXT + [0, 0.12]), 'text $t$: "red"', color=WORD, fontsize=11, ha="center")
    middle = (original + equivalent) / 2
    axes.text(*(middle + [0.1, 0.1]), r"$A\,P_n f$", color=IGNORED, fontsize=12)
    score = "AS: the smaller green angle\nminus the larger; positive\nwould be nearer the text"
    axes.text(1.55, 0.25, score, color=WORD, fontsize=9, va="center")


def main() -> None:
    plt.rcParams.update({"svg.hashsalt": "captum-sing", "font.size": 10})
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    feature_space(left)
    translated_space(right)
    folder = Path(__file__).parent / "_static"
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "ideas.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
