"""An IP-Adapter: which file it is, what it takes, and the image encoder it was trained with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from captum_sing.errors import SINGFileError, SINGNameError, SINGValueError, expected
from captum_sing.files import digest
from captum_sing.pretrained import first_line
from captum_sing.render.sources import Source, fetched

__all__ = ["Adapter", "find_adapter"]

_REPOSITORY = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?:/(\w[\w./-]*\.safetensors))?")
_DEFAULTS = {  # of h94/IP-Adapter, as are those below
    "StableDiffusionPipeline": "models/ip-adapter_sd15.safetensors",
    "StableDiffusionXLPipeline": "sdxl_models/ip-adapter_sdxl.safetensors",
}
_ENCODER = "image_encoder"  # lies beside the adapter, but for two that were made with the other's
_ENCODERS = {
    "models/ip-adapter_sd15_vit-G.safetensors": f"sdxl_models/{_ENCODER}",
    "sdxl_models/ip-adapter_sdxl_vit-h.safetensors": f"models/{_ENCODER}",
}
_WEIGHT = "image_proj.proj.weight"  # by which diffusers tells the plain ones, too


class Adapter(NamedTuple):
    """A file that lets Stable Diffusion draw image embeddings.

    Attributes:
        file (Path): safetensors.
        name (str): where it came from, and which version it is.
        published (str): ``"OWNER/NAME/PATH"`` on the hub; empty for a file.
        embedding_dim (int): E.
        source (Source or None): its repository on the hub, at its commit.
    """

    file: Path
    name: str
    published: str
    embedding_dim: int
    source: Source | None

    def image_encoder(self, where: str, bars: bool = False) -> Path | None:
        """The folder of the image encoder it was trained with, downloaded if it is on the hub.

        None for a file that has none beside it.
        """
        folder = self.file.parent / _ENCODER
        if self.source is not None:
            path = self.published.removeprefix(f"{self.source.repository}/")
            inside = _ENCODERS.get(path, (Path(path).parent / _ENCODER).as_posix())
            wanted = [f"{inside}/{name}" for name in ("config.json", "model.safetensors")]
            folder = fetched(where, self.source, wanted, bars) / inside
        return folder if folder.is_dir() else None


def find_adapter(where: str, ip_adapter: str, pipeline: str, bars: bool = False) -> Adapter:
    """An IP-Adapter, of which no more than the header is read.

    Args:
        where (str): who complains.
        ip_adapter (str): a safetensors file; or a repository of the hub, with the path of a file
            in it, such as ``"h94/IP-Adapter/sdxl_models/ip-adapter_sdxl_vit-h.safetensors"``.
            Without a path: the one that h94/IP-Adapter has for this pipeline.
        pipeline (str): the class of the pipeline it is for.
        bars (bool, optional): whether downloads show theirs.

    Raises:
        SINGNameError: neither.
        SINGFileError: no whole safetensors file.
        SINGValueError: an adapter that takes no pooled embedding, as the "plus" and the face ones.
    """
    file = Path(ip_adapter)
    if file.is_file():
        return Adapter(file, f"{file.name}@{digest([file])}", "", _width(where, file), None)
    named = _REPOSITORY.fullmatch(ip_adapter)
    if named is None or Path(ip_adapter).exists():
        raise SINGNameError(
            expected(
                where,
                "ip_adapter",
                "to be a .safetensors file, or OWNER/NAME/PATH of one on the hub",
                repr(ip_adapter),
                'Check the path, or say "h94/IP-Adapter"',
            )
        )
    repository, path = named[1], named[2] or _DEFAULTS[pipeline]
    folder = fetched(where, Source(repository, None), [path], bars)
    published = f"{repository}/{path}"
    return Adapter(
        folder / path,
        f"{published}@{folder.name}",
        published,
        _width(where, folder / path),
        Source(repository, folder.name),
    )


def _width(where: str, file: Path) -> int:
    """E, from the header."""
    from safetensors import safe_open

    try:
        opened: Any = safe_open(file, framework="pt")
        with opened as tensors:
            names = [n for n in sorted(tensors.keys()) if n.startswith("image_proj.")]
            shape = tensors.get_slice(_WEIGHT).get_shape() if _WEIGHT in names else []
    except Exception as error:  # missing, truncated, or of another format
        raise SINGFileError(
            expected(
                where,
                "ip_adapter",
                "to be a whole safetensors file",
                f"{file} ({type(error).__name__}: {first_line(error)})",
                "Download it again",
            )
        ) from error
    if len(shape) != 2:
        raise SINGValueError(
            expected(
                where,
                "ip_adapter",
                "to take one pooled embedding a picture",
                f"{file.name} with {names[:3] or 'no image_proj'}"
                + (", which takes patch tokens or a face" if names else ""),
                'Use a plain one, not "plus", "full-face" or "faceid"',
            )
        )
    return int(shape[1])
