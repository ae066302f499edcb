"""The translator: a linear map from a classifier's features into a vision-language space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_sing.authors import check_layout, read_translator
from captum_sing.errors import SINGFileError, SINGRuntimeError, SINGValueError, expected
from captum_sing.files import load_tensors, save_tensors
from captum_sing.membership import FeatureRecord
from captum_sing.translation import Translator

__all__ = ["LinearTranslator"]

_KIND = "LinearTranslator"
_REQUIRED = ("weight", "origin", "image")
_OPTIONAL = ("covariance", "embedding_covariance", "codes", "scale")


class LinearTranslator(Translator):
    r"""An affine map :math:`T(f) = A f + a` from features (D) to image embeddings (E).

    Evaluated as :math:`A (f - \bar f) + T(\bar f)`, with the mean taken off in float64: features
    whose mean is far above their spread would lose digits otherwise. Made by
    :meth:`captum_sing.TranslatorFitter.fit`, :meth:`load` or :meth:`from_authors`.

    Args:
        weight (Tensor): A, shape (E, D).
        origin (Tensor): the point f0 that the map is written about, shape (D,).
        image (Tensor): T(f0), shape (E,).
        covariance (Tensor, optional): of the reference features, shape (D, D).
        embedding_covariance (Tensor, optional): of the same images' embeddings, shape (E, E). With
            either, ``origin`` is the mean of the reference features.
        record (FeatureRecord, optional): the features it was fitted on.
        facts (dict, optional): what to keep beside the numbers; ``facts["encoder"]`` and
            ``facts["model"]`` are the names of the encoder and of the classifier.

    Example::

        >>> import torch
        >>> translator = LinearTranslator(torch.eye(2), torch.zeros(2), torch.ones(2))
        >>> translator(torch.tensor([[1.0, 2.0]]))
        tensor([[2., 3.]])
    """

    weight: Tensor
    origin: Tensor
    image: Tensor
    covariance: Tensor | None
    embedding_covariance: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        origin: Tensor,
        image: Tensor,
        *,
        covariance: Tensor | None = None,
        embedding_covariance: Tensor | None = None,
        record: FeatureRecord | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(facts, record)
        _check_shapes(weight, origin, image, covariance, embedding_covariance)
        self.register_buffer("weight", weight.detach().float().clone())
        self.register_buffer("origin", origin.detach().double().clone())
        self.register_buffer("image", image.detach().double().clone())
        for name, value in (
            ("covariance", covariance),
            ("embedding_covariance", embedding_covariance),
        ):
            self.register_buffer(name, None if value is None else value.detach().float())

    @property
    def feature_dim(self) -> int:
        """D, the width of the features."""
        return int(self.weight.shape[1])

    @property
    def embedding_dim(self) -> int:
        """E, the width of the vision-language space."""
        return int(self.weight.shape[0])

    @property
    def bias(self) -> Tensor:
        """a, the translation of a zero feature, shape (E,), float64."""
        return self.image.double() - self.weight.double() @ self.origin.double()

    @property
    def has_statistics(self) -> bool:
        """Whether reference images are known, by their mean and at least one covariance."""
        return self.covariance is not None or self.embedding_covariance is not None

    @property
    def mean(self) -> Tensor:
        """The mean of the reference features, shape (D,), float64.

        Raises:
            SINGRuntimeError: this translator has none yet.
        """
        self._need_statistics("mean")
        return self.origin

    @property
    def feature_covariance(self) -> Tensor:
        """The covariance of the reference features, shape (D, D), float64.

        Raises:
            SINGRuntimeError: this translator has none, or was saved without it.
        """
        if self.covariance is None:
            raise self._no_statistics("feature_covariance")
        return self.covariance.double()

    def forward(self, features: Tensor) -> Tensor:
        """Translate features.

        Args:
            features (Tensor): shape (..., D).

        Returns:
            Tensor: shape (..., E), float32, or float64 for float64 features.

        Raises:
            SINGValueError: the last dimension is not D.
        """
        self._check_features(features)
        dtype = torch.promote_types(features.dtype, torch.float32)
        centred = (features.double() - self.origin.double()).to(dtype)
        with torch.autocast(features.device.type, enabled=False):
            return centred @ self.weight.to(dtype).T + self.image.to(dtype)

    def pull_back(self, directions: Tensor) -> Tensor:
        r"""Directions of the embedding space seen from the feature: :math:`G = A^\top U^\top`.

        A feature difference d moves the translation along u by <d, A^T u>.

        Args:
            directions (Tensor): U, shape (V, E).

        Returns:
            Tensor: shape (D, V), float64.
        """
        return self.weight.double().T @ directions.to(self.weight.device).double().T

    def spread(self, directions: Tensor) -> Tensor:
        r"""Standard deviation of the reference images along directions, shape (V,), float64.

        :math:`\sqrt{u^\top C u}`, with C the covariance of the images' embeddings, or of their
        translations :math:`A S A^\top` where only features were given.

        Raises:
            SINGRuntimeError: this translator has no statistics yet.
        """
        self._need_statistics("spread")
        if self.embedding_covariance is not None:
            directions = directions.to(self.weight.device).double()
            covariance = self.embedding_covariance.double()
        else:
            directions, covariance = self.pull_back(directions).T, self.feature_covariance
        return ((directions @ covariance) * directions).sum(dim=1).clamp_min(0.0).sqrt()

    def with_statistics(self, features: Tensor) -> LinearTranslator:
        """The same map, with the mean and covariance of reference features.

        Args:
            features (Tensor): at least two features of reference images, shape (N, D).
        """
        if features.dim() != 2 or len(features) < 2 or not features.isfinite().all():
            raise SINGValueError(
                expected(
                    "LinearTranslator.with_statistics",
                    "features",
                    "finite and of shape (N, D) with N >= 2",
                    tuple(features.shape),
                    "Pass the features of reference images",
                )
            )
        exact = features.to(self.weight.device).double()
        mean = exact.mean(dim=0)
        return LinearTranslator(
            self.weight,
            mean,
            self(mean),
            covariance=torch.atleast_2d(torch.cov(exact.T)),
            record=self.record,
            facts=self.facts,
        )

    def save(self, path: str | Path, *, covariance: bool = True) -> Path:
        """Save to one safetensors file, written whole or not at all.

        Args:
            path (str or Path): the file.
            covariance (bool, optional): False leaves out the features' covariance, the largest
                part, and with it the conditional baseline. Default: True

        Returns:
            Path: ``path``.
        """
        tensors = {name: getattr(self, name) for name in _REQUIRED}
        if self.embedding_covariance is not None:
            tensors["embedding_covariance"] = self.embedding_covariance
        if self.covariance is not None and covariance:
            tensors["covariance"] = self.covariance
        elif self.covariance is not None and self.embedding_covariance is None:
            pulled = self.weight.double()
            tensors["embedding_covariance"] = (pulled @ self.feature_covariance @ pulled.T).float()
        if self.record is not None:
            tensors |= {"codes": self.record.codes, "scale": self.record.scale}
        return save_tensors(path, _KIND, tensors, {"facts": self.facts})

    @classmethod
    def load(cls, path: str | Path) -> LinearTranslator:
        """Read what :meth:`save` wrote.

        Raises:
            SINGFileError: the file is missing, truncated, or no translator.
        """
        tensors, facts = load_tensors(path, _KIND, _REQUIRED, _OPTIONAL)
        codes, scale = tensors.pop("codes", None), tensors.pop("scale", None)
        try:
            record = None if codes is None or scale is None else FeatureRecord(codes, scale)
            return cls(**tensors, record=record, facts=facts.get("facts"))
        except (ValueError, TypeError) as error:
            raise SINGFileError(
                expected(
                    f"load {_KIND}", "path", "to hold one", f"{path} ({error})", "Make it again"
                )
            ) from error

    @classmethod
    def from_authors(cls, folder: str | Path) -> LinearTranslator:
        """A linear translator of the SING authors' release, without statistics.

        Give it some with :meth:`with_statistics`; until then, what needs them says so.

        Args:
            folder (str or Path): with ``metadata.yaml`` and the checkpoint that it names.

        Returns:
            LinearTranslator: what the metadata say stands in its ``facts``.

        Raises:
            SINGFileError: a file is missing or damaged, the translator is not linear, or the
                checkpoint's entries and widths are not those of the metadata.
        """
        state, metadata = read_translator(folder)
        if metadata["architecture"] != "linear":
            raise SINGFileError(
                expected(
                    "LinearTranslator.from_authors",
                    "architecture",
                    "linear",
                    repr(metadata["architecture"]),
                    "Read it with NonlinearTranslator.from_authors(folder, activation=...)",
                )
            )
        width, out = metadata["in_dim"], metadata["out_dim"]
        check_layout(state, {"weight": (out, width), "bias": (out,)}, folder)
        origin = torch.zeros(width, dtype=torch.float64)
        return cls(state["weight"], origin, state["bias"], facts=metadata)

    def _need_statistics(self, what: str) -> None:
        if not self.has_statistics:
            raise self._no_statistics(what)

    def _no_statistics(self, what: str) -> SINGRuntimeError:
        return SINGRuntimeError(
            expected(
                f"LinearTranslator.{what}",
                "translator",
                "with the statistics of reference images",
                "one that has none",
                "Give it some with translator.with_statistics(features)",
            )
        )


def _check_shapes(
    weight: Tensor,
    origin: Tensor,
    image: Tensor,
    covariance: Tensor | None,
    embedding_covariance: Tensor | None,
) -> None:
    if weight.dim() != 2 or 0 in weight.shape:
        raise SINGValueError(
            expected(
                "LinearTranslator", "weight", "of shape (E, D)", tuple(weight.shape), "Check it"
            )
        )
    embedding_dim, feature_dim = weight.shape
    named: tuple[tuple[str, Tensor | None, tuple[int, ...]], ...] = (
        ("weight", weight, (embedding_dim, feature_dim)),
        ("origin", origin, (feature_dim,)),
        ("image", image, (embedding_dim,)),
        ("covariance", covariance, (feature_dim, feature_dim)),
        ("embedding_covariance", embedding_covariance, (embedding_dim, embedding_dim)),
    )
    for name, tensor, shape in named:
        if tensor is None:
            continue
        if tensor.shape != shape or not tensor.isfinite().all():
            actual = tuple(tensor.shape) if tensor.shape != shape else "NaN or infinity"
            raise SINGValueError(
                expected(
                    "LinearTranslator", name, f"finite and of shape {shape}", actual, "Check it"
                )
            )
