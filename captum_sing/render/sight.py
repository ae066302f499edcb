"""What a classifier and an encoder make of pictures, as files hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from captum_sing.encoders import ImageTextEncoder
from captum_sing.forward_pass import evaluating, logits_of, refusals
from captum_sing.hooks import read_features
from captum_sing.sing import SING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Seen", "Sight"]


class Seen(NamedTuple):
    """What B pictures are to the networks.

    Attributes:
        features (Tensor): at the head's input, shape (B, D), float64, on the translator's device.
        logits (Tensor): of the classifier, shape (B, C), float64, on the CPU.
        embeddings (Tensor or None): of the encoder, where there is one, shape (B, E), float64, on
            the translator's device.
    """

    features: Tensor
    logits: Tensor
    embeddings: Tensor | None


@dataclass(frozen=True)
class Sight:
    """The way of pictures into a classifier, and into the encoder that gives it words.

    Attributes:
        sing (SING): whose model and layer read them.
        preprocess (callable): of the classifier, one RGB picture -> (3, H, W).
        encoder (ImageTextEncoder or None): of the translator's space.
        batch_size (int): pictures that are read at once.
    """

    sing: SING
    preprocess: Callable[[Image.Image], Tensor]
    encoder: ImageTextEncoder | None = None
    batch_size: int = 32

    def inputs(
        self,
        pictures: Sequence[Image.Image],
        normalize: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Pictures as the classifier takes them, shape (B, 3, H, W), in its precision and place.

        Args:
            pictures (sequence of PIL.Image.Image): B of them, RGB.
            normalize (callable, optional): for pictures that are framed as its input is: all that
                is done to them. Default: ``preprocess`` is applied
        """
        from torchvision.transforms.functional import to_tensor

        if normalize is None:
            batch = torch.stack([self.preprocess(picture) for picture in pictures])
        else:
            batch = normalize(torch.stack([to_tensor(picture) for picture in pictures]))
        model, layer = self.sing.forward_func, self.sing.layer
        known = model if isinstance(model, nn.Module) else layer
        modules = known if isinstance(known, list) else [known]
        for parameter in (p for m in modules if m is not None for p in m.parameters()):
            if parameter.is_floating_point():
                return batch.to(parameter)
        return batch

    def see(
        self,
        pictures: Sequence[Image.Image],
        normalize: Callable[[Tensor], Tensor] | None = None,
    ) -> Seen:
        """Send pictures through both; arguments as of :meth:`inputs`.

        Raises:
            SINGValueError: the model refuses them, or reads no finite feature of them.
        """
        parts = [
            self._see(pictures[start : start + self.batch_size], normalize)
            for start in range(0, len(pictures), self.batch_size)
        ]
        features, logits, embeddings = zip(*parts, strict=True)
        embedded = None if self.encoder is None else torch.cat(embeddings)
        return Seen(torch.cat(features), torch.cat(logits), embedded)

    def _see(
        self,
        pictures: Sequence[Image.Image],
        normalize: Callable[[Tensor], Tensor] | None,
    ) -> Seen:
        model, batch = self.sing.forward_func, self.inputs(pictures, normalize)
        place = self.sing.translator.weight
        features = read_features(model, self.sing.head_of(batch).layers, batch).flatten(1)
        with evaluating(model), torch.no_grad(), refusals(batch):
            logits = logits_of(model(batch)).flatten(1).double().cpu()
        embeddings = None
        if self.encoder is not None:
            ready = torch.stack([self.encoder.preprocess(picture) for picture in pictures])
            with torch.no_grad():
                embeddings = self.encoder.encode_image(ready).to(place.device).double()
        return Seen(features.to(place.device).double(), logits, embeddings)
