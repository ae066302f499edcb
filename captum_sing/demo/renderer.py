"""The decoder of this world as a renderer, where UnCLIP stands in the large one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_sing.demo.decoder import SceneDecoder
from captum_sing.demo.world import load_decoder, load_encoder
from captum_sing.errors import SINGValueError, expected
from captum_sing.render.protocol import check_wanted, seeds_of
from captum_sing.translator_base import Translator

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["SceneRenderer"]


class SceneRenderer:
    """Draws what embeddings of the tiny CLIP tell about each factor, as the mean scene.

    A :class:`captum_sing.render.Renderer` for :func:`captum_sing.render.render_equivalents`. What
    it draws is typical: the place, the turn and the noise of a photograph are lost, so that few of
    its originals are a yardstick.

    Args:
        decoder (SceneDecoder, optional): Default: the shipped one
    """

    takes = "embeddings"
    restores_norm = True
    normalize: Callable[[Tensor], Tensor] | None = None

    def __init__(self, decoder: SceneDecoder | None = None) -> None:
        self.decoder = decoder or load_decoder()
        self.facts: dict[str, Any] = {"renderer": "SceneRenderer"}

    def check(self, translator: Translator) -> None:
        """Refuse embeddings of another space.

        Raises:
            SINGValueError: the translator is of another space.
        """
        width, own = len(self.decoder.mean), load_encoder().name
        if translator.embedding_dim != width or translator.encoder not in (None, own):
            raise SINGValueError(
                expected(
                    "SceneRenderer",
                    "translator",
                    f"into the tiny CLIP's space of width {width}",
                    f"{translator.embedding_dim} ({translator.encoder})",
                    "It draws the demo's own embeddings alone",
                )
            )

    def render(self, wanted: Tensor, seeds: int | Sequence[int] = 0) -> list[Image.Image]:
        """Pictures of embeddings (B, E), 64 x 64; nothing is random, so the seeds do not matter.

        Raises:
            SINGTypeError, SINGValueError: rows that cannot be drawn, or something that is no seed.
        """
        from torchvision.transforms.functional import to_pil_image

        rows = check_wanted("SceneRenderer.render", wanted, len(self.decoder.mean))
        seeds_of("SceneRenderer.render", seeds, len(rows))
        with torch.no_grad():
            pictures = (self.decoder(rows) * 255).round().byte().cpu()
        return [to_pil_image(picture) for picture in pictures]
