"""Where in an image a word's evidence comes from: exact, and without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from captum.attr import LayerAttribution
from captum.log import log_usage
from torch import Tensor, nn
from tqdm import tqdm

from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.forward_pass import as_tuple
from captum_sing.head import resolve_layer
from captum_sing.inputs import batch_of, in_batches
from captum_sing.pooling import Pooling, find_pooling, recorded
from captum_sing.score import SINGScore
from captum_sing.targets import numbers_of
from captum_sing.wrapping import unwrapped

__all__ = ["LayerEvidence"]

_WHERE = "LayerEvidence"
_AFFINE = ("ignored", "seen")


class LayerEvidence(LayerAttribution):
    r"""A word's evidence at each position of the map that is pooled into the head's feature.

    Where the feature is the mean over P positions of a map M, perhaps through affine layers (a
    neck, a BatchNorm), it is the mean of :math:`f_p`, what these layers make of :math:`M_p` alone.
    Evidence is affine in the feature, so it splits exactly,

    .. math:: e_t(f) = \sum_p \frac{1}{P} e_t(f_p), \qquad
              e_t(f_p) = \langle A P_n (f_p - b),\; u_t \rangle

    for the ignored part. No gradient is made and no path is chosen. Each position is measured
    against the same baseline b, the mean feature unless the score has another (``"conditional"``:
    what the seen part of :math:`f_p` predicts): what is subtracted is spread evenly, and which
    positions are below zero depends on it. A LayerNorm between pooling
    and head is affine at a given scale: the map is then exact *given the image's own scale*, and
    does not say what a position does to that scale.

    Tokens that are not pooled (class, registers) have no share; the others are taken to lie row by
    row. Where the head reads a class token, or something bends between pooling and head, there is
    no such map, and that is an error.

    Where there is no LayerNorm, Grad-CAM *of the score* on the same layer, without its ReLU, is
    this map but for one constant: what is new is that it adds up, and what Grad-CAM of the class
    shows is another question. A position has seen much more of the image than lies under it (in a
    transformer, all of it): a map says at which positions the evidence *is*, not which pixels put
    it there, and it is as coarse as its grid.

    Args:
        forward_func (SINGScore): a score of kind ``"ignored"`` or ``"seen"``, with any baseline;
            angles and shares of energy are not affine.
        layer (nn.Module, str or None, optional): the module whose output, or else whose input, is
            the map. Default: None, it is found at the first call.

    Raises:
        SINGTypeError, SINGValueError, SINGNameError: no such score, or no such layer.

    Example::

        >>> from captum_sing import SING
        >>> from captum_sing.demo import load_demo
        >>> model, translator, concepts, images = load_demo("resnet/neck_background")
        >>> score = SING(model, "head", translator, concepts).score("ignored")
        >>> maps, delta = LayerEvidence(score).attribute(
        ...     images, target=score.target("navy"), return_convergence_delta=True)
        >>> maps.shape, bool(delta.abs().max() < 1e-4)
        (torch.Size([8, 1, 2, 2]), True)
        >>> LayerEvidence.interpolate(maps, (64, 64), "bilinear").shape
        torch.Size([8, 1, 64, 64])
    """

    forward_func: SINGScore
    layer: nn.Module | None

    def __init__(self, forward_func: SINGScore, layer: nn.Module | str | None = None) -> None:
        forward_func = unwrapped(forward_func)
        _check_score(forward_func)
        resolved = None if layer is None else resolve_layer(forward_func.model, layer)
        super().__init__(forward_func, resolved)

    def has_convergence_delta(self) -> bool:
        """True: :meth:`attribute` returns one on demand."""
        return True

    @log_usage()
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: int | Sequence[int] | Tensor | None = None,
        additional_forward_args: Any = None,
        *,
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        show_progress: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Evidence at each position.

        Args:
            inputs (Tensor or tuple of Tensor): B images, as the model takes them.
            target (int, sequence of int or Tensor, optional): an output of the score, for all
                images or one each; ``score.target(word)`` names it. Default: None, all V outputs
            additional_forward_args (optional): handed on to the model.
            internal_batch_size (int, optional): images that go through the model at once.
            return_convergence_delta (bool, optional): whether to return the map's sum minus the
                score itself: how the model rounds behind the map. Default: False
            show_progress (bool, optional): a progress bar over batches. Default: False

        Returns:
            Tensor or tuple of Tensor: maps, shape (B, 1, h, w), or (B, V, h, w) of all outputs, in
            the unit of the score; with the delta, (B,) or (B, V), where it is asked for.

        Raises:
            SINGTypeError, SINGValueError: a target that is no output, inputs that the model
                refuses, a head that does not read the mean of a map (of ``layer``, where given).
            SINGRuntimeError: images that take different ways through the model.
        """
        score = self.forward_func
        count = batch_of(inputs, _WHERE)
        chosen = None
        if target is not None:
            chosen = numbers_of(target, count, len(score.names), _WHERE, "output")
        cut = (inputs, additional_forward_args, chosen)
        few, extra, _ = next(in_batches(count, 1, _WHERE, *cut))
        pooling, head = self._pooling((*as_tuple(few), *as_tuple(extra)))
        maps, deltas = [], []
        batches = in_batches(count, internal_batch_size, _WHERE, *cut)
        total = -(-count // (internal_batch_size or count))
        for part, extra, outputs in tqdm(batches, _WHERE, total, disable=not show_progress):
            with torch.no_grad(), recorded({pooling.module, head}) as calls:
                whole = score(*as_tuple(part), *as_tuple(extra))
            for i, features in enumerate(pooling.features(calls, head)):
                wanted = slice(None) if outputs is None else outputs[i : i + 1]
                with torch.no_grad():
                    evidence = score.of_features(features)[:, wanted].T / len(features)
                delta = evidence.sum(dim=1) - whole[i, wanted]
                maps.append(evidence.reshape(-1, *pooling.grid).to(whole.dtype))
                deltas.append(delta.to(whole.dtype))
        attributions, delta = torch.stack(maps), torch.stack(deltas)
        if not return_convergence_delta:
            return attributions
        return attributions, delta if chosen is None else delta.squeeze(1)

    def _pooling(self, images: tuple[Any, ...]) -> tuple[Pooling, nn.Module]:
        """Where the map of such images is, and the head."""
        score = self.forward_func
        with torch.no_grad():
            if score.head is None:
                score(*images)  # finds it
            layers = () if score.head is None else score.head.layers
            if len(layers) != 1:
                raise SINGValueError(
                    expected(
                        _WHERE,
                        "layer",
                        "to be a map that one head reads",
                        f"a score of {len(layers)} heads that are averaged",
                        "Use a gradient method on the score instead",
                    )
                )
            pooling = find_pooling(score.model, layers[0], lambda: score(*images), self.layer)
        self.layer = pooling.module
        return pooling, layers[0]


def _check_score(score: Any) -> None:
    if not isinstance(score, SINGScore) or not isinstance(score.model, nn.Module):
        function = " of a function" * isinstance(score, SINGScore)
        raise SINGTypeError(
            expected(
                _WHERE,
                "forward_func",
                "to be a SINGScore of a module",
                f"{type(score).__name__}{function}",
                'Pass sing.score("ignored"), of a model whose layers can be read',
            )
        )
    if score.kind not in _AFFINE:
        raise SINGValueError(
            expected(
                _WHERE,
                "forward_func",
                f"to be a score of kind {' or '.join(_AFFINE)}, which adds up over positions",
                repr(score.kind),
                "Use a gradient method on this score, or make one of these kinds",
            )
        )
