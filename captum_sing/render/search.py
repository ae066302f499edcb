"""The search for pictures by gradient: from a start to the nearest that 8 bits can hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.render.distance import Distance
from captum_sing.render.priors import Edits, clamped, degraded, rounded, shifted, total_variation

__all__ = ["Settings", "find_pictures"]

_WHERE = "Inversion"
_RESTARTS = 4  # recolourings stand in each other's way: red meets purple before it is blue
_COARSEST = 8  # side of the first grid
_FINDING, _FINISHING = 3.0, 60.0  # weights of the seen part
_NEAR = 3.0  # weight of the mean squared change by finishing
_EXACT = 0.5  # the share of finishing after which nothing is shifted and 8 bits are seen
_TABLE, _MOVE, _PIXELS = 2.5, 1.0, 0.2  # shares of the learning rate


@dataclass(frozen=True)
class Settings:
    """How pictures are searched for; see :class:`captum_sing.render.inversion.Inversion`."""

    steps: int
    lr: float
    null_weight: float
    total_variation: float
    jitter: int
    blur: float
    noise: float

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("jitter", 0)):
            value = getattr(self, name)
            if not isinstance(value, int):
                raise SINGTypeError(
                    expected(_WHERE, name, "to be an integer", repr(value), "Give a whole number")
                )
            if value < least:
                raise _odd(name, f"of at least {least}", value)
        if not 0.0 < self.lr < float("inf"):
            raise _odd("lr", "above 0 and finite", self.lr)
        for name in ("null_weight", "total_variation", "blur", "noise"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise _odd(name, "from 0 and finite", getattr(self, name))


def _odd(name: str, constraint: str, value: float) -> SINGValueError:
    return SINGValueError(expected(_WHERE, name, constraint, value, "Choose another value"))


def find_pictures(
    distance: Distance,
    start: Tensor | None,
    size: tuple[int, int],
    seeds: Sequence[int],
    settings: Settings,
    tick: Callable[[], Any],
) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1], as 8 bits hold them, one for each wanted row.

    Args:
        distance (Distance): to what is wanted.
        start (Tensor or None): photographs, shape (B, 3, H, W), or one for all; None for gray.
        size (tuple of int): H and W.
        seeds (sequence of int): B of them.
        settings (Settings): how.
        tick (callable): called after each step.
    """
    device, finding = distance.wanted.device, settings.steps // 2
    noise, draws, offsets = (torch.stack(one).to(device) for one in _drawn(seeds, size, settings))
    noise = settings.noise * noise
    if start is None:
        begun = (0.5 + noise).clamp(0.0, 1.0)
    else:
        photographs = start.to(device, torch.float32).expand_as(noise)
        begun = degraded(photographs, settings.blur * min(size) / 64, noise)
    distance.check_gradient(begun)
    if not finding:
        found = begun
    elif start is None:
        found = _refine(distance, begun, offsets[:, :finding], settings, tick)
    else:
        found = _edit(distance, begun, draws, offsets[:, :finding], settings, tick)
    return _finish(distance, found, offsets[:, finding:], settings, tick)


