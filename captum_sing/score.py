"""What is ignored, as a module: images to scores, for every other attribution and metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from captum_sing.angles import attribute_score, image_score
from captum_sing.baselines import NAMED_BASELINES, conditional_baseline, conditional_map
from captum_sing.checks import check_parts, check_width
from captum_sing.concepts import ConceptBank
from captum_sing.errors import (
    SINGNameError,
    SINGRuntimeError,
    SINGTypeError,
    SINGValueError,
    expected,
)
from captum_sing.evidence import word_directions
from captum_sing.head import find_head, resolve_layers
from captum_sing.hooks import live_features
from captum_sing.linear_head import LinearHead
from captum_sing.null_space import NullSpace
from captum_sing.targets import SpaceOfWeights
from captum_sing.translator import LinearTranslator
from captum_sing.wrapping import unwrapped

__all__ = ["KINDS", "SINGScore"]

_WHERE = "SINGScore"
_EVIDENCE = ("ignored", "seen")
_OF_WORDS = (*_EVIDENCE, "attribute_score", "centred_attribute_score")
_CENTRED = ("centred_attribute_score", "centred_image_score")
KINDS = (*_OF_WORDS, "image_score", "centred_image_score", "null_energy")
"""What a :class:`SINGScore` can compute: the first four for each word, the others once an image."""


class SINGScore(nn.Module):
    r"""One of SING's scores as an ordinary module, images -> (B, outputs).

    So everything that explains a model's output explains *what the model ignores*: any Captum
    attribution, any of Captum's metrics, any of Quantus's, with the number of a word as ``target``.
    For the evidence of word t in the ignored part, for instance, an attribution of

    .. math:: e_t(x) = \langle A P_n (f(x) - b),\; u_t \rangle

    says which pixels put that word where the head cannot see it. A module runs in evaluation mode
    (a function as it is: call its model's ``eval()`` first), gradients flow wherever the caller
    lets them, and scores are computed in float64, as :meth:`captum_sing.SING.attribute` does. The
    null space follows the head's weights, also when they are randomised in place. Memory is that
    of the outputs, (B, V), beside the words, (V, E): nothing is as large as images x words x width.

    Nothing here knows which images the translator was fitted on; on those, no map claims anything.
    Methods that replace a layer's gradients by rules (DeepLift, LRP) know no rule for angles and
    energies, so their maps of these do not sum to differences; of evidence they do as those of a
    logit. A 16-bit model's gradients are rounded as it rounds, those of angles most. Split large
    batches by the method's ``internal_batch_size``, not by ``nn.DataParallel`` around a score.

    Args:
        forward_func (callable): the classifier. A DataParallel model runs on its first device.
        layer (nn.Module, str, list of them, or None): the head; None finds it at the first call.
        translator (LinearTranslator): T; evidence, centred scores and named baselines want one
            with statistics.
        concepts (ConceptBank): the words.
        kind (str, optional): one of :data:`KINDS`. Default: ``"ignored"``
        words (str or sequence of str, optional): those of the bank that are outputs, in this
            order, each against its whole group. Default: all
        baselines (str or Tensor, optional): what the ignored part is replaced by: None for zero
            (evidence: the mean), ``"mean"``, ``"conditional"``, or one feature (D,).
        null_space (NullSpace, optional): another than the exact one of the head's weights.

    Raises:
        SINGError: an unknown kind or word, words for a score that has none, parts that do not fit.

    Example::

        >>> from captum.attr import IntegratedGradients
        >>> from captum_sing import SING
        >>> from captum_sing.demo import load_demo
        >>> model, translator, concepts, images = load_demo("resnet/neck_color")
        >>> score = SING(model, "head", translator, concepts).score("ignored", ["red", "blue"])
        >>> score(images).shape
        torch.Size([8, 2])
        >>> blue = score.target("blue")
        >>> IntegratedGradients(score).attribute(images, target=blue, n_steps=4).shape
        torch.Size([8, 3, 64, 64])
    """

    texts: Tensor
    donor: Tensor | None

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module | str | Sequence[nn.Module | str] | None,
        translator: LinearTranslator,
        concepts: ConceptBank,
        kind: str = "ignored",
        *,
        words: str | Sequence[str] | None = None,
        baselines: str | Tensor | None = None,
        null_space: NullSpace | None = None,
    ) -> None:
        super().__init__()
        check_parts(forward_func, translator, concepts, None)
        words = words if words is None or isinstance(words, str) else tuple(words)
        _check_kind(kind, words)
        _check_baselines(kind, baselines, translator)
        self.kind = kind
        self.model = unwrapped(forward_func)
        self.head: LinearHead | None = None
        if layer is not None:
            self.head = LinearHead.of(resolve_layers(forward_func, layer), _WHERE)
            check_width(self.head, translator, null_space)
            if not isinstance(self.model, nn.Module):
                self.layers = nn.ModuleList(self.head.layers)  # moved along with this module
        self.translator = translator
        self.baselines, donor = baselines, None
        if isinstance(baselines, Tensor):
            self.baselines, donor = None, baselines.detach().double().reshape(1, -1)
        self.register_buffer("donor", donor, persistent=False)  # made again from the arguments
        self.names: tuple[str, ...] = (kind,)
        texts = None
        if kind in _OF_WORDS:
            chosen = concepts.names if words is None else words
            self.names = (chosen,) if isinstance(chosen, str) else chosen
            texts = _texts(kind, translator, concepts)[concepts.indices(self.names)]
        self.register_buffer("texts", texts, persistent=False)
        self._spaces = SpaceOfWeights(null_space)
        self._regression: tuple[NullSpace, Tensor] | None = None

    def target(self, word: str) -> int:
        """The output of a word: what Captum calls ``target``.

        Raises:
            SINGNameError: none of this score's outputs.
        """
        if word not in self.names:
            raise SINGNameError(
                expected(
                    f"{_WHERE}.target",
                    "word",
                    f"among {list(self.names[:20])}",
                    repr(word),
                    "Name an output, or make a score with this word",
                )
            )
        return self.names.index(word)

    def forward(self, *inputs: Any, **further: Any) -> Tensor:
        """Scores of images.

        Args:
            *inputs: what the model takes, images (B, C, H, W) first.
            **further: what it takes by name.

        Returns:
            Tensor: shape (B, outputs), float32, or float64 for a float64 model.
        """
        if not inputs or not isinstance(inputs[0], Tensor):
            raise SINGTypeError(
                expected(
                    _WHERE,
                    "inputs",
                    "to begin with a tensor of images",
                    type(inputs[0]).__name__ if inputs else "nothing by position",
                    "Call it as score(images)",
                )
            )
        if self.head is None:
            self.head = LinearHead.of(find_head(self.model, inputs).module)
        features = live_features(self.model, self.head.layers, *map(_row_major, inputs), **further)
        check_width(self.head, self.translator, self._spaces.given, features.shape[1])
        return self.of_features(features)

    def of_features(self, features: Tensor) -> Tensor:
        """Scores of what the head reads.

        Args:
            features (Tensor): shape (B, D) or (B, D, 1, 1).

        Returns:
            Tensor: shape (B, outputs), float32 or better, on the device of ``features``.

        Raises:
            SINGRuntimeError: the head is not known yet; call the score once, or name the layer.
        """
        if self.head is None:
            raise SINGRuntimeError(
                expected(
                    f"{_WHERE}.of_features",
                    "layer",
                    "to be known",
                    None,
                    "Name the head, or call the score on images first",
                )
            )
        flat = features.flatten(1) if features.dim() in (2, 4) else features[..., None]
        if flat.shape[1] != self.translator.feature_dim:
            raise SINGValueError(
                expected(
                    f"{_WHERE}.of_features",
                    "features",
                    f"of shape (B, {self.translator.feature_dim})",
                    tuple(features.shape),
                    "Pass what the head reads",
                )
            )
        dtype = torch.promote_types(features.dtype, torch.float32)
        device = self.translator.weight.device
        exact = flat.to(device).double()
        space = self._spaces.of(self.head.weight(exact.shape[1])).to(device)
        with torch.autocast(device.type, enabled=False):
            return self._scores(exact, space).to(features.device, dtype)

    def _scores(self, features: Tensor, space: NullSpace) -> Tensor:
        about = features - self._baseline(features, space)
        removed = space.project(about)
        if self.kind == "null_energy":
            energy = removed.square().sum(dim=1) / about.square().sum(dim=1)
            return energy.unsqueeze(1)
        if self.kind in _EVIDENCE:
            part = removed if self.kind == "ignored" else features - self.translator.mean - removed
            return part @ self.translator.weight.double().T @ self.texts.to(part).T
        original, equivalent = self.translator(features), self.translator(features - removed)
        if self.kind in _CENTRED:
            mean = self.translator.image.double()
            original, equivalent = original - mean, equivalent - mean
        if self.kind in _OF_WORDS:
            return attribute_score(original, equivalent, self.texts.to(original))
        return image_score(original, equivalent).unsqueeze(1)

    def _baseline(self, features: Tensor, space: NullSpace) -> Tensor | float:
        """b; the regression of ``"conditional"`` is made once for a null space."""
        if self.donor is not None:
            return self.donor.to(features)
        if self.baselines == "conditional":
            if self._regression is None or self._regression[0] is not space:
                with torch.inference_mode(False):  # kept for calls that want gradients
                    self._regression = space, conditional_map(space, self.translator)
            return conditional_baseline(features, space, self.translator, self._regression[1])
        if self.baselines is None and self.kind not in _EVIDENCE:
            return 0.0
        return self.translator.mean.to(features)  # zero would put one constant into all evidence

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SINGScore:
        """Casts reach the model alone: a translator in half precision would be another one."""
        kept = {
            (module, name): buffer
            for module in (self, self.translator)
            for name, buffer in module._buffers.items()
            if buffer is not None
        }
        super()._apply(fn, recurse)
        for (module, name), buffer in kept.items():
            module._buffers[name] = buffer.to(fn(buffer[:0]).device)
        return self

    def extra_repr(self) -> str:
        """Kind and outputs, in the module's representation."""
        return f"{self.kind!r}, {len(self.names)} outputs"


def _row_major(given: Any) -> Any:
    """Gradients of a model in channels-last order come back in the order that Captum views."""
    if isinstance(given, Tensor) and given.requires_grad and given.dim() > 1:
        return given.flatten().view(given.shape)
    return given


def _texts(kind: str, translator: LinearTranslator, concepts: ConceptBank) -> Tensor:
    """What translations are compared with, shape (V, E), float64."""
    if kind in _EVIDENCE:
        return word_directions(translator, concepts)
    texts = concepts.embeddings.to(translator.weight.device).double()
    return texts - concepts.group_means.to(texts) if kind in _CENTRED else texts


def _check_kind(kind: str, words: Any) -> None:
    if kind not in KINDS:
        raise SINGValueError(
            expected(_WHERE, "kind", f"in {list(KINDS)}", repr(kind), "Choose one of them")
        )
    if words is not None and kind not in _OF_WORDS:
        raise SINGValueError(
            expected(
                _WHERE,
                "words",
                f"None for {kind!r}, which is of no word",
                words,
                f"Leave them out, or choose a kind in {list(_OF_WORDS)}",
            )
        )
    if words is not None and len(words) == 0:
        raise SINGValueError(
            expected(_WHERE, "words", "with one or more", "none", "Name some, or pass None")
        )


def _check_baselines(kind: str, baselines: Any, translator: LinearTranslator) -> None:
    """Known, of the right width, and with the statistics that they and the kind want."""
    width = translator.feature_dim
    named = baselines is None or (isinstance(baselines, str) and baselines in NAMED_BASELINES)
    given = isinstance(baselines, Tensor) and baselines.numel() == width
    if not named and not (given and baselines.isfinite().all()):
        actual = "NaN or infinity" if given else repr(baselines)
        if isinstance(baselines, Tensor) and not given:
            actual = f"shape {tuple(baselines.shape)}"
        raise SINGValueError(
            expected(
                _WHERE,
                "baselines",
                f"None, in {list(NAMED_BASELINES)}, or one finite feature of shape ({width},)",
                actual,
                "A score has one baseline for all images; SING.attribute takes donors for each",
            )
        )
    if kind in (*_EVIDENCE, *_CENTRED) or baselines == "mean":
        _ = translator.mean  # says what is missing
    if isinstance(baselines, str) and baselines == "conditional":
        _ = translator.feature_covariance
