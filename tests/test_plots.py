"""All figures: unknown to pyplot, nothing cut off or covered, whatever the study; inputs stay."""

from __future__ import annotations

import functools
import json
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot
from matplotlib.figure import Figure
from plot_world import (
    assert_legible,
    axes_of,
    compared,
    pictures_of,
    steered_table,
    studied,
    verified,
    words_of,
)
from study_world import scenes_study

from captum_sing import plots
from captum_sing.errors import SINGNameError, SINGTypeError, SINGValueError
from captum_sing.study import Study

LONG = "great white shark, white shark, man-eater, Carcharodon carcharias $_$^^"
FRAME = pd.DataFrame([[0.5, np.nan], [1.0, -0.0]], ["m", "n"], ["color", "size"])
PLANTED = pd.DataFrame([[True, None], [False, True]], ["m", "n"], ["color", "size"])

CASES: dict[str, tuple[Any, ...]] = {
    "plot_joint_scores": ([studied(), studied(model="other", seed=1)],),
    "plot_class_violins": (studied(),),
    "plot_concept_arrows": (studied(),),
    "plot_logit_drift": ({"one": verified(), "two": verified(seed=1)},),
    "plot_planted_against_found": (FRAME, PLANTED),
    "plot_forest": (compared(), "share of color"),
    "plot_seen_and_ignored": (studied(signal=3.0), "a"),
    "plot_null_axes": (axes_of(), pictures_of(axes_of())),
    "plot_steered": (steered_table(),),
}
OF_STUDIES = [
    plots.plot_joint_scores,
    plots.plot_class_violins,
    plots.plot_concept_arrows,
    plots.plot_seen_and_ignored,
]


