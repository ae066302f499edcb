"""Pictures by gradient: what must come out where it is known, and what nobody may be fooled by."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scripts import load_script
from torch import Tensor, nn
from torchvision.transforms.functional import to_tensor
from toys import any_translator, normal, untouched

from captum_sing import NullSpace
from captum_sing.demo import load_classifier, sample_scenes
from captum_sing.errors import SINGNameError, SINGRuntimeError, SINGTypeError, SINGValueError
from captum_sing.hooks import read_features
from captum_sing.linear_head import LinearHead
from captum_sing.render.distance import Distance
from captum_sing.render.inversion import Inversion
from captum_sing.render.priors import Edits, degraded, rounded, shifted, total_variation
from captum_sing.render.protocol import Renderer
from captum_sing.render.search import find_pictures

SWAPS = load_script("invert_swaps")
SIZE = 8


class MeanColour(nn.Module):
    """Its feature is the mean colour; its head reads red and green, and never blue."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2, bias=False)
        nn.init.eye_(self.head.weight)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.mean(dim=(2, 3)))


def linear(classes: int = 2) -> nn.Module:
    return nn.Linear(6, classes)


class Convolved(nn.Module):
    """Heads of a given kind on features of 6 numbers."""

    def __init__(self, *heads: Callable[[], nn.Module], apart: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Tanh())
        self.heads = nn.ModuleList(head() for head in heads)
        self.apart = apart

    def features(self, images: Tensor) -> Tensor:
        return self.body(images).mean(dim=(2, 3), keepdim=True)

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        if isinstance(self.heads[0], nn.Linear):
            features = features.flatten(1)
        factors = (1.0, -1.0) if self.apart else (1, 1)
        made = [
            head(features * factor if self.apart else features)
            for head, factor in zip(self.heads, factors, strict=False)
        ]
        return torch.stack(made).mean(dim=0).flatten(1)


def mean_colour(**further: Any) -> Inversion:
    return Inversion(MeanColour(), "head", lambda images: images, SIZE, **further)


def batch(pictures: list[Image.Image]) -> Tensor:
    return torch.stack([to_tensor(picture) for picture in pictures])


