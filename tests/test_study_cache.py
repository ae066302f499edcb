"""What is kept on disk is used if and only if it is whole and the right one."""

from __future__ import annotations

import copy
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from study_toys import (
    ENCODER,
    draw,
    files_in,
    folder_of_pictures,
    pictures,
    same,
    toy_classifier,
    toy_extraction,
)
from torch import Tensor, nn

from captum_sing.errors import SINGFileError
from captum_sing.study import extract
from captum_sing.study.keys import weights_digest
from captum_sing.testing import ToyEncoder

IMAGES = pictures(20)


class Closed(ToyEncoder):
    """Answers to the name of the toy encoder, and embeds nothing."""

    def encode_image(self, images: Tensor) -> Tensor:
        raise AssertionError("the encoder was called")


def closed_classifier() -> Any:
    """The toy classifier, whose weights can be read and which cannot be called."""
    classifier = toy_classifier()

    def refuse(*_: object) -> None:
        raise AssertionError("the model was called")

    classifier.model.register_forward_pre_hook(refuse)
    return classifier


def again(folder: Path, images: Any = IMAGES, **further: Any) -> Any:
    """A second call, with networks that cannot be called."""
    return toy_extraction(
        images, folder, classifier=closed_classifier(), encoder=Closed(), **further
    )


def computed(folder: Path, images: Any = IMAGES, **further: Any) -> int:
    """How many pictures of a call went through the model."""
    counts: list[int] = []
    classifier = further.pop("classifier", toy_classifier())
    classifier.model.register_forward_hook(lambda _, args, __: counts.append(len(args[0])))
    toy_extraction(images, folder, classifier=classifier, layer="head", **further)
    return sum(counts)


def shard_in(folder: Path) -> Path:
    return min(folder.rglob("*.safetensors"))


def test_a_second_call_touches_neither_network(tmp_path: Path) -> None:
    root = folder_of_pictures(tmp_path / "images", 19)
    (root / "cat" / "00004.png").write_bytes(b"broken")
    for layer in (None, "head"):
        first = toy_extraction(root, tmp_path / "cache", layer=layer)
        assert same(first, again(tmp_path / "cache", root, layer=layer))
    for encoder in (ENCODER, Closed()):
        classifier = closed_classifier() if encoder is ENCODER else toy_classifier()
        with pytest.raises(Exception, match="was called"):
            toy_extraction(root, tmp_path / "other", classifier=classifier, encoder=encoder)


def test_a_second_call_writes_nothing(tmp_path: Path) -> None:
    toy_extraction(IMAGES, tmp_path)

    def times() -> list[int]:
        return [path.stat().st_mtime_ns for path in (tmp_path, *sorted(tmp_path.rglob("*")))]

    before = times()
    again(tmp_path)
    assert times() == before


def test_words_are_no_part_of_it(tmp_path: Path) -> None:
    """So other words, translators, baselines and null spaces find everything in its place."""
    arguments = set(inspect.signature(extract).parameters)
    assert not arguments & {"concepts", "words", "translator", "baselines", "null_space"}
    facts = toy_extraction(IMAGES, tmp_path).facts
    assert set(facts) == {
        *("format", "model", "weights", "preprocessing", "preprocessed", "layer", "encoder"),
        *("batch_size", "shard_size", "pictures"),
    }


def retrained(classifier: Any) -> Any:
    """One bit of one weight is another."""
    bits = classifier.model.features[0].weight.view(torch.int32)
    bits.view(-1)[5] ^= 1
    return classifier


def renormalized(classifier: Any) -> Any:
    """A buffer changes, as batch norm's do in training."""
    classifier.model.features[1].running_mean.add_(1e-3)
    return classifier


def reactivated(classifier: Any) -> Any:
    """A layer without weights is another."""
    classifier.model.features[2] = nn.ReLU6()
    return classifier


def flipped(image: Image.Image) -> Tensor:
    return ENCODER.preprocess(image).flip(2)


