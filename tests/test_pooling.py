"""The pooled map is found by what models do, however they are written, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from toys import IMAGES, normal, untouched

from captum_sing.errors import SINGRuntimeError, SINGValueError
from captum_sing.pooling import Pooling, find_pooling, recorded

WIDTH = 6


class Body(nn.Module):
    """A map of 4 x 4 positions, which ``pool`` makes into what the head reads."""

    def __init__(self, pool: Callable[..., Tensor], *tail: nn.Module, width: int = WIDTH) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, WIDTH, 2, stride=2)
        self.pool = pool
        self.tail = nn.ModuleList(tail)
        self.head = nn.Linear(width, 4)
        for norm in (one for one in tail if not isinstance(one, (nn.Linear, nn.Conv2d))):
            for value in (*norm.parameters(), *norm.buffers()):
                if value.is_floating_point():
                    nn.init.uniform_(value, 0.5, 1.5)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self, self.conv(images)))


def search(model: Body, images: Tensor = IMAGES, layer: nn.Module | None = None) -> Pooling:
    with torch.no_grad(), untouched(model):
        return find_pooling(model, model.head, lambda: model(images[:1]), layer)


def split(model: Body, pooling: Pooling, images: Tensor = IMAGES) -> tuple[Tensor, Tensor]:
    """Each position's feature, and what the head reads."""
    with torch.no_grad(), recorded({pooling.module, model.head}) as calls:
        model(images)
    read = next(call.received for call in calls if call.module is model.head)
    return pooling.features(calls, model.head), read.flatten(1)


