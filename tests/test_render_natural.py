"""Natural equivalents against a search by hand, and where the ignored factors are known."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn
from toys import any_translator, normal

from captum_sing import LinearTranslator, NullSpace
from captum_sing.angles import angle
from captum_sing.demo import CLASSIFIERS, FACTORS, load_classifier, load_translator, sample_scenes
from captum_sing.errors import NoNullSpaceError, SINGTypeError, SINGValueError
from captum_sing.linear_head import LinearHead
from captum_sing.nonlinear import NonlinearTranslator
from captum_sing.render.natural import NaturalEquivalents, Pairs, natural_equivalents

HEAD = nn.Linear(12, 3).requires_grad_(False)
HEAD.weight.copy_(normal(3, 12, seed=1))
FEATURES = normal(60, 12, seed=0) + 2.0
LOGITS = HEAD(FEATURES)
SPACE = NullSpace.from_layer(HEAD)
PERCEPTRON = NonlinearTranslator(
    "3layer",
    [(normal(k, d, seed=k), normal(k, seed=d)) for d, k in ((12, 8), (8, 8), (8, 5))],
    "tanh",
)


KINDS = ("no translator", "linear", "nonlinear")


def found_in(features: Tensor = FEATURES, **further: Any) -> NaturalEquivalents:
    arguments = {"null_space": SPACE, "logits": LOGITS, "pairs": 4, "share": 0.1}
    return natural_equivalents(features, **{**arguments, **further})


def distances_of(space: NullSpace, translator: Any = None) -> tuple[Tensor, Tensor]:
    """Of all images to all in what is seen, and in what is ignored, from the logits themselves."""
    exact, kept = FEATURES.double(), space.restrict(LOGITS.double())
    mean = exact.mean(dim=0)
    parts = mean + space.project(exact - mean)
    parts = parts if translator is None else translator(parts)
    return (kept[:, None] - kept).norm(dim=2), (parts[:, None] - parts).norm(dim=2)


def unit_of(result: NaturalEquivalents, seen: Tensor) -> float:
    """The typical distance that a result was measured by."""
    i, j = result.random.images[0]
    return float(seen[i, j] / result.random.seen[0])


UPPER = torch.triu_indices(60, 60, 1).unbind()


@pytest.mark.parametrize("block_size", [1, 7, 2048])
@pytest.mark.parametrize("pairs", [2, 12])  # of 2, three candidates a row are kept
@pytest.mark.parametrize("translator", [None, any_translator(12), PERCEPTRON], ids=KINDS)
def test_equals_a_search_by_hand(translator: Any, pairs: int, block_size: int) -> None:
    result = found_in(translator=translator, pairs=pairs, block_size=block_size)
    seen, ignored = distances_of(SPACE, translator)
    typical, usual = unit_of(result, seen), float(ignored[UPPER].median())
    assert typical == pytest.approx(float(seen[UPPER].median()), rel=0.02)
    assert result.limit * typical == pytest.approx(float(seen[UPPER].quantile(0.1)), rel=0.02)
    limit = result.limit * typical * (1 + 1e-6)
    close = [(i, j) for i, j in combinations(range(60), 2) if seen[i, j] <= limit]
    chosen: list[tuple[int, int]] = []
    for pair in sorted(close, key=lambda pair: -float(ignored[pair])):
        if len(chosen) < pairs and not {*pair} & {row for other in chosen for row in other}:
            chosen.append(pair)
    assert [tuple(pair) for pair in result.found.images.tolist()] == chosen
    assert result.candidates == len(close)
    for part in (result.found, result.close, result.random):
        ends = part.images.unbind(dim=1)
        torch.testing.assert_close(part.seen.double(), seen[ends] / typical, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(part.ignored.double(), ignored[ends] / usual, rtol=0.03, atol=0)


@pytest.mark.parametrize("further", [{"classes": [0, 2]}, {"invariant_to": "probabilities"}])
def test_what_is_seen_is_what_was_declared_invariant(further: dict[str, Any]) -> None:
    space = NullSpace.from_layer(HEAD, **further)
    result = found_in(null_space=space)
    seen, _ = distances_of(space)
    ratios = result.found.seen / seen[result.found.images.unbind(dim=1)]
    torch.testing.assert_close(ratios, ratios[:1].expand(4), rtol=1e-4, atol=0)
    one, other = (space.restrict(LOGITS[rows].double()) for rows in result.found.images.T)
    gaps = (one - other).abs().amax(dim=1) / torch.minimum(one.abs().amax(1), other.abs().amax(1))
    torch.testing.assert_close(result.found.logit_gap, gaps)


def test_pairs_made_for_it_are_found_and_nothing_about_their_scale_matters() -> None:
    """Twins with one seen part, and ignored parts far on either side; the farthest come first."""
    features = normal(60, 12, seed=4)
    for k in range(5):
        away = (20.0 + k) * SPACE.null_basis[:, k].float()
        features[50 + k] = features[k] + away
        features[k] -= away
    twins = [[k, 50 + k] for k in (4, 3, 2, 1, 0)]
    for scale in (1e-3, 1.0, 1e4):
        for shift in (0.0, 100.0 * SPACE.null_basis[:, 8].float()):
            result = found_in(
                scale * (features + shift), logits=HEAD(features), pairs=5, share=0.02
            )
            assert result.found.images.tolist() == twins
            assert (result.found.seen < 0.01).all() and (result.found.ignored > 1.5).all()
    one, other = (  # only rounding apart; small blocks are compared without matrix products
        found_in(features, logits=HEAD(features), pairs=1, share=0.0025, block_size=size)
        for size in (2048, 20)
    )
    assert one.limit < 1e-5 and one.found.images.tolist()[0] in twins
    assert one.candidates == other.candidates >= 4


def test_close_ones_are_within_the_limit_to_the_last_digit() -> None:
    features = normal(400, 12, seed=6)
    logits = HEAD(features)
    result = natural_equivalents(features, SPACE, logits=logits, share=0.1, block_size=64)
    seen = torch.nn.functional.pdist(logits.double())
    i, j = result.random.images[0]
    typical = float((logits[i] - logits[j]).double().norm() / result.random.seen[0])
    assert result.candidates == pytest.approx(int((seen <= result.limit * typical).sum()), abs=2)


def test_an_image_whose_best_partners_are_taken_keeps_the_next() -> None:
    """Four images that the head cannot tell apart, on a line: the ends first, then the rest."""
    features = 5 * normal(60, 2, seed=7)
    features[:4] = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, -10.0], [0.0, 10.0]])
    space = NullSpace.from_weight(torch.tensor([[1.0, 0.0]]))
    result = natural_equivalents(features, space, logits=features[:, :1] + 1, pairs=2, share=0.002)
    assert result.candidates == 6 and result.limit == 0
    assert result.found.images.tolist() == [[2, 3], [0, 1]]


def test_figures_beside_the_formulas() -> None:
    translator = any_translator(12)
    result = found_in(translator=translator)
    for part in (result.found, result.close, result.random):
        i, j = part.images.T
        torch.testing.assert_close(
            part.image_score, angle(translator(FEATURES[i]), translator(FEATURES[j]))
        )
        assert torch.equal(part.same_prediction, LOGITS[i].argmax(1) == LOGITS[j].argmax(1))
        assert (i != j).all()
    assert found_in().found.image_score is None
    assert len(result.found.images.unique()) == 8  # no image in two pairs
    assert (result.found.ignored.diff() <= 0).all()


def test_controls_are_drawn_blindly() -> None:
    """The close ones are a fair sample of the candidates, and the random ones of everything."""
    result = found_in(pairs=12)
    assert len(result.close) == result.candidates < 200  # fewer than are drawn: all of them
    assert (result.close.seen <= result.limit).all() and (result.found.seen <= result.limit).all()
    assert float(result.random.seen.median()) == pytest.approx(1, abs=0.2)
    few = found_in(pairs=1, share=0.02)
    assert float(few.found.ignored) == float(few.close.ignored.max())
    another = found_in(seed=5)
    assert not torch.equal(another.random.images, result.random.images)
    assert torch.equal(another.found.images, found_in(seed=0).found.images)


def test_slices_and_frames() -> None:
    result = found_in(translator=any_translator(12))
    two = result.found[1:3]
    assert isinstance(two, Pairs) and torch.equal(two.images, result.found.images[1:3])
    assert torch.equal(
        result.found[two.seen.new_tensor([1, 0, 0, 1]).bool()].images, result.found.images[[0, 3]]
    )
    frame = result.to_frame()
    assert frame["kind"].value_counts()["found"] == 4 and len(frame) == 4 + len(result.close) + 200
    assert frame["second"][:4].tolist() == result.found.images[:, 1].tolist()
    assert frame["image_score"].notna().all() and "image_score" not in found_in().to_frame()
    assert found_in().found[:0].to_frame().empty


def test_says_what_it_found() -> None:
    lines = str(found_in()).splitlines()
    assert lines[0].startswith("4 pairs out of ") and len(lines) == 4
    assert lines[1].startswith("found: seen 0.") and "same prediction" in lines[3]


def test_shows_its_progress(capsys: pytest.CaptureFixture[str]) -> None:
    found_in(block_size=20)
    assert not capsys.readouterr().err
    found_in(block_size=20, show_progress=True)
    assert "natural_equivalents: 100%" in (told := capsys.readouterr().err) and "3/3" in told


def test_half_precision_and_gradients() -> None:
    half = found_in(FEATURES.half(), logits=LOGITS.half())
    assert torch.equal(half.found.images, found_in().found.images)
    assert not found_in(FEATURES.clone().requires_grad_()).found.seen.requires_grad


def test_warns_of_too_few_close_pairs() -> None:
    told = (
        r"natural_equivalents: \d+ of 30 pairs found among \d+ that are close .* share above 0.01"
    )
    with pytest.warns(UserWarning, match=told) as record:
        result = natural_equivalents(FEATURES, SPACE, logits=LOGITS, pairs=30, share=0.01)
    assert record[0].filename == __file__ and 1 <= len(result.found) < 30


def test_an_empty_null_space_is_refused() -> None:
    with pytest.raises(NoNullSpaceError, match="This head sees every direction of its input"):
        found_in(null_space=NullSpace.from_weight(torch.eye(12)))
    made = NullSpace(torch.eye(12).double(), torch.ones(12).double(), 1e-6)
    with pytest.raises(NoNullSpaceError, match="null_space that ignores a direction or more, got"):
        found_in(null_space=made)


def holed(rows: Tensor) -> Tensor:
    rows = rows.clone()
    rows[[3, 9], 1] = torch.inf
    return rows


BLIND = LinearTranslator(HEAD.weight, torch.zeros(12), torch.ones(3))  # sees what the head sees


@pytest.mark.parametrize(
    ("further", "error", "match"),
    [
        ({"features": [1.0]}, SINGTypeError, "features to be a floating-point tensor, got list"),
        ({"features": FEATURES[:, :5]}, SINGValueError, r"features of shape \(N, 12\), got"),
        ({"features": FEATURES[0]}, SINGValueError, r"features of shape \(N, 12\), got \(12,\)"),
        ({"features": holed(FEATURES)}, SINGValueError, r"features to be finite, .* rows \[3, 9\]"),
        ({"logits": LOGITS.int()}, SINGTypeError, "logits to be a floating-point tensor, got"),
        ({"logits": LOGITS[:9]}, SINGValueError, r"logits of shape \(60, C\), as features"),
        ({"logits": holed(LOGITS)}, SINGValueError, r"logits to be finite, .* rows \[3, 9\]"),
        (
            {"logits": LOGITS[:, :2], "null_space": NullSpace.from_layer(HEAD, classes=[0, 2])},
            SINGValueError,
            "logits with a column for class 2, got 2 columns",
        ),
        ({"translator": any_translator(5)}, SINGValueError, "for features of width 12, got 5"),
        ({"pairs": 31}, SINGValueError, "pairs from 1 to 30, half the images, got 31"),
        ({"pairs": 0}, SINGValueError, "pairs from 1 to 30, half the images, got 0"),
        ({"share": 0.2}, SINGValueError, "share above 0 and at most 0.1, got 0.2"),
        ({"share": 0.0}, SINGValueError, "share above 0 and at most 0.1, got 0.0"),
        ({"block_size": 0}, SINGValueError, "block_size of at least 1, got 0"),
        ({"features": SPACE.project(FEATURES)}, SINGValueError, "rounding in what the head sees"),
        ({"features": SPACE.remove(FEATURES)}, SINGValueError, "in what the head ignores, got"),
        ({"translator": BLIND}, SINGValueError, "in what the head ignores, once translated, got"),
    ],
)  # fmt: skip
def test_refuses(further: dict[str, Any], error: Any, match: str) -> None:
    with pytest.raises(error, match=f"natural_equivalents: expected .*{match}"):
        found_in(**further)


def test_logits_of_several_heads() -> None:
    """Of what an ensemble's heads share, their mean is the head."""
    heads = LinearHead.of([HEAD, nn.Linear(12, 3)])
    space = NullSpace.from_weight(heads.weight(12))
    result = found_in(null_space=space, logits=heads.logits(FEATURES).detach())
    assert (result.found.logit_gap < result.random.logit_gap.median()).all()


