"""The public door to the shipped weights."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from captum_sing.concepts import ConceptBank
from captum_sing.demo.captions import PROMPTS
from captum_sing.demo.decoder import SceneDecoder
from captum_sing.demo.models import BACKBONES, SceneClassifier, normalize
from captum_sing.demo.scenes import FACTORS, sample_scenes
from captum_sing.encoders import ImageTextEncoder, OpenCLIPEncoder
from captum_sing.errors import SINGFileError, SINGNameError, expected
from captum_sing.files import load_tensors, save_tensors
from captum_sing.translator import LinearTranslator

WEIGHTS = Path(__file__).with_name("weights")
_BATCH = 256
_SHOWN = 8  # images of load_demo
_FRESH = 10_000_000  # no training stream draws from here


@dataclass(frozen=True)
class ClassifierCard:
    """What is known about a shipped classifier.

    Attributes:
        description (str): one line.
        architecture (str): of its backbone.
        planted (tuple or None): the factors that its null space carries, and no others, where that
            is so by construction, over all classes of shape together; None for a classifier that
            was simply trained.
    """

    description: str
    architecture: str
    planted: tuple[str, ...] | None = None

    @property
    def necked(self) -> bool:
        """Whether it is a neck on a backbone that it shares with others."""
        return self.planted is not None


_PLANTED = {
    "neck_none": (),
    "neck_color": ("color",),
    "neck_background": ("background",),
    "neck_size": ("size",),
    "neck_color_size": ("color", "size"),
}


def _neck_card(architecture: str, planted: tuple[str, ...]) -> ClassifierCard:
    what = " and ".join(planted) or "none of the factors"
    return ClassifierCard(
        f"linear neck on a {architecture}, whose null space carries {what} by construction",
        architecture,
        planted,
    )


CLASSIFIERS: dict[str, ClassifierCard] = {
    f"{architecture}/{name}": _neck_card(architecture, planted)
    for architecture in BACKBONES
    for name, planted in _PLANTED.items()
} | {
    "plain": ClassifierCard("a ResNet, trained as one does", "resnet"),
    "plain_convnext": ClassifierCard("a ConvNeXt, trained as one does", "convnext"),
    "color_hidden": ClassifierCard(
        "a ResNet that was taught to keep color where its head cannot see it", "resnet"
    ),
    "spurious": ClassifierCard(
        "a ResNet, trained on images in nine of ten of which color went with shape", "resnet"
    ),
}
"""Every shipped classifier of shape, by name."""


def card(name: str) -> ClassifierCard:
    """What is known about a classifier.

    Raises:
        SINGNameError: a name that is not in :data:`CLASSIFIERS`.
    """
    if name not in CLASSIFIERS:
        raise SINGNameError(
            expected(
                "captum_sing.demo",
                "name",
                f"in {list(CLASSIFIERS)}",
                repr(name),
                "Choose one of them",
            )
        )
    return CLASSIFIERS[name]


def load_classifier(name: str, *, folder: str | Path = WEIGHTS) -> SceneClassifier:
    """A shipped classifier: images (B, 3, 64, 64) in [0, 1] -> logits (B, 8).

    Args:
        name (str): a key of :data:`CLASSIFIERS`.
        folder (str or Path, optional): where ``python -m captum_sing.demo.train`` wrote the
            weights. Default: the shipped ones

    Returns:
        SceneClassifier: in evaluation mode; its last layer is ``head``.

    Raises:
        SINGNameError: an unknown name.
        SINGFileError: weights that are missing or damaged.

    Example::

        >>> load_classifier("plain").head
        Linear(in_features=128, out_features=8, bias=True)
    """
    about = card(name)
    model = SceneClassifier.build(about.architecture, neck=about.necked)
    if about.necked:
        load_state(model.backbone, backbone_file(about.architecture, folder))
        load_state(nn.ModuleDict({"neck": model.neck, "head": model.head}), file_of(name, folder))
    else:
        load_state(model, file_of(name, folder))
    return model.eval()


def load_encoder(*, folder: str | Path = WEIGHTS) -> OpenCLIPEncoder:
    """The tiny CLIP of this world.

    Raises:
        SINGFileError: weights that are missing or damaged.
    """
    return OpenCLIPEncoder(f"local-dir:{Path(folder) / 'clip'}")


def load_translator(name: str, *, folder: str | Path = WEIGHTS) -> LinearTranslator:
    """The translator of a shipped classifier into the space of :func:`load_encoder`.

    Raises:
        SINGNameError: an unknown name.
        SINGFileError: a file that is missing or damaged.
    """
    card(name)
    return LinearTranslator.load(Path(folder) / "translators" / f"{name}.safetensors")


def load_concepts(encoder: ImageTextEncoder) -> ConceptBank:
    """All words of the world, grouped by factor, through the prompts of its grammar.

    Args:
        encoder (ImageTextEncoder): of :func:`load_encoder`.
    """
    words = [word for values in FACTORS.values() for word in values]
    return ConceptBank.from_words(words, encoder, templates=PROMPTS, groups=FACTORS)


def load_decoder(*, folder: str | Path = WEIGHTS) -> SceneDecoder:
    """Draws embeddings of :func:`load_encoder`, and translated features, as scenes.

    Raises:
        SINGFileError: a file that is missing or damaged.
    """
    path = Path(folder) / "decoder.safetensors"
    with_width = load_tensors(path, _KIND, SceneDecoder(1).state_dict())[0]["mean"]
    decoder = SceneDecoder(len(with_width))
    load_state(decoder, path)
    return decoder.eval().requires_grad_(False)


class Demo(NamedTuple):
    """What :func:`load_demo` returns: all that ``SING(model, "head", translator, concepts)`` wants.

    Attributes:
        model (SceneClassifier): images (B, 3, 64, 64) in [0, 1] -> logits (B, 8).
        translator (LinearTranslator): from its head's input to the tiny CLIP's image space.
        concepts (ConceptBank): the words of the world.
        images (Tensor): fresh scenes, shape (8, 3, 64, 64).
    """

    model: SceneClassifier
    translator: LinearTranslator
    concepts: ConceptBank
    images: Tensor


def load_demo(name: str, *, seed: int = 0) -> Demo:
    """A shipped classifier with its translator, the words, and a few images to look at.

    Args:
        name (str): a key of :data:`CLASSIFIERS`.
        seed (int, optional): of the images. Default: 0

    Raises:
        SINGNameError: an unknown name.

    Example::

        >>> model, translator, concepts, images = load_demo("resnet/neck_color")
        >>> model(images).shape, concepts.names[:2]
        (torch.Size([8, 8]), ('circle', 'square'))
    """
    model, translator = load_classifier(name), load_translator(name)
    images = sample_scenes(_SHOWN, _FRESH + seed).images
    return Demo(model, translator, load_concepts(load_encoder()), images)


@torch.no_grad()
def encode_scenes(encoder: OpenCLIPEncoder, images: Tensor) -> Tensor:
    """Embeddings (N, E) of images (N, 3, 64, 64) in [0, 1] by the tiny CLIP, in batches."""
    return torch.cat([encoder.encode_image(normalize(batch)) for batch in images.split(_BATCH)])


_KIND = "demo weights"


def file_of(name: str, folder: str | Path) -> Path:
    """Where the weights of a classifier, or of its neck, are."""
    return Path(folder) / f"{name}.safetensors"


def backbone_file(architecture: str, folder: str | Path) -> Path:
    """Where the weights of a backbone shared by necks are."""
    return Path(folder) / architecture / "backbone.safetensors"


def save_state(module: nn.Module, path: Path, *, half: bool = True) -> None:
    """Saves a module's state to one file, in float16 by default."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        name: t.half() if half and t.is_floating_point() else t
        for name, t in module.state_dict().items()
    }
    save_tensors(path, _KIND, state, {})


def load_state(module: nn.Module, path: Path) -> None:
    """Loads what :func:`save_state` wrote into a module of the same layout.

    Raises:
        SINGFileError: a file that is missing, damaged, or of another module.
    """
    wanted: Collection[str] = module.state_dict()
    tensors, _ = load_tensors(path, _KIND, wanted)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise SINGFileError(
            expected(
                "captum_sing.demo",
                "path",
                "to hold the weights of this model",
                f"{path} with tensors of other shapes",
                "Rebuild it with python -m captum_sing.demo.train",
            )
        ) from error
