"""Figures: the right pictures in the right places, bars as long as the evidence, all legible."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image

from captum_sing import ConceptBank, Descriptions
from captum_sing.descriptions import Evidence
from captum_sing.errors import SINGTypeError, SINGValueError
from captum_sing.visualization import visualize_descriptions, visualize_pictures

GROUPS = {"color": ("red", "green", "blue"), "place": ("a very long street in a city", "beach")}
NAMES = tuple(word for words in GROUPS.values() for word in words)


def drawn(figure):
    """Draw, so that everything has its place, without any window."""
    FigureCanvasAgg(figure).draw()
    return figure


def pixels(axes):
    return axes.images[0].get_array()


def picture(seed, size=(6, 8)):
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def descriptions():
    """Known evidence of three images; the second was used to fit the translator."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(5, 7, generator=generator), dim=1)
    ignored = torch.tensor(
        [[2.0, -1.0, 0.5, 0.1, -3.0], [1.0, 0.2, 0.3, 0.4, 0.5], [-1.0, -1.0, -1.0, -1.0, -1.0]]
    )
    seen = torch.tensor(
        [[1.0, 0.5, -0.5, 0.2, -1.0], [0.1, 0.1, 0.1, 0.1, 0.1], [-1.0, -1.0, -1.0, -1.0, -1.0]]
    )
    return Descriptions(
        ConceptBank(NAMES, embeddings, GROUPS),
        torch.tensor([12.34, 5.0, 1.0]),
        torch.zeros(3, 5),
        torch.tensor([0.25, 0.5, 0.75]),
        torch.tensor([False, True, False]),
        torch.ones(3),
        Evidence(
            seen, ignored, torch.zeros(3), torch.zeros(3, 5), torch.zeros(3, 5), torch.ones(3)
        ),
        top_k=2,
    )


class TestPictures:
    def test_each_picture_is_in_its_place_with_its_titles(self):
        pictures = [picture(seed) for seed in range(4)]
        figure = drawn(
            visualize_pictures(
                {"one": pictures[:2], "two": pictures[2:]},
                ["image", "equivalent"],
                captions={"two": ["red star", "blue star"]},
            )
        )
        for axes, expected in zip(figure.axes, pictures, strict=True):
            assert np.abs(pixels(axes) / 255 - expected.movedim(0, -1).numpy()).max() < 1 / 255
        assert [axes.get_ylabel() for axes in figure.axes] == ["one", "", "two", ""]
        assert [axes.get_title() for axes in figure.axes] == ["image", "equivalent", "", ""]
        assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "red star", "blue star"]

    def test_kinds_of_pictures_are_drawn_alike(self):
        array = (picture(0).movedim(0, -1).numpy() * 255).astype(np.uint8)
        kinds = [
            Image.fromarray(array),
            array,
            array / 255,
            torch.tensor(array / 255).movedim(2, 0),
        ]
        for axes in drawn(visualize_pictures({"": kinds})).axes:
            assert np.abs(pixels(axes).astype(float) - array).max() <= 1

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_plain_black_and_white_are_drawn(self, value):
        (axes,) = drawn(visualize_pictures({"": [torch.full((3, 4, 4), value)]})).axes
        assert (pixels(axes) == 255 * value).all()

    def test_a_missing_picture_leaves_its_place_empty(self):
        first, second = drawn(visualize_pictures({"": [None, picture(0)]})).axes
        assert not first.images and second.images

    def test_pyplot_knows_nothing_of_it(self):
        from matplotlib import pyplot

        before = pyplot.get_fignums()  # other tests may have left some
        drawn(visualize_pictures({"": [picture(0)]}))
        assert pyplot.get_fignums() == before

    def test_a_large_picture_is_drawn_small(self):
        image = Image.new("RGB", (3000, 1500))
        (axes,) = visualize_pictures({"": [image]}).axes
        assert pixels(axes).shape == (256, 512, 3)
        assert image.size == (3000, 1500)

    @pytest.mark.parametrize(
        ("rows", "columns", "captions"),
        [
            ({}, None, None),
            ({"a": []}, None, None),
            ({"a": [None], "b": [None, None]}, None, None),
            ({"a": [None]}, ["x", "y"], None),
            ({"a": [None]}, None, {"b": ["c"]}),
        ],
    )
    def test_rows_that_do_not_fit(self, rows, columns, captions):
        with pytest.raises(SINGValueError, match="expected rows, columns and captions of one len"):
            visualize_pictures(rows, columns, captions=captions)

    @pytest.mark.parametrize(
        ("wrong", "error", "message"),
        [
            ("a.png", SINGTypeError, "a PIL image, a tensor or an array, got str"),
            (torch.zeros(1, 4, 4), SINGValueError, r"three channels.*shape \(4, 4, 1\)"),
            (torch.full((3, 4, 4), -1.0), SINGValueError, r"values in \[0, 1\].*in \[-1, -1\]"),
            (torch.full((3, 4, 4), torch.nan), SINGValueError, r"in \[nan, nan\]"),
        ],
    )
    def test_what_is_no_picture(self, wrong, error, message):
        with pytest.raises(error, match=message):
            visualize_pictures({"": [wrong]})


