"""Shares of groups and words in a study: their intervals, what they are judged against, stars."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import false_discovery_control, norm
from study_world import made_up, scenes_extraction

from captum_sing import NullSpace
from captum_sing.controls import (
    Share,
    class_deviations,
    haar_spread,
    permutation_z,
    signal_share,
    word_shares,
)
from captum_sing.demo import load_concepts, load_encoder, load_translator
from captum_sing.evidence import word_gains
from captum_sing.study import Study, study_of

NAMES = "abcdefghijklmnopq"
GROUPS = {name: [f"{name}{i}" for i in range(4)] for name in NAMES}
MANY = [word for words in GROUPS.values() for word in words]
HALF = dict.fromkeys(NAMES, 0.5)


def nobody(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.bool)


def many_groups(shares: dict[str, float], n: int = 600, seed: int = 0, **facts: Any) -> Study:
    """Seventeen groups of four words; of the signal of each a share is ignored."""
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for group, words in GROUPS.items():
        own = random.integers(4, size=n)
        columns[f"own_{group}"] = pd.Categorical.from_codes(own, categories=words)
        for i, word in enumerate(words):
            signal = 2.0 * (own == i)
            columns[f"ignored_{word}"] = random.normal(size=n) + shares[group] * signal
            columns[f"seen_{word}"] = random.normal(size=n) + (1 - shares[group]) * signal
    base = made_up(n)
    kept = base.table[["path", "label", "in_sample", "repeated"]]
    spreads = {"groups": dict.fromkeys(GROUPS, 0.05), "words": dict.fromkeys(MANY, 0.1)}
    told = {"words": MANY, "groups": GROUPS, "nullity": 40, "width": 80, "haar_spreads": spreads}
    table = pd.concat([kept, pd.DataFrame(columns)], axis=1)
    return Study(table, {**base.facts, **told, **facts})


def test_words_alone_are_those_of_a_slow_loop() -> None:
    """Each word as two columns: its evidence, and nothing."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 3, (300,), generator=generator)
    own = torch.nn.functional.one_hot(labels.clamp_min(0), 3).double()
    ignored, seen = (torch.randn(300, 3, generator=generator).double() for _ in range(2))
    ignored, seen = ignored + own * torch.tensor([2.0, 1.0, 0.0]), seen + 2 * own
    options = {"nullity": 3, "width": 9, "in_sample": nobody(300), "draws": 200, "seed": 3}
    found = word_shares(ignored, ignored + seen, labels, **options)
    for t, share in enumerate(found):
        has = torch.where(labels < 0, -1, (labels != t).long())
        zeros = torch.zeros(300).double()
        alone = [torch.stack([part[:, t], zeros], dim=1) for part in (ignored, seen)]
        slow = signal_share(alone[0], alone[0] + alone[1], has, **options)
        assert share.n == slow.n == int((labels >= 0).sum())
        assert share.total.z == pytest.approx(slow.total.z, rel=1e-9)
        assert share.value == pytest.approx(slow.value, rel=1e-9)
        assert share.interval == pytest.approx(slow.interval, rel=1e-9)
        assert share.se == pytest.approx(slow.se, rel=1e-9)
    classes = torch.arange(300) % 40
    wide = word_shares(ignored, ignored + seen, labels, clusters=classes, **options)
    assert wide[0].value == found[0].value and wide[0].interval != found[0].interval
    empty = word_shares(ignored, ignored + seen, torch.full_like(labels, -1), **options)
    assert empty[0].note == "no image has a label" and empty[0].n == 0
    noise = word_shares(seen, torch.randn(300, 3, generator=generator), labels, **options)
    assert all(one.note.startswith("no share: the total") for one in noise)


