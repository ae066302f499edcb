"""Null axes: against a plain principal component analysis, and of a planted factor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from study_toys import pictures, toy_extraction, whole
from study_world import scenes_extraction
from test_study_scores import BANK, toy_translator

from captum_sing import NullSpace
from captum_sing.demo import load_concepts, load_encoder, load_translator
from captum_sing.errors import SINGValueError
from captum_sing.study import null_axes

HIDDEN = "color_hidden"


@pytest.fixture(scope="module")
def extraction() -> Any:
    return toy_extraction(pictures(50))


def test_are_principal_components_of_the_null_parts(extraction: Any) -> None:
    """By a singular value decomposition of all of them at once; blocks hold eight pictures."""
    features = whole(extraction).features.double()
    space = NullSpace.from_weight(extraction.head.weight())
    found = null_axes(extraction, toy_translator(), BANK, axes=4, images=3)
    parts = space.project(features)
    parts = parts - parts.mean(dim=0)
    _, sizes, components = torch.linalg.svd(parts, full_matrices=False)
    for i, axis in enumerate(found):
        assert abs(float(axis.direction @ components[i])) == pytest.approx(1, abs=1e-9)
        assert axis.spread == pytest.approx(float(sizes[i]) / 7, rel=1e-9)
        assert axis.share == pytest.approx(float(sizes[i] ** 2 / (sizes**2).sum()), rel=1e-9)
        places = (parts @ axis.direction / axis.spread).numpy()
        order = places.argsort()
        assert axis.low == tuple(extraction.names[row] for row in order[:3])
        assert axis.high == tuple(extraction.names[row] for row in order[:-4:-1])
        assert axis.low_mean == pytest.approx(places[order[:3]].mean(), rel=1e-9)
        assert axis.high_mean == pytest.approx(places[order[-3:]].mean(), rel=1e-9)
        weight = extraction.head.weight().double()
        assert (weight @ axis.direction).abs().max() < 1e-9
    assert len(found) == 4
    assert len(null_axes(extraction, toy_translator(), BANK, axes=99)) == space.nullity


def test_words_are_what_a_step_along_the_axis_adds(extraction: Any) -> None:
    translator = toy_translator()
    axis = null_axes(extraction, translator, BANK, axes=1, words=4)[0]
    assert {word for word, _ in axis.words} == set(BANK.names)
    sizes = [abs(added) for _, added in axis.words]
    assert sizes == sorted(sizes, reverse=True)
    step = translator(axis.direction * axis.spread) - translator(axis.direction * 0)
    for word, added in axis.words:
        direction = BANK.directions[BANK.indices([word])].double()
        wanted = float(direction @ step) / float(translator.spread(direction))
        assert added == pytest.approx(wanted, rel=1e-6)


def test_find_the_hidden_factor() -> None:
    """Of a model that was taught to hide colour from its head: its axes run between colours."""
    extraction, labels = scenes_extraction(400, name=HIDDEN)
    bank = load_concepts(load_encoder())
    color = dict(zip(extraction.names, labels["color"], strict=True))
    for axis in null_axes(extraction, load_translator(HIDDEN), bank, axes=2, words=3):
        assert {bank.group_of(word) for word, _ in axis.words} == {"color"}
        low, high = ({color[path] for path in end} for end in (axis.low, axis.high))
        assert not low & high and len(low | high) <= 4
        added = dict(axis.words)
        assert all(added.get(word, 1) > 0 for word in high)
        assert all(added.get(word, -1) < 0 for word in low)


def test_refuses(extraction: Any) -> None:
    for name in ("axes", "images", "words"):
        with pytest.raises(SINGValueError, match=f"expected {name} of at least 1, got 0"):
            null_axes(extraction, toy_translator(), BANK, **{name: 0})
    with pytest.raises(SINGValueError, match="of two images or more, got 1"):
        null_axes(toy_extraction(pictures(1)), toy_translator(), BANK)
