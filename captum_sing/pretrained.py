"""Models of transformers with the weights they say they have, or an error; code is never run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from captum_sing.errors import SINGFileError, SINGNameError, expected
from captum_sing.files import digest
from captum_sing.hub import quick_when_offline

__all__ = [
    "FOLDER_FILES",
    "Pretrained",
    "check_source",
    "commit_of",
    "digest_of_folder",
    "first_line",
    "load_pretrained",
]

FOLDER_FILES = ("config.json", "model.safetensors")
"""What a folder that ``save_pretrained`` wrote has at least; big weights come with an index."""

_INDEX = "model.safetensors.index.json"
_OF_MODELS = (
    "config.json",
    "open_clip_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
    "sentencepiece*.model",
)
"""What makes a model besides its weights."""

_REPOSITORY = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_DIGITS = 12


class Pretrained(NamedTuple):
    """What :func:`load_pretrained` returns.

    Attributes:
        model (nn.Module): float32, in evaluation mode, without gradients.
        parts (tuple): what else was asked for, such as a tokenizer.
        name (str): ``repository@commit``, or ``folder@digest``.
    """

    model: nn.Module
    parts: tuple[Any, ...]
    name: str


def load_pretrained(where: str, source: str, kind: str, parts: tuple[str, ...]) -> Pretrained:
    """A model of transformers, from a folder or the hub.

    Left alone, transformers initialises weights that a checkpoint lacks at random, and says so in
    a log.

    Args:
        where (str): who complains.
        source (str): a folder that ``save_pretrained`` wrote, or the name of a repository.
        kind (str): an auto class, such as ``"AutoModel"``.
        parts (tuple of str): auto classes of what comes with the model, such as
            ``"AutoTokenizer"``.

    Raises:
        SINGNameError: what is neither a folder nor a possible name.
        SINGFileError: files that are missing or damaged, weights that are incomplete or of another
            architecture, pickled weights, a model that needs code of its own.
    """
    import transformers

    check_source(where, source)
    folder = Path(source)
    local = folder.is_dir()
    options = {"trust_remote_code": False}
    needed = weights = f"weights that {kind} can load, whole, as safetensors"
    others = []
    try:
        with nullcontext() if local else quick_when_offline(), _quietly():
            config = transformers.AutoConfig.from_pretrained(source, **options)
            if getattr(config, "auto_map", None):
                raise ValueError("it wants code of its own to be run")
            for part in parts:
                needed = f"what {part} needs"
                others.append(getattr(transformers, part).from_pretrained(source, **options))
            needed = weights
            model, found = getattr(transformers, kind).from_pretrained(
                source, config=config, use_safetensors=True, output_loading_info=True, **options
            )
        wrong = {what: sorted(map(str, found[what])) for what in _WRONG if found.get(what)}
        if wrong:
            raise ValueError(", ".join(f"{what} {names[:3]}" for what, names in wrong.items()))
        exact = digest_of_folder(folder) if local else commit_of(source, FOLDER_FILES[0])
    except Exception as error:  # each kind of damage raises an error of its own
        raise SINGFileError(
            expected(
                where,
                f"source {source}",
                f"to hold {needed}",
                f"{type(error).__name__}: {first_line(error)}",
                "Check the files, or save them again with save_pretrained"
                if local
                else "Check the name, and the connection if it is not in the cache; a folder that "
                "save_pretrained wrote can be given instead",
            )
        ) from error
    name = folder.resolve().name if local else source
    model = model.eval().float().requires_grad_(False)
    return Pretrained(model, tuple(others), f"{name}@{exact}")


_WRONG = ("missing_keys", "mismatched_keys", "error_msgs")


def check_source(where: str, source: str) -> None:
    """Check what can be checked before anything is loaded, as in :func:`load_pretrained`.

    Raises:
        SINGNameError: what is neither a folder nor a possible name.
        SINGFileError: a folder without a configuration, without weights that need no unpickling,
            or whose index names parts that are not files of this folder.
    """
    folder = Path(source)
    if not source or not folder.is_dir():
        if _REPOSITORY.fullmatch(source):
            return
        raise SINGNameError(
            expected(
                where,
                "source",
                "to be a folder, or the name of a repository of transformers",
                repr(source),
                "Check the path",
            )
        )
    config, weights = FOLDER_FILES
    missing = [] if (folder / config).is_file() else [config]
    if not any((folder / name).is_file() for name in (weights, _INDEX)):
        missing.append(weights)
    if missing:
        pickled = any(folder.glob("*.bin")) and weights in missing
        raise SINGFileError(
            expected(
                where,
                "source",
                f"to be a folder with {' and '.join(FOLDER_FILES)}",
                f"{folder} without {' and '.join(missing)}"
                + (" (pickled weights, in .bin files, are not read)" if pickled else ""),
                "model.save_pretrained(folder) writes them",
            )
        )
    if not (folder / weights).is_file():
        _check_shards(where, folder)


def _check_shards(where: str, folder: Path) -> None:
    """What the index names is in the folder, or, of a folder of the hub's cache, in its blobs."""
    places = {folder.resolve(), (folder.resolve() / "../../blobs").resolve()}
    strange: list[Any] = [
        shard
        for shard in _shards(where, folder)
        if not isinstance(shard, str)
        or Path(shard).name != shard
        or not (folder / shard).is_file()
        or (folder / shard).resolve().parent not in places
    ]
    if strange:
        raise SINGFileError(
            expected(
                where,
                "source",
                f"to be a folder with all that its {_INDEX} names",
                f"{folder} with {strange[0]!r}, which is no file in it",
                "model.save_pretrained(folder) writes them",
            )
        )


def _shards(where: str, folder: Path) -> list[Any]:
    """The files that the index names, each once."""
    try:
        named = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        return sorted(set(named))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SINGFileError(
            expected(
                where,
                "source",
                f"to be a folder with a whole {_INDEX}",
                f"{folder} ({type(error).__name__}: {first_line(error)})",
                "model.save_pretrained(folder) writes it",
            )
        ) from error


def commit_of(repository: str, file: str) -> str:
    """The commit of a repository that a file in the hub's cache is of.

    Raises:
        ValueError: it is not in the cache.
    """
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(repository, file)
    if not isinstance(cached, str):
        raise ValueError(f"{file} of {repository} is not in the cache, to tell its commit")
    return Path(cached).parent.name[:_DIGITS]  # snapshots/COMMIT/config.json


def digest_of_folder(folder: Path, weights: str = FOLDER_FILES[1]) -> str:
    """Twelve digits that tell models in folders apart: weights, configuration and tokenizer.

    JSON is compared by what it says, so that line ends and indents make no difference. Files that
    are not the model's make none either.

    Args:
        folder (Path): where the model is.
        weights (str, optional): its file of weights; where it is not there, the parts that the
            index names.
    """
    parts = [weights] if (folder / weights).is_file() else [_INDEX, *_shards("digest", folder)]
    contents = {
        path.name: json.loads(path.read_text(encoding="utf-8"))
        if path.suffix == ".json"
        else digest([path])
        for path in folder.iterdir()
        if path.name in parts or any(path.match(pattern) for pattern in _OF_MODELS)
    }
    text = json.dumps(contents, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def first_line(error: Exception) -> str:
    """What an error says first, without its full stop."""
    return (str(error).strip().splitlines() or [""])[0].rstrip(".:")


@contextmanager
def _quietly() -> Iterator[None]:
    """Without progress bars and reports of what :func:`load_pretrained` raises."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
