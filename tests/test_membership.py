"""A record knows its own features again, and no others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from captum_sing.errors import SINGValueError
from captum_sing.membership import FeatureRecord, PackedSketches, sketch


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator)


def features(seed: int, count: int = 3000) -> Tensor:
    """Positive, with means some five times their spread."""
    return gaussian(count, 40, seed=seed) + 5.0


@pytest.fixture(scope="module")
def record() -> FeatureRecord:
    return FeatureRecord.from_sketches(sketch(features(0)))


def test_knows_its_own(record: FeatureRecord) -> None:
    assert record.contains(features(0)).all()


def test_knows_its_own_in_any_order_and_company(record: FeatureRecord) -> None:
    own, other = features(0)[[5, 2999, 0]], features(1)[:2]
    mixed = torch.stack([own[0], other[0], own[1], other[1], own[2]])
    assert record.contains(mixed).tolist() == [True, False, True, False, True]


@pytest.mark.parametrize("noise", [1e-7, 1e-6])
def test_knows_its_own_under_rounding_noise(record: FeatureRecord, noise: float) -> None:
    own = features(0)
    assert record.contains(own * (1 + noise * gaussian(3000, 40, seed=3))).all()


def test_knows_its_own_in_other_precisions(record: FeatureRecord) -> None:
    assert record.contains(features(0).double()).all()
    half = features(4).half()
    assert FeatureRecord.from_sketches(sketch(half)).contains(half.float()).all()


def test_knows_no_others(record: FeatureRecord) -> None:
    """3,000 x 30,000 pairs at 4e-12 each."""
    assert not record.contains(features(1, count=30_000)).any()


@pytest.mark.parametrize("change", [0.03, 0.3])
def test_knows_no_neighbours(record: FeatureRecord, change: float) -> None:
    """Of 3,000 images, a changed one is close to some image by chance alone, hardly ever."""
    own = features(0)
    assert record.contains(own + change * gaussian(3000, 40, seed=3)).float().mean() < 0.001


def test_knows_no_scaled_copies(record: FeatureRecord) -> None:
    assert not record.contains(features(0) * 100).any()
    assert not record.contains(-features(0)).any()


def test_projections_are_fixed_and_depend_on_every_number() -> None:
    f = gaussian(2, 7)
    assert torch.equal(sketch(f), sketch(f.clone()))
    wanted = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(sketch(torch.eye(7)) * 7**0.5, wanted)
    assert sketch(f).shape == (2, 4)
    for place in range(7):
        moved = f.clone()
        moved[0, place] += 1.0
        changed = sketch(moved) != sketch(f)
        assert changed[0].all()
        assert not changed[1].any()
    assert torch.linalg.matrix_rank(sketch(torch.eye(7))) == 4


def test_takes_eight_bytes_an_image(record: FeatureRecord) -> None:
    assert record.codes.element_size() * record.codes[0].numel() == 8
    assert record.codes.shape == (3000, 4)


def test_comes_back_from_its_two_tensors(record: FeatureRecord) -> None:
    again = FeatureRecord(record.codes.clone(), record.scale.clone())
    mixed = torch.cat([features(0), features(1)])
    assert torch.equal(again.contains(mixed), record.contains(mixed))


@pytest.mark.parametrize("count", [1, 5])
def test_one_image_alone_is_known(count: int) -> None:
    same = torch.ones(count, 3)
    record = FeatureRecord.from_sketches(sketch(same))
    assert record.contains(same).all()
    assert not record.contains(same + 0.1).any()


def test_far_away_is_not_taken_for_near() -> None:
    """65.536 standard deviations are 65,536 steps, which 16 bits would hold as zero."""
    unit = sketch(torch.ones(1, 1))
    record = FeatureRecord(torch.zeros(1, 4).short(), torch.cat([0 * unit, unit.abs()]))
    assert record.contains(torch.tensor([[0.0], [0.001], [65.536], [1.0]])).tolist() == [
        True,
        True,
        False,
        False,
    ]


class TestBlocks:
    @pytest.mark.parametrize("sizes", [(3000,), (1,) * 3000, (2,) * 1500, (32,) * 93 + (24,)])
    @pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-6])
    def test_of_any_size_are_known(self, sizes: tuple[int, ...], noise: float) -> None:
        own = features(0)
        record = FeatureRecord.from_blocks([PackedSketches.of(f) for f in own.split(sizes)])
        assert record.contains(own * (1 + noise * gaussian(3000, 40, seed=3))).all()
        assert not record.contains(features(1, count=30_000)).any()

    def test_with_outliers_and_without_spread_are_known(self) -> None:
        own = features(0, 300)
        own[7] *= 30
        own[100:200] = own[100]
        record = FeatureRecord.from_blocks([PackedSketches.of(f) for f in own.split(50)])
        assert record.contains(own).all()
        assert not record.contains(features(1)).any()

    def test_take_eight_bytes_an_image(self) -> None:
        packed = PackedSketches.of(features(0))
        assert packed.codes.element_size() * packed.codes[0].numel() == 8
        steps = (packed.unpack() - sketch(features(0))).abs() / packed.step
        assert steps.max() <= 0.5 + 1e-6
        assert packed.codes.min() == -packed.codes.max() == -32767


@pytest.mark.parametrize(
    ("codes", "scale", "message"),
    [
        (torch.zeros(3, 4, dtype=torch.int16), None, "codes and scale both or neither"),
        (torch.zeros(3, 4), torch.ones(2, 4).double(), "codes of shape"),
        (torch.zeros(3, 5, dtype=torch.int16), torch.ones(2, 4).double(), "codes of shape"),
        (torch.zeros(3, 4, dtype=torch.int16), torch.ones(2, 5).double(), "scale of shape"),
        (torch.zeros(3, 4, dtype=torch.int16), torch.zeros(2, 4).double(), "scale finite"),
        (torch.zeros(3, 4, dtype=torch.int16), torch.ones(2, 4).double() / 0, "scale finite"),
    ],
)
def test_refuses_a_record_that_is_none(
    codes: torch.Tensor, scale: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(SINGValueError, match=f"FeatureRecord: expected {message}"):
        FeatureRecord.from_tensors(codes, scale)
    assert FeatureRecord.from_tensors(None, None) is None
