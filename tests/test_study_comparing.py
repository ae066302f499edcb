"""Models are ranked where, and only where, identical images tell them apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from study_world import made_up, scenes_study

from captum_sing.controls import paired_difference, signal_share
from captum_sing.errors import SINGTypeError, SINGValueError
from captum_sing.study import Study, compare_models

MEASURES = ["image_score", "abs_attribute_score", "image_over_attribute", "null_energy"]
SHARE = "share of color"


def model(name: str, seed: int = 0, **options: Any) -> Study:
    """Of the same images, with noise of its own."""
    own = made_up(seed=seed, facts={"model": name}, **options)
    truth = made_up(seed=0, **options).table["own_color"]
    shift = {"signal": options.get("signal", 0.0), "share": options.get("share", 1.0)}
    table = own.table.assign(own_color=truth)
    for word in ("red", "green", "blue"):  # the raised evidence goes with the true colours
        wrong, right = own.table["own_color"] == word, truth == word
        raised = shift["signal"] * (right.astype(float) - wrong.astype(float))
        table[f"ignored_{word}"] += raised * shift["share"]
        table[f"seen_{word}"] += raised * (1 - shift["share"])
    return Study(table, own.facts)


def pair_of(comparison: Any, measure: str) -> dict[str, Any]:
    pairs = comparison.pairs
    (found,) = pairs[pairs["measure"] == measure].to_dict("records")
    return found


def test_tells_models_apart_by_the_share() -> None:
    """That differs here, where no angle does."""
    blind, keen = model("blind", 1, signal=2.0, share=0.9), model("keen", 2, signal=2.0, share=0.2)
    found = compare_models([keen, blind], draws=300)
    assert list(dict.fromkeys(found.pairs["measure"])) == [*MEASURES, SHARE]
    assert found.ranking(SHARE) == [("blind", "keen")]
    assert pair_of(found, SHARE)["difference"] == pytest.approx(-0.7, abs=0.1)
    assert found.ranking("image_score") == [] and found.ranking("null_energy") == []
    assert not pair_of(found, "image_score")["exclude_zero"]
    assert "share of color: keen" in str(found) and "blind > keen" in str(found)
    assert "move with the number of ignored directions" in found.notes[0]


def test_numbers_are_those_of_the_controls() -> None:
    one, two = model("one", 1, signal=2.0, share=0.9), model("two", 2, signal=2.0, share=0.5)
    one.table.loc[3:9, "attribute_score"] = np.nan
    found = compare_models([one, two], draws=300, seed=4)
    rows = [table.drop(index=range(3, 10)) for table in (one.table, two.table)]
    score, size = (
        [torch.from_numpy(table[key].abs().to_numpy(copy=True)) for table in rows]
        for key in ("image_score", "attribute_score")
    )
    wanted = paired_difference(*score, *size, draws=300, seed=4)
    ratio = pair_of(found, "image_over_attribute")
    assert (ratio["n"], ratio["difference"], ratio["low"], ratio["high"]) == (
        393, wanted.value, *wanted.interval
    )  # fmt: skip
    for study in (one, two):
        own = found.models[found.models["model"] == study.facts["model"]].set_index("measure")
        labels = torch.tensor(study.table["own_color"].cat.codes.to_numpy().astype(int))
        ignored, seen = (
            torch.tensor(study.table[[f"{k}_{w}" for w in ("red", "green", "blue")]].to_numpy())
            for k in ("ignored", "seen")
        )
        nobody = torch.zeros(len(labels), dtype=torch.bool)
        share = signal_share(
            ignored, ignored + seen, labels, nullity=10, width=40, in_sample=nobody,
            draws=300, seed=4,
        )  # fmt: skip
        assert own.loc[SHARE, "value"] == pytest.approx(share.value, rel=1e-12)
        assert own.loc[SHARE, "low"] == pytest.approx(share.interval[0], rel=1e-12)
        assert own.loc[SHARE, "chance"] == 0.25 and own.loc["image_score", "chance"] == 30.0


def test_identical_models_are_not_ranked() -> None:
    one = model("one", 1, signal=2.0)
    found = compare_models([one, Study(one.table, {**one.facts, "model": "two"})], draws=200)
    assert (found.pairs["difference"] == 0).all() and not found.pairs["exclude_zero"].any()
    assert all(found.ranking(measure) == [] for measure in (*MEASURES, SHARE))


def test_a_share_of_nothing_is_not_compared() -> None:
    found = compare_models([model("one", 1), model("two", 2, signal=0.0)], draws=200)
    pair = pair_of(found, SHARE)
    assert np.isnan(pair["difference"]) and not pair["exclude_zero"]
    assert pair["note"].startswith("no share: the total contrast is not clear")


def test_too_few_images_are_not_ranked() -> None:
    one, two = model("one", 1, n=20), model("two", 2, n=20)
    two.table["image_score"] += 100
    found = compare_models([one, two], draws=200)
    assert pair_of(found, "image_score")["exclude_zero"] and found.ranking("image_score") == []


def test_only_common_held_out_images_count() -> None:
    """In any order, by their path; the translators' own are in neither."""
    one, two = model("one", 1, in_sample=50), model("two", 2)
    two.table["image_score"] += 100.0
    shuffled = two.table.sample(frac=1.0, random_state=0).iloc[: len(two.table) - 30]
    found = compare_models([one, Study(shuffled, two.facts)], draws=200)
    used = sorted(set(shuffled["path"]) & set(one.table["path"][50:]))
    first, second = (
        s.table.set_index("path").loc[used, "image_score"]
        for s in (one, Study(shuffled, two.facts))
    )
    pair = pair_of(found, "image_score")
    assert pair["n"] == len(used)
    assert pair["difference"] == pytest.approx(first.mean() - second.mean(), rel=1e-12)
    assert found.notes[1:] == (
        "30 images that not all models were studied on are left out.",
        f"{370 - len(used)} images that a translator was fitted on are left out.",
    )


