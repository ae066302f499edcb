"""The partialled test in a study: two passes over blocks, one half fits and the other is judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control
from study_world import made_up, scenes_extraction, scenes_study

from captum_sing import NullSpace
from captum_sing.controls import Partialled, partialled_test
from captum_sing.demo import load_concepts, load_encoder, load_translator
from captum_sing.study import Study, study_of

GROUPS = ("shape", "color", "background")


@pytest.fixture(scope="module")
def plain() -> tuple[Any, Study]:
    extraction, words = scenes_extraction(400, name="plain")
    words["color"][7] = words["color"][8] = None
    bank, translator = load_concepts(load_encoder()), load_translator("plain")
    return extraction, study_of(extraction, bank, translator, word_labels=words, seed=3, draws=100)


def test_products_are_those_of_the_control_on_all_at_once(plain: tuple[Any, Study]) -> None:
    extraction, study = plain
    bank = load_concepts(load_encoder())
    features = torch.cat([block.features for block in extraction.blocks()]).double()
    labels = torch.tensor(study.table["label"].cat.codes.to_numpy().astype(int))
    seen = features @ NullSpace.from_weight(extraction.head.weight(128)).principal_basis
    for group in GROUPS:
        column = torch.from_numpy(study.table[f"beyond_{group}"].to_numpy(copy=True))
        tested = column.isfinite()
        own = torch.tensor(study.table[f"own_{group}"].cat.codes.to_numpy().astype(int))
        fitted = ~tested & (own >= 0)
        ignored = torch.tensor(study.table[[f"ignored_{w}" for w in bank.groups[group]]].to_numpy())
        given = seen
        if group != "shape":  # whose words are the classes
            classes = torch.nn.functional.one_hot(labels).double()
            scale = seen[fitted].std(dim=0).mean() / classes[fitted].std(dim=0).mean()
            given = torch.cat([seen, scale * classes], dim=1)
        fit = Partialled.fit(given[fitted], ignored[fitted], own[fitted])
        wanted = fit.products(given[tested], ignored[tested], own[tested])
        np.testing.assert_allclose(column[tested].numpy(), wanted.numpy(), rtol=1e-6, atol=1e-9)
        assert study.facts["beyond"][group]["fitted"] == int(fitted.sum())
        row = study.beyond.set_index("group").loc[group]
        rank = study.facts["beyond"][group]["rank"]
        found = partialled_test(column[tested], rank, int(fitted.sum()))
        assert (row["n"], row["mean"], row["p"]) == (found.n, found.value, found.p)
        assert (row["low"], row["high"]) == found.interval
    assert study.table.loc[[7, 8], "beyond_color"].isna().all()
    ranks = {group: known["rank"] for group, known in study.facts["beyond"].items()}
    assert ranks == {"shape": 8, "color": 15, "background": 15}  # beside seven classes of shape
    assert abs(int(study.table["beyond_shape"].notna().sum()) - 200) <= 1
    assert study.beyond["q"].tolist() == pytest.approx(false_discovery_control(study.beyond["p"]))


def test_a_seed_draws_the_halves(plain: tuple[Any, Study]) -> None:
    extraction, study = plain
    bank, translator = load_concepts(load_encoder()), load_translator("plain")
    own = {group: study.table[f"own_{group}"].tolist() for group in GROUPS[1:]}
    own = {g: [None if w != w else w for w in words] for g, words in own.items()}
    options: dict[str, Any] = {"word_labels": own, "draws": 100}
    again = study_of(extraction, bank, translator, seed=3, **options)
    assert again.table["beyond_shape"].equals(study.table["beyond_shape"])
    other = study_of(extraction, bank, translator, seed=4, **options)
    there, before = other.table["beyond_shape"].notna(), study.table["beyond_shape"].notna()
    assert 50 < (there != before).sum() < 350


def test_a_plant_tells_more_and_nothing_else_does() -> None:
    study = scenes_study(400)
    found = study.groups[study.groups["level"] == "(model)"].set_index("group")
    told = (found["beyond_q"] <= 0.05).to_dict()
    assert told == {"shape": False, "color": True, "background": False}
    assert not found["beyond_starred"].any()
    assert set(found["beyond_note"]) == {
        "no star: in the benchmark more than 5 % of what is not there was found"
    }
    assert found.loc["color", "beyond"] > 1 and found.loc["color", "beyond_p"] < 1e-20
    assert study.groups[study.groups["level"] != "(model)"]["beyond"].isna().all()


def test_the_translators_own_images_are_in_neither_half() -> None:
    """Marked by hand: the other images are fitted on and judged."""
    extraction, words = scenes_extraction(300, name="plain")
    translator = load_translator("plain")
    own = torch.cat([block.features for block in extraction.blocks()])[:200]

    class Remembering(type(translator)):  # type: ignore[misc]
        def knows(self, features: torch.Tensor) -> torch.Tensor:
            return (features[:, None].float() == own[None]).all(dim=2).any(dim=1)

    known = Remembering(
        translator.weight, translator.origin, translator.image, covariance=translator.covariance,
        embedding_covariance=translator.embedding_covariance, facts=translator.facts,
    )  # fmt: skip
    bank = load_concepts(load_encoder())
    study = study_of(extraction, bank, known, word_labels=words, draws=100)
    assert study.in_sample == 200
    assert study.table.loc[:199, "beyond_color"].isna().all()
    there = int(study.table["beyond_color"].notna().sum())
    assert there + study.facts["beyond"]["color"]["fitted"] == 100 and 30 < there < 70


def test_too_few_to_fit_on_give_no_star() -> None:
    facts = {"beyond": {"color": {"rank": 30, "fitted": 239}}}
    study = made_up(400, facts=facts)
    study.table["beyond_color"] = np.random.default_rng(0).normal(1.0, size=400)
    (row,) = study.beyond.to_dict("records")
    assert row["note"] == "no star: fitted on 239 images, 240 needed"
    assert not row["starred"] and row["q"] == row["p"] < 1e-9
    assert not len(made_up(30).beyond) and "beyond" not in made_up(100).groups


def test_without_labels_there_is_none() -> None:
    extraction, _ = scenes_extraction(20)
    bank, translator = load_concepts(load_encoder()), load_translator("resnet/neck_color")
    study = study_of(extraction, bank, translator, draws=100)
    assert [name for name in study.table if name.startswith("beyond_")] == ["beyond_shape"]
    assert study.facts["beyond"] == {"shape": {"rank": 7, "fitted": 10}}