@pytest.mark.parametrize(
    "change",
    [retrained, renormalized, reactivated, lambda c: replace(c, preprocess=flipped)],
    ids=["weight", "buffer", "activation", "preprocessing"],
)
def test_another_classifier_is_computed_anew(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    first = toy_extraction(IMAGES, tmp_path)
    other = toy_extraction(IMAGES, tmp_path, classifier=change(toy_classifier()))
    assert first.folder != other.folder and first.key != other.key
    assert same(first, again(tmp_path))
    fresh = toy_extraction(IMAGES, classifier=change(toy_classifier()))
    assert same(other, fresh)


class Moody(nn.Module):
    """Which function it is, no weight and no repr tells."""

    def __init__(self, mood: str) -> None:
        super().__init__()
        self.mood = mood

    def forward(self, values: Tensor) -> Tensor:
        return torch.tanh(values) if self.mood == "tanh" else torch.relu(values)


class Kind(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.relu()


class Unkind(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.tanh()


Unkind.__qualname__ = Unkind.__name__ = "Kind"


@pytest.mark.parametrize(("one", "other"), [(Moody("relu"), Moody("tanh")), (Kind(), Unkind())])
def test_layers_that_look_alike_are_told_apart(one: nn.Module, other: nn.Module) -> None:
    assert repr(one) == repr(other)
    assert weights_digest(one) != weights_digest(other)
    assert weights_digest(one) == weights_digest(copy.deepcopy(one).train())


def test_preprocessings_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    """Addresses are no part of what a function says of itself, so two lambdas say the same."""
    classifier = toy_classifier()
    kept = replace(classifier, preprocess=lambda picture: ENCODER.preprocess(picture))
    turned = replace(classifier, preprocess=lambda picture: ENCODER.preprocess(picture).flip(2))
    assert kept.preprocessing == turned.preprocessing
    assert computed(tmp_path, classifier=kept) == 20
    assert computed(tmp_path, classifier=turned) == 20
    again = replace(classifier, preprocess=lambda picture: ENCODER.preprocess(picture))
    assert computed(tmp_path, classifier=again) == 0

    class Turning(ToyEncoder):
        def preprocess(self, image: Image.Image) -> Tensor:
            return super().preprocess(image).flip(1)

    assert ENCODER.name == Turning().name
    assert computed(tmp_path, classifier=kept, encoder=Turning()) == 20


@pytest.mark.parametrize(
    "further",
    [{"encoder": ToyEncoder(seed=1)}, {"layer": "head"}, {"batch_size": 5}, {"shard_size": 12}],
    ids=lambda further: next(iter(further)),
)
def test_other_arguments_are_computed_anew(tmp_path: Path, further: dict[str, Any]) -> None:
    first = toy_extraction(IMAGES, tmp_path)
    assert first.folder != toy_extraction(IMAGES, tmp_path, **further).folder
    assert same(first, again(tmp_path))


def test_the_name_of_a_classifier_does_not_matter(tmp_path: Path) -> None:
    """It may be another file of the same weights."""
    toy_extraction(IMAGES, tmp_path)
    assert computed(tmp_path / "none") == 20
    toy_extraction(IMAGES, tmp_path, classifier=toy_classifier(name="renamed"))
    assert len(list(tmp_path.rglob("manifest.json"))) == 2  # and that of "none"


def test_a_model_is_known_by_content() -> None:
    one, other = toy_classifier().model, toy_classifier().model
    assert weights_digest(one) == weights_digest(other)
    assert weights_digest(one) == weights_digest(one.to(memory_format=torch.channels_last))
    assert weights_digest(one) != weights_digest(other.double())


def test_added_pictures_are_computed_as_needed(tmp_path: Path) -> None:
    """Only files with other pictures in them are new: the last ones, if the new come last."""
    cache = tmp_path / "cache"
    assert computed(cache, IMAGES) == 20  # in files of 8, 8 and 4
    assert computed(cache, [*IMAGES, draw(90), draw(91)]) == 6
    assert computed(cache, [draw(90), *IMAGES]) == 21
    assert computed(cache, IMAGES[:16]) == 0
    more = [*IMAGES, draw(90), draw(91)]
    assert same(toy_extraction(more, cache, layer="head"), toy_extraction(more, layer="head"))


def test_changed_files_are_computed_anew(tmp_path: Path) -> None:
    root, cache = folder_of_pictures(tmp_path / "images", 20), tmp_path / "cache"
    assert computed(cache, root) == 20
    assert computed(cache, root) == 0
    changed = root / "dog" / "00019.png"
    draw(77).save(changed)
    assert computed(cache, root) == 4
    touched = root / "cat" / "00000.png"
    os.utime(touched, ns=(0, 0))
    assert computed(cache, root) == 8
    for path in root.rglob("*.png"):
        path.rename(path.with_name("x" + path.name))
    assert computed(cache, root) == 20


def test_pictures_are_known_by_their_pixels_and_labels(tmp_path: Path) -> None:
    labelled = [(image, 1) for image in IMAGES]
    assert computed(tmp_path, labelled) == 20
    assert computed(tmp_path, [(image.copy(), 1) for image in IMAGES]) == 0
    assert computed(tmp_path, [*labelled[:19], (IMAGES[19], 2)]) == 4
    assert computed(tmp_path, [*labelled[:19], (draw(5), 1)]) == 4
    reshaped = Image.frombytes("RGB", (4, 16), IMAGES[19].tobytes())
    assert computed(tmp_path, [*labelled[:19], (reshaped, 1)]) == 4


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path) -> None:
    """Each byte in turn: the file is not used, or nothing that is read from it has changed."""
    extraction = toy_extraction(IMAGES[:6], tmp_path)
    (shard,) = extraction.shards
    data = shard.path.read_bytes()
    expected, facts = shard.load()
    unnoticed = []
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        shard.path.write_bytes(flipped)
        try:
            block, read = shard.load()
        except SINGFileError:
            continue
        assert read == facts and all(map(torch.equal, block, expected))
        unnoticed.append(place)
    assert len(unnoticed) < 8  # blanks that fill up the header


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "foreign", "text"])
def test_a_damaged_file_is_computed_again(tmp_path: Path, damage: str) -> None:
    first = toy_extraction(IMAGES, tmp_path / "cache", layer="head")
    before = files_in(tmp_path / "cache")
    path = first.shards[1].path
    data = bytearray(path.read_bytes())
    data[-20] ^= 64
    foreign = toy_extraction(
        IMAGES, tmp_path / "foreign", classifier=toy_classifier(seed=1), layer="head"
    )
    path.write_bytes(
        {
            "flipped": bytes(data),
            "truncated": path.read_bytes()[:-7],
            "empty": b"",
            "foreign": foreign.shards[1].path.read_bytes(),
            "text": b"not at all a file of tensors",
        }[damage]
    )
    with pytest.raises(SINGFileError):
        list(first.blocks())
    with pytest.warns(UserWarning, match=rf"extract: {path.name} in .* will be computed again"):
        assert computed(tmp_path / "cache") == 8
    assert files_in(tmp_path / "cache") == before
    assert same(first, again(tmp_path / "cache", layer="head"))


