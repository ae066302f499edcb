"""Captum's TCAV beside SING: each says what it is asked, and nothing is left behind."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pandas.testing import assert_frame_equal
from scipy.stats import false_discovery_control
from scipy.stats import t as student
from scripts import load_script
from torch import Tensor, nn
from torch.utils.data import DataLoader
from toys import untouched

from captum_sing import SING, ConceptBank, TranslatorFitter
from captum_sing.demo import FACTORS, encode_scenes, load_demo, load_encoder, sample_scenes
from captum_sing.demo.tail import Tail, backbone_features
from captum_sing.errors import SINGNameError, SINGTypeError, SINGValueError
from captum_sing.integrations.tcav import RANDOM, CAVClassifier, tcav_table

STAR = FACTORS["shape"].index("star")
DEMO = load_demo("resnet/neck_color")
TAIL = Tail(DEMO.model).eval()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("beside_tcav")


@pytest.fixture(scope="module")
def table(script: ModuleType) -> Any:
    words = ("star", "circle", "red", "striped")
    return script.compare(concepts=words, layers=["neck"], inputs=20, examples=20, runs=3)


def features(count: int, seed: int, **labels: int) -> Tensor:
    return backbone_features(DEMO.model, sample_scenes(count, seed, labels=labels).images)


STARS, REDS = features(36, 1, shape=STAR), features(36, 2, color=0)
OTHERS = features(72, 3)


def of_tail(**changed: Any) -> Any:
    """A table of what comes after the backbone, whose features stand for images."""
    asked: dict[str, Any] = {
        "sing": SING(TAIL, "head", DEMO.translator, DEMO.concepts),
        "layers": "neck",
        "inputs": STARS[:6],
        "target": STAR,
        "concept_images": {"star": STARS, "red": REDS},
        "random_images": OTHERS,
        "runs": 3,
    }
    return tcav_table(**asked | changed)


def test_evidence_names_what_was_planted_and_where(table: Any) -> None:
    rows = table.loc["neck"]
    assert rows.index.tolist() == ["star", "circle", "red", "striped", RANDOM]
    assert rows["truth"].tolist() == ["seen", "seen", "ignored", "neither", ""]
    for word, truth in rows["truth"].drop(RANDOM).items():
        for kind in ("seen", "ignored"):
            value, low = rows.loc[word, kind], rows.loc[word, f"{kind}_low"]
            if kind == truth:
                assert value > low > 1.0, (word, kind)
            else:
                assert abs(value) < 0.1, (word, kind)
    assert rows.loc[RANDOM, ["seen", "ignored", "sign_count_q", "magnitude_q"]].isna().all()


def test_tcav_tells_the_class_from_another(table: Any) -> None:
    rows = table.loc["neck"]
    assert rows.loc["star", "magnitude"] > 1.0 and rows.loc["circle", "magnitude"] < -0.5
    assert rows.loc["star", "sign_count"] == 1.0 and rows.loc["circle", "sign_count"] == 0.0
    assert abs(rows.loc["red", "magnitude"]) < rows.loc["star", "magnitude"] / 3
    assert rows.loc["star", "magnitude_q"] < 0.05 < rows.loc["red", "magnitude_q"]
    assert rows.loc["circle", "logit_change"] < -10 < -2 < rows.loc["red", "logit_change"] < 2
    assert abs(rows.loc["star", "logit_change"]) < 1e-4  # stars are stars already


def test_sign_of_noise_is_0_or_1_in_each_run(table: Any) -> None:
    """The head's input goes to the logits linearly: one derivative for all images."""
    counts = table.loc["neck", "sign_count"].to_numpy() * 3
    assert np.allclose(counts, counts.round())


def test_it_is_printed_whole(script: ModuleType, table: Any) -> None:
    lines = script.markdown(table).splitlines()
    assert len(lines) == 2 + len(table)
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].split()[1:4] == ["star", "|", "seen"] and f"| {RANDOM} " in lines[-1]
    assert f"{table.loc[('neck', 'red'), 'ignored']:+.2f}" in lines[4]


def test_magnitude_is_the_derivative_along_the_cav() -> None:
    """Of the head's input, the row of the head's weight times the CAV."""
    table = of_tail(attribute_to_layer_input=True, layers="head")
    with torch.no_grad():
        against, own = (TAIL.neck(part).split(12) for part in (OTHERS, REDS))
    weight, found = TAIL.head.weight.detach()[STAR], []
    for run in range(3):
        classifier = CAVClassifier()
        pairs = ((own[run], torch.zeros(12).long()), (against[run], torch.ones(12).long()))
        accuracy = classifier.train_and_eval(pairs)["accs"]
        assert classifier.classes() == [0, 1] and 0 <= accuracy <= 1
        found.append(float(weight @ classifier.weights()[0]))
    assert table.loc[("head", "red"), "magnitude"] == pytest.approx(np.mean(found), rel=1e-4)
    assert table.loc[("head", "red"), "magnitude_spread"] == pytest.approx(np.std(found, ddof=1))
    assert_frame_equal(table.loc["head"], of_tail().loc["neck"], rtol=1e-4)