def test_classes_are_drawn_whole_where_there_are_enough() -> None:
    """A difference that is one of classes is no more certain for many images of each."""
    labels = [f"class {i % 40}" for i in range(400)]
    one, two = (model(name, i, labels=labels) for i, name in enumerate(("one", "two")))
    two.table["image_score"] += [10.0 * (i % 40 - 19) for i in range(400)]
    pair = pair_of(compare_models([one, two], draws=200), "image_score")
    assert not pair["exclude_zero"] and pair["high"] - pair["low"] > 40


def test_three_models_make_three_pairs() -> None:
    found = compare_models([model(name, i) for i, name in enumerate("abc")], draws=200)
    own = found.pairs[found.pairs["measure"] == "null_energy"]
    assert own[["first", "second"]].values.tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]


def test_planted_necks_are_told_apart() -> None:
    """Through studies of the embedded world: one head ignores colour, the other relies on it."""
    names = ("resnet/neck_color", "spurious")
    words = ["red", "green", "blue", "yellow", "orange", "purple", "pink", "white"]
    found = compare_models([scenes_study(240, name, words=words) for name in names], draws=200)
    own = found.models[found.models["measure"] == SHARE].set_index("model")
    assert own.loc[f"demo/{names[0]}", "value"] > 0.9
    assert own.loc[f"demo/{names[1]}", "value"] < 0.9
    assert found.ranking(SHARE) == [(f"demo/{names[0]}", f"demo/{names[1]}")]


def changed(study: Study, table: Any = None, **facts: Any) -> Study:
    return Study(study.table if table is None else table, {**study.facts, **facts})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: changed(s, model="one"), "of two or more different models"),
        (lambda s: changed(s, encoder="other"), "through one encoder"),
        (lambda s: changed(s, s.table.assign(path="x" + s.table["path"])), "got 0 common images"),
        (lambda s: changed(s, s.table.assign(in_sample=True)), "400 of them fitted on"),
        (lambda s: changed(s, s.table.assign(path="same")), "same twice in two"),
        (
            lambda s: changed(s, s.table.assign(label=pd.Categorical(["c"] * 400))),
            "different values of label in one and two",
        ),
        (
            lambda s: changed(s, s.table.assign(own_color=s.table["own_color"].to_numpy()[::-1])),
            "different values of own_color",
        ),
    ],
)
def test_refuses(change: Any, message: str) -> None:
    with pytest.raises(SINGValueError, match=message):
        compare_models([model("one"), change(model("two"))])


def test_pictures_without_names_have_to_be_the_same() -> None:
    """ "image 0" is a name that all collections know."""
    one, two = (changed(model(name, i), pictures=name) for i, name in enumerate(("one", "two")))
    with pytest.raises(SINGValueError, match="two collections that both have 'image 0'"):
        compare_models([one, two])
    named = [
        changed(study, study.table.assign(path="a/" + study.table["path"])) for study in (one, two)
    ]
    assert len(compare_models(named, draws=100).pairs)
    assert len(compare_models([one, changed(two, pictures="one")], draws=100).pairs)


def test_repeated_images_are_left_out_and_notes_are_handed_on() -> None:
    one, two = model("one", 1), model("two", 2)
    two.table["repeated"] = np.arange(400) < 30
    two = changed(two, notes=["The null space is approximate (energy 0.5)."])
    found = compare_models([one, two], draws=100)
    assert pair_of(found, "image_score")["n"] == 370
    assert found.notes[1:] == (
        "30 images that are the same as an earlier one are left out.",
        "two: The null space is approximate (energy 0.5).",
    )


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        ({"classes": 3}, {"classes": 4}, "got 3 classes of one and 4 of two"),
        (
            {"classes": 2, "class_names": ["a", "b"]},
            {"classes": 2, "class_names": ["b", "a"]},
            "got class 0 named 'a' by one and 'b' by two",
        ),
        ({"classes": 3}, {"class_names": ["a", "b"]}, "got 3 classes of one and 2 of two"),
    ],
)
def test_refuses_models_of_two_lists_of_classes(one: Any, two: Any, message: str) -> None:
    with pytest.raises(SINGValueError, match=f"models of one list of classes, {message}"):
        compare_models([changed(model("one"), **one), changed(model("two"), **two)])
    same = [changed(model(name), **one) for name in ("one", "two")]
    assert len(compare_models(same, draws=100).pairs)
    longer = changed(model("two"), classes=2, class_names=["a, Alpha", "Beta b"])
    short = changed(model("one"), classes=2, class_names=["a", "b"])
    assert len(compare_models([short, longer], draws=100).pairs)
    unknown = changed(model("two"), classes=one.get("classes"))
    assert len(compare_models([same[0], unknown], draws=100).pairs)


def test_refuses_what_is_no_study() -> None:
    with pytest.raises(SINGTypeError, match="to be a list of Study, got .'str'"):
        compare_models(["one", "two"])  # type: ignore[list-item]
    with pytest.raises(SINGValueError, match="of two or more"):
        compare_models([model("one")])
    found = compare_models([model("one"), model("two", 1)], draws=200)
    with pytest.raises(SINGValueError, match="expected measure in .* got 'size'"):
        found.ranking("size")
