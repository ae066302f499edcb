"""Building classifiers, and reading or downloading their weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from captum_sing.files import digest
from captum_sing.pretrained import FOLDER_FILES, load_pretrained

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["LOADERS", "LoadedClassifier"]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier and what it takes to use it.

    Attributes:
        model (nn.Module): in evaluation mode, without gradients.
        preprocess (callable): one RGB picture -> (3, H, W), as the weights were trained.
        class_names (tuple of str or None): one a class, where they are known.
        name (str): architecture and exact weights: their tag or commit, or a digest of local
            files.
    """

    model: nn.Module
    preprocess: Callable[[Image.Image], Tensor]
    class_names: tuple[str, ...] | None
    name: str

    @property
    def preprocessing(self) -> str:
        """What :attr:`preprocess` does, in words: equal for equal preprocessing."""
        return _ADDRESS.sub("", " ".join(repr(self.preprocess).split()))


def _timm(name: str, checkpoint: Path | None) -> LoadedClassifier:
    import timm
    from timm.data import ImageNetInfo, create_transform, infer_imagenet_subset
    from timm.models import PretrainedCfg, get_pretrained_cfg

    known = get_pretrained_cfg(name) or PretrainedCfg(architecture=name)
    exact, classes = ".".join(filter(None, (known.architecture, known.tag))), known.num_classes
    options: dict[str, Any] = {}
    if checkpoint is not None:
        state = _read_state(checkpoint)
        heads = known.classifier or "head"
        weight = state.get(f"{heads if isinstance(heads, str) else heads[0]}.weight")
        classes = classes if weight is None else len(weight)
        overlay = {"state_dict": state, "num_classes": classes, "label_offset": 0}
        options = {"num_classes": classes, "pretrained_cfg_overlay": overlay}
        exact = f"{known.architecture}@{digest([checkpoint])}"
    model = timm.create_model(name, pretrained=True, **options)
    model.pretrained_cfg.pop("state_dict", None)
    subset = infer_imagenet_subset({"num_classes": classes})
    names = None
    if subset and classes == known.num_classes:
        names = tuple(ImageNetInfo(subset).label_descriptions())
    transform = create_transform(**timm.data.resolve_model_data_config(model))
    return LoadedClassifier(model, transform, names, f"timm/{exact}")


def _folder(name: str, _: Path | None) -> LoadedClassifier:
    import timm
    from timm.data import create_transform

    folder = Path(name).resolve()
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    transform = create_transform(**timm.data.resolve_model_data_config(model))
    labels = tuple(model.pretrained_cfg.get("label_names") or ())
    names = labels if len(labels) == model.num_classes else None
    exact = f"timm/{folder.name}@{digest([folder / FOLDER_FILES[1]])}"
    return LoadedClassifier(model, transform, names, exact)


def _torchvision(name: str, checkpoint: Path | None) -> LoadedClassifier:
    from torchvision import models

    architecture, _, tag = name.partition(".")
    weights = models.get_model_weights(architecture)[tag or "DEFAULT"]
    names, exact = tuple(weights.meta["categories"]), f"{architecture}.{weights.name}"
    if checkpoint is None:
        model = models.get_model(architecture, weights=weights)
    else:
        state = _read_state(checkpoint)
        model = models.get_model(architecture, weights=None)
        last, value = list(model.state_dict().items())[-1]  # of the head
        classes = len(state.get(last, value))
        if classes != len(value):
            model = models.get_model(architecture, weights=None, num_classes=classes)
        model.load_state_dict(state)
        names = names if classes == len(names) else ()
        exact = f"{architecture}@{digest([checkpoint])}"
    return LoadedClassifier(model, weights.transforms(), names or None, f"torchvision/{exact}")


def _demo(name: str, _: Path | None) -> LoadedClassifier:
    from torchvision.transforms import CenterCrop, Compose, Resize, ToTensor

    from captum_sing.demo import world
    from captum_sing.demo.scenes import FACTORS, IMAGE_SIZE

    preprocess = Compose([Resize(IMAGE_SIZE), CenterCrop(IMAGE_SIZE), ToTensor()])
    model = world.load_classifier(name)
    return LoadedClassifier(model, preprocess, FACTORS["shape"], f"demo/{name}")


@dataclass(frozen=True)
class _Processor:
    """An image processor of transformers as a function of one picture."""

    processor: Any

    def __call__(self, image: Image.Image) -> Tensor:
        tensor: Tensor = self.processor(images=image, return_tensors="pt")["pixel_values"][0]
        return tensor

    def __repr__(self) -> str:
        return json.dumps(self.processor.to_dict(), sort_keys=True, default=str)


def _transformers(name: str, _: Path | None) -> LoadedClassifier:
    model, (processor,), exact = load_pretrained(
        "load_classifier", name, "AutoModelForImageClassification", ("AutoImageProcessor",)
    )
    config: Any = model.config
    names = tuple(config.id2label[index] for index in range(config.num_labels))
    known = any(name != f"LABEL_{index}" for index, name in enumerate(names))
    return LoadedClassifier(
        model, _Processor(processor), names if known else None, f"transformers/{exact}"
    )


LOADERS: dict[str, Callable[[str, Path | None], LoadedClassifier]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
    "demo": _demo,
    "local-dir": _folder,
}
"""Kind of source -> what builds a model of that name, from a checkpoint where one is given."""


def _read_state(path: Path) -> dict[str, Tensor]:
    """A state dict, out of what training scripts wrap it in; nothing in the file is executed."""
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    state: Any = torch.load(path, map_location="cpu", weights_only=True)
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise ValueError("the file holds no state dict of tensors")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}
