"""The figure: the right maps in the right places, on one scale where there is one, all legible."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from matplotlib import pyplot
from plot_world import assert_legible, drawn, words_of
from toys import BANK, FITTED, IMAGES, normal, toy_sing

from captum_sing import SING
from captum_sing.attributions import AttributionComparison, compare_attributions
from captum_sing.errors import SINGNameError, SINGValueError

METHODS = {"IG": IntegratedGradients, "a $long$ name of a method, in two lines": Saliency}


def compared(**options: Any) -> AttributionComparison:
    options = {"methods": METHODS, "options": {"IG": {"n_steps": 4}}, **options}
    return compare_attributions(toy_sing(), IMAGES, **options)


@pytest.fixture(scope="module")
def comparison() -> AttributionComparison:
    return compared()


def parts(figure: Any) -> tuple[list[Any], list[Any]]:
    """Pictures and maps by row, and the bars."""
    places = [axes for axes in figure.axes if axes.images]
    bars = [axes for axes in figure.axes if not axes.images]
    return [places[i : i + 3] for i in range(0, len(places), 3)], bars


def test_maps_share_one_scale_in_standard_deviations(comparison: AttributionComparison) -> None:
    figure = drawn(comparison.figure([2, 0], list(METHODS)))
    rows, bars = parts(figure)
    assert len(rows) == len(bars) == 4
    for (_, *axes), bar, (image, method) in zip(rows, bars, product([2, 0], METHODS), strict=True):
        maps = comparison.maps[method]
        spread = float(comparison.spreads[image])
        wanted = [maps.target[image] / spread, maps.concept[image]]
        for place, one in zip(axes, wanted, strict=True):
            assert np.allclose(place.images[0].get_array(), one.numpy())
        (low, high), other = (place.images[0].get_clim() for place in axes)
        assert -low == high > 0 and other == (low, high)
        sizes = torch.stack(wanted).abs().double()
        assert high == sizes.flatten().sort().values[-2]  # of 128; 0.99 are within
        assert bar.get_ylabel() == "sd of the reference images"
    assert spread != 1


def test_titles_and_numbers_are_those_of_the_table(comparison: AttributionComparison) -> None:
    (axes,), _ = parts(comparison.figure(1, "IG", class_names=["ape", "bee", "cat", "$dog"]))
    row = comparison.table[(comparison.table["method"] == "IG")].iloc[1]
    name = ["ape", "bee", "cat", "$dog"][row["target"]]
    text = [f"{place.get_title()} {place.get_xlabel()}".replace("−", "-") for place in axes]
    assert f"IG, image 1 rank correlation: {row['magnitude_correlation']:.2f}" in text[0]
    assert f"({row['runner_up_overlap']:.2f})" in text[0]
    assert f"class {name}: logit {row['logit']:.1f}" in text[1]
    assert f"logit {row['target_logit_change']:+.2f} sd" in text[1]
    assert f"ignored {row['concept']}: {row['score']:.2f} sd" in text[2]
    assert f"{row['concept']} {row['concept_score_change']:+.2f} sd" in text[2]
    assert "without its top 10%" in text[2]


def test_other_units_have_scales_of_their_own() -> None:
    comparison = compared(kind="attribute_score", concept="red")
    figure = drawn(comparison.figure(0, "IG"))
    ((_, of_class, of_word),), bars = parts(figure)
    assert [bar.get_ylabel() for bar in bars] == ["of the logit", "degrees"]
    maps = comparison.maps["IG"]
    assert np.allclose(of_class.images[0].get_array(), maps.target[0].numpy())
    assert of_class.images[0].get_clim() != of_word.images[0].get_clim()
    assert "attribute score red" in words_of(figure) and "°" in words_of(figure)
    assert_legible(figure)


@pytest.mark.parametrize("kind", ["ignored", pytest.param("null_energy", marks=pytest.mark.slow)])
def test_all_is_legible(kind: str) -> None:
    pyplot.close("all")
    comparison = compared(kind=kind, top=0.33, removal="inpaint")
    assert_legible(comparison.figure(0))
    assert pyplot.get_fignums() == []
    assert len(parts(comparison.figure())[0]) == 8  # four images, two methods


def test_pictures(comparison: AttributionComparison) -> None:
    """Inputs are brought into [0, 1]; what is given instead is drawn as it is."""
    ((place, *_),), _ = parts(comparison.figure(0, "IG"))
    image = IMAGES[0].movedim(0, -1).numpy()
    wanted = (image - image.min()) / (image.max() - image.min())
    assert np.abs(place.images[0].get_array() / 255 - wanted).max() < 1 / 250
    pictures = [torch.rand(3, 20, 30) for _ in IMAGES]
    ((place, *_),), _ = parts(compared(pictures=pictures).figure(3, "IG"))
    shown = place.images[0].get_array() / 255
    assert np.abs(shown - pictures[3].movedim(0, -1).numpy()).max() < 1 / 250


def test_gray_and_flat_inputs() -> None:
    toy = toy_sing()
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1), toy.forward_func).eval()
    sing = SING(model, toy.forward_func.head, toy.translator, BANK)
    images = normal(2, 1, 8, 8, seed=0)
    images[1] = -3.0
    comparison = compare_attributions(sing, images, methods={"S": Saliency})
    rows, _ = parts(drawn(comparison.figure()))
    first, second = (row[0].images[0].get_array() for row in rows)
    assert (first[..., 0] == first[..., 2]).all() and first.min() == 0 and first.max() == 255
    assert (second == 127).all()


def test_refusals(comparison: AttributionComparison) -> None:
    for images in (5, [0, -6], [], ["0"]):
        with pytest.raises(SINGValueError, match="images from 0 to 4"):
            comparison.figure(images)
    for methods in ("Occlusion", []):
        with pytest.raises(SINGNameError, match=r"methods in \['IG'"):
            comparison.figure(0, methods)
    with pytest.raises(SINGValueError, match=r"class_names for class \d, got 0 names"):
        comparison.figure(0, class_names=[])
    assert "image 4" in words_of(comparison.figure(-1))


def test_long_names_are_cut_and_told_apart() -> None:
    """A name of one long token keeps its beginning."""
    figure = compared().figure(0, "IG", class_names=[f"LABEL_{i}_{'x' * 30}" for i in range(4)])
    target = int(compared().table["target"][0])
    titles = [axes.get_title() for axes in figure.axes]
    assert any(f"class LABEL_{target}_xxx" in title and "…" in title for title in titles)


def test_images_of_the_translator_claim_nothing() -> None:
    comparison = compare_attributions(toy_sing(), FITTED[:2], methods={"S": Saliency})
    said = [axes.get_xlabel() for axes in comparison.figure().axes]
    assert sum("nothing is claimed" in text for text in said) == 2
    assert (comparison.summary["note"] == "no held-out image").all()
