"""One pass of a classifier and an encoder over a collection of pictures, kept on disk."""

from __future__ import annotations

import json
import tempfile
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from tqdm import tqdm

from captum_sing.classifiers import LoadedClassifier
from captum_sing.datasets import Pictures
from captum_sing.encoders import ImageTextEncoder
from captum_sing.errors import SINGFileError, SINGTypeError, SINGValueError, expected
from captum_sing.files import write_whole
from captum_sing.study.extraction import Columns, Extraction
from captum_sing.study.keys import key_of, known_pictures, preprocessing_digest, weights_digest
from captum_sing.study.networks import Layers, Networks
from captum_sing.study.reading import read_shards
from captum_sing.study.shards import Shard, writing

__all__ = ["extract"]

_WHERE = "extract"
_FORMAT = 1  # of the files; another one is another key


def extract(
    classifier: LoadedClassifier,
    encoder: ImageTextEncoder,
    images: Any,
    *,
    folder: str | Path | None = None,
    layer: Layers = None,
    batch_size: int = 32,
    num_workers: int = 0,
    device: str | torch.device | None = None,
    shard_size: int = 512,
    show_progress: bool = True,
) -> Extraction:
    """Read features, logits and embeddings of pictures: once, and then from files.

    What was read is kept in ``folder``, in files of ``shard_size`` pictures. A second call finds
    it there and calls neither network; a call after an interruption, of whatever kind, computes
    what is missing. Either way its numbers are those of one call that ran through, to the bit:
    batches are cut at fixed places of the collection. (On another device, or with other libraries,
    networks round differently; such files are not told apart.)

    A file is used if its digest is right and its key the one wanted: that of the model's weights
    and layers, what the preprocessing makes of a picture, ``layer``, the encoder's name,
    ``batch_size``, and its own pictures. So one folder may serve any number of collections and
    networks, and of runs at once, and where pictures are added those files are new that hold other
    pictures than before: the last ones, if the new pictures come last. Files of former collections
    stay until they are deleted.

    Under ``torchrun``, each process computes a share of the files, and all wait for the others;
    they need one folder.

    Args:
        classifier (LoadedClassifier): the classifier; any module will do, as
            ``LoadedClassifier(model, preprocess, None, "its name")``.
        encoder (ImageTextEncoder): the encoder, known by its name.
        images: a folder of images, a dataset, or a list of pictures or paths; see
            :meth:`captum_sing.datasets.Pictures.of`, whose result may also be given.
        folder (str or Path, optional): where the files are kept; it is made. Default: a temporary
            one, for as long as the result is used
        layer (nn.Module, str or a sequence of these, optional): the head, or several heads that
            the model averages. Default: found, see :func:`captum_sing.find_head`
        batch_size (int, optional): pictures that go through the networks at once. Default: 32
        num_workers (int, optional): processes that read and preprocess. Default: 0, this one alone
        device (str or torch.device, optional): the model is moved there. Default: it stays
        shard_size (int, optional): pictures in a file, filled up to whole batches; no more are
            computed in vain when it is interrupted. Default: 512
        show_progress (bool, optional): show a progress bar. Default: True

    Returns:
        Extraction: pictures that cannot be read, or of which a network makes no finite numbers,
        are in its ``unusable``, and in no block.

    Raises:
        SINGTypeError: no such classifier; an item of ``images`` is no picture.
        SINGValueError: a size below 1, a stream, pictures that do not fit the model, or none that
            can be used.
        SINGFileError: the folder cannot be written, or the disk is full.

    Example::

        >>> from torchvision.transforms.functional import to_pil_image
        >>> from captum_sing.classifiers import load_classifier
        >>> from captum_sing.demo import load_encoder, sample_scenes
        >>> pictures = [to_pil_image(scene) for scene in sample_scenes(40, seed=3).images]
        >>> model = load_classifier("demo/resnet/neck_color")
        >>> extraction = extract(model, load_encoder(), pictures, show_progress=False)
        >>> [block.features.shape for block in extraction.blocks()], extraction.layers
        ([torch.Size([40, 64])], ('head',))
    """
    _check(classifier, batch_size, shard_size)
    rank, processes = _process()
    pictures = _collection(images, folder, processes)
    networks = Networks(classifier.model.to(device), encoder, layer)
    shard_size = -(-shard_size // batch_size) * batch_size
    recipe = {
        "format": _FORMAT,
        "weights": weights_digest(networks.model),
        "preprocessing": classifier.preprocessing,
        "preprocessed": [
            preprocessing_digest(preprocess)
            for preprocess in (classifier.preprocess, encoder.preprocess)
        ],
        "layer": networks.layers or "found",
        "encoder": encoder.name,
        "batch_size": batch_size,
        "shard_size": shard_size,
    }
    key, facts = key_of(recipe), {"model": classifier.name, **recipe}
    names, identities = known_pictures(pictures)
    columns = Columns(names)
    with ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="captum_sing-"))
        home = Path(folder) / key
        shards = list(_shards(home, key, identities, shard_size))
        there = [shard.path.exists() for shard in shards]  # another run may be writing the rest
        missing = [number for number, shard in enumerate(shards) if not _loaded(shard, columns)]
        mine = [shards[number] for number in missing if number % processes == rank]
        own = [number for number in missing if there[number] and number % processes == rank]
        if own:
            warnings.warn(_told([shards[number].path.name for number in own], home), stacklevel=2)
        if mine:
            _write_manifest(home, facts)
        networks.layers = networks.layers or columns.layers
        count = sum(len(shard.places) for shard in mine)
        hidden = not (show_progress and count and rank == 0)
        with tqdm(desc=_WHERE, total=count, unit="image", disable=hidden) as bar:
            for shard, block, content in read_shards(
                networks, classifier.preprocess, pictures, mine, batch_size, num_workers, bar.update
            ):
                shard.save(block, content)
                columns.add(shard, block, content)
        if processes > 1:
            distributed.barrier()
            for number in missing:
                if number % processes != rank and not _loaded(shards[number], columns):
                    raise _not_shared(home)
        networks.layers = networks.layers or columns.layers
        if columns.sizes is None:
            raise _nothing_usable(columns)
        extraction = Extraction(
            names=columns.names,
            labels=tuple(columns.labels),
            valid=columns.predictions >= 0,
            predictions=columns.predictions,
            unusable=tuple(problem for _, problem in sorted(columns.unusable.items())),
            head=networks.head,
            layers=tuple(networks.layers),
            class_names=classifier.class_names,
            sizes=columns.sizes,
            key=key_of([shard.key for shard in shards]),
            facts={**facts, "pictures": key_of(identities)},
            folder=home,
            shards=shards,
        )
        weakref.finalize(extraction, stack.pop_all().close)
    return extraction


