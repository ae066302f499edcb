"""Decoders from a folder of pictures: what is held out, left out, reported and refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scripts import load_script
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image, to_tensor
from toys import untouched

from captum_sing import NullSpace
from captum_sing.classifiers import LoadedClassifier
from captum_sing.errors import (
    NoNullSpaceError,
    SINGFileError,
    SINGNameError,
    SINGTypeError,
    SINGValueError,
)
from captum_sing.fitting.decoder import fit_decoder, held_out_examples
from captum_sing.fitting.decoder_report import DecoderReport
from captum_sing.hooks import read_features
from captum_sing.render import decoder_fitter
from captum_sing.render.decoder import FeatureDecoder

SIZE = 24


class Halves(nn.Module):
    """Features: mean colours of the left and of the right half; the head reads the left alone."""

    def __init__(self, classes: int = 2, width: int = 6) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.head = nn.Linear(width, classes)
        if width == 6:
            self.head.weight.data[:, 3:] = 0.0
        self.requires_grad_(False)
        self.mix = nn.Parameter(torch.eye(6)[:, :width])

    def forward(self, images: Tensor) -> Tensor:
        halves = [half.mean(dim=(2, 3)) for half in images.chunk(2, dim=3)]
        return self.head(torch.cat(halves, dim=1) @ self.mix)


def normalised(picture: Image.Image) -> Tensor:
    return (to_tensor(picture.resize((SIZE, SIZE))) - 0.5) / 0.25


def halves(classes: int = 2, width: int = 6) -> LoadedClassifier:
    return LoadedClassifier(Halves(classes, width).eval(), normalised, None, "halves")


def two_colours(count: int, seed: int = 0) -> list[Image.Image]:
    colours = np.random.default_rng(seed).integers(0, 256, (count, 1, 2, 3), dtype=np.uint8)
    return [Image.fromarray(pair).resize((SIZE, SIZE), Image.Resampling.NEAREST)
            for pair in colours]  # fmt: skip


def fit(model: LoadedClassifier, images: Any, **options: Any) -> dict[str, FeatureDecoder]:
    return fit_decoder(model, images, **{"epochs": 1, "show_progress": False, **options})


def report_of(decoders: dict[str, FeatureDecoder]) -> DecoderReport:
    found = [DecoderReport.from_dict(one.facts["report"]) for one in decoders.values()]
    assert all(report == found[0] for report in found)
    return found[0]


@pytest.fixture(scope="module")
def fitted() -> dict[str, FeatureDecoder]:
    return fit(halves(), two_colours(240), epochs=6, held_out=0.25)


class TestWhatIsDrawn:
    def test_each_version_draws_what_it_can_know(self, fitted: dict[str, FeatureDecoder]) -> None:
        drawings = report_of(fitted).drawings
        assert list(drawings) == ["whole", "principal", "mean picture", "real, reduced"]
        l1 = {name: one.l1[0] for name, one in drawings.items()}
        assert l1["whole"] < 0.6 * l1["principal"] < 0.6 * l1["mean picture"]
        assert l1["real, reduced"] == 0.0 and drawings["real, reduced"].psnr is None
        assert drawings["principal"].gain[1] > 0.0 and drawings["mean picture"].gain is None

    def test_the_figures_are_those_of_the_pictures(self, fitted: dict[str, FeatureDecoder]) -> None:
        """Told again, slowly, from what render() and PIL give."""
        model, pictures = halves(), two_colours(240)
        features, seen = held_out_examples(model, pictures, held_out=0.25, count=1000)
        drawn = torch.stack([to_tensor(one) for one in fitted["whole"].render(features)])
        real = nn.functional.interpolate(seen, (32, 32), mode="bilinear", antialias=True)
        real = (real * 255).round() / 255
        error = (drawn - real).flatten(1)
        found = report_of(fitted)
        assert found.count == len(features) == 60
        assert found.drawings["whole"].l1[0] == pytest.approx(float(error.abs().mean()), abs=2e-5)
        psnr = (-10 * error.square().mean(dim=1).log10()).mean()
        assert found.drawings["whole"].psnr[0] == pytest.approx(float(psnr), abs=0.05)
        again = torch.stack([normalised(to_pil_image(one)) for one in drawn])
        same = model.model(again).argmax(dim=1) == model.model.head(features).argmax(dim=1)
        share = float(same.double().mean())
        assert found.drawings["whole"].agreement.share == pytest.approx(share, abs=0.05)

    def test_intervals_hold_their_values(self, fitted: dict[str, FeatureDecoder]) -> None:
        for one in report_of(fitted).drawings.values():
            for numbers in filter(None, (one.l1, one.psnr, one.gain)):
                assert numbers[1] <= numbers[0] <= numbers[2]
            assert one.agreement.low <= one.agreement.share <= one.agreement.high
            assert one.agreement.count == 60

    def test_what_says_little_is_noted(self, fitted: dict[str, FeatureDecoder]) -> None:
        generator, dark = np.random.default_rng(0), np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
        pictures = [Image.fromarray(dark + generator.integers(0, 9, 3, dtype=np.uint8))
                    for _ in range(60)]  # fmt: skip
        notes = report_of(fit(halves(), pictures, held_out=0.25)).notes
        assert "From the whole and the principal feature pictures come no nearer" in notes[0]
        assert "Intervals over 15 pictures are too narrow; 30 needed" in notes[1]
        assert not report_of(fitted).notes

    def test_facts(self, fitted: dict[str, FeatureDecoder], tmp_path: Path) -> None:
        facts = FeatureDecoder.load(fitted["principal"].save(tmp_path / "d")).facts
        assert facts == fitted["principal"].facts
        assert (facts["model"], facts["layer"], facts["size"]) == ("halves", ["head"], 32)
        assert facts["images"] == {"fitted": 180, "held_out": 60, "skipped": 0}
        assert "normalised" in facts["preprocessing"]

    def test_the_held_out_pictures_are_not_trained_on(self) -> None:
        pictures = two_colours(40)
        _, seen = held_out_examples(halves(), pictures, held_out=0.25, count=1000)
        kept = {tuple(np.asarray(one)[0, 0]) for one in pictures}
        out = {tuple((one[:, 0, 0] * 255).round().int().tolist()) for one in seen}
        assert len(out) == 10 and out < kept
        others = [one for one in pictures if tuple(np.asarray(one)[0, 0]) not in out]
        (decoder,) = fit(halves(), pictures, held_out=0.25, part="whole").values()
        reread = torch.stack([normalised(one) for one in others])
        model = halves().model
        features = read_features(model, model.head, reread)
        assert torch.allclose(decoder.mean.float(), features.mean(dim=0), atol=1e-5)

    def test_an_approximate_null_space(self) -> None:
        model = halves(classes=8)
        model.model.head.weight.data.normal_()
        decoders = fit(model, two_colours(30), energy=0.7)
        space = NullSpace.from_layer(model.model.head, energy=0.7)
        assert decoders["principal"].reading.shape == (6, space.rank)
        assert decoders["principal"].facts["energy"] == 0.7

    def test_the_report_is_printed(self, fitted: dict[str, FeatureDecoder]) -> None:
        printed = str(report_of(fitted))
        assert "60 held-out pictures" in printed and "mean picture" in printed

    def test_the_model_stays_as_it_was(self) -> None:
        model = halves()
        model.model.train()
        with untouched(model.model):
            fit(model, two_colours(20))

    def test_same_seed_same_decoder(self) -> None:
        pictures, row = two_colours(30), torch.rand(1, 6)
        drawn = [fit(halves(), pictures, seed=seed)["whole"](row) for seed in (1, 1, 2)]
        assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])

    def test_half_precision(self) -> None:
        model = halves()
        reference = fit(model, two_colours(30))["whole"].mean
        found = fit(replace(model, model=copy.deepcopy(model.model).bfloat16()), two_colours(30))
        assert torch.allclose(found["whole"].mean, reference, atol=0.02)


class TestHeads:
    def test_without_a_null_space_both_are_one(self) -> None:
        with pytest.warns(UserWarning, match="its principal part is the whole feature, and a dec"):
            decoders = fit(halves(classes=3, width=2), two_colours(30))
        assert list(decoders) == ["whole"]
        assert "The head sees every direction" in report_of(decoders).notes[0]

    def test_without_a_null_space_there_is_no_principal_version(self) -> None:
        with pytest.raises(NoNullSpaceError, match='part "whole" for a head without.*energy=0.99'):
            fit(halves(classes=3, width=2), two_colours(30), part="principal")

    def test_one_part_alone(self) -> None:
        for part in ("whole", "principal"):
            decoders = fit(halves(), two_colours(30), part=part)
            assert list(decoders) == [part] == [decoders[part].part]

    def test_an_unknown_layer(self) -> None:
        with pytest.raises(SINGNameError, match="layer to be the name of a layer of Halves"):
            fit(halves(), two_colours(30), layer="fc")


class TestPictures:
    def test_what_cannot_be_read_is_left_out(self, tmp_path: Path) -> None:
        for place, picture in enumerate(two_colours(30)):
            picture.save(tmp_path / f"{place}.png")
        (tmp_path / "broken.png").write_bytes(b"no picture")
        with pytest.warns(UserWarning, match=r"Left out 1 pictures: .*broken\.png \("):
            decoders = fit(halves(), tmp_path)
        assert decoders["whole"].facts["images"]["skipped"] == 1
        assert "broken.png" in report_of(decoders).notes[0]

    def test_a_picture_without_a_finite_feature_is_left_out(self) -> None:
        model = halves()
        model.model.register_forward_pre_hook(
            lambda _, given: (given[0] / (given[0].amin(dim=(1, 2, 3), keepdim=True) < 1.99),)
        )
        white = Image.new("RGB", (SIZE, SIZE), "white")
        with pytest.warns(UserWarning, match="Left out 1 pictures: image 30 .*NaN or infinity"):
            decoders = fit(model, [*two_colours(30), white], held_out=0.1)
        assert decoders["whole"].mean.isfinite().all()

    def test_a_stream(self) -> None:
        decoders = fit(halves(), iter(two_colours(40)))
        assert decoders["whole"].facts["images"]["held_out"] == 4
        assert not len(held_out_examples(halves(), iter(two_colours(40)))[0])

    def test_nothing_held_out(self) -> None:
        decoders = fit(halves(), two_colours(20), held_out=0.0)
        report = report_of(decoders)
        assert (report.count, dict(report.drawings)) == (0, {})
        assert "how well these draw is not known" in report.notes[-1]

    def test_one_by_one(self) -> None:
        found = fit(halves(), two_colours(20), batch_size=1)["whole"]
        assert found.facts["images"] == {"fitted": 18, "held_out": 2, "skipped": 0}

    def test_more_than_memory_takes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Known after the first batch."""
        monkeypatch.setattr(decoder_fitter, "MOST_BYTES", 2**17)
        read: list[str] = []
        model = replace(halves(), preprocess=lambda one: (read.append(""), normalised(one))[1])
        with pytest.raises(SINGValueError, match="that fit in 0 GiB: 42 of this size, got 300"):
            fit(model, two_colours(300), batch_size=4)
        assert len(read) < 20

    def test_too_few(self) -> None:
        message = "images of 16 or more to train on, and 2 or more to hold out, got 9 and 1"
        with pytest.raises(SINGValueError, match=message):
            fit(halves(), two_colours(10))
        with pytest.raises(SINGValueError, match="got 9 and 1"):
            fit(halves(), iter(two_colours(10)))

    def test_none_that_the_model_takes(self) -> None:
        model = replace(halves(), model=nn.Sequential(nn.Flatten(), nn.Linear(7, 2)))
        message = "got 0 and 0; left out 30: image 0 .*the model says: .*"
        with pytest.raises(SINGValueError, match=message):
            fit(model, two_colours(30))

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SINGFileError, match="to be a folder"):
            fit(halves(), tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "null"}, r"part in \['whole', 'principal', 'both'\], got 'null'"),
        ({"held_out": 0.6}, r"held_out in \[0, 0.5\], got 0.6"),
        ({"size": 50}, r"size in \(32, 64, 128\), got 50"),
        ({"epochs": 0}, "epochs of at least 1"),
        ({"batch_size": 0}, "batch_size of at least 1"),
        ({"limit": 0}, "limit of at least 1"),
        ({"device": "cuda:99"}, "device to be a device of this machine"),
    ],
)
def test_settings_are_refused_before_any_picture_is_read(
    options: dict[str, Any], message: str
) -> None:
    class Unread(list[Image.Image]):
        def __getitem__(self, place: Any) -> Any:
            raise RuntimeError("read")

    with pytest.raises(SINGValueError, match=message):
        fit(halves(), Unread(two_colours(30)), **options)


