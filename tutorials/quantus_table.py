"""Prints one table of six Quantus metrics over maps of ignored content and of classes.

``python tutorials/quantus_table.py`` evaluates Captum's IntegratedGradients of the ignored evidence
of each object's own colour, of the logit of its shape, and of controls: another colour or shape,
and three maps that know no weight (edges, brightness, noise). Every number is a mean over images
of the embedded world that no translator was fitted on, with the 95 % interval of a bootstrap.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import quantus  # pip install 'captum-sing[quantus]'
import torch
from torch import nn

from captum_sing import SING
from captum_sing.controls.bootstrap import bootstrap_mean
from captum_sing.demo import FACTORS, load_demo, sample_scenes
from captum_sing.devices import one_thread
from captum_sing.errors import SINGError
from captum_sing.integrations.quantus import explain

CLASSIFIERS = ("resnet/neck_color", "plain")
FRESH = 10_000_000  # no image of the translators' has a seed from here on
FAILS_FROM = 0.9  # a map this similar after all weights are randomised has not changed
SIGNED, UNSIGNED = "MPRT, signed", "MPRT, absolute"  # the second still shows where images are dark
OF_OUTPUT = ("FaithfulnessCorrelation", "PixelFlipping")
METRICS = (
    f"{SIGNED}: head",
    f"{SIGNED}: all layers",
    f"{UNSIGNED}: all layers",
    "sanity check",
    "RandomLogit",
    "MaxSensitivity",
    "Sparseness",
    *(f"{name}{what}" for name in OF_OUTPUT for what in ("", ": own minus this")),
)


def edges(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
    from scipy.ndimage import gaussian_gradient_magnitude

    return gaussian_gradient_magnitude(brightness(model, inputs, targets), (0, 0, 1, 1))


def brightness(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
    return inputs.mean(axis=1, keepdims=True)


def noise(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(inputs[:, :1].shape)


WEIGHTLESS = (edges, brightness, noise)


class Output(NamedTuple):
    """One output an image: the evidence of its colour, or the logit of its shape."""

    name: str
    factor: str
    model: nn.Module
    targets: np.ndarray
    others: np.ndarray  # another word or class of each image


class Bench:
    """Quantus's metrics on one set of images, the same noise and pixels for every map."""

    def __init__(self, images: np.ndarray, seed: int, steps: int, samples: int) -> None:
        self.images, self.seed, self.samples = images, seed, samples
        self.integrated = {"n_steps": steps, "internal_batch_size": 64}

    def __call__(self, metric: Any, output: Output, **given: Any) -> np.ndarray:
        if "explain_func" in given:  # Quantus writes to the options
            options = self.integrated if given["explain_func"] is explain else {}
            given["explain_func_kwargs"] = dict(options)
        np.random.seed(self.seed)  # Quantus draws from the global generator
        return metric(
            model=output.model,
            x_batch=self.images,
            y_batch=output.targets,
            batch_size=len(self.images),
            channel_first=True,
            softmax=False,
            device="cpu",
            **given,
        )

    def of_map(self, explain_func: Any, output: Output) -> dict[str, np.ndarray]:
        """What is asked of a map alone: metric -> one number an image."""
        quiet = {"disable_warnings": True, "normalise_func_kwargs": {"normalise_axes": [1, 2, 3]}}
        metrics: dict[str, Any] = {
            "RandomLogit": quantus.RandomLogit(
                num_classes=len(FACTORS[output.factor]), seed=self.seed, **quiet
            ),
            "MaxSensitivity": quantus.MaxSensitivity(
                nr_samples=self.samples, lower_bound=0.05, **quiet
            ),
            "Sparseness": quantus.Sparseness(**quiet),
        }
        given = {"explain_func": explain_func}
        scores = {name: np.array(self(one, output, **given)) for name, one in metrics.items()}
        signed = quantus.MPRT(abs=False, seed=self.seed, **quiet)
        unsigned = quantus.MPRT(abs=True, skip_layers=True, seed=self.seed, **quiet)
        for name, metric in ((SIGNED, signed), (UNSIGNED, unsigned)):
            layers = self(metric, output, **given)
            layers["all layers"] = list(layers.values())[-1]
            for layer, similarity in layers.items():
                scores[f"{name}: {layer.removeprefix('model.')}"] = np.array(similarity)
        return scores

    def of_output(self, maps: np.ndarray, output: Output) -> dict[str, np.ndarray]:
        """What is asked of a map *about* an output.

        PixelFlipping is the mean fall of the output while pixels go black, the map's highest first,
        in standard deviations of the output over the images.
        """
        given = {"disable_warnings": True, "return_aggregate": False}
        correlation = quantus.FaithfulnessCorrelation(nr_runs=100, subset_size=512, **given)
        flipping = quantus.PixelFlipping(features_in_step=256, **given)
        curves = np.array(self(flipping, output, a_batch=maps))
        with torch.no_grad():
            values = output.model(torch.from_numpy(self.images)).numpy()
        start = values[np.arange(len(values)), output.targets]
        return {
            "FaithfulnessCorrelation": np.array(self(correlation, output, a_batch=maps)),
            "PixelFlipping": (start - curves.mean(axis=1)) / values.std(axis=0).mean(),
        }


