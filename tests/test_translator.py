"""The affine map, its statistics, its report and its file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from torch import Tensor

from captum_sing import LinearTranslator, NullSpace, TranslatorFitter
from captum_sing.errors import SINGFileError, SINGRuntimeError, SINGValueError
from captum_sing.files import save_tensors
from captum_sing.quality import Fit

D, E, N = 12, 5, 300
SPACE = NullSpace.from_weight(torch.randn(4, D, generator=torch.Generator().manual_seed(9)))


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def pairs(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features and embeddings that follow them, with noise, float32."""
    features = gaussian(N, D, seed=seed) * torch.linspace(0.5, 3, D) + 4.0
    embeddings = features @ gaussian(D, E, seed=99) + gaussian(N, E, seed=seed + 1)
    return features.float(), embeddings.float()


@pytest.fixture(scope="module")
def translator() -> LinearTranslator:
    return TranslatorFitter(alpha=1.0, encoder="toy").update(*pairs()).fit()


@pytest.fixture
def bare() -> LinearTranslator:
    """Without statistics, as the authors' files have it."""
    return LinearTranslator(gaussian(E, D), torch.zeros(D), gaussian(E, seed=1))


class TestMap:
    def test_is_affine(self, bare: LinearTranslator) -> None:
        features = gaussian(2, 3, D, seed=2)
        weight, bias = bare.weight.double().numpy(), bare.bias.numpy()
        slow = np.array([[weight @ f + bias for f in block] for block in features.numpy()])
        np.testing.assert_allclose(bare(features).numpy(), slow, atol=1e-12)

    def test_is_the_same_about_any_origin(self, bare: LinearTranslator) -> None:
        origin = gaussian(D, seed=3)
        moved = LinearTranslator(bare.weight, origin, bare(origin))
        features = gaussian(4, D, seed=2)
        torch.testing.assert_close(moved(features), bare(features), rtol=0, atol=1e-12)
        torch.testing.assert_close(moved.bias, bare.bias, rtol=0, atol=1e-12)

    @pytest.mark.parametrize(
        ("given", "returned"),
        [
            (torch.float16, torch.float32),
            (torch.float32, torch.float32),
            (torch.float64, torch.float64),
        ],
    )
    def test_is_float32_or_better(
        self, bare: LinearTranslator, given: torch.dtype, returned: torch.dtype
    ) -> None:
        features = gaussian(4, D).to(given)
        assert bare(features).dtype == returned
        torch.testing.assert_close(
            bare(features).double(), bare(features.double()), rtol=0, atol=1e-5
        )

    def test_keeps_digits_where_the_mean_is_far_above_the_spread(self) -> None:
        mean = 5000 * (1 + gaussian(D, seed=5).abs())
        features = (mean + gaussian(50, D, seed=6)).float()
        weight = gaussian(E, D)
        translator = LinearTranslator(weight, mean, torch.zeros(E))
        exact = (features.double() - mean) @ translator.weight.double().T
        naive = features @ translator.weight.T + translator.bias.float()
        spread = exact.std()
        assert (translator(features) - exact).abs().max() < 1e-5 * spread
        assert (naive - exact).abs().max() > 1e-3 * spread

    def test_has_a_gradient(self, bare: LinearTranslator) -> None:
        features = gaussian(2, D).requires_grad_()
        bare(features).sum().backward()
        wanted = bare.weight.double().sum(dim=0).expand(2, D)
        torch.testing.assert_close(features.grad, wanted)

    def test_pulls_directions_back(self, bare: LinearTranslator) -> None:
        """<d, A^T u> = <T(f + d) - T(f), u>."""
        f, d, u = gaussian(D, seed=2), gaussian(D, seed=3), gaussian(7, E, seed=4)
        moved = (bare(f + d) - bare(f)) @ u.T
        torch.testing.assert_close(d @ bare.pull_back(u), moved, rtol=0, atol=1e-10)

    def test_names_itself(self, translator: LinearTranslator) -> None:
        assert repr(translator) == "LinearTranslator(12 -> 5, encoder='toy')"
        assert (translator.feature_dim, translator.embedding_dim) == (D, E)


