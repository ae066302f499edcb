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
from captum_sing.translator_base import Translator

__all__ = ["LinearTranslator"]

_KIND = "LinearTranslator"
_REQUIRED = ("weight", "origin", "image")
_OPTIONAL = ("covariance", "embedding_covariance", "codes", "scale")
_OF_TRANSLATIONS = "covariance_of_translations"  # the fact that the second one is of these


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
        known = {"covariance": covariance, "embedding_covariance": embedding_covariance}
        for name, value in known.items():
            self.register_buffer(name, None if value is None else value.detach().float().clone())

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

    @property
    def knows_embeddings(self) -> bool:
        """Whether :meth:`spread` is that of the reference images' embeddings, not translations."""
        return self.embedding_covariance is not None and not self.facts.get(_OF_TRANSLATIONS)

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
        translations :math:`A S A^\top` where only features were given
        (:attr:`knows_embeddings`). A translation varies least where it translates worst, so it
        makes no unit for a word: evidence then has one unit for all words.

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

    def with_statistics(
        self, features: Tensor, embeddings: Tensor | None = None
    ) -> LinearTranslator:
        """The same map, with the mean and covariance of reference images.

        Args:
            features (Tensor): of the N images, N >= 2, shape (N, D); some hundreds are wanted.
            embeddings (Tensor, optional): of the same images, by the translator's encoder, shape
                (N, E). With them each word's evidence has its own unit, as that of a fitted
                translator has; without, all words have one (see :meth:`spread`).

        Returns:
            LinearTranslator: ``facts["reference_images"]`` is N.
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
        wanted = (len(features), self.embedding_dim)
        if embeddings is not None and not (
            embeddings.shape == wanted and embeddings.isfinite().all()
        ):
            raise SINGValueError(
                expected(
                    "LinearTranslator.with_statistics",
                    "embeddings",
                    f"finite and of shape {wanted}",
                    tuple(embeddings.shape),
                    "Pass those of the same images, by the translator's encoder",
                )
            )
        exact = features.to(self.weight.device).double()
        mean = exact.mean(dim=0)
        facts = {key: value for key, value in self.facts.items() if key != _OF_TRANSLATIONS}
        return LinearTranslator(
            self.weight,
            mean,
            self(mean),
            covariance=_covariance(exact),
            embedding_covariance=None if embeddings is None else _covariance(embeddings),
            record=self.record,
            facts=facts | {"reference_images": len(features)},
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
        facts = dict(self.facts)
        if self.embedding_covariance is not None:
            tensors["embedding_covariance"] = self.embedding_covariance
        if self.covariance is not None and covariance:
            tensors["covariance"] = self.covariance
        elif self.covariance is not None and self.embedding_covariance is None:
            pulled = self.weight.double()
            tensors["embedding_covariance"] = (pulled @ self.feature_covariance @ pulled.T).float()
            facts[_OF_TRANSLATIONS] = True
        if self.record is not None:
            tensors |= self.record.tensors()
        return save_tensors(path, _KIND, tensors, {"facts": facts})

    @classmethod
    def load(cls, path: str | Path) -> LinearTranslator:
        """Read what :meth:`save` wrote.

        Raises:
            SINGFileError: the file is missing, truncated, or no translator.
        """
        tensors, facts = load_tensors(path, _KIND, _REQUIRED, _OPTIONAL)
        record = tensors.pop("codes", None), tensors.pop("scale", None)
        try:
            known = FeatureRecord.from_tensors(*record)
            return cls(**tensors, record=known, facts=facts.get("facts"))
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
            LinearTranslator: what its metadata say is ``facts["metadata"]``.

        Raises:
            SINGFileError: a file is missing or damaged, the translator is not linear, or the
                checkpoint's entries and widths are not those of the metadata.
        """
        state, facts = read_translator(folder)
        metadata = facts["metadata"]
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
        return cls(state["weight"], origin, state["bias"], facts=facts)

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


def _covariance(rows: Tensor) -> Tensor:
    return torch.atleast_2d(torch.cov(rows.double().T))


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