def test_other_models_are_refused() -> None:
    with pytest.raises(SINGTypeError, match="model to be a LoadedClassifier, got Halves"):
        fit(Halves(), two_colours(30))  # type: ignore[arg-type]
    with pytest.raises(SINGTypeError, match=r"fit_decoder: expected preprocess to make a tensor"):
        fit(replace(halves(), preprocess=lambda one: one), two_colours(30))


@pytest.mark.slow
def test_the_script_draws_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_script("decode_features")
    options = ("--images", "3000", "--epochs", "8", "--tested", "256", "--output", str(tmp_path))
    name = "resnet/neck_color"
    monkeypatch.setattr("sys.argv", ["decode_features.py", "--model", name, *options])
    script.main()
    printed = [line.split("|") for line in capsys.readouterr().out.splitlines()]
    lines = [line for line in printed if "[" in "".join(line)]
    header = next(line for line in printed if "same class" in "".join(line))[2:-1]
    shares = {
        line[1].strip(): {
            name.strip(): float(cell.split()[0])
            for name, cell in zip(header, line[2:-1], strict=True)
        }
        for line in lines
    }
    assert list(shares) == ["real", "whole", "principal", "whole, swapped"]
    real, whole, principal, swapped = shares.values()
    assert min(real[name] for name in ("same class", "shape", "color")) > 0.95
    assert whole["color"] > 0.35 and swapped["donor's color"] > 0.35
    assert principal["shape, from pixels"] > 0.8
    chance = (principal["color"], principal["color, from pixels"], swapped["color"])
    assert max(*chance, whole["donor's color"]) < 0.25  # and 0.125 is what it comes to
    decoder = FeatureDecoder.load(tmp_path / "resnet_neck_color.principal.safetensors")
    assert decoder.part == "principal"
    assert np.asarray(Image.open(tmp_path / "resnet_neck_color.png")).std() > 20
