"""Pictures of image embeddings by pipelines of diffusers: UnCLIP and its relatives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from captum_sing.encoders.protocol import ImageTextEncoder
from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.render.kinds import Order
from captum_sing.render.parts import load_part, quietly
from captum_sing.render.pipelines import Found, find_pipeline, identify, load_pipeline
from captum_sing.render.protocol import check_wanted, seeds_of
from captum_sing.render.settings import (
    Machine,
    check_guidance,
    check_negative,
    check_steps,
    machine_of,
)
from captum_sing.render.spaces import blank_embedding, largest_angle, same_space
from captum_sing.translator_base import Translator

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["UnCLIP", "blank_embedding"]

_TOLERANCE = 5.0
_VISION = "transformers.CLIPVisionModelWithProjection"


class UnCLIP:
    """Pictures of image embeddings, by one of four kinds of pipeline; a :class:`Renderer`.

    ========================= =========================================== ======================
    kind                      on the hub, for example                     draws embeddings of
    ========================= =========================================== ======================
    ``karlo``                 kakaobrain/karlo-v1-alpha-image-variations  OpenAI's ViT-L/14
    ``stable-unclip``         stabilityai/stable-diffusion-2-1-unclip     LAION's ViT-H/14
    ..                        ...-unclip-small                            OpenAI's ViT-L/14
    ``kandinsky``             kandinsky-community/kandinsky-2-2-decoder   LAION's ViT-bigG/14
    ``ip-adapter``            Stable Diffusion, small or XL, with an      ViT-H/14, or
    ..                        adapter of h94/IP-Adapter                   ViT-bigG/14 for XL
    ========================= =========================================== ======================

    They draw embeddings that are not normalised, so lengths matter. A picture follows from its
    embedding, its seed and :attr:`facts`: noise is drawn by one generator a picture, on the CPU, so
    that a seed means the same on every device. Between devices, precisions and batch sizes the last
    bits of what is computed with it differ. Stable UnCLIP puts a little noise on the embedding
    itself (a standard deviation of 0.006 in its normalised space), the same for the same seed.

    Prompts are empty. Safety checkers and watermarks, which change pictures, are left out.

    Made by :meth:`load`.

    Attributes:
        embedding_dim (int): E.
        encoders (tuple of str): names of the encoder whose embeddings these are; empty where that
            is not known.
        facts (dict): source, kind, steps, guidance, schedulers and versions.
        pipeline (object): the one of diffusers.
    """

    takes = "embeddings"
    restores_norm = True
    normalize: Callable[[Tensor], Tensor] | None = None

    def __init__(
        self,
        pipeline: Any,
        found: Found,
        machine: Machine,
        order: tuple[tuple[int, ...], float, Tensor],
        encoder: str | None,
        show_progress: bool,
    ) -> None:
        self.pipeline = pipeline
        self.embedding_dim = found.embedding_dim
        self.encoders = () if encoder is None else (encoder,)
        self.show_progress = show_progress
        self._found, self._machine = found, machine
        self._steps, self._guidance, self._negative = order
        self.facts = self._settings()

    @classmethod
    def load(
        cls,
        source: str,
        kind: str | None = None,
        *,
        encoder: str | None = None,
        ip_adapter: str | None = None,
        negative: Tensor | None = None,
        steps: int | Sequence[int] | None = None,
        guidance: float | None = None,
        dtype: torch.dtype | None = None,
        device: str | torch.device | None = None,
        offload: str | None = None,
        batch_size: int = 1,
        show_progress: bool = False,
    ) -> UnCLIP:
        """Load a pipeline from the hub or a folder.

        Weights are read from safetensors. Of a part that has only a .bin file the tensors alone
        are read, by ``torch.load(weights_only=True)``; no code in a file is run.

        Args:
            source (str): ``"OWNER/NAME"`` on the hub, ``"OWNER/NAME@REVISION"``, or a folder that
                ``save_pretrained`` wrote.
            kind (str, optional): ``"karlo"``, ``"stable-unclip"``, ``"kandinsky"`` or
                ``"ip-adapter"``, to be sure; it is found from model_index.json. Default: None
            encoder (str, optional): the name of the encoder whose embeddings the pipeline draws,
                as ``translator.encoder`` has it. Default: known for the pipelines above, else not
                checked; then :meth:`compare_encoder` tells it
            ip_adapter (str, optional): for Stable Diffusion: ``"h94/IP-Adapter"``, with the path of
                a file in it where another than the plain one is wanted, or a .safetensors file.
                Default: None
            negative (Tensor, optional): the embedding that guidance steers away from, shape (E,).
                Kandinsky needs one, :func:`blank_embedding` of its encoder; for an IP-Adapter it is
                zero if None, as in diffusers; the other two have none. Default: None
            steps (int or pair of int, optional): of denoising, at least 2; Karlo has two stages,
                and one number is taken for both. Default: those of diffusers: 25 and 7, 20, 100, 50
            guidance (float, optional): 1 is none. Default: those of diffusers: 8, 10, 4, 7.5 (5 for
                XL)
            dtype (torch.dtype, optional): ``torch.float16`` halves memory on a GPU.
                Default: float32
            device (str or torch.device, optional): where it runs. Default: the CPU
            offload (str, optional): ``"model"`` keeps on the GPU the part that runs,
                ``"sequential"`` the layer that does; both want accelerate. Default: None
            batch_size (int, optional): pictures drawn at once. With 1 a picture is the same to the
                bit whatever it is drawn beside; else its last bits may differ. An IP-Adapter draws
                one at a time whatever is given. Default: 1
            show_progress (bool, optional): bars, over downloads and over pictures. Default: False

        Raises:
            SINGNameError: what is neither a folder nor a possible name.
            SINGFileError: what cannot be downloaded, or a pipeline with missing or damaged parts.
            SINGValueError: a pipeline of another kind, a setting that makes no sense, or an
                adapter that takes patch tokens.
            SINGRuntimeError: not enough memory, or no accelerate.
        """
        where = f"{cls.__name__}.load"
        machine = machine_of(where, device, dtype, offload, batch_size)
        identified = identify(where, source, kind, ip_adapter, show_progress)
        settings = (
            check_steps(where, identified.kind, steps),
            check_guidance(where, identified.kind, guidance, negative),
        )
        if not identified.kind.together:
            machine = machine._replace(batch_size=1)
        found = find_pipeline(where, identified, ip_adapter, show_progress)
        order = (*settings, check_negative(where, negative, found.embedding_dim))
        with machine.enough(where):
            pipeline = machine.take(load_pipeline(where, found, machine.dtype))
        return cls(pipeline, found, machine, order, encoder or found.encoder, show_progress)

    def check(self, translator: Translator) -> None:
        """Refuse a translator into another space.

        By width, and by the name of its encoder. Where either name is unknown (None, or
        :attr:`encoders` empty) the width alone is checked, and 39 models of open_clip are 768 wide.

        Raises:
            SINGTypeError: no translator.
            SINGValueError: another width or another encoder.
        """
        where = f"{type(self).__name__}.check"
        if not isinstance(translator, Translator):
            raise SINGTypeError(
                expected(
                    where,
                    "translator",
                    "to be a translator of this package",
                    type(translator).__name__,
                    "Fit one with TranslatorFitter",
                )
            )
        if translator.embedding_dim != self.embedding_dim:
            raise self._another(where, f"{translator.embedding_dim} wide ({translator.encoder})")
        name = translator.encoder
        if name and self.encoders and not any(same_space(name, own) for own in self.encoders):
            raise self._another(where, name)

    def compare_encoder(self, encoder: ImageTextEncoder) -> float:
        """Compare an encoder with the pipeline's own, by what both say to a few pictures.

        It settles what names do not: a folder, a checkpoint file. From then on :meth:`check` takes
        its name too. Directions are compared; more than 5 degrees are another model. Fewer do not
        show that the activation is the right one, nor tell a model from one that was fine-tuned
        from it by a little.

        Args:
            encoder (ImageTextEncoder): the one that the translator was fitted with.

        Returns:
            float: the largest angle between the two, in degrees.

        Raises:
            SINGValueError: another encoder, or a pipeline without an image encoder (Kandinsky's
                decoder, or an adapter with none beside it).
        """
        where = f"{type(self).__name__}.compare_encoder"
        if encoder.embedding_dim != self.embedding_dim:
            raise self._another(where, f"{encoder.embedding_dim} wide ({encoder.name})")
        with quietly(), self._machine.enough(where):
            tower, processor = self._image_encoder(where)
            size = int(tower.config.image_size)

            def own(pictures: list[Image.Image]) -> Tensor:
                pixels = processor(images=pictures, return_tensors="pt").pixel_values
                given = pixels.to(self._machine.device, self._machine.dtype)
                embeddings: Tensor = tower(given).image_embeds
                return embeddings

            def theirs(pictures: list[Image.Image]) -> Tensor:
                return encoder.encode_image(torch.stack([encoder.preprocess(p) for p in pictures]))

            degrees = largest_angle(own, theirs, size)
        if not degrees <= _TOLERANCE:
            raise self._another(where, f"{encoder.name}, up to {degrees:.1f} degrees away")
        self.encoders = tuple(dict.fromkeys((*self.encoders, encoder.name)))
        self.facts["encoders"] = list(self.encoders)
        return degrees

    @torch.no_grad()
    def render(self, wanted: Tensor, seeds: int | Sequence[int] = 0) -> list[Image.Image]:
        """Draw image embeddings.

        Args:
            wanted (Tensor): B embeddings as the encoder gives them, not normalised, shape (B, E).
            seeds (int or sequence of int, optional): one for all, or one each. Default: 0

        Returns:
            list of PIL.Image.Image: B pictures, mode RGB.

        Raises:
            SINGTypeError, SINGValueError: embeddings that cannot be drawn, with the rows named.
            SINGRuntimeError: not enough memory.
        """
        where = f"{type(self).__name__}.render"
        rows = check_wanted(where, wanted, self.embedding_dim)
        each = seeds_of(where, seeds, len(rows))
        rows = rows.to(self._machine.device, self._machine.dtype)
        size, pictures = self._machine.batch_size, []
        with tqdm(total=len(rows), desc=where, disable=not self.show_progress) as bar:
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                with self._machine.enough(where):
                    pictures += self._draw(part, each[start : start + size])
                bar.update(len(part))
        return pictures

    def _draw(self, rows: Tensor, seeds: Sequence[int]) -> list[Image.Image]:
        order = Order(
            rows,
            self._negative.to(rows).expand_as(rows),
            [torch.Generator().manual_seed(seed) for seed in seeds],
            self._steps,
            self._guidance,
        )
        return [
            picture.convert("RGB") for picture in self._found.kind.call(self.pipeline, order).images
        ]

    def _image_encoder(self, where: str) -> tuple[Any, Any]:
        """The pipeline's image encoder, and what prepares pictures for it."""
        from transformers import CLIPImageProcessor

        if "image_encoder" in self._found.kind.parts:
            return self.pipeline.image_encoder, self.pipeline.feature_extractor
        adapter = self._found.adapter
        folder = adapter.image_encoder(where, self.show_progress) if adapter else None
        if folder is None:
            raise SINGValueError(
                expected(
                    where,
                    "the pipeline",
                    "to have an image encoder",
                    f"{self.facts['source']} without one",
                    "Say encoder= when loading it, and compare names",
                )
            )
        tower = load_part(where, folder.parent, folder.name, _VISION, self._machine.dtype)
        size = tower.config.image_size
        shapes = {"size": {"shortest_edge": size}, "crop_size": {"height": size, "width": size}}
        return tower.to(self._machine.device), CLIPImageProcessor(**shapes)

    def _another(self, where: str, actual: str) -> SINGValueError:
        return SINGValueError(
            expected(
                where,
                "embeddings",
                f"{self.embedding_dim} wide, of {self.encoders[0] if self.encoders else 'its own'} "
                f"for {self.facts['source']}",
                actual,
                "Fit a translator with the encoder that the pipeline was trained with; "
                "compare_encoder(encoder) tells whether two are one",
            )
        )

    def _settings(self) -> dict[str, Any]:
        """What a picture can be made again from, beside its embedding and its seed."""
        import diffusers

        found, machine = self._found, self._machine
        parts = ((part, getattr(self.pipeline, part)) for part in found.kind.parts)
        zero = not self._negative.any()
        numbers = self._negative.numpy().tobytes()
        return {
            "renderer": type(self).__name__,
            "kind": found.kind.name,
            "pipeline": found.kind.pipeline,
            "source": found.name,
            "ip_adapter": found.adapter.name if found.adapter else None,
            "encoders": list(self.encoders),
            "negative": "zero" if zero else hashlib.sha256(numbers).hexdigest()[:12],
            "steps": list(self._steps),
            "guidance": self._guidance,
            "schedulers": {
                part: type(value).__name__ for part, value in parts if part.endswith("scheduler")
            },
            "safety_checker": False,
            "dtype": str(machine.dtype).removeprefix("torch."),
            "device": machine.device.type,
            "offload": machine.offload,
            "batch_size": machine.batch_size,
            "diffusers": diffusers.__version__,
            "torch": str(torch.__version__),
        }