def photographs(count: int = 2, size: int = SIZE) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def bold(count: int, size: int = SIZE) -> Tensor:
    """Two colours each, left and right."""
    colours = photographs(count)[..., :1, :2].round()
    return colours.repeat_interleave(size, dim=2).repeat_interleave(size // 2, dim=3)


def distances(model: nn.Module, layer: Any, wanted: Tensor, pictures: Tensor) -> Tensor:
    found = read_features(model, layer, pictures).flatten(1)
    return (found - wanted).norm(dim=1) / wanted.norm(dim=1)


class TestFound:
    """Where the answer is known."""

    WANTED = torch.tensor([[0.3, 0.6, 0.5], [0.7, 0.4, 0.45]])

    @pytest.mark.parametrize("start", [None, photographs()], ids=["gray", "photographs"])
    def test_the_mean_colour(self, start: Tensor | None) -> None:
        """From the seen and from the ignored part, of the picture as its file holds it."""
        pictures = mean_colour(start=start, steps=120).render(self.WANTED)
        assert torch.allclose(batch(pictures).mean(dim=(2, 3)), self.WANTED, atol=0.02)

    def test_what_is_ignored_is_left_without_its_weight(self) -> None:
        free = batch(mean_colour(steps=120, null_weight=0.0).render(self.WANTED - 0.3))
        error = free.mean(dim=(2, 3)) - (self.WANTED - 0.3)
        assert error[:, :2].abs().max() < 0.02 and error[:, 2].abs().min() > 0.1

    def test_the_best_of_what_files_can_hold(self) -> None:
        """To the last bit, and none that was seen on the way is nearer."""
        inversion, seen = mean_colour(steps=30, lr=0.1), []

        class Noting(Distance):
            def to(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
                seen.append(pictures.detach())
                return super().to(pictures)

        distance = Noting(inversion.model, inversion.head, inversion.normalize, self.WANTED)
        made = find_pictures(distance, None, (SIZE, SIZE), [0, 0], inversion.settings, list)
        assert torch.equal(batch(inversion.render(self.WANTED)), made)
        whole = [one for one in seen if torch.allclose(one * 255, (one * 255).round(), atol=1e-4)]
        nearest = [distance.to(one) for one in (made, *whole)]
        losses = torch.stack([60 * parts[0] + parts[1] for parts in nearest]).detach()
        assert len(whole) >= 7 and (losses[0] <= losses.min(dim=0).values + 1e-9).all()

    def test_is_a_renderer(self) -> None:
        inversion = mean_colour()
        assert isinstance(inversion, Renderer) and inversion.takes == "features"
        assert json.loads(json.dumps(inversion.facts))["renderer"] == "inversion"
        assert torch.equal(inversion.normalize(photographs()), photographs())

    def test_total_variation_smooths(self) -> None:
        def rough(weight: float) -> float:
            made = mean_colour(steps=60, total_variation=weight).render(self.WANTED)
            return float(total_variation(batch(made)).mean())

        assert rough(1.0) < 0.8 * rough(0.0)


class TestModels:
    """Any differentiable classifier, left as it was."""

    @pytest.mark.parametrize(
        ("name", "settings", "steps"),
        [
            ("test_resnet", {}, 24),
            ("vit_tiny_patch16_224", {"img_size": 32, "depth": 2, "embed_dim": 48}, 24),
            pytest.param("resnet18", {}, 80, marks=pytest.mark.slow),
            pytest.param("mobilenetv3_small_050", {}, 80, marks=pytest.mark.slow),
        ],
    )
    def test_timm(self, name: str, settings: dict[str, Any], steps: int) -> None:
        import timm

        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=10, **settings).train()
        head = model.get_classifier()
        images = 2.0 * bold(3, 32) - 1.0
        wanted = read_features(model, head, images)[1:]

        def gap(steps: int) -> Tensor:
            normalize = lambda pictures: 2.0 * pictures - 1.0  # noqa: E731
            inversion = Inversion(model, head, normalize, 32, steps=steps)
            found = read_features(model, head, normalize(batch(inversion.render(wanted))))
            return ((found - wanted) @ head.weight.T).detach().abs().amax(dim=1)

        with untouched(model):
            first, last = gap(1), gap(steps)
        assert (last < 0.7 * first).all()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
    @pytest.mark.parametrize(
        ("heads", "apart", "width"),
        [
            ([lambda: nn.Conv2d(6, 2, 1)], False, 6),
            ([linear, linear], False, 6),
            ([linear, linear], True, 12),
            ([lambda: linear(9)], False, 6),
        ],
        ids=["convolution", "one feature", "two features", "no null space"],
    )
    def test_heads(
        self, heads: list[Callable[[], nn.Module]], apart: bool, width: int, dtype: torch.dtype
    ) -> None:
        model = Convolved(*heads, apart=apart).to(dtype)
        layer = model.heads[0] if len(heads) == 1 else list(model.heads)
        other = bold(3)[2:].to(dtype)
        wanted = read_features(model, layer, other).flatten(1)
        assert wanted.shape == (1, width)
        short, long = (
            Inversion(model, layer, lambda images: images, SIZE, steps=steps) for steps in (1, 100)
        )
        with untouched(model):
            pictures = [batch(one.render(wanted)).to(dtype) for one in (short, long)]
        first, last = (distances(model, layer, wanted, one) for one in pictures)
        assert (last < 0.5 * first).all()

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_gradients_are_switched_on(self, mode: Any) -> None:
        wanted, inversion = TestFound.WANTED, mean_colour(steps=4, start=photographs())
        with mode():
            inside = inversion.render(wanted.clone())
        outside = mean_colour(steps=4, start=photographs()).render(wanted)
        assert torch.equal(batch(inside), batch(outside))


class TestSeeds:
    """A picture follows from its row, start and seed."""

    WANTED = torch.tensor([[0.3, 0.6, 0.5], [0.7, 0.4, 0.45], [0.2, 0.2, 0.3]])

    @pytest.mark.parametrize("start", [None, photographs(3)], ids=["gray", "photographs"])
    @pytest.mark.parametrize("size", [2, None])
    def test_alone_and_in_a_batch(self, start: Tensor | None, size: int | None) -> None:
        inversion = mean_colour(start=start, steps=8, batch_size=size)
        together = batch(inversion.render(self.WANTED, seeds=[5, 6, 7]))
        for row in range(3):
            own = None if start is None else start[row : row + 1]
            single = mean_colour(start=own, steps=8).render(self.WANTED[row : row + 1], 5 + row)
            assert (batch(single)[0] - together[row]).abs().max() <= 1.01 / 255
        again = batch(inversion.render(self.WANTED, seeds=[5, 6, 7]))
        assert torch.equal(again, together)
        other = batch(inversion.render(self.WANTED, seeds=[8, 9, 10]))
        assert ((other - together).abs().amax(dim=(1, 2, 3)) > 0.02).all()

    def test_one_photograph_for_all(self) -> None:
        wanted = self.WANTED[:1].expand(2, -1)
        one, other = mean_colour(start=photographs(1), steps=6).render(wanted)
        assert one == other

    def test_pil_photographs(self) -> None:
        given = rounded(photographs(2))
        bits = (given * 255).round().byte().permute(0, 2, 3, 1).numpy()
        pictures = [Image.fromarray(one) for one in bits]
        made = [
            mean_colour(start=start, steps=4).render(self.WANTED[:2]) for start in (given, pictures)
        ]
        assert torch.equal(batch(made[0]), batch(made[1]))

    def test_progress(self, capsys: pytest.CaptureFixture[str]) -> None:
        mean_colour(steps=5, batch_size=2, show_progress=True).render(self.WANTED)
        assert "Inversion" in (shown := capsys.readouterr().err) and "10/10" in shown
        mean_colour(steps=5).render(self.WANTED)
        assert not capsys.readouterr().err


class TestDistance:
    """Against the formulas, done slowly."""

    MODEL = Convolved(linear).eval()
    PICTURES = photographs(4)
    WANTED = normal(2, 6, seed=3)

    def of(self, **further: Any) -> list[Tensor]:
        head = LinearHead.of(self.MODEL.heads[0])
        distance = Distance(self.MODEL, head, lambda images: images, self.WANTED, **further)
        return [part.detach() for part in distance.to(self.PICTURES)]

    def parts(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.MODEL.heads[0].weight.detach()
        return rows @ weight.T, rows - rows @ weight.T @ torch.linalg.inv(
            weight @ weight.T
        ) @ weight

    def test_parts(self) -> None:
        wanted = self.WANTED.repeat(2, 1)
        found = self.MODEL.features(self.PICTURES).flatten(1).detach()
        seen, null, translated = self.of()
        for part, step, whole in zip(
            (seen, null), self.parts(found - wanted), self.parts(wanted), strict=True
        ):
            slow = step.square().sum(dim=1) / whole.square().sum(dim=1)
            assert torch.allclose(part, slow, rtol=1e-4)
        assert torch.equal(null, translated)

    def test_translated(self) -> None:
        translator = any_translator(6)
        wanted = self.WANTED.repeat(2, 1)
        found = self.MODEL.features(self.PICTURES).flatten(1).detach()
        steps, whole = (
            self.parts(rows)[1] @ translator.weight.T for rows in (found - wanted, wanted)
        )
        slow = steps.square().sum(dim=1) / whole.square().sum(dim=1)
        assert torch.allclose(self.of(translator=translator)[2], slow, rtol=1e-3)

    def test_another_null_space(self) -> None:
        space = NullSpace.from_layer(self.MODEL.heads[0], classes=[1])
        seen = self.of(null_space=space)[0]
        found = self.MODEL.features(self.PICTURES).flatten(1).detach()
        row, wanted = self.MODEL.heads[0].weight.detach()[1], self.WANTED.repeat(2, 1)
        slow = ((found - wanted) @ row).square() / (wanted @ row).square()
        assert torch.allclose(seen, slow, rtol=1e-4)


class TestPriors:
    def test_total_variation(self) -> None:
        images = photographs(2, 5)
        slow = torch.zeros(2)
        for b, y, x in np.ndindex(2, 4, 4):
            here = images[b, :, y, x]
            steps = [images[b, :, y + 1, x] - here, images[b, :, y, x + 1] - here]
            slow[b] += torch.cat(steps).norm() / 16
        assert torch.allclose(total_variation(images), slow, rtol=1e-3)

    def test_shifts_are_each_pictures_own(self) -> None:
        images = photographs(2)
        moved = shifted(images, torch.tensor([[1, -2], [0, 3]]))
        assert torch.equal(moved[0, :, 1, 0], images[0, :, 0, 2])
        assert torch.equal(moved[1, :, 4, 3], images[1, :, 4, 0])

    def test_rounding_lets_gradients_through(self) -> None:
        images = photographs().requires_grad_()
        rounded(images).sum().backward()
        assert torch.equal(images.grad, torch.ones_like(images))
        bits = rounded(images.detach()) * 255
        assert torch.allclose(bits, bits.round(), atol=1e-4)

    def test_degraded(self) -> None:
        images = photographs(2, 16)
        none = torch.zeros_like(images)
        assert torch.equal(degraded(images, 0.0, none), images)
        assert (
            total_variation(degraded(images, 2.0, none)).max() < 0.3 * total_variation(images).min()
        )
        assert degraded(images, 0.0, none + 2.0).max() == 1.0

    def test_an_edit_moves_and_recolours(self) -> None:
        """A picture moved by a whole pixel; and red for what was blue, everywhere."""
        images = photographs(1)
        edits = Edits(images, torch.zeros(1, Edits.DRAWS))
        with torch.no_grad():
            edits.move[0, 2] = 2 / SIZE
        assert torch.allclose(edits()[..., :-1], images[..., 1:], atol=1e-4)
        plain = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, SIZE, SIZE)
        edits = Edits(plain, torch.zeros(1, Edits.DRAWS))
        with torch.no_grad():
            edits.table[0, :, 0, 0, -1] = torch.tensor([1.0, 0.0, -1.0])  # red, green, blue
        assert torch.allclose(edits()[0, :, 3, 3], torch.tensor([1.0, 0.0, 0.0]), atol=1e-4)


class TestDemo:
    """Swaps whose pictures a judge must name that had no part in the search."""

    def test_swaps_of_size(self) -> None:
        swaps = SWAPS.swaps_of("resnet/neck_size", 5)
        pictures = SWAPS.draw(SWAPS.renderer(swaps, "translation", 80), swaps.equivalents)
        found = SWAPS.judge(swaps, pictures, swaps.equivalents)
        assert found["gap"].median() < 0.03
        assert found["donor's factor"].sum() >= 4

    def test_the_start_is_no_solution(self) -> None:
        """The original is searched for, as its equivalent is."""
        model = load_classifier("resnet/neck_color")
        images = sample_scenes(3, 1).images
        features = read_features(model, model.head, images)
        inversion = Inversion(model, "head", lambda x: x, 64, start=images, steps=1)
        pictures = batch(inversion.render(features))
        assert (distances(model, model.head, features, pictures) > 0.1).all()

    @pytest.mark.slow
    @pytest.mark.parametrize("model", ["convnext/neck_color", "resnet/neck_none"])
    def test_the_table(self, model: str) -> None:
        swaps = SWAPS.swaps_of(model, 24)
        inversion = SWAPS.renderer(swaps, "translation", 300)
        swap, original = (
            SWAPS.judge(swaps, SWAPS.draw(inversion, wanted), wanted)
            for wanted in (swaps.equivalents, swaps.features)
        )
        named = swap["donor's factor"].double().mean()
        assert original["own factor"].double().mean() > 0.9
        assert min(swap["close"].double().mean(), original["close"].double().mean()) > 0.9
        assert named < 0.3 if model.endswith("none") else named > 0.6

    @pytest.mark.slow
    def test_the_script(
        self,
        capsys: pytest.CaptureFixture[str],
        tmp_path: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        figure = tmp_path / "swaps.png"
        command = f"invert_swaps.py --count 4 --steps 8 --model resnet/neck_size --output {figure}"
        monkeypatch.setattr("sys.argv", command.split())
        SWAPS.main()
        assert "donor's factor" in capsys.readouterr().out and figure.stat().st_size > 10_000


class Cut(MeanColour):
    """No gradient passes; how, is given."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        if self.way == "no_grad":
            with torch.no_grad():
                return super().forward(images)
        if self.way == "rounds":
            return super().forward((images * 4).round() / 4)
        return super().forward(images.detach() * self.scale)


class Greedy(MeanColour):
    def forward(self, images: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("no memory")


class TestRefusals:
    WANTED = TestFound.WANTED

    @pytest.mark.parametrize(
        ("wanted", "error", "message"),
        [
            (
                WANTED.where(WANTED < 0.7, torch.nan),
                SINGValueError,
                r"NaN or infinity in rows \[1\]",
            ),
            (normal(2, 4, seed=0), SINGValueError, r"of shape \(B, 3\), not empty, got \(2, 4\)"),
            (WANTED[0], SINGValueError, r"of shape \(B, 3\)"),
            (WANTED[:0], SINGValueError, "not empty"),
            (WANTED.long(), SINGTypeError, "floating-point"),
            ([0.1, 0.2, 0.3], SINGTypeError, "floating-point"),
        ],
    )
    def test_wanted(self, wanted: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            mean_colour().render(wanted)

    @pytest.mark.parametrize("seeds", [[1], -1, [0.5, 1]])
    def test_seeds(self, seeds: Any) -> None:
        with pytest.raises(SINGValueError, match="expected seeds one integer from 0, or 2"):
            mean_colour().render(self.WANTED, seeds)

    @pytest.mark.parametrize(
        ("start", "error", "message"),
        [
            (
                photographs(2, 9),
                SINGValueError,
                r"start of shape \(B, 3, 8, 8\) in \[0, 1\], got sh",
            ),
            (photographs(2) * 255, SINGValueError, r"in \[0, 1\], got torch.float32 from 0"),
            (photographs(2) * torch.nan, SINGValueError, "from nan to nan"),
            ((photographs(2) * 255).byte(), SINGValueError, "got torch.uint8"),
            ([Image.new("RGB", (8, 9))], SINGValueError, r"got pictures of \(9, 8\)"),
            ([], SINGValueError, "got none"),
            (["photo.jpg"], SINGTypeError, "start to be PIL images or a tensor, got str"),
        ],
    )
    def test_start(self, start: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            mean_colour(start=start)

    def test_another_number_of_photographs(self) -> None:
        with pytest.raises(
            SINGValueError, match="one photograph, or of 2, one for each row, got 3"
        ):
            mean_colour(start=photographs(3)).render(self.WANTED)

    @pytest.mark.parametrize(
        ("argument", "value", "error", "message"),
        [
            ("steps", 0, SINGValueError, "steps of at least 1, got 0"),
            ("steps", 2.5, SINGTypeError, "steps to be an integer, got 2.5"),
            ("jitter", -1, SINGValueError, "jitter of at least 0, got -1"),
            ("lr", 0.0, SINGValueError, "lr above 0 and finite"),
            ("lr", float("nan"), SINGValueError, "lr above 0 and finite"),
            ("null_weight", -1.0, SINGValueError, "null_weight from 0"),
            ("total_variation", float("inf"), SINGValueError, "total_variation from 0"),
            ("blur", -0.1, SINGValueError, "blur from 0"),
            ("noise", -0.1, SINGValueError, "noise from 0"),
            ("batch_size", 0, SINGValueError, "internal_batch_size of at least 1"),
        ],
    )
    def test_settings(
        self, argument: str, value: float, error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            mean_colour(**{argument: value})

    @pytest.mark.parametrize("size", [1, (8, 0), (8.0, 8)])
    def test_size(self, size: Any) -> None:
        with pytest.raises(SINGValueError, match="size of two integers from 2"):
            Inversion(MeanColour(), "head", lambda images: images, size)

    def test_layer(self) -> None:
        with pytest.raises(SINGNameError, match=r"Its last linear layers are \['head'\]"):
            Inversion(MeanColour(), "fc", lambda images: images, SIZE)

    def test_translators_of_others(self) -> None:
        with pytest.raises(SINGValueError, match="for features of width 3, got 4"):
            mean_colour(translator=any_translator(4))
        translator = any_translator(3)
        translator.facts["model"] = "another"
        mean_colour().check(translator)  # one name is not known
        with pytest.raises(SINGValueError, match="translator for this, got another"):
            mean_colour(name="this", translator=translator)

    @pytest.mark.parametrize("way", ["no_grad", "detaches", "rounds"])
    def test_no_gradient(self, way: str) -> None:
        model = Cut(way)
        inversion = Inversion(model, model.head, lambda images: images, SIZE)
        with (
            untouched(model),
            pytest.raises(SINGRuntimeError, match=r"gradients reach its inputs, got none for pict"),
        ):
            inversion.render(self.WANTED)

    def test_no_memory(self) -> None:
        inversion = Inversion(Greedy(), "head", lambda images: images, SIZE, batch_size=2)
        with pytest.raises(SINGRuntimeError, match="batch_size of pictures that fit the memory"):
            inversion.render(self.WANTED)

    def test_a_width_that_the_model_does_not_use(self) -> None:
        """Two heads of one width: of one tensor or of two, the model says."""
        model = Convolved(linear, linear, apart=True)
        inversion = Inversion(model, list(model.heads), lambda images: images, SIZE)
        with pytest.raises(SINGValueError, match="wanted of width 12, as the model hands its head"):
            inversion.render(normal(1, 6, seed=0))

    def test_what_the_model_refuses(self) -> None:
        model = load_classifier("resnet/neck_color")
        inversion = Inversion(model, "head", lambda images: images, 48)
        with pytest.raises(SINGValueError, match=r"of shape \(B, 3, 64, 64\)"):
            inversion.render(normal(1, 64, seed=0))
