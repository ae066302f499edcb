"""Every architecture of the list ends as written down for it, and as the documentation says."""

from __future__ import annotations

import csv
import math
import resource
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from architectures import (
    ARCHITECTURES,
    COLUMNS,
    FULL,
    PUBLISHED,
    REFUSED,
    SILENT,
    Built,
    row_of,
)
from torch import Tensor
from toys import BANK, any_translator

from captum_sing import SING, NullSpace
from captum_sing.errors import NoNullSpaceError, SINGValueError
from captum_sing.forward_pass import logits_of
from captum_sing.verification import Verification

BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}
DRIFTS = ("null drift", "random drift")
EVERY = pytest.mark.parametrize("name", BY_NAME)

# The largest drift that counts as none, and how many times that a random perturbation of the same
# norm must make. In 16 bits the changed feature is rounded to one part in 2 / eps, and so are the
# logits: together eps, however exact the perturbation was.
SILENCE = {
    torch.float32: (1e-5, 1000),
    torch.float16: (torch.finfo(torch.float16).eps, 100),
    torch.bfloat16: (torch.finfo(torch.bfloat16).eps, 100),
}


@pytest.fixture(scope="module")
def cost(request: pytest.FixtureRequest) -> Iterator[None]:
    """Say what it took, and keep it below 15 minutes of one core and 16 GiB."""
    wall, busy = time.perf_counter(), time.process_time()
    yield
    busy, wall = time.process_time() - busy, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        print(f"\narchitectures: {wall:.0f} s, {busy:.0f} CPU-seconds, peak {peak:.1f} GiB")
    assert peak < 16
    assert busy < 900


@pytest.fixture(scope="module")
def published() -> dict[str, dict[str, str]]:
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


def assert_silent(
    drift: Verification, dtype: torch.dtype, over: Callable[[Tensor], Tensor] = torch.min
) -> None:
    most, ratio = SILENCE[dtype]
    assert float(drift.null.max()) <= most, str(drift)
    assert float(over(drift.random / drift.null)) >= ratio, str(drift)


def test_the_published_table_is_of_this_list(published: dict[str, dict[str, str]]) -> None:
    assert list(published) == [architecture.name for architecture in ARCHITECTURES]
    assert len(published) == len(ARCHITECTURES) >= 45
    for architecture in ARCHITECTURES:
        row = published[architecture.name]
        assert tuple(row) == COLUMNS
        assert {**row, **dict.fromkeys(DRIFTS, "—")} == architecture.row


def test_what_is_written_down_agrees_with_itself() -> None:
    for a in ARCHITECTURES:
        assert a.rank + a.nullity == a.width
        assert a.rank == min(a.width, a.classes) or a.outcome.startswith(REFUSED)
        assert bool(a.nullity) == a.outcome.startswith(SILENT)


@pytest.mark.architectures
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("cost")
class TestArchitecture:
    @EVERY
    def test_ends_as_written(self, name: str, published: dict[str, dict[str, str]]) -> None:
        architecture = BY_NAME[name]
        built = architecture.build()
        found = row_of(architecture, built.found)
        assert {**architecture.row, **found, **dict.fromkeys(DRIFTS, "—")} == architecture.row
        if architecture.outcome.startswith(SILENT):
            assert_silent(built.drift, built.images.dtype)
            for column in DRIFTS:
                now, then = float(found[column]), float(published[name][column])
                assert abs(math.log10(now / then)) < 1, column
        if architecture.outcome.startswith(FULL):
            ways_on(built)

    @pytest.mark.parametrize("name", ["torchvision/vit_b_16", "timm/mixer_b16_224"])
    def test_a_head_of_zeros_is_called_that(self, name: str) -> None:
        architecture = BY_NAME[name]
        model, images = architecture.as_built()
        sing = SING(model, None, any_translator(architecture.width), BANK)
        with pytest.raises(SINGValueError, match="got only zeros.*load trained weights") as caught:
            sing.verify(images)
        assert not isinstance(caught.value, NoNullSpaceError)


def ways_on(built: Built) -> None:
    """Where the head sees everything: nearly nothing, one class, or the odds of a few."""
    width, dtype = built.weight.shape[1], built.images.dtype
    with pytest.raises(NoNullSpaceError, match=r"energy=0\.99.*classes.*target.*probabilities"):
        built.verify()

    nearly = NullSpace.from_layer(built.layers, energy=0.99, width=width)
    drift = built.verify(nearly)
    assert 0 < nearly.nullity < width
    assert (1e-5 < drift.null).all() and (drift.null < drift.random).all()

    with torch.no_grad():  # of the largest logit: relative to one near zero, any drift is large
        predicted = logits_of(built.model(built.images)).argmax(dim=1)
    assert_silent(built.verify(target=predicted), dtype)

    few = NullSpace.from_layer(built.layers, classes=range(width // 2), width=width)
    assert few.nullity == width - width // 2
    assert_silent(built.verify(few), dtype)

    if len(built.weight) == width:
        odds = NullSpace.from_layer(built.layers, invariant_to="probabilities", width=width)
    else:  # more classes than features: the odds of all of them leave nothing either
        with pytest.raises(NoNullSpaceError, match="below its width"):
            NullSpace.from_layer(built.layers, invariant_to="probabilities", width=width)
        odds = NullSpace.from_layer(
            built.layers, classes=range(width), invariant_to="probabilities", width=width
        )
    assert odds.nullity == 1
    # an image may have next to nothing along the one direction, and is then hardly moved at all
    assert_silent(built.verify(odds), dtype, torch.max)
