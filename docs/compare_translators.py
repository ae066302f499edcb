"""Prints the table of the translators page: ``python docs/compare_translators.py``.

Linear and nonlinear translators of two classifiers of the embedded world, on images of their own:
20,000 to fit, 4,000 to test, three seeds of images and initial weights.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from captum_sing import NullSpace, TranslatorFitter
from captum_sing.demo import encode_scenes, load_classifier, load_encoder, sample_scenes
from captum_sing.hooks import read_features
from captum_sing.nonlinear import KINDS
from captum_sing.nonlinear_fitter import fit_nonlinear
from captum_sing.quality import TranslatorReport
from captum_sing.translator_base import Translator

CLASSIFIERS = ("plain", "resnet/neck_color")
SEEDS = (101, 102, 103)
FIT, TEST = 20_000, 4_000


def fitted(kind: str, features: Tensor, embeddings: Tensor, seed: int) -> Translator:
    if kind == "linear":
        return TranslatorFitter("cv").update(features, embeddings).fit()
    return fit_nonlinear(features, embeddings, kind, hidden_dim=256, seed=seed)


def cell(values: list[float], digits: int) -> str:
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def row(name: str, reports: list[TranslatorReport], seconds: list[float]) -> str:
    parts = {"whole": [r.whole for r in reports], "null": [r.null for r in reports]}
    parts["principal"] = [r.principal for r in reports]
    whole = parts["whole"]
    cells = [
        cell([fit.cosine for fit in whole], 3),
        cell([fit.degrees for fit in whole], 1),
        *(cell([fit.r2 for fit in parts[part]], 3) for part in ("whole", "principal", "null")),
        f"{statistics.mean(seconds):.0f}",
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    encoder = load_encoder()
    reports: dict[tuple[str, str], list[TranslatorReport]] = {}
    seconds: dict[tuple[str, str], list[float]] = {}
    for seed in SEEDS:
        images = torch.cat([sample_scenes(n, seed * 10 + n % 7).images for n in (FIT, TEST)])
        embeddings = encode_scenes(encoder, images)
        for name in CLASSIFIERS:
            model = load_classifier(name)
            features = torch.cat(
                [read_features(model, model.head, batch) for batch in images.split(256)]
            )
            space = NullSpace.from_layer(model.head)
            for kind in ("linear", *KINDS):
                start = time.process_time()
                translator = fitted(kind, features[:FIT], embeddings[:FIT], seed)
                seconds.setdefault((name, kind), []).append(time.process_time() - start)
                report = translator.evaluate(features[FIT:], embeddings[FIT:], space)
                reports.setdefault((name, kind), []).append(report)
    for name in CLASSIFIERS:
        print(f"\n{name}\n\n| | cosine | degrees | R² | R², principal | R², null | CPU-seconds |")
        print("|---|---|---|---|---|---|---|")
        for kind in ("linear", *KINDS):
            print(row(kind, reports[name, kind], seconds[name, kind]))


if __name__ == "__main__":
    main()
