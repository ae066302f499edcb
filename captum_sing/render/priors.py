"""What keeps a picture found by gradient a picture: few ways to change it, and smoothness."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Edits", "clamped", "degraded", "rounded", "shifted", "total_variation"]

TABLE = 3
"""Values of red, green and blue at which an edit says what becomes of a colour."""

_SPREADS = (0.3, 0.1, 0.03, 0.1, 0.1)  # of random edits: colour, log zoom, turn, moves


class Edits:
    r"""Ways of changing a whole picture that leave it the picture of something: moved, recoloured.

    Each picture is zoomed, turned and moved as a whole, and then every colour is replaced by
    another, the same wherever it occurs, by interpolation in a table over red, green and blue. So
    few numbers (85 a picture) cannot hold the patterns that features can be reached by and eyes
    cannot see. Geometric edits are those of Engstrom et al. (ICML 2019), one function of colour for
    all pixels is that of Laidlaw and Feizi (NeurIPS 2019), both once meant to deceive a network.

    Args:
        pictures (Tensor): shape (B, 3, H, W), in [0, 1].
        draws (Tensor): what it starts from, standard normal numbers, shape (B, :attr:`DRAWS`);
            zeros for no change.

    Example::

        >>> pictures = torch.rand(2, 3, 8, 8)
        >>> edits = Edits(pictures, torch.zeros(2, Edits.DRAWS))
        >>> torch.allclose(edits(), pictures, atol=1e-5)
        True
    """

    DRAWS = 3 * 2**3 + 4

    def __init__(self, pictures: Tensor, draws: Tensor) -> None:
        self.pictures = pictures
        corners, move = draws[:, :-4].reshape(-1, 3, 2, 2, 2), draws[:, -4:]
        table = F.interpolate(corners, (TABLE,) * 3, mode="trilinear", align_corners=True)
        self.table = (_SPREADS[0] * table).requires_grad_()
        self.move = (move * move.new_tensor(_SPREADS[1:])).requires_grad_()

    def __call__(self) -> Tensor:
        """The edited pictures, shape (B, 3, H, W), in [0, 1]."""
        zoom, turn, across, down = self.move.unbind(dim=1)
        cos, sin = turn.cos() / zoom.exp(), turn.sin() / zoom.exp()
        rows = (torch.stack([cos, -sin, across], 1), torch.stack([sin, cos, down], 1))
        grid = F.affine_grid(torch.stack(rows, 1), list(self.pictures.shape), align_corners=False)
        moved = F.grid_sample(self.pictures, grid, padding_mode="border", align_corners=False)
        colours = (2 * moved - 1).permute(0, 2, 3, 1)[:, None]
        change = F.grid_sample(self.table, colours.flip(-1), align_corners=True)
        return clamped(moved + change[:, :, 0])

    def cost(self) -> Tensor:
        """How much is changed, shape (B,): a whole recolouring counts as little as a small move."""
        return 0.03 * self.table.square().mean(dim=(1, 2, 3, 4)) + self.move.square().sum(dim=1)

    def choose(self, rows: Tensor) -> Edits:
        """Those of some pictures alone, by row."""
        chosen = Edits(self.pictures[rows], self.pictures.new_zeros(len(rows), self.DRAWS))
        chosen.table = self.table.detach()[rows].requires_grad_()
        chosen.move = self.move.detach()[rows].requires_grad_()
        return chosen


def total_variation(pictures: Tensor) -> Tensor:
    """The mean length of the gradient over pixels, all colours together, shape (B,).

    Example::

        >>> step = torch.zeros(1, 3, 4, 5)
        >>> step[..., 2:] = 1.0
        >>> round(total_variation(step).item(), 3)  # 3^0.5 at one in four
        0.434
    """
    across = pictures[..., :-1, 1:] - pictures[..., :-1, :-1]
    down = pictures[..., 1:, :-1] - pictures[..., :-1, :-1]
    return (across.square().sum(dim=1) + down.square().sum(dim=1) + 1e-6).sqrt().mean(dim=(1, 2))


def shifted(pictures: Tensor, offsets: Tensor) -> Tensor:
    """Each picture moved by its own offsets (B, 2), in pixels down and across, round the edges."""
    moved = [
        one.roll((down, across), dims=(1, 2))
        for one, (down, across) in zip(pictures, offsets.tolist(), strict=True)
    ]
    return torch.stack(moved)


def clamped(pictures: Tensor) -> Tensor:
    """In [0, 1], with the gradient of what was given."""
    return pictures + (pictures.clamp(0.0, 1.0) - pictures).detach()


def rounded(pictures: Tensor) -> Tensor:
    """As 8 bits hold them, with the gradient of what was given.

    Example::

        >>> rounded(torch.tensor([0.001, 0.999])).tolist()
        [0.0, 1.0]
    """
    return pictures + ((pictures * 255).round() / 255 - pictures).detach()


def degraded(pictures: Tensor, blur: float, noise: Tensor) -> Tensor:
    """Blurred by a Gaussian of ``blur`` pixels, then with noise, in [0, 1].

    Args:
        pictures (Tensor): shape (B, 3, H, W), in [0, 1].
        blur (float): standard deviation in pixels; 0 for none.
        noise (Tensor): added, of the same shape.
    """
    if blur:
        from torchvision.transforms.functional import gaussian_blur

        least = 2 * ((min(pictures.shape[2:]) - 1) // 2) + 1  # a kernel reflects at the edges
        kernel = min(2 * round(3 * blur) + 1, least)
        pictures = gaussian_blur(pictures, [kernel, kernel], [blur, blur])
    return (pictures + noise).clamp(0.0, 1.0)
