"""Where a classifier comes from: names and files are checked before anything is built."""

from __future__ import annotations

import difflib
import json
import textwrap
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from captum_sing.classifiers.loading import LOADERS, LoadedClassifier
from captum_sing.devices import device_of
from captum_sing.errors import (
    SINGError,
    SINGFileError,
    SINGNameError,
    SINGTypeError,
    SINGValueError,
    expected,
)
from captum_sing.hub import quick_when_offline
from captum_sing.pretrained import FOLDER_FILES, check_source

__all__ = ["ClassifierSource", "find_classifier", "load_classifier"]

_WHERE = "load_classifier"
_LOCAL = "local-dir"
_TRANSFORMERS = "transformers"


@dataclass(frozen=True)
class ClassifierSource:
    """A classifier that exists, as far as that can be told without loading it.

    Attributes:
        kind (str): "timm", "torchvision", "transformers", "demo" or "local-dir", timm's folders.
        name (str): its name there, or the folder.
        checkpoint (Path or None): a file with its weights.
    """

    kind: str
    name: str
    checkpoint: Path | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.kind == _LOCAL else f"{self.kind}/{self.name}"

    @property
    def offline(self) -> bool:
        """Whether its weights are on this machine for certain."""
        return (
            self.checkpoint is not None
            or self.kind in ("demo", _LOCAL)
            or (self.kind == _TRANSFORMERS and Path(self.name).is_dir())
        )

    def load(self, device: str | torch.device | None = None) -> LoadedClassifier:
        """Build it, and read or download its weights; see :func:`load_classifier`."""
        device = device_of(device, _WHERE, "device")
        try:
            with nullcontext() if self.offline else quick_when_offline():
                loaded = LOADERS[self.kind](self.name, self.checkpoint)
        except SINGError:
            raise
        except Exception as error:  # each library has kinds of its own
            reason = textwrap.shorten(str(error), 300).split(". ")[0].rstrip(".")
            raise SINGFileError(
                expected(
                    _WHERE,
                    f"the weights of {self}",
                    f"in {self.checkpoint or 'the folder'}"
                    if self.offline
                    else "in the cache, or a connection to download them",
                    f"{type(error).__name__}: {reason}",
                    "Check that they are whole, and of this architecture"
                    if self.offline
                    else "Give them as a file (--checkpoint FILE), or load them once on a machine "
                    "with a connection and copy its cache",
                )
            ) from error
        loaded.model.eval().requires_grad_(False).to(device)
        return loaded


def load_classifier(
    source: str,
    *,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
) -> LoadedClassifier:
    """A classifier with its preprocessing and class names.

    Args:
        source (str): ``"timm/NAME"`` or ``"torchvision/NAME"``, with or without ``.TAG`` for
            particular weights; a bare name of either, timm first; ``"transformers/NAME"``, a
            repository on the hub; ``"demo/NAME"``; or a folder (also ``"local-dir:FOLDER"``) with
            ``config.json`` and ``model.safetensors`` as timm or transformers save them.
        checkpoint (str or Path, optional): a state dict, safetensors or ``torch.save``, to be used
            instead of a download. It may have another number of classes; where it has as many as
            the weights that the name stands for, these give the class names.
        device (str or torch.device, optional): where the model goes. Default: the CPU

    Returns:
        LoadedClassifier

    Raises:
        SINGNameError: no model or tag of that name.
        SINGFileError: weights that are missing, damaged, of another architecture, or that cannot be
            downloaded.
        SINGValueError: a checkpoint for a source that brings its own, or no such device.

    Example::

        >>> load_classifier("demo/plain").class_names[:2]
        ('circle', 'square')
    """
    return find_classifier(source, checkpoint).load(device)


def find_classifier(source: str, checkpoint: str | Path | None = None) -> ClassifierSource:
    """Check the names and files of :func:`load_classifier`, and load nothing yet."""
    found = _find(source)
    if checkpoint is None:
        if found.kind == "timm":
            _check_weights(found)
        return found
    if found.offline or found.kind == _TRANSFORMERS:
        raise SINGValueError(
            expected(
                _WHERE,
                "checkpoint",
                f"only for a timm or torchvision name, not for {found}",
                checkpoint,
                "Leave it out: this source brings its own weights"
                if found.offline
                else "Give a folder with these weights that save_pretrained wrote as the source",
            )
        )
    if not Path(checkpoint).is_file():
        raise SINGFileError(
            expected(_WHERE, "checkpoint", "to be a file", checkpoint, "Check the path")
        )
    return ClassifierSource(found.kind, found.name, Path(checkpoint))


