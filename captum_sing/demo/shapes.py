"""Silhouettes and textures as analytic distance functions, in units of the shape's radius.

Each function takes coordinates ``x`` (right) and ``y`` (up) of equal shape, in which the shape has
radius one, and returns the signed distance to its outline: negative inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]


def _circle(x: Tensor, y: Tensor) -> Tensor:
    return torch.hypot(x, y) - 0.95


def _square(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.82


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    slanted = 0.5 * math.sqrt(3.0) * x.abs() + 0.5 * y
    return torch.maximum(slanted, -y) - 0.58


def _star(x: Tensor, y: Tensor) -> Tensor:
    sector = 2 * math.pi / 5
    angle = torch.remainder(torch.atan2(x, y) + sector / 2, sector) - sector / 2
    radius = torch.hypot(x, y)
    along, across = radius * angle.cos(), radius * angle.sin().abs()
    tip, notch = 1.15, 0.48  # the outline is the straight line from a tip to the next notch
    dx, dy = notch * math.cos(sector / 2) - tip, notch * math.sin(sector / 2)
    return ((along - tip) * dy - across * dx) / math.hypot(dx, dy)


def _cross(x: Tensor, y: Tensor) -> Tensor:
    far, near = torch.maximum(x.abs(), y.abs()), torch.minimum(x.abs(), y.abs())
    return torch.maximum(far - 1.0, near - 0.3)


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return (torch.hypot(x, y) - 0.78).abs() - 0.22


def _heart(x: Tensor, y: Tensor) -> Tensor:
    side = 0.62  # half the side of a square on its tip, with a half disc on each upper edge
    y = y + 0.12
    tilted = (x.abs() + y.abs()) / math.sqrt(2.0) - side
    lobes = torch.hypot(x.abs() - side / math.sqrt(2.0), y - side / math.sqrt(2.0)) - side
    return torch.minimum(tilted, lobes)


def _crescent(x: Tensor, y: Tensor) -> Tensor:
    bite = torch.hypot(x - 0.5, y) - 0.72
    return torch.maximum(torch.hypot(x, y) - 1.0, -bite)


SHAPES: dict[str, Distance] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
    "crescent": _crescent,
}


def _solid(u: Tensor, v: Tensor) -> Tensor:
    return torch.full_like(u, -4.0)


def _striped(u: Tensor, v: Tensor) -> Tensor:
    return (torch.remainder(v, 7.0) - 3.5).abs() - 1.75


def _checkered(u: Tensor, v: Tensor) -> Tensor:
    wave = torch.sin(math.pi * u / 5.5) * torch.sin(math.pi * v / 5.5)
    return 4.0 * wave


def _dotted(u: Tensor, v: Tensor) -> Tensor:
    du, dv = torch.remainder(u, 7.0) - 3.5, torch.remainder(v, 7.0) - 3.5
    return 2.1 - torch.hypot(du, dv)


TEXTURES: dict[str, Distance] = {
    "solid": _solid,
    "striped": _striped,
    "checkered": _checkered,
    "dotted": _dotted,
}
"""Textures live in pixels, not radii: a large shape shows more stripes. Positive is dark."""


def coverage(distance: Tensor) -> Tensor:
    """Share of a pixel inside an outline, from the signed distance in pixels (anti-aliasing)."""
    return (0.5 - distance).clamp(0.0, 1.0)
