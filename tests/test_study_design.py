"""Words that go with the classes: what is ignored of a class is no evidence for its words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from study_world import made_up

from captum_sing import ConceptBank, TranslatorFitter
from captum_sing.study import Extraction, Study, study_of
from captum_sing.study.design import ALONE, CONSTANT, TIED, WITHIN, design_of, goes_with_class

COLORS = ("red", "green", "blue")
CLASSES = ("a", "b", "c")


def world(seed: int, together: float, names: tuple[str, ...] = CLASSES, n: int = 1200) -> Any:
    """The class stands in the ignored part alone, the colour in the seen part alone.

    Args:
        seed: of the images.
        together: how often the colour is that of the class.
        names: of the classes.
    """
    codes = torch.Generator().manual_seed(99)
    width, embedding = 24, 16
    seen, ignored = (4 * torch.randn(3, 8, generator=codes) for _ in range(2))
    words, of_class = (torch.randn(3, embedding, generator=codes) for _ in range(2))
    generator = torch.Generator().manual_seed(seed)

    def images(count: int) -> tuple[torch.Tensor, ...]:
        kind = torch.randint(3, (count,), generator=generator)
        other = torch.randint(3, (count,), generator=generator)
        color = torch.where(torch.rand(count, generator=generator) < together, kind, other)
        features = torch.randn(count, width, generator=generator)
        features[:, :8] += seen[color]
        features[:, 8:16] += ignored[kind]
        embeddings = words[color] + of_class[kind]
        noise = torch.randn(count, embedding, generator=generator)
        return features, embeddings + 0.5 * noise, kind, color

    features, embeddings, *_ = images(2000)
    translator = TranslatorFitter(encoder="e").update(features, embeddings).fit()
    features, embeddings, kind, color = images(n)
    extraction = Extraction.from_tensors(
        features, embeddings, torch.eye(8, width), encoder="e", labels=[names[k] for k in kind]
    )
    bank = ConceptBank(COLORS, words / words.norm(dim=1, keepdim=True), {"color": COLORS})
    labels = {"color": [COLORS[c] for c in color]}
    return study_of(extraction, bank, translator, word_labels=labels, draws=100)


def stars(study: Study) -> dict[str, int]:
    model = study.groups[study.groups["level"] == "(model)"]
    naming = study.naming[study.naming["level"] == "(model)"]
    return {
        "group": int(model["starred"].sum()),
        "beyond": int((study.beyond["q"] <= 0.05).sum()) if len(study.beyond) else 0,
        "words": int(study.word_tests["starred"].sum()),
        "naming": int(naming["starred"].sum()),
        "images": int((study.image_tests["starred"] != "").sum()),
    }


NOTHING = {"group": 0, "beyond": 0, "words": 0, "naming": 0, "images": 0}


@pytest.mark.slow
def test_a_word_that_often_goes_with_its_class_has_no_star() -> None:
    found = [stars(world(seed, 0.7)) for seed in range(6)]
    assert sum(one["group"] + one["beyond"] for one in found) <= 2  # 12 tests at 5 %
    assert sum(one["words"] for one in found) <= 2  # 18 tests
    assert all(one["naming"] == one["images"] == 0 for one in found)
    exposed = world(0, 0.7)
    hidden = exposed.table.assign(label=pd.Categorical([None] * len(exposed.table)))
    assert stars(Study(hidden, exposed.facts))["group"] == 1  # as it would be without classes


def test_a_word_that_always_goes_with_its_class_is_not_tested() -> None:
    study = world(0, 1.0)
    (row,) = study.groups[study.groups["level"] == "(model)"].to_dict("records")
    assert row["note"] == TIED and np.isnan(row["p"])
    assert set(study.word_tests["note"]) == {TIED} and not len(study.beyond)
    assert stars(study) == NOTHING
    assert "beyond_color" not in study.table


def test_words_that_are_the_classes_are_tested() -> None:
    study = world(0, 1.0, names=COLORS)
    found = stars(study)
    assert found["group"] == found["beyond"] == 1 and found["words"] == 3
    assert study.groups.iloc[0]["note"] is None


def test_images_without_a_class_are_left_out_within_classes() -> None:
    """One stratum of all of them would find the class again."""
    study = world(0, 0.7)
    half = study.table["label"].astype(object).where(np.arange(len(study)) % 2 == 0, None)
    found = Study(study.table.assign(label=pd.Categorical(half)), study.facts)
    (row,) = found.groups[found.groups["level"] == "(model)"].to_dict("records")
    assert row["n"] == 600 and abs(row["z"]) < 3
    assert found.word_tests["t"].abs().max() < 4


def test_designs() -> None:
    def images(labels: list[Any], words: list[Any]) -> pd.DataFrame:
        columns = {"label": pd.Categorical(labels), "own_color": pd.Categorical(words)}
        return pd.DataFrame(columns)

    assert design_of(images(["a", "a", "b"], ["red", "blue", "red"]), "color") == WITHIN
    assert design_of(images(["a", "b", "c"], ["red", "blue", "red"]), "color") == CONSTANT
    assert design_of(images(["a", "b"], ["red", "blue"]), "color") == CONSTANT
    assert design_of(images(["red", "blue"], ["red", "blue"]), "color") == ALONE
    assert design_of(images([None, None], ["red", "blue"]), "color") == ALONE
    random = np.random.default_rng(0)
    classes, colors = (random.choice(list("ab"), 400).tolist() for _ in range(2))
    assert not goes_with_class(images(classes, colors), "own_color")
    assert goes_with_class(images(classes, [c + "!" for c in classes]), "own_color")
    assert not goes_with_class(images(classes, classes), "own_color")
    assert not goes_with_class(images([None] * 9, ["red"] * 9), "own_color")


@pytest.mark.parametrize("copies", [1, 4])
def test_the_same_image_again_is_no_second_witness(copies: int) -> None:
    """To the bit, in any place; it stays in the table."""
    generator = torch.Generator().manual_seed(0)
    features, embeddings = (torch.randn(160, w, generator=generator) for w in (12, 6))
    fitted = torch.randn(300, 12, generator=generator), torch.randn(300, 6, generator=generator)
    translator = TranslatorFitter(encoder="e").update(*fitted).fit()
    bank = ConceptBank(("up", "down"), torch.randn(2, 6, generator=generator),
                       {"way": ("up", "down")})  # fmt: skip
    own = [("up", "down")[i % 2] for i in range(160)]
    extraction = Extraction.from_tensors(
        features.repeat(copies, 1), embeddings.repeat(copies, 1), torch.eye(4, 12), encoder="e"
    )
    study = study_of(extraction, bank, translator, word_labels={"way": own * copies}, draws=100)
    assert len(study) == 160 * copies and len(study.tested) == 160
    assert study.table["repeated"].tolist() == [False] * 160 + [True] * 160 * (copies - 1)
    assert study.groups.iloc[0]["n"] == 160 == study.statistics.iloc[0]["n"]
    said = [note for note in study.facts["notes"] if "the same as an earlier one" in note]
    assert len(said) == (copies > 1)
    once = Study(study.table[:160], study.facts)
    pd.testing.assert_frame_equal(study.word_tests, once.word_tests)


def test_false_discoveries_are_held_among_all_tests_that_were_made() -> None:
    """Also those that get no star for what they showed."""
    study = made_up(300, labels=[None] * 300)
    assert (study.naming["q"].notna() == study.naming["p"].notna()).all()


def test_images_of_one_class_are_tested() -> None:
    """It never varies, and explains nothing."""
    study = world(0, 0.0)
    one = Study(study.table.assign(label=pd.Categorical(["only"] * len(study))), study.facts)
    assert design_of(one.table, "color") == WITHIN
    again = world(0, 0.0, names=("only",) * 3)
    assert again.facts["beyond"]["color"]["rank"] == 8
    (row,) = again.groups[again.groups["level"] == "(model)"].to_dict("records")
    assert np.isfinite(row["z"]) and np.isfinite(row["beyond_p"])
