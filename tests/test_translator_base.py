"""What linear and nonlinear translators share is one code: names, membership, judgement."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from captum_sing import LinearTranslator, NullSpace
from captum_sing.errors import SINGValueError
from captum_sing.membership import FeatureRecord, sketch
from captum_sing.nonlinear import NonlinearTranslator
from captum_sing.translator_base import Translator

D, E = 8, 3


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


FEATURES = gaussian(40, D) + 2.0
RECORD = FeatureRecord.from_sketches(sketch(FEATURES[:10]))
FACTS = {"encoder": "toy", "model": "toys/one"}


def linear() -> Translator:
    bare = LinearTranslator(gaussian(E, D), torch.zeros(D), gaussian(E), record=RECORD, facts=FACTS)
    return bare.with_statistics(FEATURES)


def nonlinear() -> Translator:
    layers = [(gaussian(D, D, seed=n), gaussian(D, seed=n + 3)) for n in range(2)]
    layers.append((gaussian(E, D, seed=2), gaussian(E, seed=5)))
    mean = FEATURES.mean(dim=0)
    return NonlinearTranslator("3layer", layers, "tanh", origin=mean, record=RECORD, facts=FACTS)


@pytest.mark.parametrize("make", [linear, nonlinear])
class TestBoth:
    def test_know_names_and_images(self, make: object) -> None:
        translator: Translator = make()  # type: ignore[operator]
        assert isinstance(translator, nn.Module)
        assert (translator.encoder, translator.model) == ("toy", "toys/one")
        assert (translator.feature_dim, translator.embedding_dim) == (D, E)
        assert repr(translator).endswith("Translator(8 -> 3, encoder='toy')")
        assert translator.knows(FEATURES).tolist() == [True] * 10 + [False] * 30
        torch.testing.assert_close(translator.mean, FEATURES.mean(dim=0))

    def test_are_judged_by_their_translations(self, make: object) -> None:
        translator: Translator = make()  # type: ignore[operator]
        truth = translator(FEATURES) + 0.1 * gaussian(40, E, seed=9)
        space = NullSpace.from_weight(gaussian(3, D, seed=11).float())
        report = translator.evaluate(FEATURES, truth, space)
        assert (report.count, report.in_sample) == (40, 10)
        basis = space.null_basis
        null = (FEATURES - translator.mean) @ basis @ basis.T
        for fit, f in (
            (report.whole, FEATURES),
            (report.null, translator.mean + null),
            (report.principal, FEATURES - null),
        ):
            assert fit is not None
            cosines = nn.functional.cosine_similarity(translator(f), truth)
            assert fit.cosine == pytest.approx(float(cosines.mean()), abs=1e-9)
            errors = (translator(f) - truth).square().sum()
            r2 = 1 - errors / (truth - truth.mean(dim=0)).square().sum()
            assert fit.r2 == pytest.approx(float(r2), abs=1e-9)
        assert report.whole.r2 > 0.9 > report.null.r2  # type: ignore[union-attr]

    def test_refuse_features_and_embeddings_that_do_not_fit(self, make: object) -> None:
        translator: Translator = make()  # type: ignore[operator]
        name = type(translator).__name__
        with pytest.raises(SINGValueError, match=rf"{name}: expected features of shape \(..., 8\)"):
            translator(torch.ones(2, D + 1))
        with pytest.raises(SINGValueError, match=rf"{name}.evaluate: expected embeddings of shape"):
            translator.evaluate(FEATURES, torch.ones(39, E))
