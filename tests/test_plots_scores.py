"""Figures of one study's scores: what is drawn is what the table says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection, PathCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Ellipse
from plot_world import WORDS, axes_labels, studied, words_of
from scipy.stats import chi2, t
from study_world import made_up

from captum_sing.plots import (
    plot_class_violins,
    plot_concept_arrows,
    plot_joint_scores,
    plot_seen_and_ignored,
)
from captum_sing.plots.joint import confidence_ellipse
from captum_sing.plots.style import COLORS, IGNORED, SEEN, short, written
from captum_sing.study import Study


def changed(study: Study, **columns: Any) -> Study:
    return Study(study.table.assign(**columns), study.facts)


def dots(axes: Any) -> list[np.ndarray[Any, Any]]:
    """The places of each group of points."""
    return [np.asarray(c.get_offsets()) for c in axes.collections if isinstance(c, PathCollection)]


class TestJoint:
    def test_points_are_the_held_out_images(self) -> None:
        study = studied(80, in_sample=10)
        middle, top, right = plot_joint_scores(study).axes
        (points,) = dots(middle)
        table = study.table.iloc[10:][["image_score", "attribute_score"]].to_numpy()
        assert sorted(map(tuple, points.tolist())) == sorted(map(tuple, table.tolist()))
        assert not top.get_yticks().size and not right.get_xticks().size

    def test_ellipse_is_of_the_covariance(self) -> None:
        """Of 95 % by the quantile of chi squared, and it holds about so many images."""
        random = np.random.default_rng(0)
        x = 30 + 4 * random.normal(size=2000)
        study = changed(
            studied(2000), image_score=x, attribute_score=random.normal(size=2000) - 0.5 * x
        )
        middle = plot_joint_scores(study).axes[0]
        (ellipse,) = [patch for patch in middle.patches if isinstance(patch, Ellipse)]
        points = study.table[["image_score", "attribute_score"]].to_numpy()
        covariance = np.cov(points.T)
        angle = math.radians(ellipse.angle)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        scale = np.diag([(ellipse.width / 2) ** 2, (ellipse.height / 2) ** 2])
        assert turn @ scale @ turn.T == pytest.approx(chi2.ppf(0.95, 2) * covariance)
        assert ellipse.center == pytest.approx(points.mean(axis=0))
        inside = ellipse.contains_points(middle.transData.transform(points))
        assert inside.mean() == pytest.approx(0.95, abs=0.015)

    def test_densities_are_of_all_images_and_have_area_one(self) -> None:
        study = studied(500)
        _, top, right = plot_joint_scores(study, points=50).axes
        for axes, name in ((top, "image_score"), (right, "attribute_score")):
            values, edges, _ = axes.patches[0].get_data()
            assert (values * np.diff(edges)).sum() == pytest.approx(1)
            counts, _ = np.histogram(study.table[name], edges)
            assert values == pytest.approx(counts / 500 / np.diff(edges))

    def test_a_few_are_drawn_by_seed_and_it_is_said(self) -> None:
        studies = [studied(500), studied(300, model="other")]
        figure = plot_joint_scores(studies, points=100)
        assert [len(points) for points in dots(figure.axes[0])] == [50, 50]
        assert "100 of 800 images are drawn" in words_of(figure)
        again, other = (plot_joint_scores(studies, points=100, seed=seed) for seed in (0, 1))
        assert np.array_equal(dots(again.axes[0])[0], dots(figure.axes[0])[0])
        assert not np.array_equal(dots(other.axes[0])[0], dots(figure.axes[0])[0])

    def test_lines_are_what_the_heads_size_gives(self) -> None:
        studies = [studied(20), studied(20, model="other")]
        studies[1].facts["isotropic_image_score"] = 44.0
        axes = plot_joint_scores(studies).axes[0]
        lines = [line for line in axes.lines if len(set(line.get_xdata())) == 1]
        assert [line.get_xdata()[0] for line in lines] == [30.0, 44.0]
        assert [line.get_color() for line in lines] == list(COLORS[:2])
        mean = plot_joint_scores(studies, "mean")
        assert "head's size" not in words_of(mean) and len(mean.axes[0].lines) == 1

    def test_another_baseline_has_other_scores(self) -> None:
        study = studied(40)
        points = dots(plot_joint_scores(study, "mean").axes[0])[0]
        assert sorted(points[:, 0]) == pytest.approx(sorted(study.table["mean_image_score"]))

    def test_without_words_of_labels_is_alone(self) -> None:
        study = changed(studied(60), attribute_score=np.nan)
        figure = plot_joint_scores(study)
        (axes,) = figure.axes
        assert len(axes.patches[0].get_data().values) and not dots(axes)
        assert "No AS: no image's label is one of the words." in words_of(figure)
        both = plot_joint_scores([study, studied(60, model="other")])
        assert len(dots(both.axes[0])) == 1 and len(both.axes[1].patches) == 4
        assert "No AS for made up" in words_of(both)

    def test_images_without_a_score_are_counted(self) -> None:
        study = studied(60)
        study.table.loc[:4, "attribute_score"] = np.nan
        figure = plot_joint_scores(study)
        assert len(dots(figure.axes[0])[0]) == 55 and "n = 55" in words_of(figure)
        assert "5 images without a score are left out" in words_of(figure)

    def test_no_ellipse_of_two_points_or_a_line(self) -> None:
        assert confidence_ellipse([0.0, 1.0], [0.0, 2.0]) is None
        assert confidence_ellipse([0.0, 1.0, 2.0], [0.0, 2.0, 4.0]) is None
        assert confidence_ellipse([1.0] * 5, [2.0] * 5) is None

    def test_says_that_angles_rank_no_models(self) -> None:
        assert "rank no models" in words_of(plot_joint_scores(studied(9)))


def violins(axes: Any) -> list[Any]:
    return [c for c in axes.collections if isinstance(c, FillBetweenPolyCollection)]


class TestViolins:
    def test_largest_classes_first_with_median_and_n(self) -> None:
        labels = ["small"] * 10 + ["large"] * 50 + ["middle"] * 30
        study = studied(90, labels=labels)
        (axes,) = plot_class_violins(study).axes
        assert axes_labels(axes) == ["large (n = 50)", "middle (n = 30)", "small (n = 10)"]
        assert len(violins(axes)) == 3
        for y, (name, points) in enumerate(
            zip(("large", "middle", "small"), dots(axes), strict=True)
        ):
            own = study.table[study.table["label"] == name]["image_score"]
            assert points[0] == pytest.approx((own.median(), y))
            outline = violins(axes)[y].get_paths()[0].vertices
            assert outline[:, 0].min() == pytest.approx(own.min())
            assert outline[:, 0].max() == pytest.approx(own.max())
            assert abs(outline[:, 1] - y).max() < 0.5
        low, high = axes.get_ylim()
        assert low > high  # the first is on top

    def test_is_widest_where_most_images_are(self) -> None:
        values = np.concatenate([np.linspace(0, 1, 10), np.linspace(8, 9, 90)])
        study = changed(studied(100, labels=["a"] * 100), image_score=values)
        outline = violins(plot_class_violins(study).axes[0])[0].get_paths()[0].vertices
        assert 8 < outline[outline[:, 1].argmax(), 0] < 9

    def test_one_or_two_images_and_equal_ones_are_points(self) -> None:
        study = studied(16, labels=["a"] * 8 + ["b"] * 2 + ["c"] + ["d"] * 5)
        study.table.loc[11:, "image_score"] = 25.0
        (axes,) = plot_class_violins(study).axes
        assert len(violins(axes)) == 1 and axes_labels(axes)[1] == "d (n = 5)"
        assert [len(points) for points in dots(axes)] == [1, 5, 2, 1]
        assert dots(axes)[2][:, 0] == pytest.approx(study.table["image_score"][8:10])

    def test_twenty_of_many_or_those_asked_for(self) -> None:
        labels = [f"{i % 30:02}" for i in range(90)]
        figure = plot_class_violins(studied(90, labels=labels))
        assert len(violins(figure.axes[0])) == 20
        assert "20 of 30 classes, the largest." in words_of(figure)
        asked = plot_class_violins(studied(90, labels=labels), classes=["29", "03"])
        assert axes_labels(asked.axes[0]) == ["29 (n = 3)", "03 (n = 3)"]
        assert "2 of 30 classes." in words_of(asked)

    def test_without_labels_is_one(self) -> None:
        figure = plot_class_violins(studied(50, labels=[None] * 50))
        assert axes_labels(figure.axes[0]) == ["all images (n = 50)"]

    def test_what_is_left_out_is_said(self) -> None:
        study = studied(40, labels=[None] * 5 + ["a"] * 35, in_sample=3)
        study.table.loc[10:13, "null_energy"] = np.nan
        figure = plot_class_violins(study, "null_energy")
        assert axes_labels(figure.axes[0]) == ["a (n = 31)"]
        assert figure.axes[0].get_xlabel() == "null energy, share of the feature's energy"
        assert "4 images without the score are left out. 2 images have no label." in words_of(
            figure
        )


class TestArrows:
    def test_go_from_the_mean_angle_by_the_mean_score(self) -> None:
        study = studied(50, in_sample=8)
        figure = plot_concept_arrows(study)
        (axes,) = figure.axes
        table = study.table.iloc[8:]
        assert axes_labels(axes) == list(WORDS)  # by falling AS: 3, 1, -1
        arrows = [text for text in axes.texts if text.arrow_patch is not None]
        for y, (word, arrow) in enumerate(zip(WORDS, arrows, strict=True)):
            start = table[f"angle_{word}"].mean()
            shift = table[f"attribute_score_{word}"].mean()
            assert arrow.xyann == pytest.approx((start, y))
            assert arrow.xy == pytest.approx((start - shift, y))
            color = COLORS[2] if shift > 0 else COLORS[1]
            assert arrow.arrow_patch.get_edgecolor() == to_rgba(color)
            assert f"AS {shift:+.1f}°" in words_of(figure)

    def test_intervals_are_students_of_the_shift(self) -> None:
        study = studied(30)
        (axes,) = plot_concept_arrows(study, ["blue"]).axes
        shifts = study.table["attribute_score_blue"]
        reach = t.ppf(0.975, 29) * shifts.std() / 30**0.5
        end = study.table["angle_blue"].mean() - shifts.mean()
        (bar,) = axes.containers[0].lines[2]
        assert bar.get_segments()[0][:, 0] == pytest.approx((end - reach, end + reach))

    def test_of_a_class(self) -> None:
        study = studied(50)
        figure = plot_concept_arrows(study, ["red"], "b")
        own = study.table[study.table["label"] == "b"]
        assert figure.axes[0].texts[0].xyann[0] == pytest.approx(own["angle_red"].mean())
        assert "made up, b (n = 25)" in words_of(figure)

    def test_words_without_angles_are_left_out(self) -> None:
        study = changed(studied(20), angle_green=np.nan)
        study.table.loc[3:, "angle_red"] = np.nan
        figure = plot_concept_arrows(study)
        assert axes_labels(figure.axes[0]) == ["red", "blue"]
        arrow = next(text for text in figure.axes[0].texts if text.arrow_patch is not None)
        assert arrow.xyann[0] == pytest.approx(study.table["angle_red"][:3].mean())
        assert "left out: 1" in words_of(figure)

    def test_those_that_move_most_of_many(self) -> None:
        words = [f"w{i}" for i in range(30)]
        study = made_up(20)
        for i, word in enumerate(words):
            study.table[f"angle_{word}"] = 60.0
            study.table[f"attribute_score_{word}"] = float(i - 15)
        study.facts["words"] = words
        figure = plot_concept_arrows(study)
        assert axes_labels(figure.axes[0])[0] == "w29" and axes_labels(figure.axes[0])[-1] == "w0"
        assert len(axes_labels(figure.axes[0])) == 24
        assert "w15" not in axes_labels(figure.axes[0]) and "left out: 6" in words_of(figure)
        assert len(axes_labels(plot_concept_arrows(study, words).axes[0])) == 30

    def test_says_that_angles_rank_nothing(self) -> None:
        text = words_of(plot_concept_arrows(studied(9)))
        assert "Angles rank nothing and are never starred" in text and "*" not in text


def lengths(axes: Any) -> list[tuple[float, str]]:
    """Each bar's length, and whether it is what is ignored or what is seen."""
    names = {to_rgba(IGNORED): "ignored", to_rgba(SEEN): "seen"}
    return [(patch.get_width(), names[patch.get_facecolor()]) for patch in axes.patches]


