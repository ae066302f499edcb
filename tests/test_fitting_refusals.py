"""What fitting refuses, what it leaves out and counts, and what it warns of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_fitting import COUNT, PICTURES, fit, make_pictures, pairs, places, prepare, same
from torch import Tensor, nn
from torchvision.datasets import FakeData
from torchvision.transforms.functional import pil_to_tensor
from toys import ENCODER

from captum_sing import TranslatorFitter, fit_translator
from captum_sing.classifiers import load_classifier
from captum_sing.errors import (
    HeadNotFoundError,
    SINGFileError,
    SINGNameError,
    SINGTypeError,
    SINGValueError,
)
from captum_sing.testing import ToyClassifier, ToyEncoder


def notes(translator) -> str:
    return " ".join(translator.facts["report"]["notes"])


class TestLeftOut:
    def save(self, folder: Path) -> list[Path]:
        paths = [folder / f"{i:04d}.png" for i in range(COUNT)]
        for path, picture in zip(paths, PICTURES, strict=True):
            picture.save(path)
        return paths

    def test_unreadable_and_truncated_among_good_ones(self, tmp_path: Path) -> None:
        paths = self.save(tmp_path)
        paths[3].write_bytes(paths[3].read_bytes()[:150])
        paths[40].write_bytes(b"no picture")
        for extra in (COUNT, COUNT + 1):
            (tmp_path / f"{extra}.jpg").write_bytes(b"")
        (tmp_path / "labels.csv").write_text("no picture")
        with pytest.warns(UserWarning, match=f"Left out 4 of {COUNT + 2} pictures: ") as caught:
            found = fit(tmp_path)
        assert len(caught) == 1 and "; ..." in str(caught[0].message)
        facts = found.facts["images"]
        assert facts["skipped"] == 4 and facts["other_files"] == {".csv": 1}
        assert facts["fitted"] + facts["held_out"] == COUNT - 2
        assert list(facts["reasons"]) == [str(paths[3]), str(paths[40]), str(tmp_path / "130.jpg")]
        assert "truncated" in facts["reasons"][str(paths[3])]
        assert "Left out 4" in notes(found) and "1 .csv" in notes(found)

    def test_a_dataset_that_fails_at_some_indices(self) -> None:

        class Torn(list):
            def __getitem__(self, index):
                if index in (5, 6):
                    raise OSError("torn")
                return super().__getitem__(index)

        with pytest.warns(UserWarning, match="torn"):
            found = fit(Torn(PICTURES))
        assert found.facts["images"]["fitted"] + found.facts["images"]["held_out"] == COUNT - 2

    def test_kinds_of_files_that_are_read(self, tmp_path: Path) -> None:
        """One picture each as CMYK, palette, gray, 16 bits, with alpha and turned by its camera."""
        self.save(tmp_path)
        base = PICTURES[0]
        base.convert("CMYK").save(tmp_path / "a.jpg")
        base.convert("P").save(tmp_path / "b.gif")
        base.convert("L").save(tmp_path / "c.png")
        deep = np.asarray(base.convert("L")).astype(np.uint16) * 257
        Image.fromarray(deep).save(tmp_path / "d.png")
        base.convert("LA").save(tmp_path / "e.png")
        base.convert("RGBA").save(tmp_path / "f.webp", lossless=True)
        exif = Image.Exif()
        exif[0x0112] = 6
        base.save(tmp_path / "g.jpg", exif=exif)
        base.convert("1").save(tmp_path / "h.tiff")
        facts = fit(tmp_path).facts["images"]
        assert facts["fitted"] + facts["held_out"] == COUNT + 8 and facts["skipped"] == 0

    @pytest.mark.parametrize("kind", ["16 bits", "alpha", "palette", "turned", "gray"])
    def test_another_kind_of_file_of_the_same_picture_is_the_same(
        self, kind: str, tmp_path: Path
    ) -> None:
        pictures = [picture.convert("L").convert("RGB") for picture in PICTURES]
        turned = Image.Exif()
        turned[0x0112] = 3
        for i, picture in enumerate(pictures):
            gray = picture.convert("L")
            path = tmp_path / f"{i:04d}.png"
            if kind == "16 bits":
                Image.fromarray(np.asarray(gray).astype(np.uint16) * 257).save(path)
            elif kind == "alpha":
                picture.convert("RGBA").save(path)
            elif kind == "palette":
                gray.convert("P").save(path)
            elif kind == "turned":
                picture.rotate(180).save(path, exif=turned)
            else:
                gray.save(path)
        assert same(fit(tmp_path), fit(pictures))

    def test_features_that_are_no_numbers(self) -> None:
        """A model that divides by zero for some pictures: they are named and left out."""

        class Fragile(ToyClassifier):
            def forward(self, images: Tensor) -> Tensor:
                flat = images.std(dim=(1, 2, 3), keepdim=True) == 0
                logits: Tensor = super().forward(torch.where(flat, torch.nan, images))
                return logits

        model = Fragile().eval()
        pictures = [
            Image.new("RGB", (12, 12)),
            *PICTURES[1:50],
            Image.new("RGB", (12, 12), "white"),
        ]
        with pytest.warns(UserWarning, match=r"Left out 2 of 51 .*image 0 \(find_head: .* NaN"):
            found = fit(pictures, model=model)
        assert list(found.facts["images"]["reasons"]) == ["image 0", "image 50"]
        assert found.weight.isfinite().all() and found.facts["images"]["fitted"] == 37

    def test_embeddings_that_are_no_numbers(self) -> None:
        class Fragile(ToyEncoder):
            def encode_image(self, images: Tensor) -> Tensor:
                embeddings = super().encode_image(images)
                embeddings[images.flatten(1).std(dim=1) == 0] = torch.inf
                return embeddings

        pictures = [*PICTURES[1:50], Image.new("RGB", (12, 12), "white")]
        with pytest.warns(UserWarning, match=r"image 49 \(PairReader: .* finite embeddings"):
            found = fit_translator(
                ToyClassifier(), Fragile(), pictures, preprocess=prepare, show_progress=False
            )
        assert found.facts["images"]["skipped"] == 1

    def test_the_rest_of_a_batch_stays_together(self) -> None:
        """Some pictures have no feature, others no embedding: all others keep both."""

        class Blind(ToyClassifier):
            def forward(self, images: Tensor) -> Tensor:
                black = images.amax(dim=(1, 2, 3), keepdim=True) == -1
                logits: Tensor = super().forward(torch.where(black, torch.nan, images))
                return logits

        class Dazzled(ToyEncoder):
            def encode_image(self, images: Tensor) -> Tensor:
                white = images.amin(dim=(1, 2, 3)) == 1
                return super().encode_image(images).masked_fill(white[:, None], torch.nan)

        pictures = list(PICTURES)
        pictures[3], pictures[7], pictures[50] = (
            Image.new("RGB", (12, 12), color) for color in ("black", "white", "black")
        )
        fitted = [i for i in range(COUNT) if i not in (3, 7, 50, *places())]
        model = Blind().eval()
        with pytest.warns(UserWarning, match="Left out 3 of 130"):
            found = fit_translator(
                model, Dazzled(), pictures, preprocess=prepare, alpha=0.5, held_out=0.25,
                batch_size=20, show_progress=False,
            )  # fmt: skip
        by_hand = TranslatorFitter(0.5).update(*pairs([pictures[i] for i in fitted], model)).fit()
        assert same(found, by_hand)

    def test_a_picture_that_the_preprocessing_cannot_take(self) -> None:
        def picky(picture: Image.Image) -> Tensor:
            if picture.width > 12:
                raise ValueError("too wide")
            return prepare(picture)

        with pytest.warns(UserWarning, match=r"image 130 \(preprocess: too wide\)"):
            assert same(fit([*PICTURES, Image.new("RGB", (13, 2))], preprocess=picky), fit())


class TestNothingUsable:
    def test_broken_files_only(self, tmp_path: Path) -> None:
        for i in range(8):
            (tmp_path / f"{i}.png").write_bytes(b"no picture")
        with pytest.raises(SINGValueError, match=r"got 8 that cannot: .*0.png \(cannot identify"):
            fit(tmp_path)

    def test_no_images(self, tmp_path: Path) -> None:
        with pytest.raises(SINGFileError, match=r"\.png.*with 0 other files"):
            fit(tmp_path)

    def test_broken_files_first(self, tmp_path: Path) -> None:
        """Whole batches of them say nothing about the others."""
        for i in range(COUNT):
            PICTURES[i].save(tmp_path / f"b{i:04d}.png")
            (tmp_path / f"a{i:04d}.png").write_bytes(b"no picture")
        with pytest.warns(UserWarning, match="Left out 130 of 260"):
            assert fit(tmp_path).facts["images"]["skipped"] == COUNT

    def test_a_preprocessing_that_always_fails_is_told_at_once(self) -> None:
        asked = []

        def wrong(picture: Image.Image) -> Tensor:
            asked.append(picture)
            raise ValueError("no such size")

        with pytest.raises(
            SINGValueError, match=r"got 32 that cannot: .*no such size.*model's own"
        ):
            fit(PICTURES, preprocess=wrong)
        assert len(asked) == 32

    def test_no_finite_feature(self) -> None:
        model = ToyClassifier()
        nn.init.constant_(model.features[0].weight, torch.nan)
        with pytest.raises(SINGValueError, match=r"32 that cannot: image 0 \(.*NaN or infinity"):
            fit(model=model)

    @pytest.mark.parametrize(
        ("count", "options", "message"),
        [
            (3, {}, r"2 or more to hold out, got \d and [01]\."),
            (1, {"held_out": 0.0}, "of 2 or more to fit, .*got 1 and 0"),
            (4, {"held_out": 0.5, "alpha": 1.0}, None),
        ],
    )
    def test_too_few(self, count: int, options: dict[str, float], message: str | None) -> None:
        if message is None:
            assert fit(PICTURES[:count], **options).facts["images"]["held_out"] == 2
            return
        with pytest.raises(SINGValueError, match=message):
            fit(PICTURES[:count], **options)

    def test_too_few_for_cross_validation(self) -> None:
        """Told before any is read, with what can be done about it."""

        class Unread(list):
            def __getitem__(self, index):
                raise NotImplementedError

        with pytest.raises(SINGValueError, match=r"of 10 or more to fit, .*got 4 and 4.*alpha=1.0"):
            fit(Unread(PICTURES[:8]), alpha="cv", held_out=0.5)


class TestMixedUp:
    def test_pictures_of_another_shape_than_the_model_takes(self) -> None:
        """Preprocessing of another model: refused at the first batch, with what the model says."""

        def small(picture: Image.Image) -> Tensor:
            return pil_to_tensor(picture.resize((32, 32))) / 255

        model = load_classifier("demo/plain").model
        with pytest.raises(SINGValueError, match=r"of shape \(B, 3, 64, 64\).*\(\d+, 3, 32, 32\)"):
            fit(model=model, preprocess=small)

    def test_preprocessing_of_the_encoder(self) -> None:
        with pytest.raises(
            SINGValueError, match="preprocess of the model, got that of the encoder"
        ):
            fit(preprocess=ENCODER.preprocess)
        said = fit(preprocess=lambda picture: ENCODER.preprocess(picture))
        assert said.feature_dim == 12

    def test_a_second_preprocessing(self) -> None:
        with pytest.raises(SINGTypeError, match="a LoadedClassifier has its own"):
            fit(model=load_classifier("demo/plain"))

    def test_no_preprocessing(self) -> None:
        with pytest.raises(SINGTypeError, match="preprocess beside an nn.Module, got None"):
            fit(preprocess=None)

    @pytest.mark.parametrize(
        "images",
        [
            torch.zeros(20, 3, 8, 8),
            [torch.zeros(3, 8, 8)] * 20,
            FakeData(20, (3, 12, 12), transform=pil_to_tensor),
            (tensor for tensor in torch.zeros(20, 3, 8, 8)),
        ],
        ids=["a batch", "a list", "a dataset with a transform", "a stream"],
    )
    def test_tensors_instead_of_pictures(self, images: object) -> None:
        with pytest.raises(SINGTypeError, match="image 0 as Tensor. Leave transforms out"):
            fit(images)

    @pytest.mark.parametrize(
        ("model", "encoder", "message"),
        [
            ("demo/plain", ENCODER, "model to be a LoadedClassifier or a module, got str"),
            (ToyClassifier(), "ViT-B-32:openai", "encoder to be an ImageTextEncoder, got str"),
        ],
    )
    def test_names_instead_of_models(self, model: object, encoder: object, message: str) -> None:
        with pytest.raises(SINGTypeError, match=message):
            fit_translator(model, encoder, PICTURES, preprocess=prepare)

    def test_an_encoder_of_another_width_than_it_says(self) -> None:
        encoder = ToyEncoder()
        encoder.embedding_dim = 9
        with pytest.raises(SINGValueError, match=r"of shape \(1, 9\), got \(1, 16\)"):
            fit_translator(ToyClassifier(), encoder, PICTURES, preprocess=prepare)

    def test_heads(self) -> None:
        with pytest.raises(SINGNameError, match="'haed'"):
            fit(layer="haed")
        with pytest.raises(TypeError, match="to be a linear map"):
            fit(layer="features")
        with pytest.raises(HeadNotFoundError):
            fit(model=nn.Sequential(ToyClassifier(), nn.Softmax(dim=1)))

    @pytest.mark.parametrize(
        "options",
        [{"held_out": 0.6}, {"held_out": -0.1}, {"alpha": -1.0}, {"device": "banana"},
         {"batch_size": 0}, {"limit": 0}, {"num_workers": -1}],
    )  # fmt: skip
    def test_numbers(self, options: dict[str, float]) -> None:
        with pytest.raises(SINGValueError, match=next(iter(options))):
            fit(**options)


class TestWarnings:
    def test_fewer_images_than_features(self) -> None:
        found = fit(PICTURES[:40], model=ToyClassifier(width=200))
        assert "Fitted to 30 images, fewer than the 200 features" in notes(found)
        assert found.weight.isfinite().all()
        assert "fewer than" not in notes(fit())

    def test_constant_features(self) -> None:
        model = ToyClassifier().eval()
        with torch.no_grad():
            model.features[1].bias[:3] = -100.0  # dead behind the ReLU
            model.features[1].weight[3], model.features[1].bias[3] = 0.0, 7.3
        found = fit(model=model)
        assert "4 of 12 features are constant" in notes(found)
        assert found.weight[:, :4].abs().max() == 0
        assert "constant" not in notes(fit())

    def test_only_constant_features(self) -> None:
        model = ToyClassifier().eval()
        nn.init.zeros_(model.features[1].weight)
        with pytest.raises(SINGValueError, match="features that vary"):
            fit(model=model, alpha="cv")

    def test_one_class_only(self) -> None:
        """Labels that are all alike: the model's own predictions are named instead."""
        found = fit([(picture, 3) for picture in PICTURES], held_out=0.5)
        assert found.facts["report"]["truth"] == "model's predictions"
        sure = ToyClassifier().eval()
        with torch.no_grad():
            sure.head.bias[1] = 1000.0
        report = fit(model=sure, held_out=0.5).facts["report"]
        assert not report["accuracy"] and "of two classes or more" in " ".join(report["notes"])

    def test_duplicates(self) -> None:
        assert "look like ones that were fitted" in notes(fit(PICTURES * 2))
        assert "look like" not in notes(fit())


def test_a_stream_of_unknown_length(capsys: pytest.CaptureFixture[str]) -> None:
    def stream() -> Iterator[Image.Image]:
        yield from make_pictures(50)

    found = fit(stream(), show_progress=True)
    assert found.facts["images"]["held_out"] in (12, 13)
    assert "50image" in capsys.readouterr().err
    with pytest.raises(SINGValueError, match="num_workers of 0 for images without a length"):
        fit(stream(), num_workers=1)
    assert fit(stream(), limit=20).facts["images"]["fitted"] == 15