def _drawn(
    seeds: Sequence[int], size: tuple[int, int], settings: Settings
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """What is random of each picture, from its own generator."""
    noise, draws, offsets = [], [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        noise.append(torch.randn(3, *size, generator=generator))
        draws.append(torch.randn(_RESTARTS, Edits.DRAWS, generator=generator))
        draws[-1][0] = 0.0  # as it is
        reach = (-settings.jitter, settings.jitter + 1)
        offsets.append(torch.randint(*reach, (settings.steps, 2), generator=generator))
    return noise, draws, offsets


def _edit(
    distance: Distance,
    begun: Tensor,
    draws: Tensor,
    offsets: Tensor,
    settings: Settings,
    tick: Callable[[], Any],
) -> Tensor:
    """The best of a few beginnings, moved and recoloured."""
    count, steps = len(begun), offsets.shape[1]
    short = steps // 4
    edits = Edits(begun.repeat(_RESTARTS, 1, 1, 1), draws.transpose(0, 1).flatten(0, 1))

    def descend(edits: Edits, steps: range, fading: bool) -> Tensor:
        optimizer = torch.optim.Adam(
            [{"params": [edits.table]}, {"params": [edits.move]}], lr=settings.lr
        )
        loss = begun.new_zeros(len(edits.pictures))
        for step in steps:
            pace = _fading(step - steps.start, len(steps)) if fading else 1.0
            for group, share in zip(optimizer.param_groups, (_TABLE, _MOVE), strict=True):
                group["lr"] = settings.lr * share * pace
            edited = edits()
            moved = shifted(edited, offsets[:, step].repeat(len(edited) // count, 1))
            seen, _, ignored = distance.to(moved)
            loss = _FINDING * seen + settings.null_weight * ignored + edits.cost()
            _step(optimizer, loss, [edits.table, edits.move])
            tick()
        return loss.detach()

    losses = descend(edits, range(short), fading=False).view(_RESTARTS, count)
    rows = losses.argmin(dim=0) * count + torch.arange(count, device=losses.device)
    edits = edits.choose(rows)
    descend(edits, range(short, steps), fading=True)

    @torch.no_grad()
    def loss_of(pictures: Tensor) -> Tensor:
        seen, _, ignored = distance.to(pictures)
        return _FINDING * seen + settings.null_weight * ignored

    better = loss_of(edits()) < loss_of(begun)
    return torch.where(better[:, None, None, None], edits().detach(), begun)


def _refine(
    distance: Distance,
    begun: Tensor,
    offsets: Tensor,
    settings: Settings,
    tick: Callable[[], Any],
) -> Tensor:
    """A grid of pixels, each finer than the last."""
    size, steps = begun.shape[2:], offsets.shape[1]
    factors = [1]
    while min(size) // (2 * factors[0]) >= _COARSEST:
        factors.insert(0, 2 * factors[0])
    bounds = [round(steps * level / len(factors)) for level in range(len(factors) + 1)]
    for factor, first, last in zip(factors, bounds[:-1], bounds[1:], strict=True):
        sides = [-(-side // factor) for side in size]
        grid = begun.new_zeros(len(begun), 3, *sides, requires_grad=True)
        optimizer = torch.optim.Adam([grid], lr=settings.lr)
        for step in range(first, last):
            optimizer.param_groups[0]["lr"] = settings.lr * _fading(step - first, last - first)
            change = F.interpolate(grid, list(size), mode="bilinear", align_corners=False)
            pictures = clamped(begun + change)
            seen, _, ignored = distance.to(shifted(pictures, offsets[:, step]))
            loss = _FINDING * seen + settings.null_weight * ignored
            loss = loss + settings.total_variation * total_variation(pictures)
            _step(optimizer, loss, [grid])
            tick()
        with torch.no_grad():
            change = F.interpolate(grid, list(size), mode="bilinear", align_corners=False)
            begun = (begun + change).clamp(0.0, 1.0)
    return begun


def _finish(
    distance: Distance,
    found: Tensor,
    offsets: Tensor,
    settings: Settings,
    tick: Callable[[], Any],
) -> Tensor:
    """Single pixels near to what was found; the best picture of 8 bits."""
    steps = offsets.shape[1]
    exact = min(int(_EXACT * steps), steps - 1)
    change = torch.zeros_like(found, requires_grad=True)
    optimizer = torch.optim.Adam([change], lr=settings.lr * _PIXELS)
    best = found.new_full((len(found),), float("inf"))
    result = found
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = settings.lr * _PIXELS * _fading(step, steps)
        pictures = found + change
        shown = rounded(pictures) if step >= exact else shifted(pictures, offsets[:, step])
        seen, null, ignored = distance.to(shown)
        asked = _FINISHING * seen + settings.null_weight * (null + ignored) / 2
        loss = asked + settings.total_variation * total_variation(pictures)
        loss = loss + _NEAR * change.square().mean(dim=(1, 2, 3))
        if step >= exact:
            better = asked.detach() < best
            best = torch.where(better, asked.detach(), best)
            result = torch.where(better[:, None, None, None], shown.detach(), result)
        _step(optimizer, loss, [change])
        with torch.no_grad():
            change.copy_((found + change).clamp(0.0, 1.0) - found)
        tick()
    return result


def _fading(step: int, steps: int) -> float:
    """From 1 down to near 0."""
    return 1.0 - 0.95 * step / steps


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, variables: list[Tensor]) -> None:
    """By the gradients of these alone: the model's parameters get none."""
    gradients = torch.autograd.grad(loss.sum(), variables)
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.grad = gradient
    optimizer.step()
