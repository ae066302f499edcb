"""Classes and models: against a slow re-implementation, and what is refused or left out."""

from __future__ import annotations

import json
import math
import resource
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t
from study_world import made_up

from captum_sing.controls import bootstrap_mean, naming, naming_drop, permutation_z, signal_share
from captum_sing.errors import SINGFileError
from captum_sing.study import Study

WORDS = ["red", "green", "blue"]


def rows_of(study: Study, level: str) -> list[dict]:
    """The held-out rows of a level, one by one."""
    rows = study.table.to_dict("records")
    return [r for r in rows if not r["in_sample"] and level in ("(model)", r["label"])]


@pytest.fixture(scope="module")
def study() -> Study:
    found = made_up(301, signal=1.6, share=0.7, in_sample=40)
    found.table.loc[50:90, "attribute_score"] = np.nan
    return found


def test_means_are_those_of_a_slow_loop(study: Study) -> None:
    frame = study.statistics
    assert list(frame["level"].unique()) == ["(model)", "a", "b"]
    assert len(frame) == 3 * 2 * 3
    for row in frame.to_dict("records"):
        name = row["measure"] if row["baseline"] == "none" else f"mean_{row['measure']}"
        values = [r[name] for r in rows_of(study, row["level"])]
        values = [value for value in values if not math.isnan(value)]
        assert row["n"] == len(values)
        assert row["mean"] == pytest.approx(statistics.fmean(values), rel=1e-12)
        assert row["spread"] == pytest.approx(statistics.stdev(values), rel=1e-12)
        found = bootstrap_mean(torch.tensor(values, dtype=torch.float64), draws=200)
        assert (row["low"], row["high"]) == found.interval
        assert row["low"] < row["mean"] < row["high"] and row["drawn"] == "images"


def test_words_are_those_of_a_slow_loop(study: Study) -> None:
    assert len(study.words) == 3 * 3
    for row in study.words.to_dict("records"):
        rows = rows_of(study, row["level"])
        seen, ignored = ([r[f"{k}_{row['word']}"] for r in rows] for k in ("seen", "ignored"))
        spread = statistics.stdev(ignored)
        reach = t.ppf(0.975, len(rows) - 1) * spread / len(rows) ** 0.5
        assert row["n"] == len(rows)
        assert row["seen"] == pytest.approx(statistics.fmean(seen), rel=1e-12)
        assert row["ignored"] == pytest.approx(statistics.fmean(ignored), rel=1e-12)
        assert row["spread"] == pytest.approx(spread, rel=1e-12)
        assert row["low"] == pytest.approx(row["ignored"] - reach, rel=1e-9)
        assert row["high"] == pytest.approx(row["ignored"] + reach, rel=1e-9)


def test_groups_and_names_are_those_of_the_controls(study: Study) -> None:
    """Of the model within classes, of a class among its own images."""
    assert study.groups["level"].tolist() == ["(model)", "a", "b"]
    for row in study.groups.to_dict("records"):
        rows = rows_of(study, row["level"])
        own = torch.tensor([WORDS.index(r["own_color"]) for r in rows])
        ignored, seen = (
            torch.tensor([[r[f"{kind}_{w}"] for w in WORDS] for r in rows], dtype=torch.float64)
            for kind in ("ignored", "seen")
        )
        nobody = torch.zeros(len(rows), dtype=torch.bool)
        classes = torch.tensor([ord(r["label"]) for r in rows])
        test = permutation_z(ignored, own, in_sample=nobody, strata=classes)
        assert (row["n"], row["z"], row["p"]) == pytest.approx((test.n, test.z, test.p), rel=1e-9)
        share = signal_share(
            ignored, ignored + seen, own, nullity=10, width=40, in_sample=nobody, draws=200
        )
        assert row["share"] == pytest.approx(share.value, rel=1e-9)
        assert (row["share_low"], row["share_high"]) == pytest.approx(share.interval, rel=1e-9)
        assert row["starred"] and row["chance"] == 0.25
        names = study.naming[study.naming["level"] == row["level"]].set_index("source")
        drawn = torch.tensor([WORDS.index(r["named_color_seen"]) for r in rows])
        assert names.loc["all", "right"] == names.loc["ignored", "right"] == 1.0
        found = naming(drawn, own, in_sample=nobody)
        assert names.loc["seen", "right"] == found.value
        assert names.loc["seen", "chance"] == found.chance
        assert names.loc["seen", "p"] == naming_drop(own, drawn, own, in_sample=nobody).p
        assert names.loc["seen", "starred"] and not names.loc["all", "starred"]


def test_false_discoveries_are_held_among_the_classes() -> None:
    """By hand: q is the smallest of p m / rank from there on."""
    labels = [f"class {i % 12}" for i in range(2400)]
    found = made_up(2400, labels=labels).groups
    classes = found[found["level"] != "(model)"]
    p = classes["p"].to_numpy()
    ranks = p.argsort().argsort() + 1
    wanted = [min(p[j] * 12 / ranks[j] for j in range(12) if p[j] >= p[i]) for i in range(12)]
    np.testing.assert_allclose(classes["q"], np.minimum(wanted, 1.0))
    assert found.iloc[0]["q"] == found.iloc[0]["p"]


