"""What a checkpoint of open_clip leaves open: the activation and the preprocessing it wants.

OpenAI's weights, and some others, were trained with an approximate GELU. An architecture and its
``-quickgelu`` twin hold the same tensors, so that a checkpoint file loads into the wrong one in
silence, and a tag into the wrong one with no more than a warning. Preprocessing is of the same
kind: what an open_clip model does with a picture depends on the tag, and a file has none.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_sing.errors import SINGValueError, expected

__all__ = [
    "activation_of_file",
    "canonical",
    "loadable",
    "preprocessing_of_file",
]

_TWIN = "-quickgelu"
_OPENAI = ("input_resolution", "context_length", "vocab_size")  # of its archives' state alone
_PICTURES = ("mean", "std", "interpolation", "resize_mode")


def canonical(architecture: str, tag: str) -> str:
    """The one of two twins whose activation a tag was trained with.

    Example::

        >>> canonical("ViT-L-14", "openai"), canonical("ViT-L-14", "laion2b_s32b_b82k")
        ('ViT-L-14-quickgelu', 'ViT-L-14')
    """
    import open_clip

    wants = (open_clip.get_pretrained_cfg(architecture, tag) or {}).get("quick_gelu")
    twin = f"{architecture}{_TWIN}"
    return twin if wants and tag in open_clip.list_pretrained_tags_by_model(twin) else architecture


def activation_of_file(
    architecture: str, path: Path, state: Mapping[str, Any], quick_gelu: bool | None
) -> str:
    """The one of two twins that a checkpoint file belongs to.

    Args:
        architecture (str): as it was asked for; a twin that was asked for by name is taken.
        path (Path): the file; a tag in its name, or in that of its folder, decides.
        state (mapping of str to Tensor): its tensors.
        quick_gelu (bool or None): the user's word, above all.

    Raises:
        SINGValueError: it cannot be told: weights of 16 bits, as OpenAI's are, of no known origin.
    """
    import open_clip

    plain = architecture.removesuffix(_TWIN)
    twin = f"{plain}{_TWIN}"
    known = open_clip.list_models()
    if quick_gelu is not None:
        wanted = twin if quick_gelu else plain
        if wanted not in known:
            other = bool(open_clip.get_model_config(architecture).get("quick_gelu"))
            if other != quick_gelu:
                raise SINGValueError(
                    expected(
                        "OpenCLIPEncoder",
                        "quick_gelu",
                        f"None for {architecture}, which open_clip has with one activation",
                        quick_gelu,
                        "Leave it out",
                    )
                )
            return architecture
        return wanted
    if twin not in known or architecture == twin:
        return architecture
    wants = {bool(settings.get("quick_gelu")) for settings in _of_tags_named(plain, path)}
    if len(wants) == 1:
        return twin if wants.pop() else plain
    if any(name in state for name in _OPENAI):
        return twin
    if not wants and not all(map(_is_half, state.values())):
        return plain
    raise SINGValueError(
        expected(
            "OpenCLIPEncoder",
            "quick_gelu",
            f"to be given for {architecture} with {path}",
            "None, where weights and path do not tell it",
            f"Say quick_gelu=True for weights of OpenAI (or name {twin}), else quick_gelu=False",
        )
    )


def preprocessing_of_file(architecture: str, path: Path) -> dict[str, Any]:
    """What all tags of the file's family, else of its architecture, agree on about pictures."""
    import open_clip

    settings = _of_tags_named(architecture.removesuffix(_TWIN), path) or [
        open_clip.get_pretrained_cfg(architecture, tag)
        for tag in open_clip.list_pretrained_tags_by_model(architecture)
    ]
    values = {key: [s[key] for s in settings if s.get(key) is not None] for key in _PICTURES}
    return {
        f"image_{key}": found[0]
        for key, found in values.items()
        if found and all(value == found[0] for value in found)
    }


def _of_tags_named(plain: str, path: Path) -> list[dict[str, Any]]:
    """The settings of the tags that the name of a file or its folder holds, or of their families.

    A family is named by the first word of its tags, such as "laion2b"; where a whole tag is there,
    the longest one of its family is meant.
    """
    import open_clip

    place = "/".join(path.resolve().parts[-2:]).lower().replace("-", "_")
    families: dict[str, list[tuple[str, str]]] = {}
    for name in (plain, f"{plain}{_TWIN}"):
        for tag in open_clip.list_pretrained_tags_by_model(name):
            if tag.partition("_")[0] in place:
                families.setdefault(tag.partition("_")[0], []).append((name, tag))
    settings = []
    for family in families.values():
        whole = max((tag for _, tag in family if tag in place), key=len, default=None)
        settings += [open_clip.get_pretrained_cfg(*t) for t in family if whole in (None, t[1])]
    return settings


def _is_half(tensor: Any) -> bool:
    """Whether 16 bits hold it exactly; a few numbers or small tables may by chance."""
    if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32 or tensor.dim() < 2:
        return True
    return bool(torch.equal(tensor.half().float(), tensor))


@contextmanager
def loadable(path: Path, state: Mapping[str, Any]) -> Iterator[Path]:
    """The file, or a copy without what the state of OpenAI's archives holds besides weights."""
    from safetensors.torch import save_file

    if not any(name in state for name in _OPENAI):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder) / "weights.safetensors"
        kept = {name: t.contiguous() for name, t in state.items() if name not in _OPENAI}
        save_file(kept, clean)
        yield clean
