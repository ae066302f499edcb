"""What an extraction holds: the networks' own numbers, and an account of every picture."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from study_toys import (
    ENCODER,
    draw,
    folder_of_pictures,
    pictures,
    same,
    toy_classifier,
    toy_extraction,
    whole,
)
from torch import Tensor, nn
from toys import untouched

from captum_sing import NullSpace
from captum_sing.classifiers import LoadedClassifier, load_classifier
from captum_sing.datasets import Pictures
from captum_sing.demo import load_encoder, sample_scenes
from captum_sing.demo.world import encode_scenes
from captum_sing.errors import (
    HeadNotFoundError,
    SINGFileError,
    SINGNameError,
    SINGTypeError,
    SINGValueError,
)
from captum_sing.study import extract
from captum_sing.testing import ToyClassifier, ToyEncoder


class Strange(ToyClassifier):
    """Its features of red pictures are NaN, and of green ones infinite."""

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        features[images[:, 0].amin(dim=(1, 2)) == 1] = torch.nan
        features[images[:, 1].amin(dim=(1, 2)) == 1] = torch.inf
        logits: Tensor = self.head(features)
        return logits


class Blind(ToyEncoder):
    """Makes NaN of blue pictures."""

    def encode_image(self, images: Tensor) -> Tensor:
        embeddings = super().encode_image(images)
        embeddings[images[:, 2].amin(dim=(1, 2)) == 1] = torch.nan
        return embeddings


class Averaged(nn.Module):
    """The mean of two heads, of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = ToyClassifier(seed=1), ToyClassifier(width=10, seed=2)

    def forward(self, images: Tensor) -> Tensor:
        return (self.one(images) + self.two(images)) / 2


def loaded(model: nn.Module) -> LoadedClassifier:
    return LoadedClassifier(model.eval(), ENCODER.preprocess, None, "a model")


def test_holds_what_the_networks_compute() -> None:
    """Of the demo world, beside the plain loop that anybody would write."""
    from torchvision.transforms.functional import to_pil_image

    scenes = sample_scenes(70, seed=11)
    images = [to_pil_image(image) for image in scenes.images]
    classifier, encoder = load_classifier("demo/resnet/neck_color"), load_encoder()
    options = {"batch_size": 16, "shard_size": 32, "show_progress": False}
    extraction = extract(classifier, encoder, images, **options)  # type: ignore[arg-type]
    assert [len(block.rows) for block in extraction.blocks()] == [32, 32, 6]
    assert extraction.sizes == (64, 8, 64)
    rows, features, logits, embeddings = whole(extraction)
    assert rows.tolist() == list(range(70))
    stored = torch.stack([classifier.preprocess(image) for image in images])
    with torch.no_grad():
        torch.testing.assert_close(features, classifier.model.features(stored))
        torch.testing.assert_close(logits, classifier.model(stored))
    torch.testing.assert_close(embeddings, encode_scenes(encoder, stored))
    assert torch.equal(extraction.predictions, logits.argmax(dim=1))
    assert (extraction.predictions == scenes.labels["shape"]).float().mean() > 0.95
    space = NullSpace.from_weight(extraction.head.weight(extraction.sizes[0]))
    equivalents = extraction.head.logits(space.remove(features))
    torch.testing.assert_close(equivalents, logits.double(), atol=1e-4, rtol=0)


def test_knows_paths_labels_and_facts(tmp_path: Path) -> None:
    root = folder_of_pictures(tmp_path / "images", 10)
    extraction = toy_extraction(root)
    assert len(extraction) == 10
    assert [Path(name).name for name in extraction.names[:2]] == ["00000.png", "00002.png"]
    assert extraction.labels == ("cat",) * 5 + ("dog",) * 5
    assert extraction.class_names == ("a", "b", "c", "d")
    assert extraction.layers == ("head",)
    assert extraction.valid.all() and not extraction.unusable
    assert extraction.facts["encoder"] == ENCODER.name
    assert extraction.facts["model"] == "toy"
    assert "ToyEncoder.preprocess" in extraction.facts["preprocessing"]