def _check(classifier: Any, batch_size: int, shard_size: int) -> None:
    if not isinstance(classifier, LoadedClassifier):
        raise SINGTypeError(
            expected(
                _WHERE,
                "classifier",
                "to be a LoadedClassifier",
                type(classifier).__name__,
                'Use load_classifier, or LoadedClassifier(model, preprocess, None, "its name")',
            )
        )
    for name, size in (("batch_size", batch_size), ("shard_size", shard_size)):
        if size < 1:
            raise SINGValueError(expected(_WHERE, name, "of at least 1", size, "Check it"))


def _process() -> tuple[int, int]:
    """Which process this is, and of how many."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _collection(images: Any, folder: str | Path | None, processes: int) -> Pictures:
    pictures = images if isinstance(images, Pictures) else Pictures.of(images)
    if pictures.order is None:
        raise SINGValueError(
            expected(
                _WHERE,
                "images",
                "that can be read again",
                f"a stream ({type(pictures.items).__name__})",
                "Make a list of it, or save it as a folder of images",
            )
        )
    if folder is None and processes > 1:
        raise SINGValueError(
            expected(
                _WHERE,
                "folder",
                f"to be one that all {processes} processes share",
                None,
                "Name one",
            )
        )
    return pictures


def _shards(home: Path, key: str, identities: Sequence[str], shard_size: int) -> Iterator[Shard]:
    for start in range(0, len(identities), shard_size):
        places = range(start, min(start + shard_size, len(identities)))
        own = key_of(key, identities[start : places.stop])
        yield Shard(home / f"{own}.safetensors", own, places)


def _loaded(shard: Shard, columns: Columns) -> bool:
    """Add a shard to the columns, if its file is whole and the right one."""
    try:
        block, content = shard.load()
    except SINGFileError:
        return False
    columns.add(shard, block, content)
    return True


def _write_manifest(home: Path, facts: dict[str, Any]) -> None:
    """Say to people what the files in a folder are; nothing reads it."""
    text = json.dumps(facts, indent=2) + "\n"
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        write_whole(home / "manifest.json", lambda path: path.write_text(text, encoding="utf-8"))


def _told(damaged: Sequence[str], home: Path) -> str:
    further = f" and {len(damaged) - 1} further files" if damaged[1:] else ""
    return f"extract: {damaged[0]}{further} in {home} cannot be used, and will be computed again."


def _not_shared(home: Path) -> SINGFileError:
    return SINGFileError(
        expected(
            _WHERE,
            "folder",
            "that all processes share",
            f"{home} without the other processes' files",
            "Name a folder that every machine sees under that path",
        )
    )


def _nothing_usable(columns: Columns) -> SINGValueError:
    count, first = len(columns.names), next(iter(columns.unusable.values()))
    return SINGValueError(
        expected(
            _WHERE,
            "images",
            "with one usable picture or more",
            f"{count} that are not, the first being {first.name}: {first.reason}",
            "Check the preprocessing, the weights and the precision"
            if first.read
            else "Check the files",
        )
    )
