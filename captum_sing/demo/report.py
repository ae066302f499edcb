"""The whole main job on the embedded world: run it, print it, write it down."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from tqdm.auto import tqdm

from captum_sing.demo.figure import FIGURED, demo_figure, example_scenes
from captum_sing.demo.models import SceneClassifier
from captum_sing.demo.planted import Finding, find_planted
from captum_sing.demo.scenes import Scenes, sample_scenes
from captum_sing.demo.tables import findings_table, heads_table, naming_table, readings, swap_table
from captum_sing.demo.tail import Tail, backbone_features
from captum_sing.demo.world import (
    CLASSIFIERS,
    encode_scenes,
    load_classifier,
    load_concepts,
    load_decoder,
    load_encoder,
    load_translator,
)
from captum_sing.descriptions import Description
from captum_sing.files import write_whole
from captum_sing.null_space import NullSpace
from captum_sing.sing import SING
from captum_sing.quality import TranslatorReport

__all__ = ["TEST_SEEDS", "DemoReport", "HeadFacts", "print_report", "run_demo"]

TEST_SEEDS = (20261101, 20261102, 20261103)
COUNT = 2000
_VERIFIED = 64  # images sent through the model with the head's input replaced


@dataclass(frozen=True)
class HeadFacts:
    """A classifier's head, and how well its features translate, on images it never saw."""

    classifier: str
    description: str
    rank: int
    nullity: int
    accuracy: float
    null_drift: float
    random_drift: float
    translation: TranslatorReport


@dataclass(frozen=True)
class DemoReport:
    """Everything that the demo found.

    Attributes:
        heads (list of HeadFacts): one a classifier.
        findings (list of Finding): one a classifier, factor and seed of the test images.
        truth (dict of str to str): the true words of the image that is described.
        descriptions (dict of str to Description): classifier -> the description of that image.
        files (list of Path): what was written.
        seconds (float): wall time.
    """

    heads: list[HeadFacts]
    findings: list[Finding]
    truth: dict[str, str]
    descriptions: dict[str, Description]
    files: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """All numbers, in the types that JSON holds."""
        return {
            "heads": [asdict(head) for head in self.heads],
            "planted_against_found": [
                {**asdict(finding), "agrees": finding.agrees} for finding in self.findings
            ],
            "example": {
                "truth": self.truth,
                "descriptions": {k: d.to_dict() for k, d in self.descriptions.items()},
            },
            "files": [str(path) for path in self.files],
            "seconds": self.seconds,
        }


def run_demo(
    output: str | Path = "captum-sing-demo",
    *,
    seeds: Sequence[int] = TEST_SEEDS,
    count: int = COUNT,
    progress: bool = True,
) -> DemoReport:
    """Analyse every shipped classifier on fresh images; offline.

    The necks, whose truth is known, are tested on each seed; the trained classifiers on the first.

    Args:
        output (str or Path, optional): folder for ``demo.json``, ``demo.png`` and ``demo.txt``.
        seeds (sequence of int, optional): of the test images; no recipe was tuned on the defaults.
        count (int, optional): images a seed. Default: 2000
        progress (bool, optional): show a progress bar. Default: True

    Returns:
        DemoReport
    """
    start = time.perf_counter()
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    encoder = load_encoder()
    concepts = load_concepts(encoder)
    tests = {seed: sample_scenes(count, seed) for seed in seeds}
    first = tests[seeds[0]]
    embeddings = encode_scenes(encoder, first.images)
    examples = example_scenes()
    truth = examples.words(0)

    heads: list[HeadFacts] = []
    findings: list[Finding] = []
    descriptions: dict[str, Description] = {}
    features: dict[tuple[str, int], Tensor] = {}  # the last backbone's, by seed
    models: dict[str, SING] = {}
    for name, about in tqdm(CLASSIFIERS.items(), "classifiers", disable=not progress):
        model = load_classifier(name)
        sing = SING(model, "head", load_translator(name), concepts)
        if name in FIGURED:
            models[name] = sing
        shared = about.architecture if about.necked else name
        if (shared, seeds[0]) not in features:
            features.clear()
        for seed in seeds if about.necked else seeds[:1]:
            if (shared, seed) not in features:
                features[shared, seed] = backbone_features(model, tests[seed].images)
            findings += find_planted(
                SING(Tail(model), "head", sing.translator, concepts),
                features[shared, seed],
                tests[seed].labels,
                classifier=name,
                planted=about.planted,
                seed=seed,
            )
        heads.append(_head_facts(name, model, sing, first, features[shared, seeds[0]], embeddings))
        descriptions[name] = sing.attribute(examples.images[:1]).descriptions[0]

    figure = demo_figure(models, examples, load_decoder(), first.images, embeddings)
    picture = write_whole(folder / "demo.png", lambda p: figure.savefig(p, format="png", dpi=110))
    files = [picture, folder / "demo.txt", folder / "demo.json"]
    seconds = time.perf_counter() - start
    report = DemoReport(heads, findings, truth, descriptions, files, seconds)
    console = Console(record=True, width=120, file=io.StringIO())
    print_report(report, console)
    text = console.export_text()
    write_whole(files[1], lambda path: path.write_text(text, encoding="utf-8"))
    numbers = json.dumps(report.to_dict(), indent=1)
    write_whole(files[2], lambda path: path.write_text(numbers, encoding="utf-8"))
    return report


def print_report(report: DemoReport, console: Console | None = None) -> None:
    """Print a report: heads, one image in words, planted against found, and how to read it.

    Args:
        report (DemoReport): of :func:`run_demo`.
        console (rich.console.Console, optional): where to. Default: the terminal
    """
    console = console or Console()
    console.print(heads_table(report.heads))
    console.print(f"\nOne image, {' '.join(report.truth.values())}, as each classifier ignores it:")
    for name, description in report.descriptions.items():
        console.print(f"  [bold]{name}[/bold]: {description}", highlight=False)
    console.print()
    console.print(findings_table(report.findings))
    console.print(swap_table(report.findings))
    console.print(naming_table(report.findings))
    for sentence in readings(report.findings):
        console.print(f"* {sentence}", highlight=False)
    written = ", ".join(str(path) for path in report.files)
    console.print(f"\nWritten in {report.seconds:.0f} s: {written}", highlight=False)


def _head_facts(
    name: str,
    model: SceneClassifier,
    sing: SING,
    scenes: Scenes,
    features: Tensor,
    embeddings: Tensor,
) -> HeadFacts:
    space = NullSpace.from_layer(model.head)
    with torch.no_grad():
        received = model.neck(features)
        logits = model.head(received)
    drift = sing.verify(scenes.images[:_VERIFIED])
    return HeadFacts(
        name,
        CLASSIFIERS[name].description,
        space.rank,
        space.nullity,
        float((logits.argmax(dim=1) == scenes.labels["shape"]).double().mean()),
        float(drift.null.max()),
        float(drift.random.min()),
        sing.translator.evaluate(received, embeddings, space),
    )
