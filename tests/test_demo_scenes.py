"""The embedded world's pictures and words: drawn from known, independent factors."""

from __future__ import annotations

import math
import random
from itertools import combinations, product

import pytest
import torch

from captum_sing.demo import FACTORS, render_expected, sample_scenes
from captum_sing.demo.captions import PROMPTS, caption, captions, vocabulary
from captum_sing.errors import SINGNameError, SINGValueError

FRESH = 500


@pytest.fixture(scope="module")
def scenes():
    return sample_scenes(FRESH, seed=4711)


def certain(labels):
    return {f: torch.eye(len(words))[labels[f]] for f, words in FACTORS.items()}


# --- the generator -------------------------------------------------------------------------------


def test_same_seed_same_images_other_seed_other_images():
    first, again, other = sample_scenes(300, 1), sample_scenes(300, 1), sample_scenes(300, 2)
    assert torch.equal(first.images, again.images)
    assert all(torch.equal(first.labels[f], again.labels[f]) for f in FACTORS)
    assert not torch.equal(first.images, other.images)


def test_images_are_float32_in_the_unit_interval():
    images = sample_scenes(7, 3).images
    assert images.shape == (7, 3, 64, 64) and images.dtype == torch.float32
    assert 0.0 <= images.min() and images.max() <= 1.0


def test_no_word_belongs_to_two_factors():
    words = [word for values in FACTORS.values() for word in values]
    assert len(words) == len(set(words)) == 31


@pytest.mark.parametrize(("one", "other"), list(combinations(FACTORS, 2)))
def test_factors_are_uniform_and_independent(one, other):
    labels = sample_scenes(2000, 5).labels
    counts = torch.zeros(len(FACTORS[one]), len(FACTORS[other]))
    counts.index_put_((labels[one], labels[other]), torch.ones(2000), accumulate=True)
    expected = 2000 / counts.numel()
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    freedom = counts.numel() - 1
    assert abs(chi_squared - freedom) < 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("factor", FACTORS)
def test_every_label_changes_the_picture_and_nothing_else_does(factor):
    pictures = [
        sample_scenes(8, 11, labels={factor: value}) for value in range(len(FACTORS[factor]))
    ]
    for one, other in combinations(pictures, 2):
        difference = (one.images - other.images).abs().amax(dim=(1, 2, 3))
        assert (difference > 0.15).all()
        for unchanged in set(FACTORS) - {factor}:
            assert torch.equal(one.labels[unchanged], other.labels[unchanged])
    again = sample_scenes(8, 11, labels={factor: 0})
    assert torch.equal(pictures[0].images, again.images)


def test_expected_rendering_mixes_shapes_textures_and_colors_in_proportion():
    chances = {
        "shape": torch.tensor([[0.4, 0.0, 0.0, 0.6] + [0.0] * 4]),
        "texture": torch.tensor([[0.5, 0.0, 0.5, 0.0]]),
        "color": torch.tensor([[0.2] + [0.0] * 6 + [0.8]]),
    }
    known = {factor: torch.zeros(1, dtype=torch.long) for factor in FACTORS}
    slow = torch.zeros(1, 3, 64, 64)
    for kinds in product(*(range(chance.shape[1]) for chance in chances.values())):
        weight = math.prod(float(chances[f][0, k]) for f, k in zip(chances, kinds, strict=True))
        one = {factor: torch.tensor([kind]) for factor, kind in zip(chances, kinds, strict=True)}
        slow += weight * render_expected(certain(known | one))
    assert torch.allclose(render_expected(certain(known) | chances), slow, atol=1e-5)


def test_a_shape_of_unknown_size_and_place_stands_sharp_in_the_middle():
    known = certain({factor: torch.zeros(1, dtype=torch.long) for factor in FACTORS})
    unknown = known | {"position": torch.full((1, 5), 0.2), "size": torch.full((1, 2), 0.5)}
    drawn = render_expected(unknown)
    assert torch.allclose(drawn, drawn.flip(2), atol=1e-5)  # a circle in the middle
    red = (drawn[0, 0] > 0.45).sum()
    small, large = (
        (render_expected(known | {"size": torch.tensor([size])})[0, 0] > 0.45).sum()
        for size in ([1.0, 0.0], [0.0, 1.0])
    )
    assert small < red < large
    blurred = ((drawn[0, 0] > 0.2) & (drawn[0, 0] < 0.75)).sum()
    assert blurred < 0.2 * red


def test_expected_rendering_of_certain_labels_looks_like_the_scene(scenes):
    drawn = render_expected(certain(scenes.labels))
    own = (drawn - scenes.images).abs().mean()
    others = (drawn.roll(1, 0) - scenes.images).abs().mean()
    assert own < 0.3 * others


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"count": 0}, SINGValueError, r"count to be at least 1, got 0"),
        ({"labels": {"flavor": 0}}, SINGNameError, r"factors in \['shape'.*got 'flavor'"),
        ({"labels": {"color": 8}}, SINGValueError, r"labels\['color'\].*below 8.*values \[8\]"),
        ({"labels": {"color": torch.zeros(3)}}, SINGValueError, r"of shape \(4,\).*\(3,\)"),
    ],
)
def test_bad_requests_for_scenes(arguments, error, message):
    with pytest.raises(error, match=message):
        sample_scenes(**({"count": 4, "seed": 0} | arguments))


# --- the words -----------------------------------------------------------------------------------


def test_captions_say_what_is_true_in_known_words(scenes):
    rng = random.Random(0)
    known, every = set(vocabulary()), {w for values in FACTORS.values() for w in values}
    for index in range(FRESH):
        truth = scenes.words(index)
        said = caption(truth, rng).split()
        assert set(said) <= known
        assert set(said) & every <= set(truth.values())


def test_captions_leave_attributes_out_and_often_name_one_alone(scenes):
    labels = {f: label.tolist() for f, label in scenes.labels.items()}
    every = {w for values in FACTORS.values() for w in values}
    counts = [len(set(c.split()) & every) for c in captions(labels, random.Random(1))]
    assert set(counts) >= {1, 2, 3, 4, 5, 6}
    assert 0.1 < counts.count(1) / len(counts) < 0.5


def test_articles_agree():
    rng = random.Random(2)
    said = [caption(dict.fromkeys(FACTORS, "") | {"color": "orange"}, rng) for _ in range(200)]
    assert any("an orange shape" in text for text in said)
    assert not any("a orange" in text for text in said)


def test_prompts_use_known_words():
    words = {w for templates in PROMPTS.values() for t in templates for w in t.split()}
    assert words - {"{}"} <= set(vocabulary())
