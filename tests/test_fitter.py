"""Streaming ridge regression against scikit-learn's, whatever the means and the blocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold
from torch import Tensor

from captum_sing import LinearTranslator, TranslatorFitter
from captum_sing.errors import SINGRuntimeError, SINGTypeError, SINGValueError

D, E, N = 20, 6, 500


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def pairs(ratio: float = 5.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features whose mean is ``ratio`` times their spread, with embeddings, float32."""
    mixing = torch.eye(D) + 0.3 * gaussian(D, D, seed=50) / D**0.5
    mixed = gaussian(N, D, seed=seed) @ mixing
    spread, signs = mixing.norm(dim=0), gaussian(D, seed=51).sign()
    embeddings = mixed @ gaussian(D, E, seed=52) / D + gaussian(N, E, seed=seed + 1) + 3.0
    return (mixed + ratio * spread * signs).float(), embeddings.float()


def predictions(translator: LinearTranslator, features: Tensor) -> np.ndarray:
    return translator(features).double().numpy()


def deviation(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, in standard deviations."""
    return float((np.abs(ours - theirs) / theirs.std(axis=0)).max())


@pytest.mark.parametrize("alpha", [0.0, 1e-2, 30.0])
@pytest.mark.parametrize("ratio", [0.0, 5.0, 100.0, 5000.0])
@pytest.mark.parametrize("block", [N, 64])
def test_equals_scikit_learn(ratio: float, alpha: float, block: int) -> None:
    features, embeddings = pairs(ratio)
    fitter = TranslatorFitter(alpha=alpha)
    for f, z in zip(features.split(block), embeddings.split(block), strict=True):
        fitter.update(f, z)
    held_out = pairs(ratio, seed=7)[0]
    ridge = Ridge(alpha=alpha).fit(features.double().numpy(), embeddings.double().numpy())
    theirs = ridge.predict(held_out.double().numpy())
    translator = fitter.fit()
    assert deviation(predictions(translator, held_out), theirs) < 1e-3
    slack = 1e-3 * np.abs(ridge.coef_).max()
    np.testing.assert_allclose(translator.weight.double().numpy(), ridge.coef_, atol=slack)


@pytest.mark.parametrize("alpha", [1e-3, 1.0])
def test_equals_scikit_learn_with_fewer_images_than_features(alpha: float) -> None:
    """A factor common to all features makes their sums ill-conditioned."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(600, 1, generator=generator)
    features = torch.randn(600, 1024, generator=generator) + 10 * common
    embeddings = features[:, :5] + torch.randn(600, 5, generator=generator)
    fitted, rest = slice(400), slice(400, None)
    translator = TranslatorFitter(alpha).update(features[fitted], embeddings[fitted]).fit()
    f, z = features.double().numpy(), embeddings.double().numpy()
    theirs = Ridge(alpha=alpha).fit(f[fitted], z[fitted])
    # the translator keeps float32 weights
    assert deviation(predictions(translator, features[rest].double()), theirs.predict(f[rest])) < (
        1e-6
    )


@pytest.mark.parametrize("alpha", ["cv", 1.0])
def test_features_of_one_factor_are_fitted(alpha: float | str) -> None:
    factor = gaussian(400, 1) @ gaussian(1, 1000, seed=1)
    features = (factor.relu() + 5.0).float()
    translator = TranslatorFitter(alpha).update(features, factor[:, :3].float()).fit()
    assert translator(features).isfinite().all()


@pytest.mark.parametrize("scale", [100.0, 1e15, 1e-15])
def test_features_of_any_scale_are_fitted(scale: float) -> None:
    features, embeddings = pairs()
    plain = TranslatorFitter("cv").update(features, embeddings).fit()
    scaled = TranslatorFitter("cv").update(scale * features, embeddings).fit()
    wanted = predictions(plain, features)
    assert deviation(predictions(scaled, scale * features), wanted) < 1e-4
    few = gaussian(500, 1024).float() * scale
    alpha = 1e-4 * scale**2
    translator = TranslatorFitter(alpha).update(few, embeddings).fit()
    assert translator(few).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e25, 1e-25])