def test_a_deleted_file_is_computed_again(tmp_path: Path) -> None:
    first = toy_extraction(IMAGES, tmp_path)
    for number in (0, 2):
        first.shards[number].path.unlink()
    with pytest.raises(SINGFileError, match="does not exist"):
        list(first.blocks())
    assert same(first, toy_extraction(IMAGES, tmp_path))


def test_the_manifest_is_for_people_alone(tmp_path: Path) -> None:
    first = toy_extraction(IMAGES, tmp_path)
    manifest = first.folder / "manifest.json"
    assert '"encoder": "toy/16-8@0"' in manifest.read_text(encoding="utf-8")
    manifest.write_text("nonsense", encoding="utf-8")
    assert same(first, again(tmp_path))


@contextmanager
def read_only_folder() -> Iterator[tuple[Path, Callable[[], Any]]]:
    """A cache, and what makes it one that this process cannot write, administrator or not."""
    folder = Path(tempfile.mkdtemp())
    user = os.geteuid()

    def protect() -> None:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        if user == 0:
            os.seteuid(65534)

    try:
        yield folder, protect
    finally:
        os.seteuid(user)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        shutil.rmtree(folder)


def test_a_read_only_folder_serves_if_it_is_complete() -> None:
    with read_only_folder() as (folder, protect):
        first = toy_extraction(IMAGES, folder)
        protect()
        with pytest.raises(PermissionError):
            (first.folder / "file").touch()
        assert same(first, again(folder))
        with pytest.raises(
            SINGFileError, match=r"extract: expected folder that can be written.*ed"
        ):
            toy_extraction([*IMAGES, draw(50)], folder)
        with pytest.raises(SINGFileError, match=r"folder that can be written.*Permission denied"):
            toy_extraction(IMAGES, folder, batch_size=2)


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        SINGFileError, match=r"expected folder that can be written.*Not a directory"
    ):
        toy_extraction(IMAGES, tmp_path / "file" / "cache")