def test_the_translators_own_images_are_in_no_number() -> None:
    """Their evidence is a hundred standard deviations, and would be found by anything."""
    empty, told = made_up(400, in_sample=0), made_up(400, in_sample=200)
    rest = Study(empty.table[200:].reset_index(drop=True), empty.facts)
    for frame in ("statistics", "words", "groups", "naming", "word_tests"):
        pd.testing.assert_frame_equal(getattr(told, frame), getattr(rest, frame))
    assert told.in_sample == 200 and len(told) == 400
    assert not told.groups["starred"].any() and not told.word_tests["starred"].any()
    exposed = Study(told.table.assign(in_sample=False), told.facts)
    assert exposed.groups["starred"].all()


@pytest.mark.slow
def test_nothing_is_found_in_noise() -> None:
    stars = [bool(made_up(200, seed=seed).groups["starred"].iloc[0]) for seed in range(60)]
    assert sum(stars) <= 8  # of 60 at 5 %: more in one of 200 such tests


def test_a_drop_from_chance_is_no_drop() -> None:
    """Of names that are right as often as they would be by chance, and then never."""
    study = made_up(300, labels=[None] * 300)
    codes = study.table["own_color"].cat.codes.to_numpy()
    whole, never = np.where(np.arange(300) % 3, (codes + 1) % 3, codes), (codes + 1) % 3
    names = {
        f"named_color_{source}": pd.Categorical.from_codes(found, categories=WORDS)
        for source, found in (("all", whole), ("seen", never))
    }
    found = Study(study.table.assign(**names), study.facts).naming.set_index("source")
    assert found.loc["seen", "p"] < 1e-9 and not found.loc["seen", "starred"]
    assert found.loc["seen", "note"] == "no star: the whole feature names no better than chance"


def test_a_class_of_one_image_has_no_interval_and_says_so() -> None:
    study = made_up(101, labels=["many"] * 100 + ["lonely"])
    lonely = study.statistics[study.statistics["level"] == "lonely"]
    assert (lonely["n"] == 1).all() and lonely["low"].isna().all()
    assert (lonely["note"] == "no interval: 1 to draw from").all()
    assert lonely["mean"].notna().all() and lonely["spread"].isna().all()
    words = study.words[study.words["level"] == "lonely"]
    assert words["ignored"].notna().all() and words["low"].isna().all()
    assert "lonely" not in set(study.groups["level"])
    few = made_up(110, labels=["many"] * 100 + ["few"] * 10).groups.set_index("level")
    assert few.loc["few", "note"] == "no star: 10 of at least 50 needed"
    assert few.loc["few", "q"] == few.loc["few", "p"] and not few.loc["few", "starred"]


def test_classes_are_drawn_whole_where_there_are_enough() -> None:
    labels = [f"class {i % 40}" for i in range(400)]
    study = made_up(400, labels=labels)
    study.table["image_score"] += [10.0 * (i % 40) for i in range(400)]
    row = study.statistics.iloc[0]
    assert row["drawn"] == "classes" and row["high"] - row["low"] > 40
    clusters = torch.tensor(study.table["label"].cat.codes.to_numpy())
    values = torch.tensor(study.table["image_score"].to_numpy())
    assert (row["low"], row["high"]) == bootstrap_mean(
        values, clusters=clusters, draws=200
    ).interval


def test_words_constant_in_shared_classes_are_not_tested() -> None:
    study = made_up(400, signal=3.0)
    own = pd.Series(study.table["own_color"])
    labels = own.astype(str) + [f" {i % 2}" for i in range(400)]
    constant = Study(study.table.assign(label=pd.Categorical(labels)), study.facts).groups
    assert len(constant) == 1 and constant.iloc[0]["note"].startswith("not tested: the word is")
    assert not constant["starred"].any() and math.isnan(constant.iloc[0]["p"])
    itself = Study(study.table.assign(label=study.table["own_color"]), study.facts).groups
    assert len(itself) == 1 and itself["starred"].all()


def test_saved_and_loaded_it_is_the_same(tmp_path: Path, study: Study) -> None:
    study.save(tmp_path / "study")
    again = Study.load(tmp_path / "study")
    pd.testing.assert_frame_equal(again.table, study.table)
    assert again.facts == study.facts and again.to_dict() == study.to_dict()
    told = json.loads((tmp_path / "study" / "study.json").read_text())
    assert told["images"] == 301 and told["in_sample"] == 40
    assert told["groups"][0]["z"] == study.groups.iloc[0]["z"]
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == [
        "study.json",
        "table.parquet",
    ]
    assert study.table.attrs == {}


def test_unlabelled_and_lonely_studies_are_saved_too(tmp_path: Path) -> None:
    for number, labels in enumerate([[None] * 30, ["one"] * 29 + ["two"]]):
        study = made_up(30, labels=labels)
        again = Study.load(study.save(tmp_path / str(number)))
        assert again.to_dict() == study.to_dict()
        assert again.table["label"].isna().tolist() == study.table["label"].isna().tolist()


def test_a_full_disk_leaves_the_former_study(tmp_path: Path, study: Study) -> None:
    made_up(20).save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert study.to_dict()  # no file is needed for that
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        with pytest.raises(SINGFileError, match="with room for the study"):
            study.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    study.save(tmp_path)
    assert len(Study.load(tmp_path)) == len(study)


def test_refuses_what_is_no_study(tmp_path: Path, study: Study) -> None:
    with pytest.raises(SINGFileError, match=r"table.parquet, which does not exist"):
        Study.load(tmp_path)
    study.save(tmp_path)
    path = tmp_path / "table.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SINGFileError, match="expected folder with a whole study"):
        Study.load(tmp_path)
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(SINGFileError, match="which is none, or of another version"):
        Study.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SINGFileError, match="a folder that can be made"):
        study.save(tmp_path / "file")
