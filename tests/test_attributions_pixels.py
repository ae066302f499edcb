"""Top pixels, correlation, removal and pointing, each against a loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import normal

from captum_sing.attributions import mask_share
from captum_sing.attributions.agreement import overlap, rank_correlation, top_pixels
from captum_sing.attributions.removal import blur, elsewhere, inpaint
from captum_sing.errors import SINGTypeError, SINGValueError


def numbers(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def some_masks(count: int, height: int, width: int, share: float = 0.3) -> Tensor:
    return normal(count, height, width, seed=1) < normal(1, seed=2) * 0 + np.log(share) / 2


class TestAgreement:
    def test_correlation_has_no_opinion_on_constants(self) -> None:
        maps = normal(3, 4, 5, seed=0)
        other = maps.clone()
        other[1] = 2.0
        found = rank_correlation(maps, other)
        assert found[[0, 2]].tolist() == pytest.approx([1.0, 1.0]) and found[1].isnan()
        assert rank_correlation(maps, -maps.exp()).tolist() == pytest.approx([-1.0] * 3)

    def test_top_pixels_are_the_largest(self) -> None:
        maps = normal(4, 5, 6, seed=3)
        masks = top_pixels(maps, 0.2, numbers(4))
        for row, mask in zip(maps, masks, strict=True):
            assert mask.sum() == 6 and row[mask].min() > row[~mask].max()
        assert top_pixels(maps, 0.001, numbers(4)).flatten(1).sum(dim=1).tolist() == [1] * 4

    def test_ties_are_broken_at_random(self) -> None:
        """Two maps of zeros but for one pixel share no more of the others than chance."""
        maps = torch.zeros(200, 10, 10)
        maps[:, 0, 0] = 1.0
        generators = numbers(200)
        first, second = (top_pixels(maps, 0.21, generators) for _ in range(2))
        assert first[:, 0, 0].all() and (first.flatten(1).sum(dim=1) == 21).all()
        shared = (overlap(first, second) * 21 - 1) / 20
        assert float(shared.mean()) == pytest.approx(20 / 99, abs=0.02)

    def test_overlap_of_unrelated_maps_is_chance(self) -> None:
        one, other = (top_pixels(normal(300, 12, 12, seed=s), 0.25, numbers(300)) for s in (4, 5))
        assert float(overlap(one, other).mean()) == pytest.approx(0.25, abs=0.01)
        assert (overlap(one, one) == 1).all()


class TestRemoval:
    def test_blur(self) -> None:
        """A weighted mean of the pixels around, mirrored at the edges."""
        images, masks = normal(2, 3, 12, 16, seed=6), some_masks(2, 12, 16)
        found = blur(images, masks)
        assert torch.equal(found[:, :, ~masks[0] & ~masks[1]], images[:, :, ~masks[0] & ~masks[1]])
        sigma, reach = 12 / 8, 4
        weights = [math.exp(-(d**2) / (2 * sigma**2)) for d in range(-reach, reach + 1)]
        mirrored = np.pad(images[1, 2].numpy(), reach, mode="reflect")
        for y, x in masks[1].nonzero().tolist()[:20]:
            total = sum(
                weights[a] * weights[b] * mirrored[y + a, x + b]
                for a in range(2 * reach + 1)
                for b in range(2 * reach + 1)
            )
            assert float(found[1, 2, y, x]) == pytest.approx(total / sum(weights) ** 2, abs=1e-5)

    def test_inpaint(self) -> None:
        """Each pixel of the hole is the mean of its neighbours inside the image, by iteration."""
        images, masks = normal(2, 3, 7, 9, seed=7), some_masks(2, 7, 9)
        masks[0, :3, :4] = True  # a corner
        found = inpaint(images, masks)
        for image, mask, filled in zip(images.double(), masks, found, strict=True):
            slow = image.clone()
            for _ in range(3000):
                before = slow.clone()
                for y, x in mask.nonzero().tolist():
                    around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                    around = [(a, b) for a, b in around if 0 <= a < 7 and 0 <= b < 9]
                    slow[:, y, x] = sum(slow[:, a, b] for a, b in around) / len(around)
                if (slow - before).abs().max() < 1e-9:
                    break
            assert torch.allclose(filled.double(), slow, atol=1e-5)
            assert torch.equal(filled[:, ~mask], image[:, ~mask].float())
            assert not torch.allclose(filled[:, mask].double(), image[:, mask])

    def test_inpaint_forgets_what_was_there(self) -> None:
        """A ramp is harmonic: it comes back exactly, whatever stood in the hole."""
        ramp = torch.arange(8.0).expand(1, 2, 8, 8).clone()
        mask = torch.zeros(1, 8, 8, dtype=torch.bool)
        mask[:, 2:6, 2:6] = True
        spoilt = torch.where(mask[:, None], 100.0, ramp)
        assert torch.allclose(inpaint(spoilt, mask), ramp, atol=1e-5)
        assert blur(spoilt, mask)[0, 0, 3, 3] > 20  # a blur does not

    def test_nothing_and_everything(self) -> None:
        images = normal(2, 3, 5, 5, seed=8)
        none = torch.zeros(2, 5, 5, dtype=torch.bool)
        for removal in (blur, inpaint):
            assert torch.equal(removal(images, none), images)
            assert removal(images.half(), ~none).dtype == torch.float16
        mean = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
        assert torch.allclose(inpaint(images, ~none), mean, atol=1e-6)

    def test_elsewhere_keeps_the_form(self) -> None:
        masks = some_masks(50, 6, 7)
        moved = elsewhere(masks, numbers(50))
        steps = set()
        for one, other in zip(masks, moved, strict=True):
            ways = [
                (y, x)
                for y in range(6)
                for x in range(7)
                if torch.equal(one.roll((y, x), dims=(0, 1)), other)
            ]
            assert ways and (0, 0) not in ways
            steps |= set(ways)
        assert len(steps) > 20


class TestMaskShare:
    def test_against_a_loop(self) -> None:
        maps = normal(4, 5, 6, seed=9)
        masks = normal(4, 5, 6, seed=10).sigmoid()
        found = mask_share(maps, masks)
        for i in range(4):
            inside = outside = area = 0.0
            for value, share in zip(maps[i].flatten(), masks[i].flatten(), strict=True):
                inside += max(float(value), 0.0) * float(share)
                outside += max(float(value), 0.0) * (1 - float(share))
                area += float(share)
            concentration = inside / (inside + outside) / (area / 30)
            density = (inside / area) / (outside / (30 - area))
            assert float(found.concentration[i]) == pytest.approx(concentration, rel=1e-5)
            assert float(found.density[i]) == pytest.approx(density, rel=1e-5)

    def test_its_bounds(self) -> None:
        masks = torch.zeros(1, 4, 5, dtype=torch.bool)
        masks[0, 1, 1:3] = True
        uniform = mask_share(torch.full((1, 4, 5), 3.0), masks)
        assert uniform.concentration.item() == uniform.density.item() == 1.0
        within = mask_share(masks.float() - 2 * (~masks).float(), masks)
        assert within.concentration.item() == 10.0 and within.density.item() == math.inf
        assert mask_share((~masks).float(), masks).concentration.item() == 0.0

    def test_nothing_is_known(self) -> None:
        maps, masks = torch.ones(1, 2, 2), torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
        for one, mask in ((-maps, masks), (maps, masks * 0), (maps, masks * 0 + 1)):
            assert all(value.isnan().all() for value in mask_share(one, mask))

    @pytest.mark.parametrize(
        ("maps", "masks", "message"),
        [
            (torch.ones(2, 3), torch.ones(2, 3), r"maps finite, of one shape \(B, H, W\)"),
            (torch.ones(1, 2, 3), torch.ones(1, 3, 2), r"\(1, 2, 3\) and \(1, 3, 2\)"),
            (torch.full((1, 2, 2), torch.nan), torch.ones(1, 2, 2), "maps finite.*NaN"),
            (torch.ones(1, 2, 2), torch.full((1, 2, 2), torch.nan), "masks finite.*NaN"),
            (torch.ones(1, 2, 2), torch.full((1, 2, 2), 255.0), r"masks in \[0, 1\], got \[255"),
        ],
    )
    def test_refusals(self, maps: Tensor, masks: Tensor, message: str) -> None:
        with pytest.raises(SINGValueError, match=message):
            mask_share(maps, masks)

    def test_no_tensors(self) -> None:
        with pytest.raises(SINGTypeError, match="maps to be a tensor, got ndarray"):
            mask_share(np.ones((1, 2, 2)), torch.ones(1, 2, 2))
        with pytest.raises(SINGTypeError, match="masks to be a tensor, got list"):
            mask_share(torch.ones(1, 2, 2), [1])