def test_a_cav_points_at_its_concept_with_length_one() -> None:
    there = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(60) % 2 + 3
    there[labels == 4, 1] += 9
    classifier = CAVClassifier()
    stats = classifier.train_and_eval(DataLoader(list(zip(there, labels, strict=True)), 20))
    cavs = classifier.weights()
    assert stats["accs"] == 1.0 and classifier.classes() == [3, 4]
    assert torch.equal(cavs[0], -cavs[1]) and cavs[1].norm() == pytest.approx(1.0)
    assert cavs[1].argmax() == 1 and cavs[1, 1] > 0.9


def test_the_same_again_and_no_generator_is_moved() -> None:
    first = of_tail()
    random.seed(5), np.random.seed(6), torch.manual_seed(7)
    expected = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    with untouched(TAIL):
        again = of_tail()
    assert_frame_equal(first, again)
    assert random.getstate() == expected[0] and torch.equal(torch.get_rng_state(), expected[2])
    assert np.random.get_state()[1].tolist() == expected[1]
    assert not first.equals(of_tail(seed=1))


def test_no_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    of_tail()

    def stopped(self: CAVClassifier) -> Tensor:
        raise InterruptedError

    monkeypatch.setattr(CAVClassifier, "weights", stopped)
    with pytest.raises(InterruptedError):
        of_tail()
    assert not list(tmp_path.iterdir())


def test_a_concept_does_not_depend_on_the_others_but_by_their_number() -> None:
    together = of_tail().loc["neck"]
    alone = [
        of_tail(concept_images={word: images}, internal_batch_size=5).loc["neck"]
        for word, images in (("star", STARS), ("red", REDS))
    ]
    same = [name for name in together if not name.endswith("_q")]
    for one in alone:
        assert_frame_equal(one[same], together.loc[one.index, same], rtol=1e-3)
    for score in ("sign_count_q", "magnitude_q"):
        p = [one[score].iloc[0] for one in alone]
        assert together[score].tolist()[:2] == pytest.approx(false_discovery_control(p), rel=1e-3)


def test_q_of_one_concept_is_the_p_of_welch() -> None:
    row, others = of_tail(concept_images={"star": STARS}).loc["neck"].to_numpy()[:, :6]
    error = (row[4] ** 2 + others[4] ** 2) / 3
    degrees = 2 * (3 * error) ** 2 / (row[4] ** 4 + others[4] ** 4)
    p = 2 * student.sf(abs(row[3] - others[3]) / error**0.5, degrees)
    assert row[5] == pytest.approx(p)


def test_runs_share_images_or_have_their_own() -> None:
    """Beyond the first part, images of a concept are used by fresh runs alone."""
    other = torch.cat([REDS[:12], features(24, 9, color=0)])
    for fresh in (True, False):
        pair = [of_tail(concept_images={"red": reds}, fresh=fresh) for reds in (REDS, other)]
        values = [found.loc[("neck", "red"), "magnitude"] for found in pair]
        assert (values[0] == values[1]) is not fresh
    few = of_tail(concept_images={"red": REDS[:10]}, fresh=False)
    assert few.loc[("neck", "red"), "ignored"] > 1


def test_evidence_is_what_random_images_do_not_have() -> None:
    found = of_tail(concept_images={"red": REDS}, random_images=features(72, 4, color=0))
    row = found.loc[("neck", "red")]
    assert row["ignored_low"] < 0 < row["ignored_high"] and abs(row["ignored"]) < 0.3
    assert of_tail().loc[("neck", "red"), "ignored_low"] > 1


def test_a_model_that_returns_more_and_a_word_that_is_no_file_name() -> None:
    class Returning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = TAIL
            self.drop = nn.Dropout()  # not in evaluation mode, in which everything runs

        def forward(self, images: Tensor) -> tuple[Tensor, str]:
            return self.inside(self.drop(images)), "more"

    bank = DEMO.concepts
    rows = bank.indices(["red", "blue"])
    odd = ConceptBank(("a/[b]*", "blue"), bank.embeddings[rows], {"color": ("a/[b]*", "blue")})
    sing = SING(Returning(), "inside.head", DEMO.translator, odd)
    found = of_tail(sing=sing, layers=["inside.neck"], concept_images={"a/[b]*": REDS})
    assert found.loc[("inside.neck", "a/[b]*"), "magnitude"] == pytest.approx(
        of_tail().loc[("neck", "red"), "magnitude"]
    )


