"""Checks of drawn pictures against the same numbers done by hand, and what passes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from captum_sing import LinearTranslator, NullSpace
from captum_sing.render.sight import Seen
from captum_sing.render.verify import Check, check, verdicts
from captum_sing.targets import ImageSpaces

B, D, C, E = 4, 6, 3, 5


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


WEIGHT = normal(C, D, seed=1)
SPACE = NullSpace.from_weight(WEIGHT)
TRANSLATOR = LinearTranslator(normal(E, D, seed=2), torch.zeros(D), normal(E, seed=3))
FEATURES = normal(B, D, seed=4)
PHOTOGRAPH = Seen(FEATURES, FEATURES @ WEIGHT.T, normal(B, E, seed=5))
WANTED = FEATURES - SPACE.project(FEATURES)


def seen(features: Tensor, embeddings: Tensor | None = None) -> Seen:
    return Seen(features, features @ WEIGHT.T, embeddings)


def checked(features: Tensor, translator: LinearTranslator = TRANSLATOR) -> Check:
    return check(seen(features), PHOTOGRAPH, WANTED, ImageSpaces.same(SPACE, B), translator)


def test_what_arrives_whole() -> None:
    found = checked(WANTED)
    assert found.gap.max() < 1e-12 and found.kl.abs().max() < 1e-12
    assert found.prediction_kept.all() and (found.top5_kept == 1).all()
    assert found.probability_change.max() < 1e-12 and found.angle is None
    torch.testing.assert_close(found.principal, torch.ones(B).double())
    torch.testing.assert_close(found.null, torch.ones(B).double())


def test_numbers_are_those_done_by_hand() -> None:
    features = WANTED + normal(B, D, seed=6)
    embeddings = normal(B, E, seed=7)
    found = check(
        seen(features, embeddings), PHOTOGRAPH, WANTED, ImageSpaces.same(SPACE, B), TRANSLATOR
    )
    right = torch.linalg.svd(WEIGHT)[2]
    for row in range(B):
        old, new = PHOTOGRAPH.logits[row], features[row] @ WEIGHT.T
        assert found.gap[row] == pytest.approx(float((new - old).abs().max() / old.abs().max()))
        p, q = old.softmax(0), new.softmax(0)
        assert found.prediction[row] == new.argmax()
        assert found.probability[row] == pytest.approx(float(q.max()))
        assert found.kl[row] == pytest.approx(float((p * (p / q).log()).sum()))
        assert found.probability_change[row] == pytest.approx(float((p - q).abs().max()))
        assert bool(found.prediction_kept[row]) == (int(old.argmax()) == int(new.argmax()))
        miss = features[row] - WANTED[row]
        for name, basis in (("principal", right[:C]), ("null", right[C:])):
            share = 1 - (basis @ miss).square().sum() / (basis @ FEATURES[row]).square().sum()
            assert getattr(found, name)[row] == pytest.approx(float(share))
        cosine = torch.cosine_similarity(embeddings[row], TRANSLATOR(WANTED[row]), dim=0)
        assert found.angle is not None
        assert found.angle[row] == pytest.approx(float(torch.rad2deg(cosine.acos())))
    assert not found.prediction_kept.all()


def test_the_mean_is_where_nothing_has_arrived() -> None:
    translator = TRANSLATOR.with_statistics(normal(80, D, seed=8) + 3)
    found = check(
        seen(translator.mean.expand(B, -1)),
        PHOTOGRAPH,
        FEATURES,
        ImageSpaces.same(SPACE, B),
        translator,
    )
    torch.testing.assert_close(found.principal, torch.zeros(B).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.null, torch.zeros(B).double(), atol=1e-6, rtol=0)


def test_five_of_many_classes() -> None:
    logits = torch.arange(8.0).double().repeat(2, 1)
    moved = logits.clone()
    moved[1, 0] = 9.0  # into the five
    spaces = ImageSpaces.same(NullSpace.from_weight(normal(8, 10)), 2)
    features = normal(2, 10)
    old, new = Seen(features, logits, None), Seen(features, moved, None)
    found = check(
        new, old, features, spaces, LinearTranslator(normal(E, 10), torch.zeros(10), torch.ones(E))
    )
    assert found.top5_kept.tolist() == [1.0, 0.8]


def test_a_class_alone_is_asked_of_its_own_logit() -> None:
    space = NullSpace.from_weight(WEIGHT, classes=[1])
    step = NullSpace.from_weight(WEIGHT, classes=[1]).project(normal(B, D, seed=9))
    found = check(
        seen(FEATURES + step), PHOTOGRAPH, FEATURES + step, ImageSpaces.same(space, B), TRANSLATOR
    )
    assert found.gap.max() < 1e-12 and found.probability_change.max() > 0.1


def test_dicts_leave_out_what_is_unknown() -> None:
    (first, *others) = checked(WANTED).to_dicts()
    assert len(others) == B - 1 and "angle" not in first
    assert first["prediction_kept"] is True and first["gap"] == pytest.approx(0, abs=1e-12)


def gaps(*values: float, kept: bool = True) -> Check:
    blank = torch.zeros(len(values), dtype=torch.float64)
    same = torch.full((len(values),), kept)
    return Check(
        blank.long(), blank, torch.tensor(values), same, blank, blank, blank, blank, blank, None
    )


class TestVerdicts:
    def test_within_the_yardstick_or_the_tolerance(self) -> None:
        original = gaps(0.1, 0.1, 0.001, 0.001)
        found = verdicts(gaps(0.09, 0.11, 0.019, 0.021), original)
        assert found == ["verified", "not verified", "verified", "not verified"]
        wider = verdicts(gaps(0.09, 0.11, 0.019, 0.021), original, 0.5)
        assert wider == ["verified"] * 4

    def test_a_prediction_that_moves_does_not_pass(self) -> None:
        found = gaps(0.01)
        assert verdicts(found, gaps(0.1)) == ["verified"]
        moved = replace(found, prediction_kept=torch.tensor([False]))
        assert verdicts(moved, gaps(0.1)) == ["not verified"]
        assert verdicts(moved, gaps(0.1), some_classes=True) == ["verified"]

    def test_what_loses_the_original_is_no_yardstick(self) -> None:
        lost = gaps(0.9, kept=False)
        assert verdicts(gaps(0.8), lost) == ["no yardstick"]
        assert verdicts(gaps(0.01), lost) == ["verified"]
        assert verdicts(gaps(0.8), lost, some_classes=True) == ["no yardstick"]
        assert verdicts(gaps(0.4), gaps(0.45, kept=False)) == ["no yardstick"]
        assert verdicts(gaps(0.4), gaps(0.45, kept=False), some_classes=True) == ["verified"]

    def test_nor_is_what_moves_more_than_half_a_logit(self) -> None:
        assert verdicts(gaps(0.4, 0.4), gaps(0.49, 0.51)) == ["verified", "no yardstick"]
        assert verdicts(gaps(0.5, 0.375), gaps(0.5, 0.375)) == ["verified"] * 2  # both are within