@pytest.mark.parametrize("alpha", ["cv", 1.0, 0.0])
def test_refuses_features_whose_variance_float32_does_not_hold(
    alpha: float | str, scale: float, dtype: torch.dtype
) -> None:
    features, embeddings = pairs()
    fitter = TranslatorFitter(alpha).update(scale * features.to(dtype), embeddings)
    with pytest.raises(SINGValueError, match=r"features with a spread between 1e-19 and 1e19"):
        fitter.fit()


@pytest.mark.parametrize("scale", [1e200, 1e25])
def test_refuses_embeddings_that_overflow(scale: float) -> None:
    features, embeddings = pairs()
    with pytest.raises(SINGValueError, match=r"embeddings with a spread between"):
        TranslatorFitter(1.0).update(features, scale * embeddings.double()).fit()


def test_sums_that_are_not_centred_would_be_wrong() -> None:
    features, embeddings = pairs(5000.0)
    theirs = Ridge(alpha=1.0).fit(features.double().numpy(), embeddings.double().numpy())
    ones = torch.cat([features, torch.ones(N, 1)], dim=1)
    naive = torch.linalg.lstsq(ones.T @ ones, ones.T @ embeddings).solution
    wanted = theirs.predict(features.double().numpy())
    assert deviation((ones @ naive).double().numpy(), wanted) > 1e-2