class TestSeenAndIgnored:
    def test_of_a_class_is_the_evidence_of_its_words(self) -> None:
        study = studied(200, signal=2.0, share=0.7)
        (axes,) = plot_seen_and_ignored(study, "a", top_k=2).axes
        words = study.words[study.words["level"] == "a"].sort_values("ignored", ascending=False)
        rows = words.to_dict("records")[:2]
        assert axes_labels(axes) == [f"{row['word']} (color)" for row in rows]
        wanted = [(row[kind], kind) for row in rows for kind in ("ignored", "seen")]
        assert lengths(axes) == wanted
        for line, row in zip(axes.lines, rows, strict=False):
            assert list(line.get_xdata()) == [row["low"], row["high"]]
        ignored, seen = axes.patches[:2]
        assert ignored.get_y() + ignored.get_height() == pytest.approx(seen.get_y())

    def test_of_the_model_is_the_share_beside_chance(self) -> None:
        study = studied(400, signal=3.0, share=0.8)
        figure = plot_seen_and_ignored(study)
        (row,) = study.groups[study.groups["level"] == "(model)"].to_dict("records")
        share = row["share"]
        assert 0.7 < share < 0.9
        assert lengths(figure.axes[0]) == [(share, "ignored"), (1 - share, "seen")]
        chance, interval = figure.axes[0].lines[:2]
        assert list(chance.get_xdata()) == [0.25, 0.25]
        assert list(interval.get_xdata()) == [row["share_low"], row["share_high"]]
        assert row["starred"] and f"ignored: {share:.2f} *" in words_of(figure)
        assert "* What is ignored points at the images' own words" in words_of(figure)

    def test_no_star_and_no_share_where_there_is_nothing(self) -> None:
        figure = plot_seen_and_ignored(studied(300))
        assert not figure.axes[0].patches and "*" not in words_of(figure)
        assert "no share" in words_of(figure)
        study = studied(400, signal=3.0, share=0.0, seed=1)
        protected = plot_seen_and_ignored(study)
        assert len(protected.axes[0].patches) == 2 and not study.groups["starred"].any()
        assert "*" not in words_of(protected)

    def test_one_image_has_no_interval(self) -> None:
        (axes,) = plot_seen_and_ignored(studied(3, labels=["a", "b", "b"]), "a").axes
        assert len(axes.patches) == 6 and all(np.isfinite([n for n, _ in lengths(axes)]))
        assert all(np.isnan(line.get_xdata()).all() for line in axes.lines[:3])

    def test_groups_that_are_asked_for(self) -> None:
        study = made_up(100, signal=3.0, facts={"groups": {"warm": ["red"], "cold": ["blue"]}})
        (axes,) = plot_seen_and_ignored(study, "a", ["cold"]).axes
        assert axes_labels(axes) == ["blue (cold)"]


def test_names_are_cut_and_numbers_have_no_negative_zero() -> None:
    assert short("a" * 60, 10) == "a" * 10 + "\n" + "a" * 9 + "…"
    assert short("word", 10) == "word" and short("", 10) == ""
    assert written(-0.004) == "0.00" and written(-0.006) == "-0.01"
