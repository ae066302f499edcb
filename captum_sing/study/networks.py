"""The classifier and the encoder on one batch: features, logits and embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from captum_sing.encoders import ImageTextEncoder
from captum_sing.errors import SINGNameError, SINGValueError, expected
from captum_sing.forward_pass import evaluating, logits_of, refusals
from captum_sing.head import find_head, resolve_layer
from captum_sing.hooks import read_features
from captum_sing.linear_head import LinearHead
from captum_sing.study.shards import Block
from captum_sing.wrapping import unwrapped

__all__ = ["Layers", "Networks"]

Layers: TypeAlias = nn.Module | str | Sequence[nn.Module | str] | None


class Networks:
    """A classifier and an encoder that read the same pictures.

    Attributes:
        layers (list of str): the dotted names of the head's layers; none until it is found.

    Args:
        model (nn.Module): the classifier.
        encoder (ImageTextEncoder): the encoder.
        layer (nn.Module, str, a sequence of these, or None): the head, or all that the model
            averages; None finds it in the first pictures.

    Raises:
        SINGNameError, SINGTypeError: a layer that the model does not have, or that is not linear.
    """

    def __init__(self, model: nn.Module, encoder: ImageTextEncoder, layer: Layers) -> None:
        self.model: nn.Module = unwrapped(model)
        self.encoder = encoder
        several = [layer] if isinstance(layer, (nn.Module, str)) else layer or ()
        self.layers = [self._name(resolve_layer(model, one)) for one in several]
        if self.layers:
            self.head.weight()  # refuses what is not linear

    @property
    def head(self) -> LinearHead:
        """What makes the logits: the ``layers``, which have to be known."""
        return LinearHead.of([resolve_layer(self.model, name) for name in self.layers])

    def read(self, inputs: Tensor, encoder_inputs: Tensor) -> tuple[Block, dict[int, str]]:
        """Read a batch.

        Args:
            inputs, encoder_inputs (Tensor): the same pictures, preprocessed for each.

        Returns:
            tuple: the block of those that give finite numbers, and why the others are left out, by
            their row.

        Raises:
            HeadNotFoundError: no layer was given, and no single one makes the logits.
            SINGValueError: the pictures do not fit the model, the layer reads no features, or the
                encoder makes no embeddings.
        """
        refused: dict[int, str] = {}
        rows = torch.arange(len(inputs))

        def left(finite: Tensor, who: str) -> Tensor:
            refused.update(dict.fromkeys(rows[~finite].tolist(), f"NaN or infinity from {who}"))
            return rows[finite]

        rows = left(_finite(inputs) & _finite(encoder_inputs), "the preprocessing")
        features, logits, finite = self._classify(inputs[rows])
        rows = left(finite, "the model")
        embeddings = self._embed(encoder_inputs[rows])
        finite = _finite(embeddings)
        rows = left(finite, "the encoder")
        return Block(rows, features[finite], logits[finite], embeddings[finite]), refused

    def _classify(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features and logits of the rows whose logits are finite, and which rows these are.

        A feature that is not finite makes logits that are not: any weight times NaN is NaN.
        """
        like = next((p for p in self.model.parameters() if p.is_floating_point()), inputs)
        inputs = inputs.to(like.device, like.dtype)
        logits = torch.empty(0, 0)

        def model(batch: Tensor) -> Any:
            nonlocal logits
            output = self.model(batch)
            logits = logits_of(output).detach().flatten(1).clone().cpu()
            return output

        finite = torch.zeros(len(inputs), dtype=torch.bool)
        if not len(inputs):
            return logits, logits, finite
        with evaluating(self.model):
            if not self.layers:
                with torch.no_grad(), refusals(inputs):
                    model(inputs)
                finite = _finite(logits)
                if not finite.any():
                    return logits[:0], logits[:0], finite
                self.layers = [find_head(self.model, inputs[finite.to(inputs.device)][:2]).name]
            try:
                features = read_features(model, self.head.layers, inputs).flatten(1).cpu()
            except SINGValueError:
                finite = _finite(logits)
                if finite.all():  # or nothing was computed: it is not the numbers
                    raise
                features, logits, _ = self._classify(inputs[finite.to(inputs.device)])
                return features, logits, finite
        finite = _finite(logits)
        return features[finite], logits[finite], finite

    def _name(self, layer: nn.Module) -> str:
        for name, module in self.model.named_modules():
            if module is layer:
                return name
        raise SINGNameError(
            expected(
                "extract",
                "layer",
                f"to be one of {type(self.model).__name__}",
                f"{layer}, which is not in it",
                "Name it, or leave it out",
            )
        )

    def _embed(self, inputs: Tensor) -> Tensor:
        wanted = (len(inputs), self.encoder.embedding_dim)
        if not len(inputs):
            return torch.empty(wanted)
        with torch.no_grad():
            embeddings = self.encoder.encode_image(inputs).detach().cpu()
        if embeddings.shape != wanted:
            raise SINGValueError(
                expected(
                    "extract",
                    "encoder",
                    f"to make embeddings of shape {wanted}",
                    tuple(embeddings.shape),
                    "Return one vector a picture, of length embedding_dim",
                )
            )
        return embeddings


def _finite(values: Tensor) -> Tensor:
    return values.isfinite().flatten(1).all(dim=1)
