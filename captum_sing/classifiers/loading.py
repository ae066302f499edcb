"""Building classifiers, and reading or downloading their weights."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from captum_sing.errors import SINGFileError, expected
from captum_sing.files import digest
from captum_sing.pretrained import FOLDER_FILES, digest_of_folder, load_pretrained
from captum_sing.state_dicts import check_sizes, read_state

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["LOADERS", "LoadedClassifier"]

_WHERE = "load_classifier"
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
    state: dict[str, Any] = {}
    if checkpoint is not None:
        state = read_state(_WHERE, checkpoint)
        heads = known.classifier or "head"
        weight = state.get(f"{heads if isinstance(heads, str) else heads[0]}.weight")
        classes = classes if weight is None else len(weight)
        overlay = {"state_dict": state, "num_classes": classes, "label_offset": 0}
        options = {"num_classes": classes, "pretrained_cfg_overlay": overlay}
        exact = f"{known.architecture}@{digest([checkpoint])}"
    model = timm.create_model(name, pretrained=True, **options)
    check_sizes(model, state)  # timm resizes some in silence
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
    check_sizes(model, read_state(_WHERE, folder / FOLDER_FILES[1]))
    labels = model.pretrained_cfg.get("label_names")
    known = isinstance(labels, list) and len(labels) == model.num_classes
    exact = f"timm/{folder.name}@{digest_of_folder(folder)}"
    return LoadedClassifier(model, transform, tuple(labels) if known else None, exact)


def _torchvision(name: str, checkpoint: Path | None) -> LoadedClassifier:
    from torchvision import models

    architecture, _, tag = name.partition(".")
    weights = models.get_model_weights(architecture)[tag or "DEFAULT"]
    names, exact = tuple(weights.meta["categories"]), f"{architecture}.{weights.name}"
    if checkpoint is not None:
        state, classes = _completed(architecture, read_state(_WHERE, checkpoint))
        weights = _standing_in(weights, state, classes)
        names = names if classes == len(names) else ()
        exact = f"{architecture}@{digest([checkpoint])}"
    model = models.get_model(architecture, weights=weights)
    return LoadedClassifier(model, weights.transforms(), names or None, f"torchvision/{exact}")


def _completed(architecture: str, state: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """A state dict of torchvision with auxiliary heads, and its number of classes.

    Auxiliary heads make no logits. Torchvision drops some when it has loaded them, so that a file
    may come without, but it always asks for them.
    """
    from torchvision import models

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about how weights are initialised
        fresh = models.get_model(architecture, weights=None).state_dict()
        last, value = list(fresh.items())[-1]  # of the head
        classes = len(state.get(last, value))
        if classes != len(value):
            model = models.get_model(architecture, weights=None, num_classes=classes)
            fresh = model.state_dict()
    auxiliary = {name: t for name, t in fresh.items() if name.lower().startswith("aux")}
    return auxiliary | state, classes


def _standing_in(weights: Any, state: dict[str, Any], classes: int) -> Any:
    """Weights of torchvision that are read from a file, and the same in all else.

    Weights decide more of a model than its tensors: what becomes of its input, the size of its
    images, the names that older files have.
    """
    meta = weights.meta | {"categories": [""] * classes}
    found = object.__new__(type(weights))  # no member of the enumeration, which stays as it is
    found._name_, found._value_ = weights.name, replace(weights.value, meta=meta)
    found.get_state_dict = lambda **_: state
    return found


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
    if set(config.id2label) != set(range(config.num_labels)):
        raise SINGFileError(
            expected(
                _WHERE,
                "id2label",
                f"to number the classes from 0 to {config.num_labels - 1}",
                f"{sorted(config.id2label)[:3]}... in the configuration of {name}",
                "Correct it in config.json",
            )
        )
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