def told(value: Any) -> Any:
    """All that a value holds, to compare."""
    if isinstance(value, pd.DataFrame):
        return value.to_csv(), list(map(str, value.dtypes))
    if is_dataclass(value):
        return [told(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, dict):
        return {key: told(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [told(part) for part in value]
    return value.tolist() if isinstance(value, (torch.Tensor, np.ndarray)) else value


def test_the_table_is_whole() -> None:
    assert list(CASES) == [name for name in CASES if name in plots.__all__]
    of_pictures = {"plot_equivalents", "plot_natural_equivalents"}  # test_plots_equivalents.py
    assert sorted({*CASES, *of_pictures}) == plots.__all__ == sorted(plots.__all__)


@pytest.mark.parametrize("name", CASES)
class TestEach:
    def test_is_a_figure_that_pyplot_does_not_know(self, name: str) -> None:
        pyplot.close("all")
        figure = getattr(plots, name)(*CASES[name])
        assert isinstance(figure, Figure) and pyplot.get_fignums() == []

    def test_is_saved_and_legible_and_leaves_its_inputs_alone(
        self, name: str, tmp_path: Any
    ) -> None:
        before = json.dumps(told(CASES[name]), default=str)
        figure = getattr(plots, name)(*CASES[name])
        assert_legible(figure)
        for kind in ("png", "pdf"):
            figure.savefig(tmp_path / f"figure.{kind}")
            assert (tmp_path / f"figure.{kind}").stat().st_size > 5000
        assert json.dumps(told(CASES[name]), default=str) == before


@pytest.fixture(scope="module")
def scenes() -> Study:
    return scenes_study(120)


@pytest.mark.parametrize("plot", OF_STUDIES)
def test_real_studies_are_legible(plot: Any, scenes: Study) -> None:
    assert_legible(plot(scenes))
    if plot in OF_STUDIES[2:]:
        assert_legible(plot(scenes, level="star"))


@functools.cache
def odd_studies() -> dict[str, Study]:
    names = [f"{i} {LONG}" for i in range(100)]
    unscored = studied()
    numbers = unscored.table.select_dtypes("floating").columns
    return {
        "one image": studied(1, labels=["a"]),
        "one class": studied(30, labels=["a"] * 30),
        "long names": studied(200, labels=[names[i % 100] for i in range(200)], model=LONG),
        "no labels": studied(60, labels=[None] * 60),
        "all of them fitted on": studied(40, in_sample=40),
        "no numbers": Study(
            unscored.table.assign(**dict.fromkeys(numbers, np.nan)), unscored.facts
        ),
        "one number": Study(unscored.table.assign(**dict.fromkeys(numbers, 1.0)), unscored.facts),
    }


@pytest.mark.parametrize("kind", list(odd_studies()))
@pytest.mark.parametrize("plot", OF_STUDIES)
def test_odd_studies_are_drawn(plot: Any, kind: str) -> None:
    study = odd_studies()[kind]
    refused = {"all of them fitted on": "none among 0 held-out", "no numbers": "evidence finite"}
    if plot is plots.plot_seen_and_ignored and kind in refused:
        with pytest.raises(SINGValueError, match=refused[kind]):
            plot(study)
        return
    assert_legible(plot(study))
    if kind == "long names":
        level = study.table["label"].cat.categories[0]
        if plot in OF_STUDIES[2:]:
            assert_legible(plot(study, level=level))


@pytest.mark.slow
def test_long_names_are_drawn_everywhere() -> None:
    names = [f"{i} {LONG}" for i in range(8)]
    frame = pd.DataFrame(np.eye(8), names, names)
    assert_legible(plots.plot_planted_against_found(frame, frame == 1, LONG, starred=frame == 1))
    assert_legible(plots.plot_logit_drift({name: verified(3) for name in names}))
    assert_legible(plots.plot_steered(steered_table(tuple(names))))
    assert_legible(plots.plot_joint_scores([studied(model=name) for name in names]))
    axes = [replace(axis, words=((LONG, 1.0),) * 9) for axis in axes_of(3)]
    assert_legible(plots.plot_null_axes(axes, pictures_of(axes), images=9))
    found = compared()
    renamed = {f"model {i}": names[i] for i in range(3)}
    found = replace(found, models=found.models.replace(renamed), pairs=found.pairs.replace(renamed))
    assert_legible(plots.plot_forest(found, "image_score"))


def test_dollars_are_no_formula() -> None:
    """A stray $ would stop the drawing, or set what follows in italics."""
    figure = plots.plot_class_violins(studied(8, labels=["$\\x$", "a"] * 4, model="$\\y$"))
    assert_legible(figure)
    assert "$\\x$ (n = 4)" in words_of(figure) and "$\\y$" in words_of(figure)


class TestRefusals:
    @pytest.mark.parametrize("plot", OF_STUDIES)
    def test_no_study(self, plot: Any) -> None:
        with pytest.raises(SINGTypeError, match="study to be a Study, got int. Make one with run"):
            plot([3] if plot is plots.plot_joint_scores else 3)

    @pytest.mark.parametrize("plot", OF_STUDIES[:2])
    def test_no_such_baseline(self, plot: Any) -> None:
        with pytest.raises(SINGValueError, match=r"baseline in \['none', 'mean'\], got 'swap'"):
            plot(studied(), baseline="swap")

    @pytest.mark.parametrize("plot", OF_STUDIES[2:])
    def test_no_such_level(self, plot: Any) -> None:
        with pytest.raises(SINGNameError, match=r"level among \['\(model\)', 'a', 'b'\], got \['c"):
            plot(studied(), level="c")

    def test_no_such_class_word_group_or_measure(self) -> None:
        with pytest.raises(SINGNameError, match=r"classes among \['a', 'b'\], got \['c'\]"):
            plots.plot_class_violins(studied(), classes=["a", "c"])
        with pytest.raises(SINGNameError, match=r"words among \['red', 'green', 'blue'\], got"):
            plots.plot_concept_arrows(studied(), ["pink"])
        with pytest.raises(SINGNameError, match=r"groups among \['color'\], got \['size'\]"):
            plots.plot_seen_and_ignored(studied(), groups=["size"])
        many = studied(60, labels=[f"{i:02}" for i in range(60)])
        with pytest.raises(SINGNameError, match="'19'] and others, got"):
            plots.plot_class_violins(many, classes=["x"])
        with pytest.raises(SINGValueError, match=r"measure in \['image_score', .*\], got 'size'"):
            plots.plot_class_violins(studied(), "size")

    def test_nothing_to_draw(self) -> None:
        with pytest.raises(SINGValueError, match="studies of one or more, got 0"):
            plots.plot_joint_scores([])
        with pytest.raises(SINGValueError, match="drifts of one model or more, got 0"):
            plots.plot_logit_drift({})
        with pytest.raises(SINGValueError, match="axes of one or more, got 0"):
            plots.plot_null_axes([], {})
        with pytest.raises(SINGValueError, match="images of one or more, got 0"):
            plots.plot_null_axes(axes_of(), {}, images=0)
        with pytest.raises(SINGValueError, match="top_k of at least 1, got 0"):
            plots.plot_seen_and_ignored(studied(), "a", top_k=0)
        empty = replace(compared(), pairs=pd.DataFrame())
        with pytest.raises(SINGValueError, match="comparison of one pair or more, got 0"):
            plots.plot_forest(empty, "image_score")
        with pytest.raises(SINGValueError, match=r"with cells, .*, got shape \(0, 0\)"):
            plots.plot_planted_against_found(pd.DataFrame(), pd.DataFrame())
        with pytest.raises(SINGValueError, match=r"with rows, and columns .*, got no rows"):
            plots.plot_steered(steered_table().iloc[:0])

    def test_no_angles_no_evidence_and_no_groups(self) -> None:
        study = studied()
        bare = study.table[[name for name in study.table if not name.startswith("angle_")]]
        with pytest.raises(SINGValueError, match="with angles of words, got one without"):
            plots.plot_concept_arrows(Study(bare, study.facts))
        dumb = Study(study.table, {**study.facts, "baselines": ["none"]})
        with pytest.raises(SINGValueError, match="evidence of words at level 'a', got none among"):
            plots.plot_seen_and_ignored(dumb, "a")
        unknown = Study(study.table.drop(columns="own_color"), study.facts)
        with pytest.raises(SINGValueError, match="shares of groups .* Give word_labels"):
            plots.plot_seen_and_ignored(unknown)
        assert plots.plot_seen_and_ignored(unknown, "a")  # words are ranked all the same

    def test_other_types(self) -> None:
        with pytest.raises(SINGTypeError, match=r"drifts\['a'\] to be a Verification, got float"):
            plots.plot_logit_drift({"a": 0.1})  # type: ignore[dict-item]
        with pytest.raises(SINGTypeError, match="comparison to be a Comparison, got list"):
            plots.plot_forest([], "image_score")  # type: ignore[arg-type]
        with pytest.raises(SINGTypeError, match="found to be a pandas.DataFrame, got list"):
            plots.plot_planted_against_found([], PLANTED)  # type: ignore[arg-type]
        with pytest.raises(SINGTypeError, match="planted to be a pandas.DataFrame, got None"):
            plots.plot_planted_against_found(FRAME, None)  # type: ignore[arg-type]
        with pytest.raises(SINGTypeError, match="steered to be a pandas.DataFrame, got dict"):
            plots.plot_steered({})  # type: ignore[arg-type]
        with pytest.raises(SINGValueError, match=r"got 6 rows, and no \['step'\]"):
            plots.plot_steered(steered_table().drop(columns="step"))
        with pytest.raises(SINGValueError, match=r"measure in \['abs_attribute_score'.*'size'"):
            plots.plot_forest(compared(), "size")

    def test_frames_that_do_not_fit(self) -> None:
        with pytest.raises(SINGValueError, match=r"planted with the rows .*, got others: \['x'\]"):
            plots.plot_planted_against_found(FRAME, PLANTED.assign(x=True))
        with pytest.raises(SINGValueError, match=r"starred with the rows .*, got others: \['n'\]"):
            plots.plot_planted_against_found(FRAME, PLANTED, starred=PLANTED.iloc[:1])
        twice = pd.DataFrame(np.eye(2), ["m", "m"])
        with pytest.raises(SINGValueError, match="every name once, got names that come twice"):
            plots.plot_planted_against_found(twice, twice)