def test_a_share_is_judged_against_the_words_of_other_groups() -> None:
    study = many_groups({**HALF, "a": 1.0, "b": 0.0})
    shares = study.shares.set_index(["level", "group"])
    own = shares.loc["(model)"]
    words, wholes = own[own["word"].notna()], own[own["word"].isna()]
    for group in GROUPS:
        whole, others = wholes.loc[group], wholes.drop(index=group)["share"]
        assert len(others) == 16 and whole["centre"] == pytest.approx(others.median())
        assert (words.loc[group, "centre"] == whole["centre"]).all()
        labels = torch.tensor(study.table[f"own_{group}"].cat.codes.to_numpy().astype(int))
        ignored, seen = (
            torch.tensor(study.table[[f"{kind}_{w}" for w in GROUPS[group]]].to_numpy())
            for kind in ("ignored", "seen")
        )
        slow = signal_share(
            ignored, ignored + seen, labels, nullity=40, width=80, in_sample=nobody(600), draws=200
        )
        assert whole["share"] == pytest.approx(slow.value, rel=1e-12)
        z = (slow.value - others.median()) / np.hypot(0.05, slow.se)
        assert whole["p"] == pytest.approx(2 * norm.sf(abs(z)), rel=1e-6)
    starred = wholes["starred"].to_dict()
    assert starred.pop("a") and starred.pop("b") and sum(starred.values()) <= 2
    assert wholes["q"].tolist() == pytest.approx(false_discovery_control(wholes["p"]))
    assert words["q"].tolist() == pytest.approx(false_discovery_control(words["p"]))
    assert words.loc["a", "starred"].all() and words.loc["c", "starred"].sum() <= 1
    classes = study.shares[study.shares["level"] != "(model)"]
    assert classes["word"].isna().all() and classes["p"].isna().all() and len(classes) == 2 * 17
    assert not classes["starred"].any()


def test_groups_carry_their_shares() -> None:
    study = many_groups({**HALF, "a": 1.0, "b": 0.0})
    groups = study.groups[study.groups["level"] == "(model)"].set_index("group")
    alone = study.shares[study.shares["word"].isna() & (study.shares["level"] == "(model)")]
    alone = alone.set_index("group")
    for key in ("share", "chance"):
        assert groups[key].equals(alone[key])
    for key in ("low", "high", "centre", "spread", "p", "q", "starred"):
        assert groups[f"share_{key}"].equals(alone[key]), key
    assert groups.loc["a", "share_note"] is None
    assert len(study.groups) == 3 * 17 and study.groups["share"].notna().all()


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"nullity": 20}, "no star: 20 of 30 ignored directions needed"),
        (
            {"groups": {name: GROUPS[name] for name in NAMES[:15]}},
            "no star: 14 of 15 others needed",
        ),
        ({"haar_spreads": None}, "not tested: a reading of the interval"),
    ],
)
def test_no_star_without_what_it_needs(change: dict[str, Any], note: str) -> None:
    study = many_groups({**HALF, "a": 1.0, "b": 0.0}, **change)
    own = study.shares[study.shares["level"] == "(model)"]
    assert set(own["note"]) == {note} and not own["starred"].any()


def test_words_that_go_with_the_classes_have_no_star() -> None:
    """Their signal is that of the classes, too; the others keep their stars."""
    study = many_groups({**HALF, "a": 1.0, "b": 0.0})
    often = np.random.default_rng(0).uniform(size=600) < 0.7
    kinds = study.table["own_a"].astype(str).where(often, "a0") + "!"
    told = Study(study.table.assign(label=pd.Categorical(kinds)), study.facts).shares
    own = told[(told["level"] == "(model)") & told["word"].isna()].set_index("group")
    assert (
        own.loc["a", "note"] == "no star: the words go with the classes, and so does their signal"
    )
    assert not own.loc["a", "starred"] and own.loc["a", "p"] < 1e-6 and own.loc["b", "starred"]