def test_takes_lists_datasets_and_a_draw() -> None:
    class Dataset:
        def __len__(self) -> int:
            return 9

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            return draw(index), index % 3

    of_list = toy_extraction([(draw(index), index % 3) for index in range(9)])
    of_dataset = toy_extraction(Dataset())
    assert of_list.labels == of_dataset.labels == (0, 1, 2) * 3
    assert of_list.names[4] == of_dataset.names[4] == "image 4"
    assert all(torch.equal(a, b) for a, b in zip(whole(of_list), whole(of_dataset), strict=True))
    drawn = toy_extraction(Pictures.of(Dataset(), limit=4, seed=1))
    chosen = [int(name.removeprefix("image ")) for name in drawn.names]
    assert len(chosen) == 4
    torch.testing.assert_close(whole(drawn).features, whole(of_list).features[chosen])


def test_batches_do_not_depend_on_workers_or_shards(tmp_path: Path) -> None:
    root = folder_of_pictures(tmp_path / "images", 21)
    plain = toy_extraction(root)
    assert same(plain, toy_extraction(root, num_workers=2))
    assert [len(s.places) for s in toy_extraction(root, shard_size=6).shards] == [8, 8, 5]
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole(plain), whole(toy_extraction(root, shard_size=100)), strict=True)
    )


def test_unreadable_pictures_are_named_and_kept_out(tmp_path: Path) -> None:
    root = folder_of_pictures(tmp_path / "images", 12)
    broken = root / "cat" / "00004.png"
    broken.write_bytes(broken.read_bytes()[:60])
    (root / "dog" / "00009.png").write_bytes(b"")
    extraction = toy_extraction(root)
    assert [Path(problem.name).name for problem in extraction.unusable] == [
        "00004.png",
        "00009.png",
    ]
    assert not any(problem.read for problem in extraction.unusable)
    assert extraction.valid.tolist() == [True] * 2 + [False] + [True] * 7 + [False, True]
    assert extraction.predictions[2] == extraction.predictions[10] == -1
    rows = whole(extraction).rows.tolist()
    assert rows == extraction.valid.nonzero().flatten().tolist()
    whole_one = toy_extraction([draw(number) for number in (*range(0, 12, 2), *range(1, 12, 2))])
    torch.testing.assert_close(whole(extraction).features, whole(whole_one).features[rows])


@pytest.mark.parametrize("layer", [None, "head"])
def test_numbers_that_are_not_finite_are_kept_out(layer: str | None) -> None:
    """The first picture among them, in which no head can be found, and a whole batch."""
    colors = {0: "red", 5: "lime", 6: "blue", 8: "red", 9: "red", 10: "lime", 11: "red"}
    images = [
        Image.new("RGB", (8, 8), colors[number]) if number in colors else draw(number)
        for number in range(14)
    ]
    labelled = list(zip(images, range(14), strict=True))
    strange = LoadedClassifier(Strange().eval(), ENCODER.preprocess, None, "strange")
    extraction = toy_extraction(labelled, classifier=strange, encoder=Blind(), layer=layer)
    who = {number: "encoder" if color == "blue" else "model" for number, color in colors.items()}
    assert [(problem.name, problem.reason) for problem in extraction.unusable] == [
        (f"image {number}", f"NaN or infinity from the {network}")
        for number, network in who.items()
    ]
    assert all(problem.read for problem in extraction.unusable)
    block = whole(extraction)
    assert block.rows.tolist() == [number for number in range(14) if number not in colors]
    assert all(tensor.isfinite().all() for tensor in block[1:])
    assert extraction.labels == tuple(range(14))
    alone = toy_extraction(images, classifier=loaded(ToyClassifier()))
    torch.testing.assert_close(block.features, whole(alone).features[block.rows])


def test_preprocessing_that_is_not_finite_is_kept_out() -> None:
    def preprocess(image: Image.Image) -> Tensor:
        tensor = ENCODER.preprocess(image)
        return tensor / tensor.mean()

    images = [*pictures(3), Image.new("RGB", (8, 8), "black"), *pictures(3)]
    classifier = LoadedClassifier(ToyClassifier().eval(), preprocess, None, "scaled")
    extraction = toy_extraction(images, classifier=classifier)
    assert [problem.reason for problem in extraction.unusable] == [
        "NaN or infinity from the preprocessing"
    ]
    assert extraction.valid.tolist() == [True] * 3 + [False] + [True] * 3


