"""Made-up studies to draw, and whether what is drawn can be read."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from study_world import made_up

from captum_sing.study import Comparison, NullAxis, Study, compare_models
from captum_sing.verification import Verification

WORDS = ("red", "green", "blue")


def with_angles(study: Study, seed: int = 3) -> Study:
    """With each word's angle to an image, and AS, where they are not there."""
    random, count = np.random.default_rng(seed), len(study.table)
    columns = {}
    for i, word in enumerate(study.facts["words"]):
        columns[f"angle_{word}"] = 60 + i + random.normal(size=count)
        columns[f"attribute_score_{word}"] = 3.0 - 2 * i + random.normal(size=count)
    return Study(study.table.assign(**columns), study.facts)


def studied(n: int = 120, *, model: str = "made up", **options: Any) -> Study:
    return with_angles(made_up(n, facts={"model": model}, **options))


def compared(count: int = 3, **options: Any) -> Comparison:
    """Models with more and more of the same colours ignored."""
    shares = np.linspace(0.2, 0.9, count)
    studies = [
        made_up(signal=3.0, share=share, facts={"model": f"model {i}"}, **options)
        for i, share in enumerate(shares)
    ]
    return compare_models(studies, draws=200)


def verified(count: int = 40, seed: int = 0) -> Verification:
    random = torch.Generator().manual_seed(seed)
    null, noise, principal = (
        scale * torch.rand(count, generator=random, dtype=torch.float64)
        for scale in (1e-7, 1.0, 3.0)
    )
    return Verification(null, noise, principal, torch.zeros(count))


def steered_table(prompts: tuple[str, ...] = ("red", "blue"), lost: int = 5) -> pd.DataFrame:
    rows = [
        {
            "prompt": prompt, "image_score": angle, "n": 50 - lost * (angle > 20),
            "unreachable": lost * (angle > 20), "attribute_score": angle / (2 + i),
            "low": angle / (2 + i) - 1, "high": angle / (2 + i) + 2, "step": angle / 100,
            "step_high": angle / 50,
        }
        for i, prompt in enumerate(prompts)
        for angle in (10.0, 20.0, 40.0)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def axes_of(count: int = 2, images: int = 4) -> list[NullAxis]:
    return [
        NullAxis(
            torch.ones(1), 1.0, 0.25, tuple(f"low {i} {j}" for j in range(images)),
            tuple(f"high {i} {j}" for j in range(images)), -2.0, 2.5,
            (("red", 1.25), ("blue", -0.5)),
        )
        for i in range(count)
    ]  # fmt: skip


def pictures_of(axes: list[NullAxis], size: int = 6) -> dict[str, Any]:
    """One colour each."""
    paths = [path for axis in axes for path in axis.low + axis.high]
    values = np.linspace(0.1, 0.9, len(paths))
    return {
        path: np.full((size, size, 3), value) for path, value in zip(paths, values, strict=True)
    }


def drawn(figure: Any) -> Any:
    """Draw, so that everything has its place, without any window."""
    FigureCanvasAgg(figure).draw()
    return figure


def words_of(figure: Any) -> str:
    """All that is written."""
    return " ".join(text.get_text() for text in figure.findobj(Text)).replace("\n", " ")


def axes_labels(axes: Any) -> list[str]:
    return [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]


def assert_legible(figure: Any) -> None:
    """Nothing is cut off, and neither parts of the figure nor names of rows cover each other."""
    drawn(figure)
    width, height = figure.bbox.size
    renderer = figure.canvas.get_renderer()
    parts = [axes.get_tightbbox(renderer, for_layout_only=True) for axes in figure.axes]
    parts += [legend.get_window_extent(renderer) for legend in figure.legends]
    parts += [text.get_window_extent(renderer) for text in figure.texts if text.get_text()]
    for box in parts:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, box
    for one, other in combinations(parts, 2):
        shared = (
            min(one.x1, other.x1) - max(one.x0, other.x0),
            (min(one.y1, other.y1) - max(one.y0, other.y0)),
        )
        assert min(shared) <= 2, (one, other)
    titles = [axes.title for axes in figure.axes] + [axes._left_title for axes in figure.axes]
    boxes = [title.get_window_extent() for title in titles if title.get_text()]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    for axes in figure.axes:
        if all(label.get_text() for label in axes.get_yticklabels()):
            boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
            for one, other in pairwise(sorted(boxes, key=lambda box: box.y0)):
                assert one.y1 <= other.y0 + 1 or one.x1 < other.x0 or other.x1 < one.x0
        remarks = [
            t.get_window_extent() for t in axes.texts if t.get_visible() and t.get_text().strip()
        ]
        for one, other in combinations(remarks, 2):
            assert not one.overlaps(other) or min(
                min(one.x1, other.x1) - max(one.x0, other.x0),
                min(one.y1, other.y1) - max(one.y0, other.y0),
            ) <= 1, (one, other)  # fmt: skip
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
    assert min(sizes) >= 8