class TestStatistics:
    def test_are_those_of_the_features(self, translator: LinearTranslator) -> None:
        features, embeddings = (t.double().numpy() for t in pairs())
        np.testing.assert_allclose(translator.mean.numpy(), features.mean(0), atol=1e-9)
        covariance = translator.feature_covariance.numpy()
        np.testing.assert_allclose(covariance, np.cov(features.T), rtol=1e-5, atol=1e-5)
        assert translator.embedding_covariance is not None
        np.testing.assert_allclose(
            translator.embedding_covariance.numpy(), np.cov(embeddings.T), rtol=1e-5, atol=1e-4
        )

    def test_spread_is_that_of_the_embeddings(self, translator: LinearTranslator) -> None:
        directions = gaussian(6, E)
        slow = [float((pairs()[1].double() @ u).std()) for u in directions]
        assert translator.spread(directions).tolist() == pytest.approx(slow, rel=1e-4)

    def test_spread_is_that_of_translations_where_only_features_are_known(
        self, bare: LinearTranslator
    ) -> None:
        features = pairs()[0]
        known = bare.with_statistics(features)
        directions = gaussian(6, E)
        slow = [float((bare(features.double()) @ u).std()) for u in directions]
        assert known.spread(directions).tolist() == pytest.approx(slow, rel=1e-4)

    def test_can_be_given_and_change_no_translation(self, bare: LinearTranslator) -> None:
        features = pairs()[0]
        known = bare.with_statistics(features)
        assert known.has_statistics
        assert not bare.has_statistics
        np.testing.assert_allclose(known.mean, features.double().mean(dim=0), atol=1e-9)
        torch.testing.assert_close(known(features), bare(features), rtol=0, atol=1e-4)

    @pytest.mark.parametrize("what", ["mean", "feature_covariance"])
    def test_that_are_missing_are_named(self, bare: LinearTranslator, what: str) -> None:
        with pytest.raises(
            SINGRuntimeError,
            match=rf"LinearTranslator\.{what}: expected translator with the statistics .*"
            r"with_statistics\(features\)\.",
        ):
            getattr(bare, what)
        with pytest.raises(SINGRuntimeError, match=r"LinearTranslator\.spread: .* has none"):
            bare.spread(gaussian(2, E))
        with pytest.raises(SINGRuntimeError, match=r"LinearTranslator\.mean: "):
            bare.evaluate(*pairs(), SPACE)

    def test_knows_what_it_was_fitted_on(
        self, translator: LinearTranslator, bare: LinearTranslator
    ) -> None:
        mixed = torch.cat([pairs()[0][:3], pairs(seed=7)[0][:3]])
        assert translator.knows(mixed).tolist() == [True] * 3 + [False] * 3
        assert not bare.knows(mixed).any()
        assert translator.with_statistics(mixed).knows(mixed).tolist() == [True] * 3 + [False] * 3


class TestReport:
    def slow(self, predicted: np.ndarray, truth: np.ndarray) -> Fit:
        cosines = [
            float(p @ z / np.sqrt((p @ p) * (z @ z))) for p, z in zip(predicted, truth, strict=True)
        ]
        degrees = float(np.mean(np.degrees(np.arccos(cosines))))
        r2 = r2_score(truth, predicted, multioutput="variance_weighted")
        return Fit(float(np.mean(cosines)), degrees, float(r2))

    def check(self, fit: Fit | None, predicted: Tensor, truth: Tensor) -> None:
        assert fit is not None
        slow = self.slow(predicted.double().numpy(), truth.double().numpy())
        assert (fit.cosine, fit.degrees, fit.r2) == pytest.approx(
            (slow.cosine, slow.degrees, slow.r2), abs=1e-6
        )

    def test_equals_slow_formulas(self, translator: LinearTranslator) -> None:
        features, embeddings = pairs(seed=7)
        report = translator.evaluate(features, embeddings)
        self.check(report.whole, translator(features.double()), embeddings)
        assert (report.count, report.in_sample) == (N, 0)
        assert report.principal is report.null is None
        assert report.whole.r2 > 0.9

    def test_judges_the_parts_apart(self, translator: LinearTranslator) -> None:
        features, embeddings = pairs(seed=7)
        report = translator.evaluate(features, embeddings, SPACE)
        basis = SPACE.null_basis
        centred = features.double() - translator.mean
        null_part = centred @ basis @ basis.T
        self.check(report.null, translator(translator.mean + null_part), embeddings)
        self.check(report.principal, translator(features.double() - null_part), embeddings)
        assert report.null != report.principal

    def test_counts_the_images_it_was_fitted_on(self, translator: LinearTranslator) -> None:
        (mine, z), (other, y) = pairs(), pairs(seed=7)
        report = translator.evaluate(torch.cat([mine[:10], other]), torch.cat([z[:10], y]))
        assert (report.count, report.in_sample) == (N + 10, 10)

    def test_of_a_constant_has_no_r2_but_a_cosine(self) -> None:
        """The cosine flatters: a constant prediction has a high one."""
        features, embeddings = pairs()
        embeddings = embeddings + 100
        constant = LinearTranslator(
            torch.zeros(E, D), torch.zeros(D), embeddings.double().mean(dim=0)
        )
        whole = constant.evaluate(features, embeddings).whole
        assert whole.r2 == pytest.approx(0.0, abs=1e-9)
        assert whole.cosine > 0.98


