"""What every translator is: a map from features to embeddings, with its facts and its judgement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from captum_sing.errors import SINGValueError, expected
from captum_sing.membership import FeatureRecord
from captum_sing.null_space import NullSpace
from captum_sing.quality import Fit, TranslatorReport, fit_of

__all__ = ["Translator"]


class Translator(nn.Module, ABC):
    """A map T from features (D) to image embeddings (E); a base class.

    Attributes:
        facts (dict): what is kept beside the numbers; ``facts["encoder"]`` and ``facts["model"]``
            are the names of the encoder and of the classifier.
        record (FeatureRecord or None): the features it was fitted on.
    """

    def __init__(self, facts: dict[str, Any] | None, record: FeatureRecord | None) -> None:
        super().__init__()
        self.facts = dict(facts or {})
        self.record = record

    @property
    @abstractmethod
    def feature_dim(self) -> int:
        """D, the width of the features."""

    @property
    @abstractmethod
    def embedding_dim(self) -> int:
        """E, the width of the vision-language space."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """The mean of the reference features, shape (D,), float64."""

    @property
    def encoder(self) -> str | None:
        """The name of the encoder whose space this is, where it is known."""
        return self.facts.get("encoder")

    @property
    def model(self) -> str | None:
        """The name of the classifier whose features these are, where it is known."""
        return self.facts.get("model")

    def knows(self, features: Tensor) -> Tensor:
        """Whether this translator was fitted on each of these features, shape (B,), bool.

        All False where it keeps no record of them.
        """
        if self.record is None:
            return torch.zeros(len(features), dtype=torch.bool)
        return self.record.contains(features)

    @torch.no_grad()
    def evaluate(
        self, features: Tensor, embeddings: Tensor, null_space: NullSpace | None = None
    ) -> TranslatorReport:
        """Cosine, degrees and R^2 on pairs that were held out.

        Args:
            features (Tensor): shape (N, D).
            embeddings (Tensor): the same images' embeddings, shape (N, E).
            null_space (NullSpace, optional): to judge the principal and the null part apart.
        """
        self._check_features(features)
        if features.dim() != 2 or len(features) < 2 or not features.isfinite().all():
            raise SINGValueError(
                expected(
                    f"{type(self).__name__}.evaluate",
                    "features",
                    f"of shape (N, {self.feature_dim}) with N >= 2, finite",
                    tuple(features.shape),
                    "Leave images without a feature out",
                )
            )
        shape = (len(features), self.embedding_dim)
        if embeddings.shape != shape or not embeddings.isfinite().all():
            raise SINGValueError(
                expected(
                    f"{type(self).__name__}.evaluate",
                    "embeddings",
                    f"of shape (N, {self.embedding_dim}) and finite, one for each feature",
                    f"{tuple(embeddings.shape)} for {len(features)} features",
                    "Encode the same images",
                )
            )
        device = next(self.buffers()).device
        exact, truth = features.to(device).double(), embeddings.to(device).double()
        parts: dict[str, Fit] = {}
        if null_space is not None:
            null_part = null_space.to(device).project(exact - self.mean)
            parts["null"] = fit_of(self(self.mean + null_part), truth)
            parts["principal"] = fit_of(self(exact - null_part), truth)
        count, used = len(features), int(self.knows(features).sum())
        return TranslatorReport(count, used, fit_of(self(exact), truth), **parts)

    def extra_repr(self) -> str:
        """Widths and encoder, in the module's representation."""
        return f"{self.feature_dim} -> {self.embedding_dim}, encoder={self.encoder!r}"

    def _check_features(self, features: Tensor) -> None:
        if features.shape[-1:] != (self.feature_dim,):
            raise SINGValueError(
                expected(
                    type(self).__name__,
                    "features",
                    f"of shape (..., {self.feature_dim})",
                    tuple(features.shape),
                    "This translator was fitted for another model; fit one for this model",
                )
            )
