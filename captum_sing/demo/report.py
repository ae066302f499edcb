"""The whole main job on the embedded world: run it, print it, write it down."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from torch import Tensor
from tqdm import tqdm

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
from captum_sing.descriptions import Descriptions
from captum_sing.devices import one_thread
from captum_sing.files import made, write_whole
from captum_sing.null_space import NullSpace
from captum_sing.quality import TranslatorReport
from captum_sing.sing import SING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TEST_SEEDS", "DemoReport", "HeadFacts", "print_report", "run_demo"]

TEST_SEEDS = (20261101, 20261102, 20261103)
COUNT = 2000
_WIDTH = 100  # of the text file
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
        truth (list of dict of str to str): the true words of the images that are described.
        heads (list of HeadFacts): one a classifier.
        findings (list of Finding): one a classifier, factor and seed of the test images.
        descriptions (dict of str to Descriptions): classifier -> the descriptions of those images.
        files (list of Path): what was written.
        seconds (float): wall time.
    """

    truth: list[dict[str, str]]
    heads: list[HeadFacts] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    descriptions: dict[str, Descriptions] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """All numbers, in the types that JSON holds."""
        words = {name: found.to_dicts() for name, found in self.descriptions.items()}
        return {
            "heads": [asdict(head) for head in self.heads],
            "planted_against_found": [
                {**asdict(finding), "agrees": finding.agrees} for finding in self.findings
            ],
            "images": [
                {"truth": truth, "descriptions": {name: found[i] for name, found in words.items()}}
                for i, truth in enumerate(self.truth)
            ],
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
    start, folder = time.perf_counter(), made(output)
    files = [folder / f"demo.{kind}" for kind in ("png", "txt", "json")]
    with one_thread():
        report, figure = _analyse(seeds, count, progress)
    write_whole(files[0], lambda path: figure.savefig(path, format="png", dpi=110))
    report = replace(report, files=files, seconds=time.perf_counter() - start)
    console = Console(record=True, width=_WIDTH, file=io.StringIO())
    print_report(report, console)
    texts = console.export_text(), json.dumps(report.to_dict(), indent=1, allow_nan=False)
    for file, text in zip(files[1:], texts, strict=True):
        write_whole(file, partial(Path.write_text, data=text, encoding="utf-8"))
    return report


def _analyse(seeds: Sequence[int], count: int, progress: bool) -> tuple[DemoReport, Figure]:
    encoder = load_encoder()
    concepts = load_concepts(encoder)
    tests = {seed: sample_scenes(count, seed) for seed in seeds}
    first = tests[seeds[0]]
    embeddings = encode_scenes(encoder, first.images)
    examples = example_scenes()
    report = DemoReport(truth=[examples.words(i) for i in range(len(examples))])
    shown: dict[str, SING] = {}
    features: dict[tuple[str, int], Tensor] = {}  # necks share a backbone's
    for name, about in tqdm(CLASSIFIERS.items(), "classifiers", disable=None if progress else True):
        model = load_classifier(name)
        sing = SING(model, "head", load_translator(name), concepts)
        backbone = about.architecture if about.necked else name
        for seed in seeds if about.necked else seeds[:1]:
            if (backbone, seed) not in features:
                features[backbone, seed] = backbone_features(model, tests[seed].images)
            report.findings.extend(
                find_planted(
                    SING(Tail(model), "head", sing.translator, concepts),
                    features[backbone, seed],
                    tests[seed].labels,
                    classifier=name,
                    planted=about.planted,
                    seed=seed,
                )
            )
        facts = _head_facts(name, model, sing, first, features[backbone, seeds[0]], embeddings)
        report.heads.append(facts)
        report.descriptions[name] = sing.attribute(examples.images, top_k=3).descriptions
        if name in FIGURED:
            shown[name] = sing
    return report, demo_figure(shown, examples, load_decoder(), first.images, embeddings)


def print_report(report: DemoReport, console: Console | None = None) -> None:
    """Print a report: heads, one image in words, planted against found, and how to read it.

    Args:
        report (DemoReport): of :func:`run_demo`.
        console (rich.console.Console, optional): where to. Default: the terminal
    """
    console = console or Console()
    console.print(heads_table(report.heads))
    for i, truth in enumerate(report.truth):
        console.print(f"\nImage {i + 1} ({', '.join(truth.values())}):")
        for name in FIGURED:
            text = f"  [bold]{name}[/bold]: {report.descriptions[name][i]}"
            console.print(text, highlight=False)
    console.print(
        "\nWords are ranked here, not tested: of neck_none, which ignores none of these factors, "
        "noise is named.\n",
        highlight=False,
    )
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