class TestFile:
    def test_comes_back_bit_for_bit(self, translator: LinearTranslator, tmp_path: Path) -> None:
        path = translator.save(tmp_path / "translator.safetensors")
        again = LinearTranslator.load(path)
        buffers = dict(again.named_buffers())
        assert set(buffers) == set(dict(translator.named_buffers())) >= {"weight", "covariance"}
        for name, buffer in translator.named_buffers():
            assert buffer.dtype == buffers[name].dtype
            assert torch.equal(buffer, buffers[name]), name
        features = pairs(seed=7)[0]
        assert torch.equal(again(features), translator(features))
        assert again.facts == translator.facts
        assert again.encoder == "toy"
        assert again.knows(pairs()[0]).all()
        assert not again.knows(features).any()

    def test_may_leave_the_covariance_out(
        self, translator: LinearTranslator, tmp_path: Path
    ) -> None:
        whole = translator.save(tmp_path / "whole.safetensors")
        small = translator.save(tmp_path / "small.safetensors", covariance=False)
        assert small.stat().st_size < whole.stat().st_size
        again = LinearTranslator.load(small)
        features = pairs(seed=7)[0]
        assert torch.equal(again(features), translator(features))
        assert torch.equal(again.mean, translator.mean)
        up = torch.eye(again.embedding_dim)[:2]
        assert torch.equal(again.spread(up), translator.spread(up))
        with pytest.raises(SINGRuntimeError, match=r"feature_covariance.*with_statistics"):
            _ = again.feature_covariance

    def test_may_be_written_from_tensors_that_share_memory(self, tmp_path: Path) -> None:
        zero = torch.zeros(3, dtype=torch.float64)
        path = LinearTranslator(torch.eye(3), zero, zero).save(tmp_path / "t.safetensors")
        assert torch.equal(LinearTranslator.load(path)(torch.ones(3)), torch.ones(3))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"origin": torch.zeros(D + 1)},
            {"weight": torch.full((E, D), torch.nan)},
            {"codes": torch.zeros(7), "scale": torch.zeros(2, 4)},
        ],
        ids=lambda wrong: next(iter(wrong)),
    )
    def test_with_entries_that_do_not_fit_is_refused(
        self, wrong: dict[str, Tensor], tmp_path: Path
    ) -> None:
        tensors = {"weight": torch.zeros(E, D), "origin": torch.zeros(D), "image": torch.zeros(E)}
        path = tmp_path / "odd.safetensors"
        save_tensors(path, "LinearTranslator", {**tensors, **wrong}, {"facts": {}})
        with pytest.raises(SINGFileError, match=r"load LinearTranslator: expected path to hold"):
            LinearTranslator.load(path)


def test_refuses_features_of_another_width(bare: LinearTranslator) -> None:
    with pytest.raises(SINGValueError, match=r"of shape \(..., 12\), got \(2, 11\). This trans"):
        bare(torch.ones(2, 11))


@pytest.mark.parametrize(
    "features", [torch.ones(3), torch.ones(1, D), torch.full((4, D), torch.nan)]
)
def test_refuses_statistics_of_what_has_none(bare: LinearTranslator, features: Tensor) -> None:
    with pytest.raises(SINGValueError, match=r"features finite and of shape \(N, D\) with N >= 2"):
        bare.with_statistics(features)


@pytest.mark.parametrize("shape", [(N, E + 1), (N - 1, E)])
def test_refuses_pairs_that_do_not_match(bare: LinearTranslator, shape: tuple[int, int]) -> None:
    with pytest.raises(SINGValueError, match=r"embeddings of shape \(N, 5\) .* Encode the same"):
        bare.evaluate(pairs()[0], torch.ones(shape))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight", torch.ones(3), r"weight of shape \(E, D\), got \(3,\)"),
        ("weight", torch.ones(0, 3), r"weight of shape \(E, D\), got \(0, 3\)"),
        ("origin", torch.ones(4), r"origin finite and of shape \(3,\), got \(4,\)"),
        ("image", torch.full((2,), torch.inf), r"image finite .* got NaN or infinity"),
        ("covariance", torch.ones(2, 2), r"covariance finite and of shape \(3, 3\)"),
        ("embedding_covariance", torch.ones(3, 3), r"covariance finite and of shape \(2, 2\)"),
    ],
)
def test_refuses_parts_that_do_not_fit(name: str, value: Tensor, message: str) -> None:
    parts = {"weight": torch.ones(2, 3), "origin": torch.ones(3), "image": torch.ones(2)}
    with pytest.raises(SINGValueError, match=f"LinearTranslator: expected .*{message}"):
        LinearTranslator(**{**parts, name: value})


def test_refuses_to_judge_features_that_are_no_numbers(bare: LinearTranslator) -> None:
    features, embeddings = torch.ones(4, 12), torch.eye(4, 5)
    features[2, 3] = torch.nan
    for wrong in (features, features[0], features[:1]):
        with pytest.raises(SINGValueError, match=r"evaluate: expected features of shape \(N, 12\)"):
            bare.evaluate(wrong, embeddings)


def test_embeddings_that_are_alike_have_no_r2(bare: LinearTranslator) -> None:
    report = bare.evaluate(torch.eye(9, 12), torch.full((9, 5), 0.1))
    assert math.isnan(report.whole.r2) and report.whole.degrees > 0
