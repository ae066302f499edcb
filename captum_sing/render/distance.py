"""How far the features of pictures are from wanted ones, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_sing.errors import NoNullSpaceError, SINGRuntimeError, SINGValueError, expected
from captum_sing.hooks import live_features
from captum_sing.linear_head import LinearHead, head_weight
from captum_sing.null_space import NullSpace
from captum_sing.translator_base import Translator

__all__ = ["Distance"]

_WHERE = "Inversion"
_LEAST = 1e-12  # for a wanted part of no length


class Distance:
    """How far pictures' features are from those wanted, the seen and the ignored part apart.

    Args:
        model (callable): the classifier.
        head (LinearHead): whose input is compared.
        normalize (callable): (B, 3, H, W) in [0, 1] -> inputs of the model.
        wanted (Tensor): features, shape (B, D), float32.
        null_space (NullSpace, optional): Default: that of the head
        translator (Translator, optional): to measure the ignored part by its translation.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        head: LinearHead,
        normalize: Callable[[Tensor], Tensor],
        wanted: Tensor,
        null_space: NullSpace | None = None,
        translator: Translator | None = None,
    ) -> None:
        self.model, self.head, self.normalize, self.wanted = model, head, normalize, wanted
        self.dtype = head_weight(head.layers[0]).dtype
        weight = head.weight(wanted.shape[1])
        self.space: NullSpace | None = null_space
        if null_space is None:
            try:
                self.space = NullSpace.from_weight(weight)
            except NoNullSpaceError:
                self.space = None  # all is seen
        seen = weight.T.double()
        if self.space is not None:
            self.space = self.space.to(wanted.device)
            seen = self.space.principal_basis * self.space.singular_values[: self.space.rank]
        self.seen = seen.to(wanted)
        self.translator = None if self.space is None else translator
        mean = torch.zeros_like(wanted[0])
        if translator is not None and getattr(translator, "has_statistics", True):
            mean = translator.mean.to(wanted)
        with torch.no_grad():
            self.seen_size = _squared(wanted @ self.seen).clamp_min(_LEAST)
            self.sizes = [part.clamp_min(_LEAST) for part in self._ignored(wanted - mean)]

    def to(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Squared distances of pictures (B, 3, H, W), or of several in turn for each row.

        Returns:
            tuple of Tensor: of the seen part, as the logits are apart; of the ignored part; and of
            the ignored part as it is translated, the same without a translator. Shape (B,) each, in
            units of the wanted part's own squared length: about the mean, of what is ignored, where
            the translator knows the mean.
        """
        inputs = self.normalize(pictures).to(self.dtype)
        features = live_features(self.model, self.head.layers, inputs).flatten(1).to(self.wanted)
        if features.shape[1] != self.wanted.shape[1]:
            raise SINGValueError(
                expected(
                    _WHERE,
                    "wanted",
                    f"of width {features.shape[1]}, as the model hands its head",
                    self.wanted.shape[1],
                    "Read features with the same layer",
                )
            )
        copies = len(pictures) // len(self.wanted)
        step = features - self.wanted.repeat(copies, 1)
        seen = _squared(step @ self.seen) / self.seen_size.repeat(copies)
        null, translated = (
            part / size.repeat(copies)
            for part, size in zip(self._ignored(step), self.sizes, strict=True)
        )
        return seen, null, translated

    def check_gradient(self, pictures: Tensor) -> None:
        """Refuse a model through which no gradient passes.

        Raises:
            SINGRuntimeError: its features do not depend on a picture, or not smoothly.
        """
        pictures = pictures.detach().clone().requires_grad_()
        parts = torch.stack(self.to(pictures)).sum(dim=0)
        gradient = None
        if parts.requires_grad:
            gradient = torch.autograd.grad(parts.sum(), pictures, allow_unused=True)[0]
        cut = torch.ones(len(pictures), dtype=torch.bool)
        if gradient is not None:
            cut = (gradient.flatten(1).abs().sum(dim=1) == 0).cpu() & (parts > 1e-9).cpu()
        if cut.any():
            raise SINGRuntimeError(
                expected(
                    _WHERE,
                    "model",
                    "through which gradients reach its inputs",
                    f"none for pictures {cut.nonzero().flatten().tolist()[:10]}",
                    "Look for no_grad, detach, rounding or a conversion to arrays in the model or "
                    "in normalize",
                )
            )

    def _ignored(self, step: Tensor) -> tuple[Tensor, Tensor]:
        """The squared length of the ignored part of steps from what is wanted, and translated."""
        if self.space is None:
            none = torch.zeros_like(step[:, 0])
            return none, none
        part = self.space.project(step)
        length = _squared(part)
        if self.translator is None:
            return length, length
        place = next(self.translator.buffers()).device
        wanted = self.wanted.repeat(len(step) // len(self.wanted), 1)
        there, here = ((wanted + one).to(place) for one in (part, torch.zeros_like(part)))
        return length, _squared((self.translator(there) - self.translator(here)).to(step))


def _squared(rows: Tensor) -> Tensor:
    return rows.square().sum(dim=1)
