"""Fitting a translator by ridge regression from sums that stream past."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_sing.errors import SINGRuntimeError, SINGTypeError, SINGValueError, expected
from captum_sing.membership import FeatureRecord, sketch
from captum_sing.translator import LinearTranslator

__all__ = ["TranslatorFitter"]

_RELATIVE_ALPHA = 1e-2
_ROUNDING = 100  # a feature with less variance of its own, in eps, is a copy of others


class TranslatorFitter:
    r"""Ridge regression of image embeddings on features (Eq. 4), block by block.

    .. math:: \min_{A, a} \sum_i \|A f_i + a - z_i\|^2 + \alpha \|A\|^2

    with the intercept unpenalised. Only centred sums are kept, in float64, so the memory does not
    depend on the number of images, apart from 32 bytes an image (eight in the file) that let the
    translator know its own images again.

    Args:
        alpha (float, optional): the penalty, as scikit-learn's ``Ridge(alpha)`` has it. Default:
            0.01 of the mean variance of a feature, times the number of images.
        encoder (str, optional): the name of the encoder that made the embeddings.
        model (str, optional): the name of the classifier that made the features.
        remember (bool, optional): keep these bytes. Default: True

    Example::

        >>> import torch
        >>> features = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
        >>> fitter = TranslatorFitter(alpha=1e-6)
        >>> for block in features.split(20):
        ...     fitter = fitter.update(block, block[:, :3] * 2)
        >>> translator = fitter.fit()
        >>> torch.allclose(translator(features), features[:, :3] * 2, atol=1e-4)
        True
    """

    def __init__(
        self,
        alpha: float | None = None,
        *,
        encoder: str | None = None,
        model: str | None = None,
        remember: bool = True,
    ) -> None:
        if alpha is not None and not 0.0 <= alpha < float("inf"):
            raise SINGValueError(
                expected("TranslatorFitter", "alpha", "finite and not negative", alpha, "Use 1.0")
            )
        self.alpha = alpha
        self.encoder = encoder
        self.model = model
        self.remember = remember
        self.count = 0
        self._mean = torch.empty(0)  # of features and embeddings, side by side
        self._gram = torch.empty(0)  # centred products of features with both
        self._embedding_gram = torch.empty(0)
        self._widths = (0, 0)
        self._eps = 0.0  # of the least precise block
        self._sketches: list[Tensor] = []

    def update(self, features: Tensor, embeddings: Tensor) -> TranslatorFitter:
        """Add a block of pairs.

        Args:
            features (Tensor): shape (N, D), any floating-point precision.
            embeddings (Tensor): shape (N, E), of the same images.

        Returns:
            TranslatorFitter: itself.

        Raises:
            SINGTypeError, SINGValueError: a block that cannot be used; the sums stay as they were.
        """
        self._check(features, embeddings)
        features, embeddings = features.detach(), embeddings.detach().to(features.device)
        block = torch.cat([features.double(), embeddings.double()], dim=1)
        width, count, block_mean = features.shape[1], len(block), block.mean(dim=0)
        centred = block - block_mean
        if torch.float64 not in (features.dtype, embeddings.dtype):
            centred = centred.float()
        self._eps = max(self._eps, torch.finfo(centred.dtype).eps)
        with torch.autocast(centred.device.type, enabled=False):
            gram = (centred[:, :width].T @ centred).double()
            embedding_gram = (centred[:, width:].T @ centred[:, width:]).double()
        if not self.count:
            self._widths = (width, embeddings.shape[1])
            self._mean, self._gram, self._embedding_gram = block_mean, gram, embedding_gram
        else:
            moved = block_mean.to(self._mean.device) - self._mean
            weight = self.count * count / (self.count + count)
            self._gram += gram.to(self._gram.device) + weight * torch.outer(moved[:width], moved)
            self._embedding_gram += embedding_gram.to(self._gram.device) + weight * torch.outer(
                moved[width:], moved[width:]
            )
            self._mean = self._mean + moved * (count / (self.count + count))
        self.count += count
        if self.remember:
            self._sketches.append(sketch(features))
        return self

    def fit(self) -> LinearTranslator:
        """The translator of all pairs so far; more may be added afterwards.

        Returns:
            LinearTranslator: with the statistics of the images it was fitted on.

        Raises:
            SINGRuntimeError: fewer than two pairs so far.
            SINGValueError: ``alpha=0`` and features that do not determine the map.
        """
        if self.count < 2:
            raise SINGRuntimeError(
                expected(
                    "TranslatorFitter.fit",
                    "pairs",
                    "of two images or more",
                    self.count,
                    "Call update(features, embeddings) first",
                )
            )
        width = self._widths[0]
        gram, products = self._gram[:, :width], self._gram[:, width:]
        alpha = (
            float(gram.diagonal().mean()) * _RELATIVE_ALPHA if self.alpha is None else self.alpha
        )
        penalised = gram + alpha * torch.eye(width, dtype=gram.dtype, device=gram.device)
        factor, failed = torch.linalg.cholesky_ex(penalised)
        own = factor.diagonal().square() <= _ROUNDING * self._eps * gram.diagonal()
        if int(failed) or (alpha == 0.0 and bool(own.any())):
            raise SINGValueError(
                expected(
                    "TranslatorFitter.fit",
                    "alpha",
                    "above 0 for features that are constant or depend on each other",
                    alpha,
                    "Penalise, for example with alpha=1.0",
                )
            )
        return LinearTranslator(
            torch.cholesky_solve(products, factor).T,
            self._mean[:width],
            self._mean[width:],
            covariance=gram / (self.count - 1),
            embedding_covariance=self._embedding_gram / (self.count - 1),
            record=FeatureRecord.from_sketches(torch.cat(self._sketches))
            if self._sketches
            else None,
            facts={
                "encoder": self.encoder,
                "model": self.model,
                "alpha": alpha,
                "count": self.count,
            },
        )

    def _check(self, features: Tensor, embeddings: Tensor) -> None:
        where = "TranslatorFitter.update"
        for name, tensor in (("features", features), ("embeddings", embeddings)):
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
                raise SINGTypeError(
                    expected(where, name, "to be a floating-point tensor", type(tensor), "Convert")
                )
            if tensor.dim() != 2 or 0 in tensor.shape:
                shape = tuple(tensor.shape)
                raise SINGValueError(
                    expected(where, name, "of shape (N, width)", shape, "Flatten, or drop it")
                )
            if not tensor.isfinite().all():
                raise SINGValueError(
                    expected(where, name, "finite", "NaN or infinity", "Leave these images out")
                )
        widths = (features.shape[1], embeddings.shape[1])
        if len(features) != len(embeddings) or (self.count and widths != self._widths):
            raise SINGValueError(
                expected(
                    where,
                    "features and embeddings",
                    f"paired, and of widths {self._widths if self.count else 'that stay'}",
                    f"{tuple(features.shape)} and {tuple(embeddings.shape)}",
                    "Give the same images of the same model and encoder",
                )
            )