def test_spreads_are_those_of_all_features_at_once() -> None:
    """In a pass over blocks."""
    extraction, words = scenes_extraction(150, name="plain")
    bank, translator = load_concepts(load_encoder()), load_translator("plain")
    words["color"][3] = None
    study = study_of(extraction, bank, translator, word_labels=words, draws=100)
    features = torch.cat([block.features for block in extraction.blocks()]).double()
    space = NullSpace.from_weight(extraction.head.weight(128))
    gains = word_gains(translator, bank)
    for group in ("shape", "color", "background"):
        labels = torch.tensor(study.table[f"own_{group}"].cat.codes.to_numpy().astype(int))
        columns = bank.indices(bank.groups[group])
        deviations = class_deviations(features, labels, len(columns))
        wanted = haar_spread(gains[:, columns], deviations, space.nullity)
        found = study.facts["haar_spreads"]
        assert found["groups"][group] == pytest.approx(wanted, rel=1e-6)
        for t, word in enumerate(bank.groups[group]):
            one = gains[:, columns[t] : columns[t] + 1], deviations[:, t : t + 1]
            assert found["words"][word] == pytest.approx(haar_spread(*one, space.nullity), rel=1e-6)
    assert "texture" not in study.facts["haar_spreads"]["groups"]


def test_gains_make_the_evidence() -> None:
    extraction, _ = scenes_extraction(20)
    bank, translator = load_concepts(load_encoder()), load_translator("resnet/neck_color")
    study = study_of(extraction, bank, translator, draws=100)
    features = torch.cat([block.features for block in extraction.blocks()]).double()
    total = (features - translator.mean) @ word_gains(translator, bank)
    parts = (
        study.table[[f"{kind}_{word}" for word in bank.names]].to_numpy()
        for kind in ("seen", "ignored")
    )
    np.testing.assert_allclose(sum(parts), total.numpy(), atol=1e-5)


def test_the_translators_own_images_are_in_no_spread() -> None:
    """They are marked by hand here; the spread moves, as that of fewer images does."""
    extraction, words = scenes_extraction(150, name="plain")
    bank, translator = load_concepts(load_encoder()), load_translator("plain")
    features = torch.cat([block.features for block in extraction.blocks()])
    fitted = features[:100]

    class Remembering(type(translator)):  # type: ignore[misc]
        def knows(self, given: torch.Tensor) -> torch.Tensor:
            return (given[:, None].float() == fitted[None]).all(dim=2).any(dim=1)

    known = Remembering(
        translator.weight, translator.origin, translator.image, covariance=translator.covariance,
        embedding_covariance=translator.embedding_covariance, facts=translator.facts,
    )  # fmt: skip
    study = study_of(extraction, bank, known, word_labels=words, draws=100)
    assert study.in_sample == 100 and set(study.shares["n"]) <= {50, *range(50)}
    labels = torch.tensor(study.table["own_color"].cat.codes.to_numpy().astype(int))
    columns = bank.indices(bank.groups["color"])
    deviations = class_deviations(features.double()[100:], labels[100:], 8)
    gains = word_gains(translator, bank)[:, columns]
    nullity = study.facts["nullity"]
    wanted = haar_spread(gains, deviations, nullity)
    assert study.facts["haar_spreads"]["groups"]["color"] == pytest.approx(wanted, rel=1e-6)


def test_the_total_is_that_of_the_permutation() -> None:
    """The gate of a word alone, beside permutation_z of its two columns."""
    study = many_groups(HALF, n=100)
    labels = torch.tensor(study.table["own_a"].cat.codes.to_numpy().astype(int))
    total = torch.tensor(
        study.table[[f"seen_{w}" for w in GROUPS["a"]]].to_numpy()
        + study.table[[f"ignored_{w}" for w in GROUPS["a"]]].to_numpy()
    )
    found: list[Share] = word_shares(
        total, total, labels, nullity=1, width=2, in_sample=nobody(100), draws=100
    )
    alone = torch.stack([total[:, 0], torch.zeros(100)], dim=1)
    slow = permutation_z(alone, (labels != 0).long(), in_sample=nobody(100))
    assert found[0].total.z == pytest.approx(slow.z, rel=1e-9)
