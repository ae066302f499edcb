"""Feature decoders: what they read, what they learn, and their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from torchvision import transforms
from toys import any_translator, normal

from captum_sing import NullSpace
from captum_sing.errors import SINGFileError, SINGTypeError, SINGValueError
from captum_sing.render import decoder_fitter
from captum_sing.render.decoder import PARTS, SIZES, FeatureDecoder
from captum_sing.render.decoder_fitter import DecoderFitter, difference, whitening
from captum_sing.render.frame import Frame
from captum_sing.render.protocol import Renderer

WIDTH = 8
FRAME = Frame((32, 32), (0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
SPACE = NullSpace.from_weight(normal(3, WIDTH, seed=5))
PRINCIPAL, NULL = SPACE.principal_basis[:, 0], SPACE.null_basis[:, 0]


def decoder_of(part: str = "whole", size: int = 32, frame: Frame = FRAME) -> FeatureDecoder:
    torch.manual_seed(0)
    basis = SPACE.principal_basis if part == "principal" else torch.eye(WIDTH)
    return FeatureDecoder(
        normal(WIDTH, seed=6), basis, frame, part=part, size=size, facts={"model": "m"}
    )


def world(count: int, seed: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """The left half's gray follows a direction that the head sees, the right half's one it ignores.

    All other coordinates are noise.
    """
    features = normal(count, WIDTH, seed=seed).double()
    left, right = (torch.sigmoid(2 * features @ direction) for direction in (PRINCIPAL, NULL))
    pictures = torch.empty(count, 3, 32, 32)
    pictures[..., :16] = left[:, None, None, None]
    pictures[..., 16:] = right[:, None, None, None]
    return (features * scale + 3).float(), pictures


@pytest.fixture(scope="module")
def fitted() -> dict[str, FeatureDecoder]:
    fitter = DecoderFitter(FRAME, SPACE, size=32, epochs=4)
    features, pictures = world(320, seed=1)
    for rows in torch.arange(320).split(250):
        fitter.update(features[rows], pictures[rows])
    return fitter.fit()


class TestReading:
    def test_is_a_renderer(self) -> None:
        decoder = decoder_of()
        assert isinstance(decoder, Renderer)
        assert (decoder.takes, decoder.restores_norm) == ("features", False)
        assert decoder.facts["part"] == "whole" and decoder.facts["model"] == "m"

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize(
        ("frame", "share"), [((96, 96), (1, 1)), ((64, 128), (0.5, 1)), ((100, 75), (1, 0.75))]
    )
    def test_pictures_have_the_frame_s_proportions(
        self, size: int, frame: tuple[int, int], share: tuple[float, float]
    ) -> None:
        decoder = decoder_of(size=size, frame=Frame(frame, FRAME.mean, FRAME.std))
        height, width = (round(size * side) for side in share)
        (picture,) = decoder.render(normal(1, WIDTH, seed=0))
        assert picture.size == (width, height) and picture.mode == "RGB"
        drawn = decoder(normal(2, WIDTH, seed=0))
        assert drawn.shape == (2, 3, height, width)
        assert 0 <= drawn.min() and drawn.max() <= 1
        assert decoder.normalize(drawn).shape == (2, 3, *frame)

    def test_a_picture_follows_from_its_row_alone(self) -> None:
        decoder, rows = decoder_of(), normal(5, WIDTH, seed=0)
        first = [np.asarray(one) for one in decoder.render(rows, 3)]
        again = [np.asarray(one) for one in decoder.render(rows[[4, 0]].double(), [7, 9])]
        assert (again[0] == first[4]).all() and (again[1] == first[0]).all()
        assert (first[0] != first[4]).any()

    @pytest.mark.parametrize("factor", [1.0, 1000.0])
    def test_the_principal_version_cannot_see_the_null_part(self, factor: float) -> None:
        rows = normal(4, WIDTH, seed=0).double()
        for part, direction, blind in (
            ("principal", NULL, True),
            ("principal", PRINCIPAL, False),
            ("whole", NULL, False),
        ):
            decoder = decoder_of(part)
            for told in (decoder, decoder.code):
                change = (told(rows + factor * direction) - told(rows)).abs().max()
                assert change <= 1e-6 if blind else change > 1e-3

    def test_the_code(self) -> None:
        decoder, rows = decoder_of("principal"), normal(4, WIDTH, seed=0)
        wanted = (rows - decoder.mean) @ SPACE.principal_basis
        assert torch.allclose(decoder.code(rows).double(), wanted, atol=1e-6)
        assert decoder.code(rows).dtype == torch.float32

    def test_refuses_what_it_cannot_draw(self) -> None:
        decoder, rows = decoder_of(), normal(3, WIDTH, seed=0)
        with pytest.raises(SINGValueError, match=r"NaN or infinity in rows \[1\]"):
            decoder.render(rows.index_fill(0, torch.tensor([1]), torch.nan))
        with pytest.raises(SINGValueError, match=r"wanted of shape \(B, 8\), not empty"):
            decoder.render(rows[:, 1:])
        with pytest.raises(SINGValueError, match="seeds one integer from 0, or 3 of them"):
            decoder.render(rows, [1, 2])

    def test_refuses_another_classifier(self) -> None:
        decoder = decoder_of()
        decoder.check(any_translator(WIDTH))
        with pytest.raises(SINGValueError, match="of features of width 8, as this draws, got 9"):
            decoder.check(any_translator(WIDTH + 1))
        named = [any_translator(WIDTH), any_translator(WIDTH)]
        for translator, name in zip(named, "mn", strict=True):
            translator.facts["model"] = name
        decoder.check(named[0])
        with pytest.raises(SINGValueError, match="translator of m, whose features.* got one of n"):
            decoder.check(named[1])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"part": "null"}, r"part in \('whole', 'principal'\), got 'null'"),
            ({"size": 48}, r"size in \(32, 64, 128\), got 48"),
            ({"reading": torch.ones(WIDTH)}, r"of shapes \(D,\) and \(D, N\).* got \[\(8,\), "),
            ({"reading": torch.ones(WIDTH, 0)}, r"of shapes \(D,\) and \(D, N\)"),
            ({"mean": torch.full((WIDTH,), torch.nan)}, "finite, got NaN or infinity"),
        ],
    )
    def test_refuses_what_is_no_decoder(self, change: dict[str, Any], message: str) -> None:
        made: dict[str, Any] = {
            "mean": torch.zeros(WIDTH),
            "reading": torch.eye(WIDTH),
            "frame": FRAME,
        }
        with pytest.raises(SINGValueError, match=message):
            FeatureDecoder(**{**made, **change})


class TestFile:
    @pytest.mark.parametrize("part", PARTS)
    @pytest.mark.parametrize("size", SIZES)
    def test_round_trip(self, part: str, size: int, tmp_path: Path) -> None:
        decoder = decoder_of(part, size)
        found = FeatureDecoder.load(decoder.save(tmp_path / "d.safetensors"))
        rows = normal(3, WIDTH, seed=0)
        assert torch.equal(found(rows), decoder(rows))
        assert (found.facts, found.frame, found.part) == (decoder.facts, FRAME, part)
        assert not any(weight.requires_grad for weight in found.parameters())

    def test_damage_is_refused(self, tmp_path: Path) -> None:
        path = decoder_of().save(tmp_path / "d.safetensors")
        whole = path.read_bytes()
        path.write_bytes(whole[:-100])
        with pytest.raises(SINGFileError, match="to be a whole safetensors file"):
            FeatureDecoder.load(path)
        with pytest.raises(SINGFileError, match="which does not exist"):
            FeatureDecoder.load(tmp_path / "none.safetensors")
        translator = any_translator(WIDTH).save(tmp_path / "t.safetensors")
        with pytest.raises(SINGFileError, match="to hold a FeatureDecoder, got .*LinearTranslator"):
            FeatureDecoder.load(translator)

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda t: t.pop("network.11.bias"), "Missing key"),
            (
                lambda t: t.update({"network.2.bias": torch.zeros(3)}),
                "to hold one, got .*size mismatch",
            ),
            (lambda t: t.update(mean=torch.zeros(9)), "of shapes"),
            (lambda t: t["network.0.bias"].fill_(torch.nan), "NaN or infinity in it"),
            (lambda t: t.update(other=torch.zeros(1)), r"unknown entries \['other'\]"),
        ],
    )
    def test_other_entries_are_refused(
        self, damage: Callable[[dict[str, Tensor]], Any], message: str, tmp_path: Path
    ) -> None:
        from safetensors import safe_open

        path = decoder_of(size=64).save(tmp_path / "d.safetensors")
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            about = file.metadata()
        damage(tensors)
        save_file(tensors, path, about)
        with pytest.raises(SINGFileError, match=message):
            FeatureDecoder.load(path)


class TestFitting:
    def test_each_version_draws_what_it_can_know(self, fitted: dict[str, FeatureDecoder]) -> None:
        features, pictures = world(200, seed=2)
        error: dict[str, list[float]] = {}
        for name, drawn in {
            **{part: decoder(features) for part, decoder in fitted.items()},
            "mean": pictures.mean(dim=0).expand_as(pictures),
        }.items():
            halves = (drawn - pictures).abs().mean(dim=(0, 1, 2))
            error[name] = [float(halves[:16].mean()), float(halves[16:].mean())]
        assert max(error["whole"]) < 0.4 * min(error["mean"])
        assert error["principal"][0] < 0.4 * error["mean"][0]
        assert error["principal"][1] == pytest.approx(error["mean"][1], rel=0.1)

    def test_the_ignored_part_shows_in_one_alone(self, fitted: dict[str, FeatureDecoder]) -> None:
        features, _ = world(1, seed=2)
        step = 2 * NULL.float()
        before, after = (fitted["whole"](row) for row in (features - step, features + step))
        assert (after - before)[..., 20:].mean() > 0.5 > 0.1 > (after - before)[..., :12].mean()
        pair = [fitted["principal"](row) for row in (features - step, features + step)]
        assert torch.allclose(*pair, rtol=0, atol=1e-6)

    def test_a_seed_is_a_decoder(self) -> None:
        features, pictures = world(40, seed=1)
        state = torch.get_rng_state()
        found = [
            DecoderFitter(FRAME, size=32, epochs=1, seed=seed).update(features, pictures).fit()
            for seed in (0, 0, 1)
        ]
        assert torch.equal(torch.get_rng_state(), state)
        drawn = [decoders["whole"](features) for decoders in found]
        assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])

    def test_facts(self, fitted: dict[str, FeatureDecoder]) -> None:
        facts = fitted["principal"].facts
        assert facts["part"] == "principal" and facts["images"] == {"fitted": 320}
        assert {"loss", "epochs", "batch_size", "seed", "size", "frame"} <= set(facts)
        assert fitted["principal"].reading.shape == (WIDTH, SPACE.rank)

    def test_the_loss(self) -> None:
        drawn, truth = torch.rand(2, 1, 3, 5, 4, generator=torch.Generator().manual_seed(0))
        error = (drawn - truth)[0].numpy()
        across = [
            (error[:, row, i + 1] - error[:, row, i]) ** 2 for row in range(5) for i in range(3)
        ]
        down = [
            (error[:, i + 1, row] - error[:, i, row]) ** 2 for row in range(4) for i in range(4)
        ]
        wanted = (error**2).mean() + 20 * (np.mean(across) + np.mean(down))
        assert float(difference(drawn, truth)) == pytest.approx(float(wanted), rel=1e-5)

    def test_the_mean_is_the_best_picture(self) -> None:
        _, pictures = world(10, seed=1)
        mean = pictures.mean(dim=0, keepdim=True).requires_grad_()
        difference(mean.expand_as(pictures), pictures).backward()
        assert mean.grad.abs().max() < 1e-6
        other = pictures.median(dim=0, keepdim=True).values.requires_grad_()
        difference(other.expand_as(pictures), pictures).backward()
        assert other.grad.abs().max() > 1e-5

    def test_the_mean_picture(self) -> None:
        _, pictures = world(30, seed=1)
        fitter = DecoderFitter(FRAME, size=32)
        for some in pictures.split(13):
            fitter.update(torch.zeros(len(some), WIDTH), some)
        assert torch.allclose(fitter.mean_picture(), pictures.mean(dim=0), atol=1 / 255)

    @pytest.mark.parametrize("basis", [None, SPACE.principal_basis])
    def test_whitening(self, basis: Tensor | None) -> None:
        features = normal(500, WIDTH, seed=3).double() * torch.logspace(0, 1, WIDTH) + 7
        code = (features - features.mean(dim=0)) @ whitening(features, basis)
        covariance = np.cov(code.numpy(), rowvar=False)
        assert np.allclose(covariance, np.eye(len(covariance)), atol=0.02)
        if basis is not None:
            assert whitening(features, basis).shape == (WIDTH, SPACE.rank)
            assert SPACE.project(whitening(features, basis).T).norm() < 1e-12

    def test_directions_that_never_vary_are_left_out(self) -> None:
        features = normal(500, WIDTH, seed=3).double()
        features[:, 2] = 4.0
        assert whitening(features).shape == (WIDTH, WIDTH - 1)
        assert whitening(features[:5]).shape == (WIDTH, 4)  # four differences of five

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"parts": "whole"}, r"parts some of \['whole', 'principal'\], got 'whole'"),
            ({"parts": ["null"]}, r"parts some of .*got \['null'\]"),
            ({"size": 60}, r"size in \(32, 64, 128\), got 60"),
            ({"epochs": 0}, "epochs of at least 1, an integer, got 0"),
            ({"batch_size": 1.5}, "batch_size of at least 1, an integer, got 1.5"),
            ({"null_space": None, "parts": PARTS}, "null_space of the head, .*got None"),
        ],
    )
    def test_refuses_settings(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(SINGValueError, match=message):
            DecoderFitter(**{"frame": FRAME, "null_space": SPACE, **change})

    def test_refuses_pictures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        features, pictures = world(4, seed=1)
        fitter = DecoderFitter(FRAME, SPACE, size=32)
        for rows, images, message in (
            (features[:, 1:], pictures, r"features of shape \(B, 8\), finite, got \(4, 7\)"),
            (features / 0, pictures, r"features of shape .*got \(4, 8\) with NaN or infinity"),
            (features, pictures[:3], r"pictures of shape \(4, 3, H, W\), .*got \(3, 3, 32, 32\)"),
            (features, pictures * 255, r"pictures in \[0, 1\], got from .* to 2\d\d"),
            (features, pictures * torch.nan, r"pictures in \[0, 1\], got from nan to nan"),
        ):
            with pytest.raises(SINGValueError, match=message):
                fitter.update(rows, images)
        assert fitter.count == 0
        fitter.update(features, pictures)
        with pytest.raises(SINGValueError, match="pictures of 8 or more, got 4"):
            fitter.fit()
        monkeypatch.setattr(decoder_fitter, "MOST_BYTES", 5 * (3 * 32 * 32 + 4 * WIDTH))
        with pytest.raises(SINGValueError, match="that fit in 0 GiB: 5 of this size, got 8"):
            fitter.update(features, pictures)

    def test_refuses_features_that_are_one(self) -> None:
        _, pictures = world(20, seed=1)
        fitter = DecoderFitter(FRAME, size=32).update(torch.ones(20, WIDTH), pictures)
        with pytest.raises(SINGValueError, match="features that differ, got one and the same"):
            fitter.fit()


class TestFrame:
    MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def preprocess(self, *further: Any) -> transforms.Compose:
        steps = [transforms.Resize(40), transforms.CenterCrop((24, 36)), transforms.ToTensor()]
        return transforms.Compose([*steps, *further])

    def test_is_found(self) -> None:
        frame = Frame.of(self.preprocess(transforms.Normalize(self.MEAN, self.STD)))
        assert frame.size == (24, 36)
        assert frame.mean == pytest.approx(self.MEAN, abs=1e-5)
        assert frame.std == pytest.approx(self.STD, abs=1e-5)
        assert Frame.of(self.preprocess()).std == pytest.approx((1, 1, 1), abs=1e-5)

    def test_there_and_back(self) -> None:
        frame = Frame.of(self.preprocess(transforms.Normalize(self.MEAN, self.STD)))
        pictures = torch.rand(2, 3, 24, 36, generator=torch.Generator().manual_seed(0))
        inputs = transforms.functional.normalize(pictures, self.MEAN, self.STD)
        assert torch.allclose(frame.pictures(inputs), pictures, atol=1e-5)
        assert torch.allclose(frame.normalize(pictures), inputs, atol=1e-5)
        larger = frame.normalize(F.interpolate(pictures, scale_factor=2))
        assert larger.shape == inputs.shape

    def test_what_is_no_mean_and_std_is_refused(self) -> None:
        swapped = transforms.Lambda(lambda tensor: tensor[[2, 1, 0]])
        for step in (swapped, transforms.Lambda(torch.square), transforms.Lambda(torch.zeros_like)):
            with pytest.raises(SINGValueError, match=r"to end with \(picture - mean\) / std"):
                Frame.of(self.preprocess(step))

    def test_what_is_no_colour_picture_is_refused(self) -> None:
        with pytest.raises(SINGTypeError, match=r"a tensor \(3, H, W\).*got \(1, 24, 36\)"):
            Frame.of(self.preprocess(transforms.Grayscale()))
        with pytest.raises(SINGTypeError, match="got Image"):
            Frame.of(lambda picture: picture)  # type: ignore[arg-type, return-value]