NECKS = [name for name, card in CLASSIFIERS.items() if card.planted is not None]


def on_the_demo(name: str, images: int, pairs: int) -> tuple[NaturalEquivalents, dict[str, Any]]:
    """What was found on fresh scenes, and which pairs differ in each factor."""
    scenes, model = sample_scenes(images, seed=90_000_001), load_classifier(name)
    with torch.no_grad():
        features = torch.cat([model.features(part) for part in scenes.images.split(256)])
        result = natural_equivalents(
            features,
            NullSpace.from_layer(model.head),
            logits=model.head(features),
            translator=load_translator(name),
            pairs=pairs,
        )
    kinds = {"found": result.found, "close": result.close, "random": result.random}
    differs = {
        factor: {
            kind: label[part.images[:, 0]] != label[part.images[:, 1]]
            for kind, part in kinds.items()
        }
        for factor, label in scenes.labels.items()
    }
    return result, differs


def least(hits: Tensor) -> float:
    """The lower end of the exact 95 % interval of a share."""
    return float(binomtest(int(hits.sum()), len(hits)).proportion_ci().low)


def test_pairs_of_a_planted_neck_differ_in_what_was_planted() -> None:
    """Size has two values, so half of all pairs differ in it."""
    result, differs = on_the_demo("resnet/neck_size", images=1200, pairs=80)
    assert least(~differs["shape"]["found"]) > 0.9 and least(differs["size"]["found"]) > 0.95
    assert differs["size"]["close"].double().mean() < 0.6
    assert result.found.logit_gap.median() < 0.3 * result.random.logit_gap.median()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NECKS, "plain", "color_hidden"])
def test_table_of_natural_equivalents(name: str) -> None:
    result, differs = on_the_demo(name, images=4000, pairs=200)
    print(f"{name}\n{result}")
    for factor, of in differs.items():
        found, close, random = (float(hits.double().mean()) for hits in of.values())
        print(
            f"{factor}: differ {found:.3f} [{least(of['found']):.3f}, "
            f"{1 - least(~of['found']):.3f}], close {close:.3f}, random {random:.3f}, "
            f"chance {1 - 1 / len(FACTORS[factor]):.3f}"
        )
    assert least(~differs["shape"]["found"]) >= 0.95
    planted = ("color",) if name == "color_hidden" else CLASSIFIERS[name].planted
    if planted is None:
        return
    if planted:
        assert (
            least(torch.stack([differs[factor]["found"] for factor in planted]).any(dim=0)) > 0.95
        )
    if len(planted) == 1:
        assert least(differs[planted[0]]["found"]) > 0.95
    for factor in FACTORS.keys() - {"shape", *planted} if name in NECKS else ():
        assert least(differs[factor]["found"]) <= 1 - 1 / len(FACTORS[factor]), factor
