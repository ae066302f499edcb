"""SING as a Captum attribution: what a classifier's head ignores in each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from captum.attr import LayerAttribution
from captum.log import log_usage
from torch import Tensor, nn

from captum_sing.baselines import deviation
from captum_sing.checks import (
    check_baselines,
    check_call,
    check_parts,
    check_seed,
    check_target,
    check_width,
)
from captum_sing.concepts import ConceptBank
from captum_sing.descriptions import Descriptions
from captum_sing.encoders import ImageTextEncoder
from captum_sing.evidence import describe
from captum_sing.forward_pass import as_tuple
from captum_sing.head import find_head, resolve_layers
from captum_sing.headings import Prompt, check_angles, heading
from captum_sing.hooks import Inputs, read_inputs, replace_features
from captum_sing.inputs import batch_of, check_size, in_batches
from captum_sing.linear_head import LinearHead
from captum_sing.null_space import NullSpace
from captum_sing.remarks import change_of, notes_of
from captum_sing.score import SINGScore
from captum_sing.steering import steer_images
from captum_sing.targets import ImageSpaces, SpaceOfWeights
from captum_sing.translator import LinearTranslator
from captum_sing.verification import Verification, measure

__all__ = ["SING", "SINGAttribution"]


class SINGAttribution(NamedTuple):
    """What :meth:`SING.attribute` returns.

    Attributes:
        perturbations (Tensor): f~ - f, in the shape of the head's input, float32 or better.
        descriptions (Descriptions): scores and one description an image.
    """

    perturbations: Tensor
    descriptions: Descriptions


class SING(LayerAttribution):
    r"""Null-space perturbations and their meaning in words (Yadid et al., CVPR 2026).

    A head of logits W f + b cannot see its null space. The **equivalent** of a feature has the
    same logits and another null part (Eq. 9),

    .. math:: \tilde f = f - P_n (f - b),

    and a linear **translator** T into a vision-language space says what that changes: by how many
    degrees the translation turns (IS, Eq. 8), how much nearer it comes to a word (AS, Eq. 7), and
    how the evidence for a word splits into what the head sees and what it ignores. Scores are
    computed in float64, on the device of the translator.

    Args:
        forward_func (callable): the classifier, or any function of its inputs that runs it.
        layer (nn.Module, str, list of them, or None): the head, an ``nn.Linear`` or 1x1
            convolution, or its dotted name. None finds it (see :func:`captum_sing.find_head`).
            Several heads whose outputs the model *averages* are listed, and analysed as the one
            linear map that they are: the feature is then their inputs beside each other, shape
            (B, D1 + ... + Dn), of which ``.split([D1, ..., Dn], dim=1)`` gives each head's part;
            or, where the model hands all of them the same tensor, that tensor. What is ignored is
            then meant of inputs that can change independently; where one follows from another
            (see ``tied`` in :class:`~captum_sing.verification.Verification`), the model may still
            see all that they are made of.
        translator (LinearTranslator): from the head's input to the space of ``concepts``.
        concepts (ConceptBank): the words.
        encoder (ImageTextEncoder, optional): for free-text prompts.
        null_space (NullSpace, optional): another null space than the exact one of the layer's
            weight, such as ``NullSpace.from_layer(layer, energy=0.99)``. It belongs to the
            weights as they are: make it again when they change.
        device_ids (list of int, optional): of a DataParallel model.

    Raises:
        SINGTypeError, SINGValueError, SINGNameError: parts that do not fit each other.

    Example::

        >>> from captum_sing import SING
        >>> from captum_sing.demo import load_demo
        >>> model, translator, concepts, images = load_demo("resnet/neck_color")
        >>> sing = SING(model, "head", translator, concepts)
        >>> perturbations, descriptions = sing.attribute(images[:2])
        >>> perturbations.shape, descriptions.ignored.shape == (2, len(concepts))
        (torch.Size([2, 64]), True)
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module | str | Sequence[nn.Module | str] | None,
        translator: LinearTranslator,
        concepts: ConceptBank,
        *,
        encoder: ImageTextEncoder | None = None,
        null_space: NullSpace | None = None,
        device_ids: list[int] | None = None,
    ) -> None:
        check_parts(forward_func, translator, concepts, encoder)
        resolved = None if layer is None else resolve_layers(forward_func, layer)
        super().__init__(forward_func, resolved, device_ids)
        self.layer: nn.Module | list[nn.Module] | None = resolved
        self.translator = translator
        self.concepts = concepts
        self.encoder = encoder
        self._spaces = SpaceOfWeights(null_space)
        if resolved is not None:
            check_width(LinearHead.of(resolved), translator, null_space)

    @classmethod
    def get_name(cls) -> str:
        """The name of the method, "SING"."""
        return "SING"

    @property
    def null_space(self) -> NullSpace | None:
        """The one that was given; None for the exact one of the layer's weights as they are."""
        return self._spaces.given

    @log_usage()
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: str | Tensor | tuple[Tensor, ...] | None = None,
        target: int | Sequence[int] | Tensor | None = None,
        additional_forward_args: Any = None,
        *,
        prompt: Prompt | None = None,
        away_from: Prompt | None = None,
        image_score: float | Tensor | None = None,
        top_k: int = 5,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> SINGAttribution:
        """Remove, swap or steer what the head ignores, and say what that means.

        Args:
            inputs (Tensor or tuple of Tensor): B images, as the model takes them.
            baselines (optional): what is put in the place of the ignored part. None is zero (the
                paper's null removal); ``"mean"`` the mean feature, so that only what varies is
                taken away; ``"conditional"`` what the head's own view predicts, so that only what
                it could not have known is; a tensor shaped like ``inputs`` other images, one
                shaped like the head's input other features, whose ignored part is swapped in.
                Evidence never uses zero: with None it is taken about the mean.
            target (int, sequence of int or Tensor, optional): keep the logit of this class alone,
                one for all or one an image. Probabilities and the prediction may then move.
            additional_forward_args (optional): handed on to the model.
            prompt (str, sequence of str or Tensor, optional): steer towards a text instead of
                removing: a word of the bank, free text (with ``encoder``), one of these an image,
                or an embedding (E,) or (B, E).
            away_from (optional): the same, away from a text; with ``prompt``, from it to that one.
            image_score (float or Tensor, optional): degrees to steer by. Images that cannot be
                turned so far have NaN, and a warning names them.
            top_k (int, optional): words named in a description. Default: 5
            internal_batch_size (int, optional): images that go through the model at once.
            show_progress (bool, optional): a progress bar over these. Default: False

        Returns:
            SINGAttribution: ``perturbations`` and ``descriptions``.

        Raises:
            SINGError: each is also a ValueError, TypeError, KeyError or RuntimeError.
        """
        count = batch_of(inputs, "SING.attribute")
        check_call(baselines, prompt, away_from, image_score, top_k)
        check_baselines(baselines, inputs, count, self.translator)
        check_target(target, self.null_space)
        check_size(internal_batch_size, "SING.attribute")
        text = heading(self.concepts, self.encoder, prompt, away_from, count)
        if text is not None:
            check_angles(image_score, count)
        head = self.head_of(inputs, additional_forward_args)
        device = self.translator.weight.device
        spaces = self.null_spaces(head, target, count).to(device)

        def read(batch: Any) -> Inputs:
            return read_inputs(
                self.forward_func,
                head.layers,
                batch,
                additional_forward_args,
                self.device_ids,
                internal_batch_size,
                show_progress,
            )

        received, tied = read(inputs)
        check_width(head, self.translator, self.null_space, received.shape[1])
        features = received.flatten(1).to(device).double()
        in_sample = self.translator.knows(features)
        if isinstance(baselines, (Tensor, tuple)):
            baselines = self._donors(baselines, inputs, count, read).to(features)
            in_sample = in_sample | self.translator.knows(baselines)
        about = deviation(features, baselines, spaces, self.translator)
        removed = ignored = spaces.each(NullSpace.project, about)
        if baselines is None and self.translator.has_statistics:
            # evidence is taken about the mean: zero would put one constant into every image
            ignored = spaces.each(NullSpace.project, features - self.translator.mean)
        if text is None or image_score is None:
            equivalents = features - removed
        else:
            equivalents = steer_images(features, text, image_score, spaces, self.translator)
        descriptions = describe(
            features,
            equivalents,
            ignored,
            self.translator,
            self.concepts,
            null_energy=removed.square().sum(dim=1) / about.square().sum(dim=1),
            in_sample=in_sample,
            change=change_of(baselines, prompt, away_from),
            notes=notes_of(self.null_space, target, tied),
            top_k=top_k,
        )
        dtype = torch.promote_types(received.dtype, torch.float32)
        perturbations = (equivalents - features).to(received.device, dtype)
        return SINGAttribution(perturbations.reshape(received.shape), descriptions)

    def verify(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: str | Tensor | tuple[Tensor, ...] | None = None,
        target: int | Sequence[int] | Tensor | None = None,
        additional_forward_args: Any = None,
        *,
        seed: int = 0,
        internal_batch_size: int | None = None,
    ) -> Verification:
        """Run the model with the head's input replaced, and measure how far the logits move.

        What reads the feature after the head (a second head, a norm) is found out too; what read it
        before the head did is not.

        Args:
            inputs, baselines, target, additional_forward_args, internal_batch_size: as
                :meth:`attribute`.
            seed (int, optional): of the random perturbations. Default: 0

        Returns:
            Verification: relative drift of the null perturbation, and of a random and a principal
            one of the same norm, through the real model; and what of the logits the head alone
            does not make.
        """
        check_seed(seed)
        perturbations, _ = self.attribute(
            inputs,
            baselines,
            target,
            additional_forward_args,
            internal_batch_size=internal_batch_size,
        )
        head = self.head_of(inputs, additional_forward_args)
        features, tied = read_inputs(
            self.forward_func,
            head.layers,
            inputs,
            additional_forward_args,
            self.device_ids,
            internal_batch_size,
        )

        def run(replaced: Tensor) -> Tensor:
            return replace_features(
                self.forward_func,
                head.layers,
                inputs,
                replaced,
                additional_forward_args,
                internal_batch_size=internal_batch_size,
            )

        spaces = self.null_spaces(head, target, len(features))
        return measure(run, head, features, perturbations, spaces, seed, tied)

    def score(
        self,
        kind: str = "ignored",
        concepts: str | Sequence[str] | ConceptBank | None = None,
        *,
        baselines: str | Tensor | None = None,
    ) -> SINGScore:
        """One score as a module, images -> (B, outputs), for other attributions and metrics.

        Args:
            kind (str, optional): one of :data:`captum_sing.score.KINDS`. Default: ``"ignored"``
            concepts (str, sequence of str or ConceptBank, optional): the words that are outputs,
                of this bank, or another bank. Default: all
            baselines (optional): as :class:`~captum_sing.score.SINGScore`.

        Returns:
            SINGScore: ``IntegratedGradients(score).attribute(images, target=score.target(word))``.
        """
        bank = concepts if isinstance(concepts, ConceptBank) else self.concepts
        return SINGScore(
            self.forward_func,
            self.layer,
            self.translator,
            bank,
            kind,
            words=None if isinstance(concepts, ConceptBank) else concepts,
            baselines=baselines,
            null_space=self.null_space,
        )

    def head_of(self, inputs: Any, additional_forward_args: Any = None) -> LinearHead:
        """The layers, found in the inputs at the first call if none was given."""
        if self.layer is None:
            few, extra = next(
                in_batches(batch_of(inputs, "SING"), 2, "SING", inputs, additional_forward_args)
            )
            example = (*as_tuple(few), *as_tuple(extra))
            self.layer = find_head(self.forward_func, example).module
        head = LinearHead.of(self.layer)
        check_width(head, self.translator, self.null_space)
        return head

    def null_spaces(self, head: LinearHead, target: Any, count: int) -> ImageSpaces:
        """What each of ``count`` images is changed inside of, for a target as attribute's."""
        weight = head.weight(self.translator.feature_dim)
        if target is not None:
            rtol = None if self.null_space is None else self.null_space.rtol
            return ImageSpaces.of_targets(weight, target, count, rtol)
        return ImageSpaces.same(self._spaces.of(weight), count)

    def _donors(
        self, baselines: Any, inputs: Any, count: int, read: Callable[[Any], Inputs]
    ) -> Tensor:
        """Features to swap in: those of other images run through the model, or as given."""
        first, example = (t[0] if isinstance(t, tuple) else t for t in (baselines, inputs))
        if first.shape[1:] != example.shape[1:]:
            return first.flatten(1)
        if len(first) != count:  # what else the model takes is as long as the inputs
            baselines = tuple(t.expand(count, *t.shape[1:]) for t in as_tuple(baselines))
        return read(baselines).features.flatten(1)