@pytest.mark.parametrize("sizes", [(1,) * N, (7,) * 71 + (3,), (499, 1), (1, 499)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_of_any_size_give_one_fit(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    features, embeddings = (t.to(dtype) for t in pairs(100.0))
    whole = TranslatorFitter(alpha=1.0).update(features, embeddings).fit()
    fitter = TranslatorFitter(alpha=1.0)
    for f, z in zip(features.split(sizes), embeddings.split(sizes), strict=True):
        fitter.update(f, z)
    parts = fitter.fit()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-7
    for name, buffer in whole.named_buffers():
        other = dict(parts.named_buffers())[name]
        limit = tolerance * float(buffer.abs().max())
        torch.testing.assert_close(other, buffer, rtol=0, atol=limit, msg=name)
    assert parts.facts == {**whole.facts, "alpha": 1.0, "count": N}
    assert parts.knows(features).all()


def test_order_of_images_does_not_matter_but_pairing_does() -> None:
    features, embeddings = pairs()
    whole = TranslatorFitter(alpha=1.0).update(features, embeddings).fit()
    turned = TranslatorFitter(alpha=1.0).update(features.flip(0), embeddings.flip(0)).fit()
    torch.testing.assert_close(turned.weight, whole.weight, rtol=0, atol=1e-5)
    torn = TranslatorFitter(alpha=1.0).update(features, embeddings.flip(0)).fit()
    assert (torn.weight - whole.weight).abs().max() > 1e-2


def test_may_go_on_after_a_fit() -> None:
    features, embeddings = pairs()
    fitter = TranslatorFitter(alpha=1.0).update(features[:200], embeddings[:200])
    early = fitter.fit()
    kept = early.weight.clone()
    late = fitter.update(features[200:], embeddings[200:]).fit()
    whole = TranslatorFitter(alpha=1.0).update(features, embeddings).fit()
    torch.testing.assert_close(late.weight, whole.weight, rtol=0, atol=1e-5)
    assert torch.equal(early.weight, kept)
    assert early.knows(features).tolist() == [True] * 200 + [False] * 300


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_taken_as_they_are(dtype: torch.dtype) -> None:
    features, embeddings = pairs()
    half = features.to(dtype)
    translator = TranslatorFitter(alpha=1.0).update(half, embeddings).fit()
    ridge = Ridge(alpha=1.0).fit(half.double().numpy(), embeddings.double().numpy())
    theirs = ridge.predict(half.double().numpy())
    assert deviation(predictions(translator, half), theirs) < 1e-3


def test_default_penalty_is_a_hundredth_of_the_mean_variance_an_image() -> None:
    features, embeddings = pairs()
    translator = TranslatorFitter().update(features, embeddings).fit()
    wanted = 0.01 * N * features.double().numpy().var(axis=0).mean()
    assert translator.facts["alpha"] == pytest.approx(wanted, rel=1e-5)
    doubled = TranslatorFitter().update(2 * features, embeddings).fit()
    torch.testing.assert_close(doubled(2 * features), translator(features), rtol=0, atol=1e-4)


def test_may_remember_nothing() -> None:
    features, embeddings = pairs()
    translator = TranslatorFitter(remember=False).update(features, embeddings).fit()
    assert translator.record is None
    assert not translator.knows(features).any()


def test_takes_no_graph_along() -> None:
    features, embeddings = pairs()
    translator = TranslatorFitter(alpha=1.0).update(features.requires_grad_(), embeddings).fit()
    assert not any(buffer.requires_grad for buffer in translator.buffers())


FEATURES, EMBEDDINGS = pairs()
BROKEN = FEATURES.clone()
BROKEN[3, 2] = torch.nan


@pytest.mark.parametrize(
    ("features", "embeddings", "kind", "message"),
    [
        (FEATURES.numpy(), EMBEDDINGS, SINGTypeError, "features to be a floating-point tensor"),
        (FEATURES, EMBEDDINGS.long(), SINGTypeError, "embeddings to be a floating-point tensor"),
        (FEATURES[0], EMBEDDINGS, SINGValueError, r"features of shape \(N, width\), got \(20,\)"),
        (FEATURES[:0], EMBEDDINGS[:0], SINGValueError, r"features of shape .* got \(0, 20\)"),
        (BROKEN, EMBEDDINGS, SINGValueError, "features finite, got NaN or infinity"),
        (FEATURES, EMBEDDINGS / 0, SINGValueError, "embeddings finite, got NaN or infinity"),
        (FEATURES[1:], EMBEDDINGS, SINGValueError, r"paired, .* got \(499, 20\) and \(500, 6\)"),
        (FEATURES[:, 1:], EMBEDDINGS, SINGValueError, r"of widths \(20, 6\), got \(500, 19\)"),
        (FEATURES, EMBEDDINGS[:, 1:], SINGValueError, r"of widths \(20, 6\), got .* \(500, 5\)"),
    ],
)
def test_a_refused_block_leaves_the_sums_alone(
    features: Tensor, embeddings: Tensor, kind: type[Exception], message: str
) -> None:
    fitter = TranslatorFitter(alpha=1.0).update(FEATURES, EMBEDDINGS)
    before = fitter.fit()
    with pytest.raises(kind, match=f"TranslatorFitter.update: expected .*{message}"):
        fitter.update(features, embeddings)
    after = fitter.fit()
    assert after.facts == before.facts
    for name, buffer in before.named_buffers():
        assert torch.equal(buffer, dict(after.named_buffers())[name]), name


@pytest.mark.parametrize("alpha", [-1.0, float("nan"), float("inf")])
def test_refuses_a_penalty_that_is_none(alpha: float) -> None:
    with pytest.raises(
        SINGValueError, match=f'alpha finite and not negative, or "cv", got {alpha}'
    ):
        TranslatorFitter(alpha=alpha)


@pytest.mark.parametrize("count", [0, 1])
def test_refuses_to_fit_nothing(count: int) -> None:
    fitter = TranslatorFitter()
    if count:
        fitter.update(FEATURES[:1], EMBEDDINGS[:1])
    with pytest.raises(SINGRuntimeError, match=f"pairs of two images or more, got {count}. Call"):
        fitter.fit()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_refuses_features_that_do_not_determine_the_map(seed: int, dtype: torch.dtype) -> None:
    features = gaussian(100, 5, seed=seed).to(dtype)
    twice = torch.cat([features, 2 * features[:, :1] + features[:, 1:2]], dim=1)
    few = gaussian(10, D, seed=seed).to(dtype)
    constant = torch.cat([features, torch.ones(100, 1, dtype=dtype)], dim=1)
    for case in (twice, few, constant):
        embeddings = gaussian(len(case), E, seed=8).to(dtype)
        with pytest.raises(SINGValueError, match=r"alpha above 0 for features .* Penalise"):
            TranslatorFitter(alpha=0.0).update(case, embeddings).fit()
        penalised = TranslatorFitter(alpha=1.0).update(case, embeddings).fit()
        theirs = Ridge(alpha=1.0).fit(case.double().numpy(), embeddings.double().numpy())
        wanted = theirs.predict(case.double().numpy())
        assert deviation(predictions(penalised, case), wanted) < 1e-3


def in_turns(count: int, folds: int) -> np.ndarray:
    """An order in which KFold's contiguous folds are the rows that take turns."""
    return np.concatenate([np.arange(k, count, folds) for k in range(folds)])


def noisy(count: int = 403, noise: float = 20.0) -> tuple[Tensor, Tensor]:
    features, embeddings = gaussian(count, D) * torch.logspace(0, -2, D) + 2.0, gaussian(D, E)
    embeddings = features @ embeddings + noise * gaussian(count, E, seed=3)
    return features.float(), embeddings.float()


class TestCrossValidation:
    @pytest.mark.parametrize("block", [403, 64, 1])
    @pytest.mark.parametrize("folds", [2, 5])
    def test_chooses_as_scikit_learn_does(self, folds: int, block: int) -> None:
        features, embeddings = noisy()
        fitter = TranslatorFitter("cv", folds=folds)
        for f, z in zip(features.split(block), embeddings.split(block), strict=True):
            fitter.update(f, z)
        translator = fitter.fit()
        curve = translator.facts["cross_validation"]
        rows = in_turns(len(features), folds)
        search = GridSearchCV(Ridge(), {"alpha": curve["alphas"]}, cv=KFold(folds))
        search.fit(features.double().numpy()[rows], embeddings.double().numpy()[rows])
        theirs = search.cv_results_
        assert translator.facts["alpha"] == search.best_params_["alpha"]
        assert curve["scores"] == pytest.approx(theirs["mean_test_score"].tolist(), abs=1e-5)
        for fold, scores in enumerate(curve["fold_scores"]):
            wanted = theirs[f"split{fold}_test_score"].tolist()
            assert scores == pytest.approx(wanted, abs=1e-5)
        assert curve["folds"] == folds
        assert not curve["at_the_end"]
        best = search.best_estimator_.coef_
        limit = 1e-4 * np.abs(best).max()
        np.testing.assert_allclose(translator.weight.numpy(), best, atol=limit)

    @pytest.mark.slow
    def test_chooses_as_scikit_learn_does_at_full_size(self) -> None:
        generator = torch.Generator().manual_seed(0)
        normal = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
        features = normal(20_000, 256) @ (normal(256, 256) * torch.logspace(0, -2, 256)[:, None])
        embeddings = (features @ normal(256, 64)) / 16 + 30 * normal(20_000, 64) + 1.0
        features = features + 3.0
        fitter = TranslatorFitter("cv")
        for f, z in zip(features.split(1000), embeddings.split(1000), strict=True):
            fitter.update(f, z)
        translator = fitter.fit()
        grid = {"alpha": translator.facts["cross_validation"]["alphas"]}
        rows = in_turns(len(features), 5)
        search = GridSearchCV(Ridge(), grid, cv=KFold(5))
        search.fit(features.double().numpy()[rows], embeddings.double().numpy()[rows])
        assert translator.facts["alpha"] == search.best_params_["alpha"]
        difference = translator.weight.numpy() - search.best_estimator_.coef_
        assert np.linalg.norm(difference) < 1e-5 * np.linalg.norm(search.best_estimator_.coef_)

    def test_groups_stay_together(self) -> None:
        """Near-duplicates in two folds make a held-out score of what was learnt by heart."""
        seen, target = gaussian(60, D), gaussian(60, E, seed=9)
        groups = torch.arange(60).repeat_interleave(8)
        features = (seen[groups] + 0.01 * gaussian(480, D, seed=4)).float()
        embeddings = (target[groups] + 0.01 * gaussian(480, E, seed=5)).float()
        torn = TranslatorFitter("cv").update(features, embeddings).fit()
        fitter = TranslatorFitter("cv")
        for part in torch.arange(480).split(100):
            fitter.update(features[part], embeddings[part], folds=groups[part] % 5)
        whole = fitter.fit()
        grid = {"alpha": whole.facts["cross_validation"]["alphas"]}
        order = torch.argsort(groups % 5, stable=True).numpy()
        search = GridSearchCV(Ridge(), grid, cv=KFold(5))
        search.fit(features.double().numpy()[order], embeddings.double().numpy()[order])
        assert whole.facts["alpha"] == search.best_params_["alpha"]
        assert max(torn.facts["cross_validation"]["scores"]) > 0.1
        assert whole.facts["alpha"] > torn.facts["alpha"]

    @pytest.mark.parametrize("place", [0, -1])
    def test_says_where_the_best_is_at_the_end(self, place: int) -> None:
        features, embeddings = noisy()
        whole = TranslatorFitter("cv").update(features, embeddings).fit()
        best = whole.facts["alpha"]
        alphas = [best, 30 * best, 900 * best] if place == 0 else [best / 900, best / 30, best]
        cut = TranslatorFitter("cv", alphas=alphas).update(features, embeddings).fit()
        assert cut.facts["alpha"] == best
        assert cut.facts["cross_validation"]["alphas"] == alphas
        assert cut.facts["cross_validation"]["at_the_end"]
        assert not whole.facts["cross_validation"]["at_the_end"]

    def test_is_that_of_a_fixed_penalty(self) -> None:
        features, embeddings = noisy()
        chosen = TranslatorFitter("cv").update(features, embeddings).fit()
        fixed = TranslatorFitter(chosen.facts["alpha"]).update(features, embeddings).fit()
        for name, buffer in fixed.named_buffers():
            other = dict(chosen.named_buffers())[name]
            limit = 1e-5 * float(buffer.abs().max())
            torch.testing.assert_close(other, buffer, rtol=0, atol=limit, msg=name)
        assert "cross_validation" not in fixed.facts
        assert chosen.knows(features).all()

    def test_works_with_fewer_images_than_features(self) -> None:
        features, embeddings = noisy(15, noise=0.1)
        translator = TranslatorFitter("cv", folds=3).update(features, embeddings).fit()
        rows = in_turns(15, 3)
        grid = {"alpha": translator.facts["cross_validation"]["alphas"]}
        search = GridSearchCV(Ridge(), grid, cv=KFold(3))
        search.fit(features.double().numpy()[rows], embeddings.double().numpy()[rows])
        assert translator.facts["alpha"] == search.best_params_["alpha"]

    def test_lives_with_a_constant_feature_and_output(self) -> None:
        features, embeddings = noisy()
        features[:, 4], embeddings[:, 2] = 7.0, -1.0
        translator = TranslatorFitter("cv").update(features, embeddings).fit()
        assert translator(features).isfinite().all()
        assert torch.equal(translator.weight[:, 4], torch.zeros(E))
        assert translator(features)[:, 2].tolist() == pytest.approx([-1.0] * len(features))

    def test_may_go_on_after_a_fit(self) -> None:
        features, embeddings = noisy()
        fitter = TranslatorFitter("cv").update(features[:201], embeddings[:201])
        early = fitter.fit()
        late = fitter.update(features[201:], embeddings[201:]).fit()
        whole = TranslatorFitter("cv").update(features, embeddings).fit()
        assert early.facts["count"] == 201
        assert late.facts["alpha"] == pytest.approx(whole.facts["alpha"], rel=1e-5)
        torch.testing.assert_close(late.weight, whole.weight, rtol=0, atol=1e-4)


@pytest.mark.parametrize("alpha", ["cv", 1.0, 0.0, None])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 120.0, 1e6 / 3])
@pytest.mark.parametrize("block", [20, 7, 1])
def test_refuses_features_that_never_vary(
    alpha: float | str | None, value: float, block: int
) -> None:
    """Whatever rounding makes of their variance."""
    fitter = TranslatorFitter(alpha)
    for embeddings in gaussian(20, E).split(block):
        fitter.update(torch.full((len(embeddings), 3), value, dtype=torch.float64), embeddings)
    with pytest.raises(SINGValueError, match="expected features that vary, got constant ones"):
        fitter.fit()


def test_takes_numbers_of_numpy() -> None:
    features, embeddings = pairs()
    plain = TranslatorFitter("cv", folds=3, alphas=[1.5]).update(features, embeddings).fit()
    folds, alphas = np.int64(3), np.array([1.5], dtype=np.float32)
    numpy = TranslatorFitter("cv", folds=folds, alphas=alphas).update(features, embeddings).fit()
    assert numpy.facts == plain.facts
    fixed = TranslatorFitter(np.float32(1.5)).update(features, embeddings).fit()
    assert torch.equal(fixed.weight, plain.weight)
    assert type(fixed.facts["alpha"]) is float


@pytest.mark.parametrize(
    ("count", "counts"), [(3, r"\[1, 1, 1, 0, 0\]"), (9, r"\[2, 2, 2, 2, 1\]")]
)
def test_refuses_folds_with_too_few_images(count: int, counts: str) -> None:
    fitter = TranslatorFitter("cv").update(FEATURES[:count], EMBEDDINGS[:count])
    with pytest.raises(SINGRuntimeError, match=rf"folds of two images or more each, got {counts}"):
        fitter.fit()


def test_refuses_an_empty_fold() -> None:
    fitter = TranslatorFitter("cv", folds=3)
    fitter.update(FEATURES, EMBEDDINGS, folds=torch.arange(N) % 2)
    with pytest.raises(SINGRuntimeError, match=r"each, got \[250, 250, 0\]. Give more images"):
        fitter.fit()


@pytest.mark.parametrize(
    "folds",
    [torch.zeros(N), torch.zeros(N - 1).long(), torch.full((N,), 5), torch.full((N,), -1), [0] * N],
)
def test_refuses_folds_that_are_none(folds: object) -> None:
    fitter = TranslatorFitter("cv")
    with pytest.raises(SINGValueError, match=r"folds of shape \(500,\), integers from 0 to 4, got"):
        fitter.update(FEATURES, EMBEDDINGS, folds=folds)  # type: ignore[arg-type]
    assert fitter.count == 0


def test_refuses_folds_without_naming_each() -> None:
    with pytest.raises(SINGValueError, match=r"integers from 0 to 4, got 0 to 499\. Give"):
        TranslatorFitter("cv").update(FEATURES, EMBEDDINGS, folds=torch.arange(N))


@pytest.mark.parametrize("folds", [1, 0, 2.5, "5", True])
def test_refuses_a_number_of_folds_that_is_none(folds: object) -> None:
    with pytest.raises(SINGValueError, match="folds of at least 2, an integer, got"):
        TranslatorFitter("cv", folds=folds)  # type: ignore[arg-type]


@pytest.mark.parametrize("alphas", [[], [1.0, 0.0], [-1.0], [float("nan")], [float("inf")]])
def test_refuses_a_grid_that_is_none(alphas: list[float]) -> None:
    with pytest.raises(
        SINGValueError, match=r"alphas finite and above 0, one or more, .* Name the"
    ):
        TranslatorFitter("cv", alphas=alphas)
    with pytest.raises(SINGValueError, match=r'with alpha="cv", got \[1.0\] with alpha=2.0'):
        TranslatorFitter(2.0, alphas=[1.0])


@pytest.mark.parametrize("alpha", ["CV", "auto", [1.0], True, np.array([1.0, 2.0])])
def test_refuses_a_penalty_of_another_kind(alpha: object) -> None:
    with pytest.raises(SINGValueError, match='alpha finite and not negative, or "cv", got'):
        TranslatorFitter(alpha)  # type: ignore[arg-type]


def test_keeps_eight_bytes_an_image() -> None:
    """Beside them, a block costs two numbers a projection, and the sums do not grow."""
    features, embeddings = pairs()
    sizes = []
    for times in (1, 3):
        fitter = TranslatorFitter(1.0)
        for _ in range(times):
            fitter.update(features, embeddings)
        tensors = [t for s in fitter._sums for t in vars(s).values() if isinstance(t, Tensor)]
        packed = [t for s in fitter._sketches for t in vars(s).values()]
        sizes.append(sum(t.numel() * t.element_size() for t in (*tensors, *packed)))
    assert sizes[1] - sizes[0] == 2 * (N * 8 + 64)


@pytest.mark.slow
def test_the_memory_does_not_grow_with_the_rows() -> None:
    """Measured as on the page on translators, at a smaller width, in processes of their own."""
    script = str(Path(__file__).with_name("measure_fitting.py"))
    peaks = []
    for rows in ("20000", "200000"):
        command = [sys.executable, script, "--only", "alpha=1.0", rows]
        env = os.environ | {"FITTING_WIDTHS": "128 64", "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
        peaks.append(json.loads(done.stdout)["peak MB"])
    assert peaks[1] - peaks[0] < 20  # the rows themselves are 98 MB, eight bytes each 1.4 MB