def outputs_of(name: str, count: int, seed: int) -> tuple[np.ndarray, list[Output]]:
    """Images, and what is explained: the ignored evidence of a colour, the logit of a shape."""
    classifier, translator, concepts, _ = load_demo(name)
    scenes = sample_scenes(count, FRESH + seed)
    score = SING(classifier, "head", translator, concepts).score("ignored", FACTORS["color"])
    draws = np.random.default_rng(seed)
    outputs = []
    for what, model, factor in (
        ("ignored evidence", score, "color"),
        ("class logit", classifier, "shape"),
    ):
        own, number = scenes.labels[factor].numpy(), len(FACTORS[factor])
        others = (own + draws.integers(1, number, size=count)) % number
        outputs.append(Output(what, factor, model.eval(), own, others))
    return scenes.images.numpy(), outputs


def rows_of(name: str, count: int, seed: int, bench: dict[str, int]) -> list[dict[str, Any]]:
    """All rows of one classifier, a metric each."""
    images, outputs = outputs_of(name, count, seed)
    measure = Bench(images, seed, **bench)
    own = [explain(out.model, images, out.targets, **measure.integrated) for out in outputs]
    found: dict[tuple[str, str, str], dict[str, np.ndarray]] = {}
    for output, mine, cross in zip(outputs, own, own[::-1], strict=True):
        ignored = output is outputs[0]
        about = measure.of_output(mine, output)
        found[f"own {output.factor}", output.name, "meaningful"] = (
            measure.of_map(explain, output) | about
        )
        theirs = explain(output.model, images, output.others, **measure.integrated)
        others = {
            f"another {output.factor}": ("control", theirs, {}),
            f"own {outputs[ignored].factor}": (
                "control" if ignored else "not meaningful",
                cross,
                {},
            ),
        }
        for free in WEIGHTLESS:
            alone = measure.of_map(free, output) if ignored else {}
            others[f"{free.__name__}, no weights"] = (
                "control",
                free(output.model, images, output.targets),
                alone,
            )
        for what, (reading, maps, alone) in others.items():
            scores = measure.of_output(maps, output)
            gains = {f"{name}: own minus this": about[name] - scores[name] for name in scores}
            found[what, output.name, reading] = alone | scores | gains
    return [
        {"classifier": name, "map": key[0], "of": key[1], "reading": key[2], "metric": metric}
        | interval(values, seed)
        for key, scores in found.items()
        for metric, values in scores.items()
    ]


def interval(values: np.ndarray, seed: int) -> dict[str, Any]:
    result = bootstrap_mean(torch.from_numpy(np.asarray(values, dtype=np.float64)), seed=seed)
    low, high = result.interval or (float("nan"), float("nan"))
    return {"mean": result.value, "low": low, "high": high, "images": result.n}


def with_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """A row more for each map with an MPRT: whether it changes when all weights are randomised."""
    last = table[table.metric == f"{SIGNED}: all layers"]
    absolute = table[table.metric == f"{UNSIGNED}: all layers"]
    highest = np.maximum(last.high.to_numpy(), absolute.high.to_numpy())
    verdicts = last.assign(metric="sanity check", mean=np.nan, low=np.nan, high=np.nan)
    verdicts["verdict"] = np.where(highest < FAILS_FROM, "changes", "FAILS")
    verdicts.loc[np.isnan(highest), "verdict"] = "undefined"  # of constant maps
    return pd.concat([table, verdicts], ignore_index=True)


def markdown(table: pd.DataFrame) -> str:
    """A row a map, a column a metric; the single layers are in the CSV alone."""
    key = ["classifier", "map", "of", "reading"]
    numbers = [f"{m:.2f} [{a:.2f}, {b:.2f}]" for m, a, b in table[["mean", "low", "high"]].values]
    shown = table.assign(cell=table.verdict.where(table.verdict.notna(), numbers))
    cells = shown.pivot(index=key, columns="metric", values="cell").reindex(columns=METRICS)
    wide = table[key].drop_duplicates().merge(cells.reset_index(), on=key).fillna("")
    return wide.to_markdown(index=False) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=40, metavar="N")
    parser.add_argument("--steps", type=int, default=16, metavar="N", help="of the integral")
    parser.add_argument("--samples", type=int, default=10, metavar="N", help="of MaxSensitivity")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything")
    parser.add_argument("--classifiers", nargs="+", default=CLASSIFIERS, metavar="NAME")
    parser.add_argument(
        "--output", type=Path, metavar="PATH", help="for PATH.csv and PATH.md (default: none)"
    )
    options = parser.parse_args(arguments)
    if options.images < 2:
        parser.error("--images: an interval wants at least 2, a good one 30")
    bench = {"steps": options.steps, "samples": options.samples}
    try:
        with one_thread():
            rows = [
                row
                for name in options.classifiers
                for row in rows_of(name, options.images, options.seed, bench)
            ]
    except SINGError as error:
        parser.exit(2, f"{error}\n")
    table = with_verdicts(pd.DataFrame(rows))
    print(markdown(table))
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(f"{options.output}.csv", index=False)
        Path(f"{options.output}.md").write_text(markdown(table), encoding="utf-8")


if __name__ == "__main__":
    main()
