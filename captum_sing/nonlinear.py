"""Nonlinear translators, to see what a linear one leaves on the table."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from captum_sing.authors import check_layout, read_translator
from captum_sing.errors import SINGFileError, SINGRuntimeError, SINGValueError, expected
from captum_sing.files import load_tensors, save_tensors
from captum_sing.membership import FeatureRecord
from captum_sing.translator_base import Translator

__all__ = ["ACTIVATIONS", "KINDS", "NonlinearTranslator", "network"]

KINDS = {"3layer": 3, "4layer": 4, "residual": 4}
"""The architectures, each with its number of linear layers."""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "leaky_relu": F.leaky_relu,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}
Layer = tuple[Tensor, Tensor]

_KIND = "NonlinearTranslator"
_OPTIONAL = ("origin", "codes", "scale")
_NUMBERED = re.compile(r"(.*?)(\d{1,9})\.(weight|bias)")


def network(kind: str, activation: str, layers: Sequence[Layer], x: Tensor) -> Tensor:
    """The network itself: linear layers with an activation after each but the last.

    In a ``"residual"`` one the layers between the first and the last add to what they receive.

    Args:
        kind (str): a key of :data:`KINDS`.
        activation (str): a key of :data:`ACTIVATIONS`.
        layers (sequence of tuple): weight and bias of each layer.
        x (Tensor): shape (..., D).
    """
    act = ACTIVATIONS[activation]
    x = act(F.linear(x, *layers[0]))
    for layer in layers[1:-1]:
        step = act(F.linear(x, *layer))
        x = x + step if kind == "residual" else step
    return F.linear(x, *layers[-1])


class NonlinearTranslator(Translator):
    r"""A multilayer perceptron T(f) from features (D) to image embeddings (E), for comparison.

    The paper's supplement compares linear translators with these. Angles between translations,
    such as :func:`captum_sing.image_score`, are defined for any translator. What :class:`SING`
    reports beside them, evidence that splits into a seen and an ignored part, adds up for a linear
    map only, so it takes a :class:`LinearTranslator` alone.

    Args:
        kind (str): a key of ``KINDS``.
        layers (sequence of tuple): weight (H, D) and bias (H,) of the first layer, (H, H) and (H,)
            of those between, (E, H) and (E,) of the last.
        activation (str): a key of ``ACTIVATIONS``.
        origin (Tensor, optional): the mean of the reference features, shape (D,), taken off first.
        record (FeatureRecord, optional): the features it was fitted on.
        facts (dict, optional): as for a :class:`LinearTranslator`.

    Example::

        >>> import torch
        >>> layers = [(torch.eye(2), torch.zeros(2))] * 3
        >>> NonlinearTranslator("3layer", layers, "relu")(torch.tensor([[1.0, -2.0]]))
        tensor([[1., 0.]])
    """

    origin: Tensor | None

    def __init__(
        self,
        kind: str,
        layers: Sequence[Layer],
        activation: str,
        *,
        origin: Tensor | None = None,
        record: FeatureRecord | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(facts, record)
        _check_names(kind, activation)
        _check_layers(kind, layers, origin)
        self.kind = kind
        self.activation = activation
        for number, (weight, bias) in enumerate(layers):
            self.register_buffer(f"weight{number}", weight.detach().float().clone())
            self.register_buffer(f"bias{number}", bias.detach().float().clone())
        self.register_buffer("origin", None if origin is None else origin.detach().double().clone())

    @property
    def layers(self) -> list[Layer]:
        """Weight and bias of each layer, float32."""
        return [
            (self.get_buffer(f"weight{number}"), self.get_buffer(f"bias{number}"))
            for number in range(KINDS[self.kind])
        ]

    @property
    def feature_dim(self) -> int:
        """D, the width of the features."""
        return int(self.layers[0][0].shape[1])

    @property
    def embedding_dim(self) -> int:
        """E, the width of the vision-language space."""
        return int(self.layers[-1][0].shape[0])

    @property
    def mean(self) -> Tensor:
        """The mean of the reference features, shape (D,), float64.

        Raises:
            SINGRuntimeError: this translator has none.
        """
        if self.origin is None:
            raise SINGRuntimeError(
                expected(
                    f"{_KIND}.mean",
                    "translator",
                    "with the mean of reference features",
                    "one that has none",
                    "Fit one with fit_nonlinear(features, embeddings)",
                )
            )
        return self.origin

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
        centred = features if self.origin is None else features.double() - self.origin.double()
        with torch.autocast(features.device.type, enabled=False):
            layers = [(weight.to(dtype), bias.to(dtype)) for weight, bias in self.layers]
            return network(self.kind, self.activation, layers, centred.to(dtype))

    def save(self, path: str | Path) -> Path:
        """Save to one safetensors file, written whole or not at all.

        Returns:
            Path: ``path``.
        """
        tensors = dict(self.named_buffers())
        if self.record is not None:
            tensors |= self.record.tensors()
        names = {"architecture": self.kind, "activation": self.activation}
        return save_tensors(path, _KIND, tensors, {**names, "facts": self.facts})

    @classmethod
    def load(cls, path: str | Path) -> NonlinearTranslator:
        """Read what :meth:`save` wrote.

        Raises:
            SINGFileError: the file is missing, truncated, or no nonlinear translator.
        """
        numbered = [f"{name}{n}" for n in range(max(KINDS.values())) for name in ("weight", "bias")]
        tensors, facts = load_tensors(path, _KIND, numbered[:6], [*numbered[6:], *_OPTIONAL])
        record = tensors.pop("codes", None), tensors.pop("scale", None)
        origin = tensors.pop("origin", None)
        try:
            depth = len(tensors) // 2
            layers = [(tensors.pop(f"weight{n}"), tensors.pop(f"bias{n}")) for n in range(depth)]
            if tensors:
                raise ValueError(f"{sorted(tensors)} left over")
            return cls(
                facts["architecture"],
                layers,
                facts["activation"],
                origin=origin,
                record=FeatureRecord.from_tensors(*record),
                facts=facts.get("facts"),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise SINGFileError(
                expected(
                    f"load {_KIND}", "path", "to hold one", f"{path} ({error})", "Make it again"
                )
            ) from error

    @classmethod
    def from_authors(cls, folder: str | Path, activation: str | None = None) -> NonlinearTranslator:
        """A nonlinear translator of the SING authors' release.

        Their published files are linear; a nonlinear one was never at hand, so this layout is an
        assumption: linear layers alone, ``{prefix}{number}.weight`` and ``.bias``, in the order of
        their numbers, with ``hidden_dim`` units between them, put together as :func:`network`
        does. Anything else in the file, such as a normalisation layer, is an error. Which
        activation stands between them is not in a state dict and is never guessed.

        Args:
            folder (str or Path): with ``metadata.yaml`` and the checkpoint that it names.
            activation (str, optional): a key of ``ACTIVATIONS``. Default: ``activation`` in the
                metadata

        Raises:
            SINGFileError: a file is missing or damaged, or of another layout.
            SINGValueError: the activation is not known.
        """
        state, facts = read_translator(folder)
        metadata = facts["metadata"]
        kind = str(metadata["architecture"])
        activation = activation or str(metadata.get("activation"))
        _check_names(kind, activation)
        depth = KINDS[kind]
        sizes = [metadata["in_dim"], *[metadata["hidden_dim"]] * (depth - 1), metadata["out_dim"]]
        found = [match for match in map(_NUMBERED.fullmatch, state) if match]
        prefix, numbers = found[0][1] if found else "", sorted({int(match[2]) for match in found})
        places = [f"{prefix}{n}" for n in (numbers if len(numbers) == depth else range(depth))]
        layout: dict[str, tuple[int, ...]] = {}
        for place, (columns, rows) in zip(places, pairwise(sizes), strict=True):
            layout |= {f"{place}.weight": (rows, columns), f"{place}.bias": (rows,)}
        check_layout(state, layout, folder)
        layers = [(state[f"{place}.weight"], state[f"{place}.bias"]) for place in places]
        return cls(kind, layers, activation, facts=facts)


def _check_names(kind: str, activation: str) -> None:
    for name, value, known in (("kind", kind, KINDS), ("activation", activation, ACTIVATIONS)):
        if value not in known:
            raise SINGValueError(
                expected(_KIND, name, f"in {list(known)}", repr(value), "Choose one of them")
            )


def _check_layers(kind: str, layers: Sequence[Layer], origin: Tensor | None) -> None:
    depth = KINDS[kind]
    widths = [tuple(weight.shape) for weight, _ in layers]
    chained = len(layers) == depth and all(
        weight.dim() == 2 and weight.numel() and bias.shape == weight.shape[:1]
        for weight, bias in layers
    )
    if chained:
        into, hidden = [w[1] for w in widths], {w[0] for w in widths[:-1]}
        chained = {*into[1:]} == hidden and len(hidden) == 1
        chained = chained and (origin is None or origin.shape == (into[0],))
    if not chained:
        raise SINGValueError(
            expected(
                _KIND,
                "layers",
                f"{depth} of weights (H, D), (H, H), ... and (E, H), with their biases and origin",
                widths,
                "Give those of one network",
            )
        )
    tensors = [tensor for layer in layers for tensor in layer] + (
        [] if origin is None else [origin]
    )
    if not all(tensor.isfinite().all() for tensor in tensors):
        raise SINGValueError(expected(_KIND, "layers", "finite", "NaN or infinity", "Fit it again"))
