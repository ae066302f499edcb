"""Mosaics hold four scenes of one shape, and their masks lie where each cell's value is seen."""

from __future__ import annotations

import pytest
import torch

from captum_sing.demo import load_classifier, sample_mosaics
from captum_sing.demo.mosaics import MOSAIC_FACTORS
from captum_sing.demo.scenes import FACTORS
from captum_sing.errors import SINGNameError, SINGValueError


@pytest.mark.parametrize("factor", MOSAIC_FACTORS)
def test_four_values_one_shape_and_a_mask_in_each_cell(factor: str) -> None:
    mosaics = sample_mosaics(20, 3, factor)
    assert mosaics.images.shape == (20, 3, 128, 128) and len(mosaics) == 20
    assert all(len({mosaics.word(i, cell) for cell in range(4)}) == 4 for i in range(20))
    assert mosaics.shapes.unique().numel() > 1
    cells = mosaics.masks.unflatten(2, (2, 64)).unflatten(4, (2, 64)).mean(dim=(3, 5))
    inside = cells.flatten(2).diagonal(dim1=1, dim2=2)
    assert torch.allclose(cells.sum(dim=(2, 3)), inside)  # nothing outside its own cell
    share = inside.mean()
    assert 0.75 < share < 0.95 if factor == "background" else 0.05 < share < 0.25


def test_masks_cover_the_value_that_they_are_of() -> None:
    """The mean colour under a background's mask is that background's, and no other's."""
    mosaics = sample_mosaics(10, 4, "background")
    grounds = {}
    for index in range(10):
        for cell in range(4):
            mask = mosaics.masks[index, cell] > 0.99
            mean = mosaics.images[index][:, mask].mean(dim=1)
            grounds.setdefault(mosaics.word(index, cell), []).append(mean)
    means = {word: torch.stack(found) for word, found in grounds.items()}
    assert all(found.std(dim=0).max() < 0.05 for found in means.values())
    assert means["navy"].mean(dim=0)[2] > 0.25 > means["black"].mean(dim=0).max()


def test_the_same_seed_gives_the_same_mosaics() -> None:
    one, same, other = (sample_mosaics(2, seed, "color") for seed in (0, 0, 1))
    assert torch.equal(one.images, same.images) and torch.equal(one.masks, same.masks)
    assert not torch.equal(one.images, other.images)


def test_the_classifiers_take_them() -> None:
    """They see the shape that is in all four cells."""
    mosaics = sample_mosaics(40, 5, "color")
    named = load_classifier("plain")(mosaics.images).argmax(dim=1)
    assert (named == mosaics.shapes).float().mean() > 0.9


def test_bad_requests() -> None:
    for factor in ("size", "shape", "smell"):
        with pytest.raises(SINGNameError, match=r"factor in \['color', 'background', 'texture'\]"):
            sample_mosaics(2, 0, factor)
    with pytest.raises(SINGValueError, match="count to be at least 1, got 0"):
        sample_mosaics(0, 0, "color")
    assert len(FACTORS["size"]) < 4