def _find(source: str) -> ClassifierSource:
    if not isinstance(source, str):
        raise SINGTypeError(
            expected(_WHERE, "source", "to be a str", type(source).__name__, "Name a model")
        )
    if not source:
        raise _unknown(source, ())
    kind, _, name = source.partition("/")
    if kind in _CHECKS and name:
        _CHECKS[kind](name)
        return ClassifierSource(kind, name)
    folder = source.removeprefix(f"{_LOCAL}:")
    if folder != source or Path(folder).is_dir():
        return _find_folder(folder)
    if Path(source).is_file():
        raise SINGNameError(
            expected(
                _WHERE,
                "source",
                "to be a name or a folder",
                f"the file {source}",
                "Name the architecture, and give the file as its weights (--checkpoint FILE)",
            )
        )
    for kind, names in (("timm", _timm_names), ("torchvision", _torchvision_names)):
        if source.partition(".")[0] in names():
            _CHECKS[kind](source)
            return ClassifierSource(kind, source)
    raise _unknown(source, [*_timm_names(), *_torchvision_names()])


def _find_folder(folder: str) -> ClassifierSource:
    if _saved_by_transformers(Path(folder)):
        _check_transformers(folder)
        return ClassifierSource(_TRANSFORMERS, folder)
    missing = [file for file in FOLDER_FILES if not (Path(folder) / file).is_file()]
    if missing:
        raise SINGFileError(
            expected(
                _WHERE,
                "source",
                f"to be a folder with {' and '.join(FOLDER_FILES)}",
                f"{folder} without {' and '.join(missing)}",
                "model.save_pretrained(folder) of transformers writes one, and for timm "
                "timm.models.save_for_hf(model, folder, safe_serialization=True)",
            )
        )
    return ClassifierSource(_LOCAL, folder)


def _saved_by_transformers(folder: Path) -> bool:
    """Whether its configuration is of transformers; timm writes "architecture", one alone."""
    try:
        config = json.loads((folder / FOLDER_FILES[0]).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing or damaged, as whoever loads it will say
        return False
    return isinstance(config, dict) and "architecture" not in config and "model_type" in config


def _check_transformers(name: str) -> None:
    check_source(_WHERE, name)


def _check_timm(name: str) -> None:
    from timm.models import get_pretrained_cfg, is_model, list_pretrained

    if not is_model(name):
        raise _unknown(f"timm/{name}", [f"timm/{known}" for known in _timm_names()])
    try:
        get_pretrained_cfg(name)
    except RuntimeError as error:  # a tag that the architecture does not have
        tagged = list_pretrained(f"{name.partition('.')[0]}.*")
        raise _unknown(f"timm/{name}", [f"timm/{known}" for known in tagged]) from error


def _check_weights(source: ClassifierSource) -> None:
    """Some architectures of timm come without any."""
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(source.name)
    if known is None or not known.has_weights:
        raise SINGFileError(
            expected(
                _WHERE,
                "source",
                "to have weights in timm",
                f"{source}, which has none",
                "Give them as a file (--checkpoint FILE), or choose another",
            )
        )


def _check_torchvision(name: str) -> None:
    from torchvision.models import get_model_weights

    architecture, _, tag = name.partition(".")
    known = _torchvision_names()
    if architecture in known:
        tags = get_model_weights(architecture).__members__
        if not tag or tag in tags:
            return
        known = [f"{architecture}.{known_tag}" for known_tag in tags]
    raise _unknown(f"torchvision/{name}", [f"torchvision/{known_name}" for known_name in known])


def _check_demo(name: str) -> None:
    from captum_sing.demo import world

    world.card(name)


_CHECKS = {
    "timm": _check_timm,
    "torchvision": _check_torchvision,
    _TRANSFORMERS: _check_transformers,
    "demo": _check_demo,
}


def _timm_names() -> Sequence[str]:
    import timm

    names: list[str] = timm.list_models()
    return names


def _torchvision_names() -> Sequence[str]:
    from torchvision import models

    names: list[str] = models.list_models(models)
    return names


def _unknown(source: str, known: Sequence[str]) -> SINGNameError:
    close = difflib.get_close_matches(source, known, n=5, cutoff=0.5)
    return SINGNameError(
        expected(
            _WHERE,
            "source",
            'to be "timm/NAME", "torchvision/NAME", "transformers/NAME", "demo/NAME" or a folder',
            repr(source),
            f"The nearest names are {', '.join(close)}" if close else "No name is near it",
        )
    )
