"""Judgements are read from the tables of a study, and mean what they say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ttest_1samp

from captum_sing import attribute_score, image_score
from captum_sing.benchmark import MEASURES, STARRED, SyntheticWorld, judge, world_of_numbers
from captum_sing.benchmark.judging import study_images
from captum_sing.benchmark.own_images import judge_own_images
from captum_sing.benchmark.worlds import confounded, neutral
from captum_sing.controls import References, presence

PLACES = {"a": "ignored", "b": "seen", "c": "absent"}
SYNTHETIC = SyntheticWorld(PLACES, seed=4)
WORLD = world_of_numbers(SYNTHETIC, "numbers", train=800)
FOUND = {found.factor: found for found in judge(WORLD)}


def test_planted_is_found_and_unplanted_is_not() -> None:
    assert {factor: found.planted for factor, found in FOUND.items()} == WORLD.truth
    assert WORLD.truth == {"a": True, "b": False, "c": False}
    for measure in (STARRED, "word", "image", "naming", "beyond"):
        starred = {factor for factor, found in FOUND.items() if found.starred[measure]}
        assert starred == {"a"}, measure
    assert set(FOUND["a"].p) == set(MEASURES) - {"share"}


def test_judgements_are_the_studys_own() -> None:
    study = study_images(WORLD, WORLD.tested, draws=100)
    many = study_images(WORLD, WORLD.references, draws=100)
    groups, words = study.groups.set_index("group"), study.word_tests
    naming = study.naming.set_index(["group", "source"])
    beyond = many.groups.set_index("group")
    for factor, found in FOUND.items():
        assert found.p[STARRED] == groups.loc[factor, "p"]
        assert found.starred[STARRED] == groups.loc[factor, "starred"]
        own = words[words["group"] == factor]
        assert found.p["word"] == own.loc[own["n"].idxmax(), "p"]
        row = naming.loc[(factor, "seen_conditional")]
        assert found.starred["naming"] == row["starred"]
        assert found.p["naming"] == pytest.approx(
            np.nan if pd.notna(row["note"]) else row["p"], rel=1e-12, abs=0, nan_ok=True
        )
        assert found.p["beyond"] == beyond.loc[factor, "beyond_p"]


def test_one_image_is_judged_for_each_factor() -> None:
    study, many = (study_images(WORLD, images) for images in (WORLD.tested, WORLD.references))
    for place, (factor, words) in enumerate(WORLD.concepts.groups.items()):
        columns = [f"ignored_{word}" for word in words]
        labels = torch.tensor([words.index(word) for word in WORLD.references.words[factor]])
        nobody = torch.zeros(len(labels), dtype=torch.bool)
        references = References.of(
            torch.from_numpy(many.table[columns].to_numpy()),
            presence(labels, len(words)),
            in_sample=nobody,
        )
        own = words.index(WORLD.tested.words[factor][place])
        score = study.table.loc[place, columns[own]]
        z = (score - float(references.mean[own])) / float(references.std[own])
        p = 0.5 * math.erfc(z / 2**0.5)
        assert FOUND[factor].p["image"] == pytest.approx(p, rel=1e-6)


def test_angles_are_the_papers() -> None:
    """AS and IS as they stand, image by image, from the definition."""
    block = next(iter(WORLD.tested.extraction.blocks()))
    features, texts = block.features.double(), WORLD.concepts.embeddings.double()
    removed = SYNTHETIC.null_space.remove(features)
    translated = WORLD.translator(features), WORLD.translator(removed)
    scores, sizes = attribute_score(*translated, texts), image_score(*translated)
    chance = study_images(WORLD, WORLD.tested).facts["isotropic_image_score"]
    larger = ttest_1samp(sizes.numpy(), chance, alternative="greater").pvalue
    for factor, found in FOUND.items():
        columns = [WORLD.concepts.names.index(word) for word in WORLD.tested.words[factor]]
        own = scores[torch.arange(len(scores)), columns].numpy()
        less = ttest_1samp(own, 0.0, alternative="less").pvalue
        assert found.p["AS"] == pytest.approx(ttest_1samp(own, 0.0).pvalue, rel=1e-4)
        assert found.p["AS < 0"] == pytest.approx(less, rel=1e-4, abs=1e-12)
        assert found.p["IS"] == pytest.approx(larger, rel=1e-4, abs=1e-12)


def test_equal_seeds_give_equal_judgements() -> None:
    torch.manual_seed(1)
    again = world_of_numbers(SyntheticWorld(PLACES, seed=4), "numbers", train=800)
    assert [str(found) for found in judge(again)] == [str(found) for found in FOUND.values()]
    other = world_of_numbers(SyntheticWorld(PLACES, seed=5), "numbers", train=800)
    assert judge(replace(other, asked=STARRED))[1].p != {STARRED: FOUND["b"].p[STARRED]}


def test_only_what_is_asked_is_judged() -> None:
    assert [set(found.p) for found in judge(replace(WORLD, asked=STARRED))] == [{STARRED}] * 3


def test_classes_explain_what_goes_with_them() -> None:
    """Within classes a tied factor is left alone; nothing else can know that it should be."""
    p: dict[str | None, list[dict[str, float]]] = {"class": [], None: []}
    for seed in range(4):
        for classes in p:
            world = world_of_numbers(confounded(seed), "confounded", classes=classes, asked=STARRED)
            p[classes].append({found.factor: found.p[STARRED] for found in judge(world)})
    assert all(one["class"] < 1e-6 and one["free"] > 0.001 for of in p.values() for one in of)
    assert all(one["tied"] < 0.01 for one in p[None])
    assert all(one["tied"] > 0.01 for one in p["class"])


def test_shares_are_judged_in_worlds_of_chance() -> None:
    places = neutral(1, planted=True).places
    assert [*places.values()].count("anywhere") == 16 and len(places) == 18
    truth = {factor: place != "anywhere" for factor, place in places.items()}
    world = world_of_numbers(neutral(1, planted=True), "neutral", truth=truth, asked="share")
    found = judge(world)
    assert all(set(one.p) == {"share"} and np.isfinite(one.p["share"]) for one in found)
    assert [one.starred["share"] for one in found if one.planted] == [True, True]


def test_own_images_say_anything_and_are_not_tested() -> None:
    found = judge_own_images(SyntheticWorld({"a": "absent", "b": "absent"}, 1), train=500)
    assert max(found.p) < 1e-4 and found.tested == 0
