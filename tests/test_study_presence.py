"""One image against the others without a word: left out itself, calibrated, and starred rightly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control, norm
from study_world import made_up, scenes_study

from captum_sing.controls import References, presence
from captum_sing.study import Study

WORDS = ["red", "green", "blue"]


def test_z_is_that_of_references_without_the_image() -> None:
    """Against a loop that leaves each image out and asks the control."""
    study = made_up(1000, signal=2.0, in_sample=20)
    found = study.image_tests
    held_out = study.table[20:].reset_index(drop=True)
    assert found["path"].tolist() == held_out["path"].tolist()
    values = torch.tensor(held_out[[f"ignored_{word}" for word in WORDS]].to_numpy())
    has_word = presence(torch.tensor(held_out["own_color"].cat.codes.to_numpy().astype(int)), 3)
    for i in range(0, 980, 60):
        rest = torch.arange(980) != i
        nobody = torch.zeros(979, dtype=torch.bool)
        references = References.of(values[rest], has_word[rest], in_sample=nobody)
        slow = references.test(values[i : i + 1], in_sample=nobody[:1], minimum=2).z[0]
        row = found.iloc[i]
        assert row[[f"z_{word}" for word in WORDS]].tolist() == pytest.approx(slow.tolist())
        q = false_discovery_control(norm.sf(slow.numpy()))
        assert row[[f"q_{word}" for word in WORDS]].tolist() == pytest.approx(q.tolist())


def test_in_noise_z_is_normal() -> None:
    found = made_up(3000, seed=3).image_tests
    p = norm.sf(found[[f"z_{word}" for word in WORDS]].to_numpy()).ravel()
    for level in (0.01, 0.05, 0.1):
        assert (p <= level).mean() == pytest.approx(level, abs=4 * (level / 9000) ** 0.5)
    assert (found["starred"] != "").mean() < 0.07


@pytest.mark.slow
def test_stars_name_the_planted_word_of_the_image() -> None:
    study = scenes_study(900)
    found, table = study.image_tests, study.table
    colors = set(study.facts["groups"]["color"])
    stars = [set(words.split(", ")) & colors for words in found["starred"]]
    assert np.mean([bool(of) for of in stars]) > 0.3
    right = [own in of for own, of in zip(table["own_color"], stars, strict=True) if of]
    assert np.mean(right) > 0.95
    others = [set(words.split(", ")) - colors - {""} for words in found["starred"]]
    assert np.mean([bool(of) for of in others]) < 0.1


def test_a_group_without_labels_is_told_by_the_encoder() -> None:
    study = made_up(1000, signal=2.0)
    names = study.table["own_color"]
    table = study.table.drop(columns="own_color").assign(named_color_encoder=names)
    found = Study(table, study.facts).image_tests
    np.testing.assert_allclose(found["z_red"], study.image_tests["z_red"])


def test_few_references_give_no_star() -> None:
    found = made_up(700, signal=5.0).image_tests  # two in three are without a word
    assert found["z_red"].isna().all() and (found["starred"] == "").all()
    everything = made_up(30, in_sample=30).image_tests
    assert not len(everything) and "starred" in everything
    assert "z_red" not in made_up(30, facts={"baselines": ["none"]}).image_tests


def test_some_words_of_a_group_are_judged_as_beside_all() -> None:
    """Against the same references: which images have them is what the whole group says."""
    whole = made_up(1500, signal=2.0)
    some = Study(whole.table, {**whole.facts, "words": ["blue", "red"]}).image_tests
    for word in ("blue", "red"):
        np.testing.assert_allclose(some[f"z_{word}"], whole.image_tests[f"z_{word}"])
    assert "z_green" not in some
