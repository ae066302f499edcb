"""Prints how class maps and maps of what is ignored compare: ``python tutorials/compare_maps.py``.

Fresh images of the embedded world, each with the word of its own colour. The numbers are those of
``compare_attributions``: how alike two maps are, beside how alike those of two classes are, and
what becomes of logit and ignored evidence when a map's top pixels are blurred.
"""

from __future__ import annotations

import argparse

import pandas as pd
import tabulate  # noqa: F401  prints tables; pip install 'captum-sing[quantus]'
from captum.attr import IntegratedGradients, LayerGradCam

from captum_sing import SING, compare_attributions
from captum_sing.demo import load_demo, sample_scenes
from captum_sing.devices import one_thread

CLASSIFIERS = ("resnet/neck_color", "plain")
NUMBERS = (
    "magnitude_correlation",
    "runner_up_magnitude_correlation",
    "signed_correlation",
    "runner_up_signed_correlation",
    "overlap",
    "runner_up_overlap",
    "abs(target_logit_change)",
    "abs(target_score_change)",
    "abs(concept_logit_change)",
    "abs(concept_score_change)",
    "abs(runner_up_logit_change)",
    "abs(runner_up_score_change)",
    "abs(concept_moved_logit_change)",
    "abs(concept_moved_score_change)",
    "target_silence",
    "concept_silence",
    "concept_moved_silence",
    "runner_up_silence",
    "concept_silence - target_silence",
    "runner_up_rival_silence - target_rival_silence",
)
SEED = 10_000_500


def summary_of(name: str, count: int, steps: int) -> pd.DataFrame:
    """Means over images, with intervals; one row a number, one column a method."""
    model, translator, concepts, _ = load_demo(name)
    scenes = sample_scenes(count, SEED)
    comparison = compare_attributions(
        SING(model, "head", translator, concepts),
        scenes.images,
        [scenes.words(index)["color"] for index in range(count)],
        methods={
            "IntegratedGradients": IntegratedGradients,
            "Grad-CAM": lambda module: LayerGradCam(module, model.backbone.layer3),
        },
        options={"IntegratedGradients": {"baselines": 0.5, "n_steps": steps}},
        internal_batch_size=50,
        show_progress=True,
    )
    summary = comparison.summary
    cells = [f"{row.mean:.3f} [{row.low:.3f}, {row.high:.3f}]" for row in summary.itertuples()]
    wide = summary.assign(cell=cells)["cell"].unstack("method").loc[list(NUMBERS)]
    return wide.add_prefix(f"{name}: ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20, help="of the integral")
    options = parser.parse_args()
    if options.images < 2:
        parser.error("--images: an interval wants at least 2, a good one 30")
    with one_thread():
        tables = [summary_of(name, options.images, options.steps) for name in CLASSIFIERS]
    print(pd.concat(tables, axis=1).to_markdown())


if __name__ == "__main__":
    main()
