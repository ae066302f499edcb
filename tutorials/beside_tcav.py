"""Captum's TCAV beside SING on the embedded world: ``python tutorials/beside_tcav.py``.

What each says of concepts whose truth is known, of a classifier of shape that keeps colour where
its head cannot see it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

import pandas as pd
import tabulate  # noqa: F401  prints tables; pip install 'captum-sing[quantus]'
import torch

from captum_sing import SING
from captum_sing.demo import CLASSIFIERS, FACTORS, load_demo, sample_scenes
from captum_sing.demo.models import SceneClassifier
from captum_sing.integrations.tcav import RANDOM, tcav_table

FACTOR_OF = {word: factor for factor, words in FACTORS.items() for word in words}
CONCEPTS = (
    *("star", "circle", "heart"),
    *("red", "yellow", "green", "blue", "white"),
    *("striped", "checkered", "black", "navy", "small"),
)
LAYERS = ("backbone.layer3", "neck")  # one with a ReLU and more behind it, and the head's input


def scenes(word: str, count: int, seed: int) -> torch.Tensor:
    """Images that show a word; all else is drawn."""
    factor = FACTOR_OF[word]
    return sample_scenes(count, seed, labels={factor: FACTORS[factor].index(word)}).images


def truth(classifier: str, word: str) -> str:
    """What a word's factor is to a classifier with a neck, by construction."""
    planted = CLASSIFIERS[classifier].planted
    if planted is None:
        return "not known"
    if FACTOR_OF[word] == "shape":
        return "seen"
    return "ignored" if FACTOR_OF[word] in planted else "neither"


@torch.no_grad()
def logit_changes(
    model: SceneClassifier, target: str, words: Iterable[str], count: int, seed: int
) -> dict[str, float]:
    """By how much a class's logit moves, on average, when its images are redrawn with a word."""
    column = FACTORS["shape"].index(target)

    def logit(labels: dict[str, int]) -> float:
        images = sample_scenes(count, seed, labels={"shape": column} | labels).images
        return float(model(images)[:, column].mean())

    before = logit({})
    values = {word: (FACTOR_OF[word], FACTORS[FACTOR_OF[word]].index(word)) for word in words}
    return {word: logit(dict([value])) - before for word, value in values.items()}


def compare(
    classifier: str = "resnet/neck_color",
    target: str = "star",
    concepts: Iterable[str] = CONCEPTS,
    layers: Sequence[str] = LAYERS,
    *,
    inputs: int = 500,
    examples: int = 100,
    runs: int = 10,
    fresh: bool = True,
    seed: int = 0,
    show_progress: bool = False,
) -> pd.DataFrame:
    """The table of :func:`tcav_table`, with the truth and what really moves the logit.

    Args:
        classifier, target (str): a classifier of the embedded world, and one of its classes.
        concepts (iterable of str): words of the world.
        layers (sequence of str): of the classifier.
        inputs (int): images of the class.
        examples (int): images of a concept for each CAV.
        runs, fresh, show_progress: as :func:`tcav_table`.
        seed (int): of all images.
    """
    model, translator, bank, _ = load_demo(classifier)
    drawn, words = seed * 1000 + 77_000_000, list(concepts)
    each = examples * runs if fresh else examples
    table = tcav_table(
        SING(model, "head", translator, bank),
        layers,
        scenes(target, inputs, drawn),
        FACTORS["shape"].index(target),
        {word: scenes(word, each, drawn + 10 + i) for i, word in enumerate(words)},
        sample_scenes(2 * runs * examples, drawn + 1).images,
        runs=runs,
        fresh=fresh,
        internal_batch_size=250,
        seed=seed,
        show_progress=show_progress,
    )
    moved = logit_changes(model, target, words, inputs, drawn)
    names = table.index.get_level_values("concept")
    table.insert(0, "truth", [truth(classifier, name) if name in moved else "" for name in names])
    table.insert(1, "logit_change", [moved.get(name) for name in names])
    return table


def cells(row: pd.Series) -> list[str]:
    """TCAV's cells of one row."""
    both = [
        f"{row[score]:.2f} ± {row[f'{score}_spread']:.2f}" for score in ("sign_count", "magnitude")
    ]
    return [*both, "" if row.name[1] == RANDOM else f"{row['magnitude_q']:.2g}"]


def markdown(table: pd.DataFrame) -> str:
    """A row a concept, all layers beside each other."""
    layers = table.index.get_level_values("layer").unique()
    heads = [f"{layer}: {what}" for layer in layers for what in ("sign count", "magnitude", "q")]
    heads = ["concept", "truth", "logit moves by", *heads, "seen", "ignored"]
    lines = []
    for word, row in table.loc[layers[0]].iterrows():
        found = [cell for layer in layers for cell in cells(table.loc[(layer, word)])]
        known = ["", "", ""]
        if word != RANDOM:
            known = [f"{row['logit_change']:+.1f}"] + [
                f"{row[kind]:+.2f} ({row[f'{kind}_low']:+.2f} to {row[f'{kind}_high']:+.2f})"
                for kind in ("seen", "ignored")
            ]
        lines.append([str(word), row["truth"], known[0], *found, *known[1:]])
    return pd.DataFrame(lines, columns=heads).to_markdown(index=False, disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classifier", default="resnet/neck_color", choices=list(CLASSIFIERS))
    parser.add_argument("--target", default="star", choices=FACTORS["shape"])
    parser.add_argument("--layers", nargs="+", default=LAYERS)
    parser.add_argument("--examples", type=int, default=100, help="images of a concept for a CAV")
    parser.add_argument("--runs", type=int, default=10, help="CAVs a concept")
    parser.add_argument("--shared", action="store_true", help="the same images in all runs")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    table = compare(
        asked.classifier,
        asked.target,
        layers=asked.layers,
        examples=asked.examples,
        runs=asked.runs,
        fresh=not asked.shared,
        seed=asked.seed,
        show_progress=True,
    )
    print(markdown(table))


if __name__ == "__main__":
    main()
