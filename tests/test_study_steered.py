"""The steered study: angles that are reached, texts that are approached, and what it costs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from study_toys import pictures, toy_extraction
from study_world import scenes_extraction

from captum_sing import LinearTranslator, NullSpace
from captum_sing.angles import angle, image_score
from captum_sing.controls import bootstrap_mean
from captum_sing.demo import load_concepts, load_encoder, load_translator
from captum_sing.errors import SINGValueError
from captum_sing.steering import steer
from captum_sing.study import steered


@pytest.fixture(scope="module")
def world() -> Any:
    extraction, _ = scenes_extraction(150, name="plain")
    bank = load_concepts(load_encoder())
    prompts = {word: bank.embeddings[bank.names.index(word)] for word in ("red", "star")}
    return extraction, load_translator("plain"), prompts


def test_numbers_are_those_of_a_slow_loop(world: Any) -> None:
    """One feature at a time, each measured as the paper does."""
    extraction, translator, prompts = world
    found = steered(extraction, translator, prompts, (15.0, 80.0), draws=200, seed=2)
    assert found[["prompt", "image_score"]].values.tolist() == [
        ["red", 15.0], ["red", 80.0], ["star", 15.0], ["star", 80.0],
    ]  # fmt: skip
    features = torch.cat([block.features for block in extraction.blocks()]).double()
    space = NullSpace.from_weight(extraction.head.weight(128))
    for row in found.to_dict("records"):
        text = prompts[row["prompt"]].double()
        scores, steps = [], []
        for f in features:
            moved = steer(f[None], text, row["image_score"], space, translator)[0]
            if moved.isnan().any():
                continue
            turned = image_score(translator(f[None]), translator(moved[None]))
            assert float(turned) == pytest.approx(row["image_score"], abs=1e-3)
            assert (extraction.head.weight(128).double() @ (moved - f)).abs().max() < 1e-4
            scores.append(float(angle(translator(f), text) - angle(translator(moved), text)))
            steps.append(float((moved - f).norm() / f.norm()))
        assert row["n"] == len(scores) and row["unreachable"] == len(features) - len(scores)
        wanted = bootstrap_mean(torch.tensor(scores).double(), draws=200, seed=2)
        assert row["attribute_score"] == pytest.approx(wanted.value, abs=1e-5)
        assert (row["low"], row["high"]) == pytest.approx(wanted.interval, abs=1e-5)
        ordered = torch.tensor(steps).double()
        assert row["step"] == pytest.approx(float(ordered.quantile(0.5)), rel=1e-6)
        assert row["step_high"] == pytest.approx(float(ordered.quantile(0.95)), rel=1e-6)
    near = found[found["image_score"] == 15.0]
    assert (near["attribute_score"] > 4).all() and (near["attribute_score"] <= 15).all()
    assert (near["unreachable"] == 0).all()


def test_what_cannot_be_reached_is_counted() -> None:
    """Of a null space of one direction, whose turn ends before 170 degrees."""
    extraction = toy_extraction(pictures(12))
    generator = torch.Generator().manual_seed(0)
    translator = LinearTranslator(
        torch.randn(5, 12, generator=generator), torch.zeros(12), torch.zeros(5)
    )
    text = {"a text": torch.randn(5, generator=generator)}
    found = steered(extraction, translator, text, [5.0, 179.9])
    assert found["unreachable"].tolist()[1] == 12 == found["n"][0] + found["unreachable"][0]
    last = found.iloc[1]
    assert last["n"] == 0 and all(math.isnan(last[key]) for key in ("attribute_score", "step"))


def test_the_translators_own_images_are_left_out(world: Any) -> None:
    extraction, translator, prompts = world
    features = torch.cat([block.features for block in extraction.blocks()])

    class Remembering(LinearTranslator):
        def knows(self, given: torch.Tensor) -> torch.Tensor:
            return (given[:, None].float() == features[None, :100]).all(dim=2).any(dim=1)

    known = Remembering(translator.weight, translator.origin, translator.image)
    assert steered(extraction, known, prompts, [15.0])["n"].tolist() == [50, 50]


@pytest.mark.parametrize(
    ("prompts", "scores", "message"),
    [
        ({}, [10.0], "one text or more, got .10.0. and 0 texts"),
        ({"red": torch.ones(64)}, [], "with one angle or more"),
        ({"red": torch.ones(64)}, [0.0], "above 0 and below 180 degrees"),
        ({"red": torch.ones(63)}, [10.0], r"of shape \(64,\), got 'red' of shape \(63,\)"),
        ({"red": torch.full((64,), math.nan)}, [10.0], "finite and of shape"),
    ],
)
def test_refuses(world: Any, prompts: Any, scores: Any, message: str) -> None:
    extraction, translator, _ = world
    with pytest.raises(SINGValueError, match=message):
        steered(extraction, translator, prompts, scores)


def test_repeated_images_count_once() -> None:
    picture = pictures(1)[0]
    extraction = toy_extraction([picture, picture, *pictures(2, 5)])
    translator = LinearTranslator(torch.eye(12)[:5], torch.zeros(12), torch.zeros(5))
    found = steered(extraction, translator, {"a text": torch.ones(5)}, [5.0])
    assert found["n"][0] + found["unreachable"][0] == 3