def test_no_test_where_neither_varies() -> None:
    """Stars against circles, as a concept and as the random ones: all runs say the same sign."""
    circles = features(36, 3, shape=0)
    same = of_tail(concept_images={"star": STARS}, random_images=torch.cat([circles, STARS]))
    assert same.loc["neck", "sign_count"].tolist() == [1.0, 1.0]
    assert np.isnan(same.loc[("neck", "star"), "sign_count_q"])
    assert same.loc[("neck", "star"), "magnitude_q"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"layers": "nowhere"}, SINGNameError, r"expected layers among .*'head'.*\['nowhere'\]"),
        ({"layers": []}, SINGNameError, "expected layers among .* got none"),
        ({"concept_images": {"mauve": REDS}}, SINGNameError, "expected words among"),
        ({"concept_images": {}}, SINGValueError, "expected concept_images of at least 1, got 0"),
        ({"runs": 1}, SINGValueError, "expected runs of at least 2, got 1"),
        ({"runs": 4}, SINGValueError, r"enough for 10 a run, got 9 a run for '\(random\)'"),
        (
            {"concept_images": {"star": STARS, "red": REDS[:29]}},
            SINGValueError,
            "enough for 10 a run, got 9 a run for 'red'",
        ),
        ({"concept_images": {"red": None}}, SINGTypeError, r"concept_images\['red'\] to be a ten"),
        ({"random_images": OTHERS * torch.nan}, SINGValueError, "random_images finite"),
        ({"inputs": STARS[:0]}, SINGValueError, "inputs with one image or more"),
        ({"internal_batch_size": 0}, SINGValueError, "internal_batch_size of at least 1"),
        ({"target": 8}, SINGValueError, r"target to be integers in \[0, 7\], got 8"),
        ({"target": -1}, SINGValueError, r"target to be integers in \[0, 7\], got -1"),
        ({"target": "star"}, SINGTypeError, "target to be class numbers, got 'star'"),
        ({"runs": 2.0}, SINGValueError, r"runs of at least 2, got 2\.0"),
        (
            {"sing": SING(lambda x: TAIL(x), TAIL.head, DEMO.translator, DEMO.concepts)},
            SINGTypeError,
            "expected sing of a classifier that is an nn.Module, got function",
        ),
    ],
)
def test_refusals(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        of_tail(**changed)


def test_images_of_the_translator_are_refused() -> None:
    images = sample_scenes(60, 4).images
    head_inputs = TAIL.neck(backbone_features(DEMO.model, images)).detach()
    fitted = TranslatorFitter(1.0).update(head_inputs, encode_scenes(load_encoder(), images)).fit()
    known = backbone_features(DEMO.model, images)
    sing = SING(TAIL, "head", fitted, DEMO.concepts)
    with pytest.raises(SINGValueError, match="expected images that the translator was not fitted"):
        of_tail(sing=sing, random_images=known)


@pytest.mark.slow
def test_the_whole_table(script: ModuleType) -> None:
    """What is printed in the documentation, with half the images."""
    table = script.compare(examples=50)
    for layer in script.LAYERS:
        rows = table.loc[layer]
        for truth, own in rows.drop(RANDOM).groupby("truth"):
            for kind in ("seen", "ignored"):
                assert (
                    (own[f"{kind}_low"] > 1).all()
                    if kind == truth
                    else (own[kind].abs() < 0.1).all()
                ), (layer, truth, kind)
        colors = rows[rows["truth"] == "ignored"]
        assert rows.loc["star", "magnitude_q"] < 1e-3 and rows.loc["circle", "magnitude_q"] < 1e-3
        assert (colors["magnitude"].abs() < rows.loc["star", "magnitude"] / 4).all()
        assert (colors["accuracy"] > 0.7).all()  # there are good CAVs, of what moves nothing
    assert (table.loc["neck"].loc[colors.index, "sign_count_spread"] > 0.3).all()


@pytest.mark.slow
def test_runs_that_share_images_are_too_sure() -> None:
    """The mean of an ignored colour's runs, in its standard errors: 1 if these are right."""
    sing = SING(TAIL, "head", DEMO.translator, DEMO.concepts)
    off: dict[bool, list[float]] = {True: [], False: []}
    runs, examples = 20, 30
    for seed in range(3):
        rest = features(2 * runs * examples, 100 + seed)
        for fresh, found in off.items():
            images = {
                word: features(examples * (runs if fresh else 1), 200 + 10 * seed + i, color=i)
                for i, word in enumerate(FACTORS["color"])
            }
            for target in (0, STAR):
                table = of_tail(
                    sing=sing, concept_images=images, random_images=rest,
                    runs=runs, fresh=fresh, target=target,
                ).loc["neck"].drop(RANDOM)  # fmt: skip
                error = table["magnitude_spread"] / runs**0.5
                found += (table["magnitude"] / error).tolist()
    sure = {
        fresh: float(torch.tensor(found).square().mean().sqrt()) for fresh, found in off.items()
    }
    assert sure[True] < 1.4 and sure[False] > 1.4 * sure[True]