def bars(axes):
    """word -> (ignored, seen) as drawn: start and length of its two bars."""
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(axes.patches) == 2 * len(labels)
    spans = [(patch.get_x(), patch.get_width()) for patch in axes.patches]
    return {label: (spans[2 * i], spans[2 * i + 1]) for i, label in enumerate(labels)}


class TestDescriptions:
    def test_bars_are_the_evidence_of_the_named_words(self, descriptions):
        figure = drawn(visualize_descriptions(descriptions))
        names = [f"{word} ({descriptions.concepts.group_of(word)})" for word in NAMES]
        found = bars(figure.axes[0])
        # ignored: red, blue; seen: red, green
        assert list(found) == [names[0], names[2], names[1]]
        assert found[names[0]] == ((0.0, 2.0), (2.0, 1.0))  # stacked
        assert found[names[2]] == ((0.0, 0.5), (0.0, -0.5))  # opposed
        marks = [line.get_xdata()[0] for line in figure.axes[0].lines[: len(found)]]
        assert marks == pytest.approx([3.0, 0.0, -0.5])

    def test_rows_share_one_scale_that_holds_every_bar(self, descriptions):
        figure = drawn(visualize_descriptions(descriptions))
        limits = {axes.get_xlim() for axes in figure.axes}
        assert len(limits) == 1
        low, high = limits.pop()
        for axes in figure.axes:
            for patch in axes.patches:
                ends = sorted((patch.get_x(), patch.get_x() + patch.get_width()))
                assert low <= ends[0] and ends[1] <= high

    def test_captions_say_energy_and_angle_and_when_nothing_is_claimed(self, descriptions):
        shown = [*descriptions, replace(descriptions[0], null_energy=math.nan)]
        captions = [axes.get_title() for axes in visualize_descriptions(shown).axes]
        assert captions[0] == "25% of the energy ignored, IS 12.3°"
        assert captions[1].endswith("nothing is claimed")
        assert captions[2].endswith("no word is named")
        assert captions[3] == "the feature is its own baseline, IS 12.3°"

    def test_pictures_and_titles_stand_beside_their_bars(self, descriptions):
        pictures = torch.stack([picture(seed) for seed in range(3)])
        figure = drawn(visualize_descriptions(descriptions, pictures, ["a", "b", "c"]))
        assert [axes.get_title() for axes in figure.axes[::2]] == ["a", "b", "c"]
        for axes, expected in zip(figure.axes[::2], pictures, strict=True):
            assert np.abs(pixels(axes) / 255 - expected.movedim(0, -1).numpy()).max() < 1 / 255

    def test_a_group_that_says_nothing_is_not_said(self, descriptions):
        ungrouped = replace(
            descriptions,
            concepts=ConceptBank(NAMES, descriptions.concepts.embeddings, {"words": NAMES}),
        )
        figure = drawn(visualize_descriptions(ungrouped))
        assert list(bars(figure.axes[0])) == [NAMES[0], NAMES[2], NAMES[1]]

    def test_titles_without_pictures_stand_above_the_captions(self, descriptions):
        figure = visualize_descriptions(descriptions[:1], titles=["a"])
        assert figure.axes[0].get_title().split("\n") == [
            "a",
            "25% of the energy ignored, IS 12.3°",
        ]

    def test_no_text_is_cut_off_or_covered(self, descriptions):
        titles = [
            "a",
            "b",
            "IMG_2026-01-01.jpeg\na very long name of a class that has many parts, 1.00",
        ]
        figure = drawn(visualize_descriptions(descriptions, torch.rand(3, 3, 9, 9), titles))
        width, height = figure.bbox.size
        for axes in figure.axes:
            box = axes.get_tightbbox(figure.canvas.get_renderer())
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        for left, axes in zip(figure.axes[::2], figure.axes[1::2], strict=True):
            assert left.get_tightbbox().x1 <= axes.get_tightbbox().x0 + 1
            boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
            assert all(low.y1 <= high.y0 + 1 for high, low in pairwise(boxes))

    def test_no_name_is_a_formula(self, descriptions):
        """Two $ are two $, in every text that comes from outside."""
        odd = "price_$5^^_and_$6.png"
        bank = ConceptBank(
            (odd, *NAMES[1:]),
            descriptions.concepts.embeddings,
            {"$a_$b^^": (odd, *NAMES[1:3]), "place": NAMES[3:]},
        )
        drawn(visualize_descriptions(replace(descriptions, concepts=bank), titles=[odd] * 3))
        drawn(visualize_pictures({odd: [picture(0)]}, [odd], captions={odd: [odd]}))

    def test_the_unit_is_said(self, descriptions):
        def label(descriptions):
            return "".join(axes.get_xlabel() for axes in visualize_descriptions(descriptions).axes)

        assert label(descriptions) == "evidence, in standard deviations of the reference images"
        common = replace(descriptions, evidence=descriptions.evidence._replace(unit="common sd"))
        assert "one standard deviation for all words" in label(common)

    def test_colors_differ_in_lightness(self, descriptions):
        handles = visualize_descriptions(descriptions).legends[0].get_patches()
        one, other = (np.dot(to_rgb(h.get_facecolor()), (0.2126, 0.7152, 0.0722)) for h in handles)
        assert abs(one - other) > 0.25

    def test_without_statistics_there_are_no_bars(self, descriptions):
        bare = Descriptions(
            descriptions.concepts,
            descriptions.image_score,
            descriptions.attribute_score,
            descriptions.null_energy,
            descriptions.in_sample,
            descriptions.step,
        )
        figure = drawn(visualize_descriptions(bare))
        assert not any(axes.patches for axes in figure.axes)
        assert figure.axes[0].get_title().endswith("for want of reference statistics")
        assert not figure.legends and not any(axes.get_xlabel() for axes in figure.axes)
        assert not any(axes.axison for axes in figure.axes)
        with_words = visualize_descriptions(descriptions)
        labelled = [axes for axes in with_words.axes if axes.get_xlabel()]
        assert with_words.legends and [axes.axison for axes in labelled] == [True]

    def test_numbers_that_do_not_fit(self, descriptions):
        with pytest.raises(SINGValueError, match="images one for each of 3 descriptions, got 2"):
            visualize_descriptions(descriptions, torch.rand(2, 3, 4, 4))
        with pytest.raises(SINGValueError, match="titles one for each of 3 descriptions, got 1"):
            visualize_descriptions(descriptions, titles=["a"])
        with pytest.raises(SINGValueError, match="at least one"):
            visualize_descriptions([])
