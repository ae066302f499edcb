"""Figures of several models, of null axes and of steering: what is drawn is what was found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from PIL import Image
from plot_world import (
    axes_labels,
    axes_of,
    compared,
    pictures_of,
    steered_table,
    verified,
    words_of,
)

from captum_sing.plots import (
    plot_forest,
    plot_logit_drift,
    plot_null_axes,
    plot_planted_against_found,
    plot_steered,
)
from captum_sing.plots.axes import average_picture
from captum_sing.plots.style import COLORS, GREY

KINDS = ("null", "random", "principal")


class TestDrift:
    def test_points_are_the_images_and_lines_their_medians(self) -> None:
        drifts = {"one": verified(30), "two": verified(50, seed=1)}
        figure = plot_logit_drift(drifts)
        (axes,) = figure.axes
        assert axes.get_xscale() == "log"
        assert axes_labels(axes) == ["one (n = 30)", "two (n = 50)"]
        places = [np.asarray(points.get_offsets()) for points in axes.collections]
        wanted = [getattr(drift, kind) for drift in drifts.values() for kind in KINDS]
        assert len(places) == 6
        for number, (points, drift) in enumerate(zip(places, wanted, strict=True)):
            assert sorted(points[:, 0]) == pytest.approx(sorted(drift.tolist()))
            assert abs(points[:, 1] - number // 3).max() < 0.5
            line = axes.lines[number]
            assert list(line.get_xdata()) == pytest.approx([np.median(drift)] * 2)
            assert f"{KINDS[number % 3]} {np.median(drift):.2g}" in words_of(figure)
        assert places[0][:, 1].max() < places[1][:, 1].min() < places[2][:, 1].min()

    def test_zeros_stand_apart_below_all_others(self) -> None:
        null = torch.tensor([0.0, 0.0, 0.0, 2e-7])
        figure = plot_logit_drift({"one": replace(verified(4), null=null)})
        (axes,) = figure.axes
        places = sorted(np.asarray(axes.collections[0].get_offsets())[:, 0])
        assert places == pytest.approx([1e-8] * 3 + [2e-7])
        assert "exactly 0" in words_of(figure) and "null 0" in words_of(figure)
        assert axes.lines[0].get_xdata()[0] == pytest.approx(1e-8)
        assert "exactly 0" not in words_of(plot_logit_drift({"one": verified(4)}))

    @pytest.mark.parametrize("value", [torch.nan, torch.inf])
    def test_undefined_drifts_are_left_out_and_counted(self, value: float) -> None:
        drift = verified(20)
        broken = replace(drift, random=torch.where(drift.random > 0.5, value, drift.random))
        figure = plot_logit_drift({"one": broken})
        kept = drift.random[drift.random <= 0.5]
        assert len(figure.axes[0].collections[1].get_offsets()) == len(kept)
        assert f"left out: {20 - len(kept)}" in words_of(figure)
        assert f"random {np.median(kept):.2g}" in words_of(figure)

    @pytest.mark.parametrize("value", [0.0, torch.nan])
    def test_nothing_else(self, value: float) -> None:
        same = torch.full((3,), value)
        figure = plot_logit_drift(
            {"one": replace(verified(3), null=same, random=same, principal=same)}
        )
        assert ("no image has a drift" in words_of(figure)) == (value != value)

    def test_many_images_are_drawn_in_part(self) -> None:
        figure = plot_logit_drift({"one": verified(1500)})
        assert len(figure.axes[0].collections[0].get_offsets()) == 1000
        assert "1,000 at most of 1,500 are drawn" in words_of(figure)


FOUND = pd.DataFrame(
    [[0.9, 0.1, np.nan], [0.5, -0.001, 0.3]], ["m", "n"], ["color", "size", "shape"]
)
PLANTED = pd.DataFrame(
    [[True, False, False], [None, True, False]], ["m", "n"], ["color", "size", "shape"]
)


def frames(axes: Any) -> list[tuple[int, int, bool]]:
    """Column and row of each mark, and whether it is hatched."""
    found = []
    for patch in axes.patches:
        if isinstance(patch, Rectangle):
            middle = patch.get_center()
            found.append((round(middle[0]), round(middle[1]), bool(patch.get_hatch())))
    return sorted(found)


class TestMatrix:
    def test_numbers_frames_and_hatching(self) -> None:
        figure = plot_planted_against_found(FOUND, PLANTED)
        axes = figure.axes[0]
        written = {text.get_position(): text.get_text() for text in axes.texts}
        assert written == {
            (0, 0): "0.90", (1, 0): "0.10", (2, 0): "no share",
            (0, 1): "0.50", (1, 1): "0.00", (2, 1): "0.30",
        }  # fmt: skip
        assert frames(axes) == [(0, 0, False), (0, 1, True), (1, 1, False)]
        assert axes_labels(axes) == ["m", "n"]
        assert [label.get_text() for label in axes.get_xticklabels()] == list(FOUND)
        assert axes.get_ylim() == (1.5, -0.5)
        assert "truth unknown" in words_of(figure)

    def test_colors_are_the_numbers(self) -> None:
        axes = plot_planted_against_found(FOUND, PLANTED).axes[0]
        cells = axes.collections[0]
        assert np.ma.filled(cells.get_array(), -9).ravel() == pytest.approx(
            [0.9, 0.1, -9, 0.5, -0.001, 0.3]
        )
        assert (cells.norm.vmin, cells.norm.vmax) == (0.0, 0.9)
        signed = plot_planted_against_found(FOUND - 0.5, PLANTED).axes[0].collections[0]
        assert signed.norm.vmin == -signed.norm.vmax and signed.cmap(0.5)[:3] > (0.9, 0.9, 0.9)

    def test_rows_may_come_in_another_order(self) -> None:
        other = PLANTED.loc[["n", "m"], ["shape", "color", "size"]]
        assert frames(plot_planted_against_found(FOUND, other).axes[0]) == [
            (0, 0, False), (0, 1, True), (1, 1, False)
        ]  # fmt: skip

    def test_stars(self) -> None:
        starred = PLANTED.astype(object).eq(True)
        axes = plot_planted_against_found(FOUND, PLANTED, starred=starred).axes[0]
        assert [t.get_text() for t in axes.texts if "*" in t.get_text()] == ["0.90 *", "0.00 *"]

    def test_no_number_at_all(self) -> None:
        figure = plot_planted_against_found(FOUND * np.nan, PLANTED)
        assert len(figure.axes) == 1 and words_of(figure).count("no share") == 7


class TestForest:
    def test_models_with_intervals_by_falling_value(self) -> None:
        found = compared()
        upper = plot_forest(found, "share of color").axes[0]
        rows = found.models[found.models["measure"] == "share of color"]
        rows = rows.sort_values("value", ascending=False).to_dict("records")
        assert (
            axes_labels(upper)
            == [row["model"] for row in rows]
            == ["model 2", "model 1", "model 0"]
        )
        for y, row in enumerate(rows):
            assert np.asarray(upper.collections[y].get_offsets())[0] == pytest.approx(
                (row["value"], y)
            )
            interval, chance = upper.lines[2 * y : 2 * y + 2]
            assert list(interval.get_xdata()) == [row["low"], row["high"]]
            assert list(chance.get_xdata()) == [0.25, 0.25]

    def test_ranked_pairs_are_in_color_and_turned(self) -> None:
        found = compared()
        figure = plot_forest(found, "share of color")
        lower = figure.axes[1]
        assert axes_labels(lower)[0] == "model 2 − model 0"
        assert set(axes_labels(lower)) == {f"{a} − {b}" for a, b in found.ranking("share of color")}
        pairs = found.pairs[found.pairs["measure"] == "share of color"]
        (row,) = pairs[(pairs["first"] == "model 0") & (pairs["second"] == "model 2")].to_dict(
            "records"
        )
        assert row["difference"] < 0
        assert list(lower.lines[0].get_xdata()) == [-row["high"], -row["low"]]
        assert np.asarray(lower.collections[0].get_offsets())[0, 0] == -row["difference"]
        assert {line.get_color() for line in lower.lines[:3]} == {COLORS[0]}
        assert "not ranked" not in words_of(figure)

    def test_other_pairs_are_grey_and_not_ranked(self) -> None:
        found = compared(2, seed=0)
        assert found.ranking("image_score") == []
        figure = plot_forest(found, "image_score")
        assert figure.axes[1].lines[0].get_color() == GREY
        assert ", not ranked" in words_of(figure) and "pair, not ranked" in words_of(figure)
        assert "Shares of the signal are what heads can be compared by" in words_of(figure)
        assert figure.axes[0].get_xlabel() == "mean image score IS, degrees"

    def test_what_has_no_number_says_why_and_stands_last(self) -> None:
        found = compared()
        models, pairs = found.models.copy(), found.pairs.copy()
        where = (models["measure"] == "share of color") & (models["model"] == "model 2")
        models.loc[where, ["value", "low", "high"]] = np.nan
        models.loc[where, "note"] = "no share: nothing is clear"
        mine = (pairs["measure"] == "share of color") & (pairs["second"] == "model 2")
        pairs.loc[mine, ["difference", "low", "high"]] = np.nan
        pairs.loc[mine, "exclude_zero"] = False
        pairs.loc[mine, "note"] = "no share: nothing is clear"
        figure = plot_forest(replace(found, models=models, pairs=pairs), "share of color")
        assert axes_labels(figure.axes[0]) == ["model 1", "model 0", "model 2"]
        assert axes_labels(figure.axes[1])[0] == "model 1 − model 0"
        assert words_of(figure).count("no share: nothing is clear") == 3


class TestNullAxes:
    def test_pictures_are_in_their_places(self) -> None:
        axes = axes_of(2, images=4)
        pictures = pictures_of(axes)
        figure = plot_null_axes(axes, pictures, images=2)
        grid = np.array(figure.axes, dtype=object).reshape(2, 7)
        for axis, line in zip(axes, grid, strict=True):
            shown = [float(np.asarray(place.images[0].get_array()).mean()) for place in line[:6]]
            low, high = ([pictures[path].mean() for path in end] for end in (axis.low, axis.high))
            wanted = [*low[:2], np.mean(low), np.mean(high), *high[:2]]
            assert shown == pytest.approx(wanted)
            assert line[6].texts[0].get_text() == "+1.25 red\n-0.50 blue"
            assert [line[2].get_xlabel(), line[3].get_xlabel()] == ["-2.0 sd", "+2.5 sd"]
        assert "axis 2 25% of variance" in words_of(figure)

    def test_missing_ones_leave_their_place_empty(self) -> None:
        axes = axes_of(1, images=3)
        pictures = pictures_of(axes)
        gone = pictures.pop(axes[0].low[2])
        figure = plot_null_axes(axes, pictures, images=3)
        assert [len(place.images) for place in figure.axes[:8]] == [1, 1, 0, 1, 1, 1, 1, 1]
        rest = np.mean([pictures[axes[0].low[0]], pictures[axes[0].low[1]]])
        assert figure.axes[3].images[0].get_array().mean() == pytest.approx(rest)
        assert gone.mean() != pytest.approx(rest)
        assert "missing: 1" in words_of(figure)
        assert not any(place.images for place in plot_null_axes(axes, {}).axes)

    def test_fewer_images_than_places(self) -> None:
        figure = plot_null_axes(axes_of(1, images=1), pictures_of(axes_of(1, images=1)), images=3)
        assert [len(place.images) for place in figure.axes[:8]] == [1, 0, 0, 1, 1, 1, 0, 0]

    def test_average_of_other_sizes_and_kinds(self) -> None:
        half = Image.new("RGB", (8, 4), (255, 255, 255))
        half.paste((0, 0, 0), (0, 0, 4, 4))
        black = torch.zeros(3, 16, 32)
        found = average_picture([half, None, black])
        assert found.shape == (4, 8, 3)
        assert found[:, :4] == pytest.approx(0) and found[:, 4:] == pytest.approx(0.5)
        wide = average_picture([black, half])
        assert wide.shape == (16, 32, 3) and wide.mean() == pytest.approx(0.25, abs=0.01)
        assert average_picture([None]) is None


class TestSteered:
    def test_lines_intervals_and_steps(self) -> None:
        table = steered_table()
        upper, middle, lower = plot_steered(table).axes
        diagonal, *lines = upper.lines
        assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 40]
        for number, prompt in enumerate(("red", "blue")):
            rows = table[table["prompt"] == prompt]
            assert list(lines[number].get_xdata()) == [10, 20, 40]
            assert list(lines[number].get_ydata()) == list(rows["attribute_score"])
            ends = np.array([part[:, 1] for part in upper.collections[number].get_segments()])
            assert ends == pytest.approx(rows[["low", "high"]].to_numpy())
            assert list(middle.lines[number].get_ydata()) == list(rows["step"])
            ends = np.array([part[:, 1] for part in middle.collections[number].get_segments()])
            assert ends == pytest.approx(rows[["step", "step_high"]].to_numpy())
            assert list(lower.lines[number].get_ydata()) == pytest.approx([0, 0, 10])
            assert to_rgba(lines[number].get_color()) == to_rgba(COLORS[number])
        assert middle.get_yscale() == "log" and "norm" in middle.get_ylabel()

    def test_where_all_arrive_there_is_no_third_panel(self) -> None:
        figure = plot_steered(steered_table(lost=0))
        assert len(figure.axes) == 2 and "unreachable" not in words_of(figure)

    def test_where_none_arrives(self) -> None:
        table = steered_table(("red",))
        table[["attribute_score", "low", "high", "step", "step_high"]] = np.nan
        table["n"], table["unreachable"] = 0, 50
        figure = plot_steered(table)
        figure.savefig("/dev/null", format="png")
        assert list(figure.axes[2].lines[0].get_ydata()) == [100, 100, 100]
        assert figure.axes[1].get_yscale() == "linear"