def tokens(model: Body, maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


class Tokens(nn.Module):
    """Tokens of a map behind some others, as a module returns them."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.before = before

    def forward(self, maps: Tensor) -> Tensor:
        rows = maps.flatten(2).transpose(1, 2)
        return torch.cat([4 * rows[:, : self.before].square() + 1, rows], dim=1)


class Scaled(nn.BatchNorm1d):
    """A BatchNorm by its type, which bends."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features).relu()


def chained(*names: int) -> Callable[[Body, Tensor], Tensor]:
    """The mean, then layers of the tail."""

    def pool(model: Body, maps: Tensor) -> Tensor:
        mean = maps.mean(dim=(2, 3))
        for i in names:
            mean = model.tail[i](mean)
        return mean

    return pool


POOLS: dict[str, tuple[Callable[[], Body], int]] = {
    "a mean": (lambda: Body(lambda _, m: m.mean(dim=(2, 3))), 0),
    "flattened": (lambda: Body(lambda _, m: functional.adaptive_avg_pool2d(m, 1).flatten(1)), 0),
    "relu in place": (lambda: Body(lambda _, m: functional.relu_(m).mean(dim=(2, 3))), 0),
    "an input": (lambda: Body(lambda s, m: s.tail[0](m.relu()).flatten(1), nn.AvgPool2d(4)), 0),
    "linear": (lambda: Body(chained(0), nn.Linear(WIDTH, WIDTH)), 1),
    "batch norm": (lambda: Body(chained(0), nn.BatchNorm1d(WIDTH)), 1),
    "layer norm": (lambda: Body(chained(0), nn.LayerNorm(WIDTH)), 1),
    "plain norm": (lambda: Body(chained(0), nn.LayerNorm(WIDTH, elementwise_affine=False)), 1),
    "neck, norms, dropout": (
        lambda: Body(
            chained(0, 1, 2, 3, 4),
            nn.Linear(WIDTH, 9, bias=False),
            nn.BatchNorm1d(9, affine=False),
            nn.Dropout(0.5),
            nn.LayerNorm(9),
            nn.Linear(9, WIDTH),
        ),
        4,
    ),
    "1x1 convolution": (
        lambda: Body(
            lambda s, m: s.tail[0](m.mean((2, 3), keepdim=True)).flatten(1),
            nn.Conv2d(WIDTH, WIDTH, 1),
        ),
        1,
    ),
    "class token left out": (lambda: Body(lambda s, m: s.tail[0](m)[:, 1:].mean(1), Tokens(1)), 0),
    "registers left out": (lambda: Body(lambda s, m: s.tail[0](m)[:, 5:].mean(1), Tokens(5)), 0),
    "channels last": (
        lambda: Body(
            lambda s, m: s.tail[0](m.permute(0, 2, 3, 1)).mean((1, 2)), nn.LayerNorm(WIDTH)
        ),
        0,
    ),
}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_features_of_positions_have_the_feature_as_their_mean(name: str, dtype: Any) -> None:
    build, steps = POOLS[name]
    model, images = build().to(dtype), IMAGES.to(dtype)
    pooling = search(model, images)
    features, read = split(model, pooling, images)
    assert pooling.grid == (4, 4) and len(pooling.tail) == steps
    assert features.shape == (5, 16, read.shape[1]) and features.dtype == torch.float64
    rounding = max(16 * torch.finfo(dtype).eps, 1e-9)
    assert (features.mean(dim=1) - read).norm() <= rounding * features.norm() / 4
    assert features.std(dim=1).min() > 1e-3


def test_layouts_and_places_are_told_apart() -> None:
    by = {name: search(build()) for name, (build, _) in POOLS.items()}
    assert by["a mean"].channels == 1 and by["channels last"].channels == -1
    assert isinstance(by["channels last"].module, nn.LayerNorm)  # the map, and no step behind it
    assert by["an input"].of_input and isinstance(by["an input"].module, nn.AvgPool2d)
    assert not by["relu in place"].of_input and isinstance(by["relu in place"].module, nn.Conv2d)
    assert by["class token left out"].skipped == 1 and by["registers left out"].skipped == 5


def test_a_map_with_as_many_channels_as_columns_is_read_the_right_way() -> None:
    model = Body(lambda _, m: m.mean(dim=(2, 3)), width=WIDTH)
    images = normal(2, 3, 2 * WIDTH, 2 * WIDTH, seed=1)
    assert search(model, images).channels == 1


def test_the_call_that_is_pooled_is_found() -> None:
    def twice(model: Body, maps: Tensor) -> Tensor:
        first = model.tail[0](maps)
        model.tail[0](first + 1)
        return first.mean(dim=(2, 3))

    model = Body(twice, nn.Conv2d(WIDTH, WIDTH, 1))
    pooling = search(model)
    assert pooling.module is model.tail[0] and pooling.number == 0
    split(model, pooling)


def test_tokens_lie_as_the_convolution_or_the_images_do() -> None:
    pool = lambda s, m: s.tail[0](m).mean(dim=1)  # noqa: E731
    wide = normal(2, 3, 4, 16, seed=1)
    assert search(Body(pool, Tokens(0)), wide).grid == (2, 8)

    def halved(model: Body, maps: Tensor) -> Tensor:  # no convolution makes these
        return model.tail[0](functional.avg_pool2d(maps, 2)).mean(dim=1)

    assert search(Body(halved, Tokens(0)), normal(2, 3, 8, 16, seed=1)).grid == (2, 4)

    def mixed(model: Body, maps: Tensor) -> Tensor:  # a convolution over a column of tokens
        column = model.tail[1](maps.flatten(2).unsqueeze(3)).flatten(2).unflatten(2, (4, 4))
        return model.tail[0](column).mean(dim=1)

    body = Body(mixed, Tokens(0), nn.Conv2d(WIDTH, WIDTH, (3, 1), padding=(1, 0)))
    assert search(body).grid == (4, 4)


def test_in_half_precision_the_tokens_that_fit_best_are_those_that_are_pooled() -> None:
    """One token among so many moves their mean by less than bfloat16 may round it."""

    class Near(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            rows = maps.flatten(2).transpose(1, 2)
            return torch.cat([1.15 * rows.mean(dim=1, keepdim=True), rows], dim=1)

    model = Body(lambda s, m: s.tail[0](m)[:, 1:].mean(dim=1), Near()).bfloat16()
    assert search(model, IMAGES.bfloat16()).skipped == 1


TAKEN_APART = "through affine layers alone, got "
REFUSED: dict[str, tuple[Callable[[], Body], str]] = {
    "class token": (
        lambda: Body(lambda s, m: s.tail[0](m)[:, 0], Tokens(1)),
        TAKEN_APART + r"token 0 of tail.0 \(Tokens\), a class token. Use a gradient method",
    ),
    "class token behind a norm": (
        lambda: Body(lambda s, m: s.tail[1](s.tail[0](m)[:, 0]), Tokens(1), nn.LayerNorm(WIDTH)),
        "a class token",
    ),
    "all tokens": (
        lambda: Body(lambda s, m: s.tail[0](m).mean(dim=1), Tokens(1)),
        "of the images' proportions, got 17 tokens, class or register tokens pooled along",
    ),
    "tokens on no grid": (
        lambda: Body(lambda s, m: s.tail[0](m[..., 0, :3]).mean(dim=1), Tokens(0)),
        "of the images' proportions, got 3 tokens. Use a gradient",
    ),
    "activation": (
        lambda: Body(lambda s, m: s.tail[0](m.mean((2, 3))), nn.Hardswish()),
        TAKEN_APART + r"what tail.0 \(Hardswish\) makes",
    ),
    "activation in place": (
        lambda: Body(
            lambda s, m: s.tail[1](s.tail[0](m.mean((2, 3)))),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(inplace=True),
        ),
        TAKEN_APART + r"what tail.1 \(ReLU\) makes",
    ),
    "affine by name alone": (
        lambda: Body(chained(0), Scaled(WIDTH)),
        TAKEN_APART + r"what tail.0 \(Scaled\) makes",
    ),
    "group norm": (
        lambda: Body(lambda s, m: s.tail[0](m.mean((2, 3))), nn.GroupNorm(2, WIDTH)),
        TAKEN_APART + r"what tail.0 \(GroupNorm\) makes",
    ),
    "maximum": (
        lambda: Body(lambda s, m: s.tail[0](m), nn.Sequential(nn.MaxPool2d(4), nn.Flatten())),
        TAKEN_APART + r"what tail.0.0 \(MaxPool2d\) makes.*pass larger images",
    ),
    "two pools": (
        lambda: Body(
            lambda _, m: torch.cat([m.mean((2, 3)), m.amax((2, 3))], dim=1), width=2 * WIDTH
        ),
        TAKEN_APART + "what no module returns",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_mean_is_refused(name: str) -> None:
    build, message = REFUSED[name]
    with pytest.raises(SINGValueError, match=message):
        search(build())


def test_a_layer_that_is_named_has_to_have_the_map() -> None:
    model = Body(lambda s, m: s.tail[0](m).mean((2, 3)), nn.Conv2d(WIDTH, WIDTH, 1))
    assert search(model, layer=model.tail[0]).module is model.tail[0]
    with pytest.raises(SINGValueError, match=r"got another place than conv \(Conv2d\). Leave"):
        search(model, layer=model.conv)


def test_images_that_go_another_way_are_found_out() -> None:
    def pool(_: Body, maps: Tensor) -> Tensor:
        return maps.mean((2, 3)) if len(maps) == 1 else maps.amax((2, 3))

    model = Body(pool)
    pooling = search(model)
    split(model, pooling, IMAGES[:1])
    with pytest.raises(SINGRuntimeError, match="that all go the same way .* what Conv2d has"):
        split(model, pooling)
    with pytest.raises(SINGRuntimeError, match="that all go the same way"):
        split(model, pooling, IMAGES[:1, :, :6])  # another grid


def test_nothing_is_left_after_an_error() -> None:
    model = Body(lambda _, m: m.no_such_thing)
    with untouched(model), pytest.raises(AttributeError), recorded(model.modules()):
        model(IMAGES)
