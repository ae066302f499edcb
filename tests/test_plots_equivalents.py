"""Figures of pictures: each in its place, with what is said of it beneath."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import to_pil_image

from captum_sing import SING, NullSpace, load_classifier
from captum_sing.demo import load_demo, sample_scenes
from captum_sing.demo.renderer import SceneRenderer
from captum_sing.errors import SINGTypeError, SINGValueError
from captum_sing.plots import plot_equivalents, plot_natural_equivalents
from captum_sing.render import RenderedEquivalents, natural_equivalents, render_equivalents

PHOTOGRAPHS = [to_pil_image(image) for image in sample_scenes(4, seed=3).images]


@pytest.fixture(scope="module")
def rendered() -> RenderedEquivalents:
    loaded = load_classifier("demo/resnet/neck_color")
    _, translator, concepts, _ = load_demo("resnet/neck_color")
    changes = {"mean": {"baselines": "mean"}, "red": {"prompt": "red", "image_score": 10.0}}
    return render_equivalents(
        SING(loaded.model, "head", translator, concepts), SceneRenderer(), PHOTOGRAPHS, changes,
        preprocess=loaded.preprocess,
    )  # fmt: skip


def shown(axes) -> np.ndarray:
    values = np.asarray(axes.images[0].get_array(), dtype=float)
    return values / 255 if values.max() > 1 else values


def test_rows_columns_and_captions(rendered: RenderedEquivalents) -> None:
    names = ["a long name of a photograph number 1.png", "a long name of a photograph number 2.png"]
    figure = plot_equivalents(rendered, [f"kind {k}" for k in range(8)], names * 2)
    axes = np.array(figure.axes).reshape(4, 4)
    assert [one.get_title() for one in axes[0]] == [
        "photograph",
        "rendered\noriginal",
        "mean",
        "red",
    ]
    for place, photograph in enumerate(PHOTOGRAPHS):
        np.testing.assert_allclose(shown(axes[place, 0]), np.asarray(photograph) / 255, atol=1e-6)
        for number, drawn in enumerate([rendered.original, *rendered.equivalents.values()]):
            here = axes[place, number + 1]
            picture = np.asarray(drawn.pictures[place]) / 255
            np.testing.assert_allclose(shown(here), picture, atol=1e-6)
            found, said = drawn.check, here.get_xlabel()
            assert said.startswith(f"kind {int(found.prediction[place])} ")
            assert f"gap {float(found.gap[place]):.1%}" in said
            if drawn.verdicts is not None:
                assert f"{drawn.verdicts[place]}, gap" in said
                assert f"change made {float(drawn.change[place]):.0%}" in said
                assert f"IS {float(drawn.descriptions.image_score[place]):.1f}°" in said
    assert "a long name" in axes[3, 0].get_ylabel()


def test_the_first_alone(rendered: RenderedEquivalents) -> None:
    assert len(plot_equivalents(rendered, most=2).axes) == 8
    assert "class " in plot_equivalents(rendered, most=1).axes[0].get_xlabel()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"rendered": 3}, SINGTypeError, "to be RenderedEquivalents, got int"),
        ({"class_names": ["a"]}, SINGValueError, "class_names 8 of them, got 1"),
        ({"names": ["a"]}, SINGValueError, "names 4 of them, got 1"),
        ({"most": 0}, SINGValueError, "most of at least 1, got 0"),
    ],
)
def test_what_cannot_be_drawn(
    rendered: RenderedEquivalents, given: dict, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        plot_equivalents(**{"rendered": rendered, **given})


@pytest.fixture(scope="module")
def found() -> tuple:
    model = load_demo("resnet/neck_color")[0]
    scenes = sample_scenes(200, seed=5).images
    with torch.no_grad():
        features = model.features(scenes)
    space = NullSpace.from_layer(model.head)
    return scenes, natural_equivalents(features, space, logits=model.head(features), pairs=4)


class TestPairs:
    @pytest.mark.parametrize("callable_", [False, True])
    def test_each_pair_is_a_column(self, found, callable_: bool) -> None:
        scenes, result = found
        load = (lambda row: scenes[row]) if callable_ else list(scenes)
        figure = plot_natural_equivalents(result.found, load, most=3)
        axes = np.array(figure.axes).reshape(2, 3)
        for place, pair in enumerate(result.found.images[:3].tolist()):
            for line, row in enumerate(pair):
                picture = scenes[row].permute(1, 2, 0).numpy()
                np.testing.assert_allclose(shown(axes[line, place]), picture, atol=1 / 255)
            seen, ignored = float(result.found.seen[place]), float(result.found.ignored[place])
            said = axes[1, place].get_xlabel()
            assert f"seen {seen:.2f}, ignored {ignored:.2f}" in said and "IS" not in said

    def test_what_cannot_be_drawn(self, found) -> None:
        scenes, result = found
        with pytest.raises(SINGTypeError, match="to be Pairs, got NaturalEquivalents"):
            plot_natural_equivalents(result, list(scenes))
        with pytest.raises(SINGValueError, match="with one or more to draw, got 0, most=6"):
            plot_natural_equivalents(result.found[:0], list(scenes))
