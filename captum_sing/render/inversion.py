"""A picture found by gradient, whose features approach wanted ones: no other network draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_sing.errors import SINGRuntimeError, SINGTypeError, SINGValueError, expected
from captum_sing.head import resolve_layers
from captum_sing.inputs import check_size
from captum_sing.linear_head import LinearHead
from captum_sing.null_space import NullSpace
from captum_sing.render.distance import Distance
from captum_sing.render.protocol import check_wanted, seeds_of
from captum_sing.render.search import Settings, find_pictures
from captum_sing.translator_base import Translator

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Inversion"]

_WHERE = "Inversion"


class Inversion:
    r"""Pictures x at a classifier's input whose features f(x) approach wanted ones, by gradient.

    .. math:: \min_x\; w_s \frac{\|S V_p^\top (f(x) - \tilde f)\|^2}{\|S V_p^\top \tilde f\|^2}
              + w_n \frac{\|P_n (f(x) - \tilde f)\|^2}{\|P_n (\tilde f - \bar f)\|^2}
              + \text{priors}(x)

    The first term is how far the logits are from those wanted, the second how far the ignored part
    is, :math:`\bar f` the translator's mean or zero. Adam, in two halves:

    - *Finding.* From photographs: the whole picture is moved and recoloured
      (:class:`~captum_sing.render.priors.Edits`), from several random edits of which the best is
      followed. Without: a grid of pixels that is refined from 8 to the picture's size, with total
      variation; it knows nothing of objects, and its pictures are clouds.
    - *Finishing.* Single pixels, near to what was found, with total variation and small shifts;
      then without shifts, on pixels as 8 bits hold them. The best of these is the picture, so that
      what is saved is what was optimised.

    **What such a picture shows.** That a picture has the wanted features is seen by sending it
    through the classifier again. That what the features *mean* can be seen in it is another matter:
    networks are moved by changes that no eye sees, and a picture can have the features of a blue
    thing and be red. Only a judge that was not optimised against can tell, so the encoder is never
    run here. And the ignored part is of many dimensions, of which few mean anything: in a swap it
    holds the donor's place, noise and turn as well, which a picture of the original's shape cannot
    have. With a ``translator``, the ignored part is measured by what it is translated to, in place
    of its own length, while the picture is found; by both, while it is finished. The encoder is
    still not run, but its space then chose what counts: its names for the picture are less
    independent than without. ``tutorials/invert_swaps.py`` compares the two, with a control: the
    logits arrive by both, the donor's planted factor is seen by the first alone, and of the length
    of the ignored part most never arrives.

    **The start.** A photograph has its own features already: found from the photograph itself, the
    original would be drawn without fault and its equivalent not, whatever was swapped. Both start
    from the photograph blurred and with noise, the same for both. What the start shows is in the
    drawn original, and in the equivalent unless it was changed: name the *changes*.

    Args:
        model (callable): the classifier.
        layer (nn.Module, str or list of them): its head, as for :class:`captum_sing.SING`.
        normalize (callable): (B, 3, H, W) in [0, 1] -> inputs of the model, differentiable.
        size (int or tuple of int): of its pictures, height and width.
        start (sequence of PIL.Image.Image, or Tensor, optional): photographs of that size, or
            (B, 3, H, W) in [0, 1], one for each picture or one for all. Default: gray, with noise
        blur (float, optional): of photographs, standard deviation in 64ths of the shorter side.
            Default: 1
        noise (float, optional): standard deviation of what is added to photographs, or to gray.
            Default: 0.02 for photographs and 0.1 for gray
        translator (Translator, optional): see above. Default: the ignored part's own length
        null_space (NullSpace, optional): Default: that of the layer's weights; where there is
            none, all is seen
        steps (int, optional): of both halves together. Default: 300
        lr (float, optional): learning rate, in units of a picture's brightness. Default: 0.02
        null_weight (float, optional): w_n. Default: 1
        total_variation (float, optional): weight of the mean gradient. Default: 0.3
        jitter (int, optional): the largest random shift, in pixels. Default: 1
        batch_size (int, optional): pictures at once; at first, each is there four times. None for
            all. Default: 16
        name (str, optional): of the model, to refuse the translators of others.
        show_progress (bool, optional): a progress bar over steps. Default: False

    Raises:
        SINGTypeError, SINGValueError, SINGNameError: arguments that cannot be used.

    Example::

        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 6), nn.Linear(6, 2))
        >>> inversion = Inversion(model, "2", lambda pictures: pictures - 0.5, size=8, steps=4)
        >>> pictures = inversion.render(torch.zeros(2, 6), seeds=[0, 1])
        >>> [picture.size for picture in pictures]
        [(8, 8), (8, 8)]
    """

    takes = "features"
    restores_norm = False

    def __init__(
        self,
        model: Callable[..., Any],
        layer: nn.Module | str | Sequence[nn.Module | str],
        normalize: Callable[[Tensor], Tensor],
        size: int | tuple[int, int],
        *,
        start: Sequence[Image.Image] | Tensor | None = None,
        blur: float = 1.0,
        noise: float | None = None,
        translator: Translator | None = None,
        null_space: NullSpace | None = None,
        steps: int = 300,
        lr: float = 0.02,
        null_weight: float = 1.0,
        total_variation: float = 0.3,
        jitter: int = 1,
        batch_size: int | None = 16,
        name: str | None = None,
        show_progress: bool = False,
    ) -> None:
        self.head = LinearHead.of(resolve_layers(model, layer), _WHERE)
        noise = (0.1 if start is None else 0.02) if noise is None else noise
        self.settings = Settings(steps, lr, null_weight, total_variation, jitter, blur, noise)
        self.model, self.normalize, self.name = model, normalize, name
        self.size = _checked_size(size)
        self.start = None if start is None else _checked_start(start, self.size)
        self.translator, self.null_space = translator, null_space
        if translator is not None:
            self.check(translator)
        check_size(batch_size, _WHERE)
        self.batch_size, self.show_progress = batch_size, show_progress
        self.facts: dict[str, Any] = {
            "renderer": "inversion",
            "size": list(self.size),
            "start": "gray" if start is None else "photographs",
            "measured by": "length" if translator is None else "translation",
            "encoder": None if translator is None else translator.encoder,
            "null_space": None if null_space is None else repr(null_space),
            **asdict(self.settings),
            "batch_size": batch_size,
            "model": name,
        }

    def check(self, translator: Translator) -> None:
        """Refuse a translator of other features.

        Raises:
            SINGValueError: another width, or another model; a name that is not known on both sides
                is not compared.
        """
        remedy = "Take the translator of this model's features"
        if translator.feature_dim not in self.head.widths:
            constraint = f"for features of width {' or '.join(map(str, self.head.widths))}"
            raise SINGValueError(
                expected(_WHERE, "translator", constraint, translator.feature_dim, remedy)
            )
        if None not in (self.name, translator.model) and self.name != translator.model:
            raise SINGValueError(
                expected(_WHERE, "translator", f"for {self.name}", translator.model, remedy)
            )

    def render(self, wanted: Tensor, seeds: int | Sequence[int] = 0) -> list[Image.Image]:
        """Find them.

        A picture follows from its row, seed and start alone, but for the last digits of batched
        kernels, which a long search amplifies: compare pictures made in batches of one size.

        Args:
            wanted (Tensor): features at the head's input, shape (B, D).
            seeds (int or sequence of int, optional): one for all or one each. Default: 0

        Returns:
            list of PIL.Image.Image: B pictures, mode RGB.

        Raises:
            SINGTypeError, SINGValueError: what cannot be drawn, or the model refuses its input.
            SINGRuntimeError: no gradient reaches the picture.
        """
        with torch.inference_mode(False), torch.enable_grad():
            wanted = check_wanted(_WHERE, wanted, self._width(wanted)).clone()
            wanted = wanted.to(self.head.weight().device, torch.float32)
            each = seeds_of(_WHERE, seeds, len(wanted))
            start = self._start_of(len(wanted))
            size = self.batch_size or len(wanted)
            parts = range(0, len(wanted), size)
            pictures: list[Image.Image] = []
            with tqdm(
                total=self.settings.steps * len(parts), desc=_WHERE, disable=not self.show_progress
            ) as bar:
                for first in parts:
                    rows = slice(first, first + size)
                    pictures += self._render(
                        wanted[rows], None if start is None else start[rows], each[rows], bar.update
                    )
        return pictures

    def _render(
        self,
        wanted: Tensor,
        start: Tensor | None,
        seeds: Sequence[int],
        tick: Callable[[], Any],
    ) -> list[Image.Image]:
        try:
            distance = Distance(
                self.model, self.head, self.normalize, wanted, self.null_space, self.translator
            )
            found = find_pictures(distance, start, self.size, seeds, self.settings, tick)
        except torch.OutOfMemoryError as error:
            raise SINGRuntimeError(
                expected(
                    _WHERE,
                    "batch_size",
                    "of pictures that fit the memory",
                    len(wanted),
                    "Choose a smaller one, or another device",
                )
            ) from error
        return _as_pil(found)

    def _width(self, wanted: Any) -> int:
        """Of the widths that several averaged heads may read, the one that is given."""
        given = wanted.shape[-1] if isinstance(wanted, Tensor) and wanted.ndim else 0
        return given if given in self.head.widths else self.head.widths[0]

    def _start_of(self, count: int) -> Tensor | None:
        if self.start is None or len(self.start) == count:
            return self.start
        if len(self.start) > 1:
            raise SINGValueError(
                expected(
                    _WHERE,
                    "start",
                    f"of one photograph, or of {count}, one for each row",
                    len(self.start),
                    "Make a renderer for these photographs",
                )
            )
        return self.start.expand(count, -1, -1, -1)


def _checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if not all(isinstance(side, int) and side > 1 for side in (height, width)):
        raise SINGValueError(
            expected(_WHERE, "size", "of two integers from 2", size, "Give height and width")
        )
    return height, width


def _checked_start(start: Sequence[Image.Image] | Tensor, size: tuple[int, int]) -> Tensor:
    """Photographs as one tensor (B, 3, H, W) in [0, 1]."""
    from torchvision.transforms.functional import to_tensor

    if not isinstance(start, Tensor):
        odd = [type(one).__name__ for one in start if not hasattr(one, "convert")]
        if odd:
            raise SINGTypeError(
                expected(_WHERE, "start", "to be PIL images or a tensor", odd[0], "Load them")
            )
        sizes = sorted({one.size[::-1] for one in start} - {size})
        if sizes or not len(start):
            raise _other_start(size, f"pictures of {sizes[0]}" if sizes else "none")
        start = torch.stack([to_tensor(one.convert("RGB")) for one in start])
    if start.ndim != 4 or not len(start) or tuple(start.shape[1:]) != (3, *size):
        raise _other_start(size, f"shape {tuple(start.shape)}")
    if not (start.is_floating_point() and bool(((start >= 0) & (start <= 1)).all())):
        raise _other_start(size, f"{start.dtype} from {start.min():.3g} to {start.max():.3g}")
    return start.detach().clone()


def _other_start(size: tuple[int, int], actual: str) -> SINGValueError:
    remedy = "Crop photographs as the model's preprocessing does, and leave the colours as they are"
    constraint = f"of shape (B, 3, {size[0]}, {size[1]}) in [0, 1]"
    return SINGValueError(expected(_WHERE, "start", constraint, actual, remedy))


def _as_pil(pictures: Tensor) -> list[Image.Image]:
    from PIL import Image

    bits = (pictures * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1)
    return [Image.fromarray(one.contiguous().numpy()) for one in bits]
