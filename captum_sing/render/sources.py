"""Where a pipeline comes from: a folder, or a repository of the hub at one commit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from captum_sing.errors import SINGFileError, SINGNameError, expected
from captum_sing.hub import quick_when_offline
from captum_sing.pretrained import first_line

__all__ = ["Source", "fetched", "source_of"]

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_VARIANTS = ["*.fp16*", "*.bf16*", "*.non_ema*", "*.fp32*"]


class Source(NamedTuple):
    """A repository of the hub.

    Attributes:
        repository (str): ``"OWNER/NAME"``.
        revision (str or None): a commit, branch or tag.
    """

    repository: str
    revision: str | None


def source_of(where: str, source: str) -> Path | Source:
    """A folder, or a repository that a name can be of.

    Args:
        where (str): who complains.
        source (str): a folder, ``"OWNER/NAME"`` or ``"OWNER/NAME@REVISION"``.

    Raises:
        SINGNameError: neither.
    """
    if source and Path(source).is_dir():
        return Path(source)
    name, _, revision = source.partition("@")
    if _REPOSITORY.fullmatch(name):
        return Source(name, revision or None)
    raise SINGNameError(
        expected(
            where,
            "source",
            "to be a folder, or OWNER/NAME of a repository of diffusers",
            repr(source),
            "Check the path",
        )
    )


def fetched(where: str, source: Source, patterns: Sequence[str], bars: bool = False) -> Path:
    """Some files of a repository, downloaded where they are not in the cache.

    Args:
        where (str): who complains.
        source (Source): the repository.
        patterns (sequence of str): of the files; half-precision and other variants are left out.
        bars (bool, optional): whether to show progress.

    Returns:
        Path: the folder of its commit, named by it.

    Raises:
        SINGFileError: it cannot be downloaded and is not in the cache.
    """
    from huggingface_hub import snapshot_download

    try:
        with quick_when_offline(), nullcontext() if bars else _without_bars():
            folder = snapshot_download(
                source.repository,
                revision=source.revision,
                allow_patterns=list(patterns),
                ignore_patterns=_VARIANTS,
            )
    except Exception as error:  # the hub's client has an error for each way to fail
        raise SINGFileError(
            expected(
                where,
                "source",
                "to be in the cache, or on a hub that can be reached",
                f"{source.repository} ({type(error).__name__}: {first_line(error)})",
                "Check the name and the connection; a folder that save_pretrained wrote can be "
                "given instead",
            )
        ) from error
    return Path(folder)


@contextmanager
def _without_bars() -> Iterator[None]:
    from huggingface_hub import utils

    bars: Any = utils  # it does not say that it exports them
    before = bars.are_progress_bars_disabled()
    bars.disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            bars.enable_progress_bars()