def test_heads_that_are_averaged_are_read_jointly() -> None:
    model = Averaged()
    images = pictures(6)
    with pytest.raises(HeadNotFoundError, match="layer="):
        toy_extraction(images, classifier=loaded(model))
    extraction = toy_extraction(images, classifier=loaded(model), layer=["one.head", "two.head"])
    assert extraction.layers == ("one.head", "two.head")
    assert extraction.sizes == (22, 4, 16)
    block = whole(extraction)
    torch.testing.assert_close(
        extraction.head.logits(block.features), block.logits.double(), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_keeps_the_precision_of_the_model(dtype: torch.dtype) -> None:
    block = whole(toy_extraction(pictures(6), classifier=loaded(ToyClassifier().to(dtype))))
    assert block.features.dtype == block.logits.dtype == dtype


def test_a_layer_is_taken_by_name_or_module() -> None:
    model = toy_classifier().model
    for layer in ("head", model.head, ["head"]):
        assert toy_extraction(pictures(5), classifier=loaded(model), layer=layer).layers == (
            "head",
        )
    with pytest.raises(SINGNameError, match=r"expected layer to be .*'none'"):
        toy_extraction(pictures(5), layer="none")
    with pytest.raises(SINGNameError, match=r"extract: expected layer to be one of ToyClass.*8"):
        toy_extraction(pictures(5), layer=nn.Linear(12, 8))
    with pytest.raises(SINGTypeError, match="linear map"):
        toy_extraction(pictures(5), layer="features")


def test_leaves_the_model_as_it_was() -> None:
    model = ToyClassifier().train()
    classifier = LoadedClassifier(model, ENCODER.preprocess, None, "training")
    with untouched(model):
        extraction = toy_extraction(pictures(6), classifier=classifier)
    evaluated = toy_extraction(pictures(6), classifier=loaded(ToyClassifier()))
    assert torch.equal(whole(extraction).features, whole(evaluated).features)


@pytest.mark.parametrize("wrap", [nn.DataParallel, partial(torch.compile, backend="eager")])
def test_takes_wrapped_models_for_what_they_wrap(wrap: Callable[[nn.Module], Any]) -> None:
    plain = toy_extraction(pictures(5), layer="head")
    classifier = toy_classifier()
    wrapped = replace(classifier, model=wrap(classifier.model))
    assert same(plain, toy_extraction(pictures(5), classifier=wrapped, layer="head"))


def test_a_temporary_folder_goes_with_the_extraction(tmp_path: Path) -> None:
    extraction = toy_extraction(pictures(6))
    home = extraction.folder
    assert home.is_dir()
    del extraction
    gc.collect()
    assert not home.parent.exists()


def test_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(
        SINGTypeError, match="expected classifier to be a LoadedClassifier, got Toy"
    ):
        toy_extraction(pictures(2), classifier=ToyClassifier())
    with pytest.raises(SINGValueError, match=r"extract: expected images that can be read again"):
        toy_extraction(iter(pictures(2)))
    for name in ("batch_size", "shard_size"):
        with pytest.raises(SINGValueError, match=f"extract: expected {name} of at least 1, got 0"):
            toy_extraction(pictures(2), **{name: 0})
    with pytest.raises(SINGTypeError, match="to be pictures"):
        toy_extraction([1, 2])
    with pytest.raises(SINGFileError, match=r"folder of pictures, got .*none"):
        toy_extraction(tmp_path / "none")


def test_refuses_pictures_that_do_not_fit_the_model() -> None:
    class Narrow(ToyEncoder):
        def encode_image(self, images: Tensor) -> Tensor:
            return super().encode_image(images)[:, :-1]

    with pytest.raises(SINGValueError, match="that the model accepts"):
        toy_extraction(pictures(2), classifier=loaded(nn.Sequential(nn.Flatten(), nn.Linear(5, 2))))
    with pytest.raises(SINGValueError, match=r"embeddings of shape \(2, 16\), got \(2, 15\)"):
        toy_extraction(pictures(2), encoder=Narrow())


def test_refuses_a_collection_without_a_usable_picture(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"no picture")
    with pytest.raises(SINGValueError, match=r"2 that are not, the first being .*a\.png.*files"):
        toy_extraction(tmp_path)
    red = [Image.new("RGB", (8, 8), "red")] * 3
    with pytest.raises(SINGValueError, match=r"got 3 that .*image 0: NaN or inf.*weights and the"):
        toy_extraction(red, classifier=loaded(Strange()))
