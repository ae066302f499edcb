"""Nearest real pictures against slow formulas, and swaps whose nearest picture is known."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from torch import Tensor
from toys import any_translator, normal

from captum_sing import LinearTranslator, NullSpace, TranslatorFitter
from captum_sing.angles import angles_between
from captum_sing.datasets import Pictures
from captum_sing.demo import (
    encode_scenes,
    load_classifier,
    load_encoder,
    load_translator,
    sample_scenes,
)
from captum_sing.errors import SINGTypeError, SINGValueError
from captum_sing.render import nearest as module
from captum_sing.render.nearest import Nearest
from captum_sing.render.protocol import Renderer
from captum_sing.study import Extraction

ROWS = normal(50, 6, seed=0) + 3.0  # in a cone, as embeddings are
WANTED = normal(7, 6, seed=1) + 3.0
SPACE = NullSpace.from_weight(normal(2, 6, seed=2))


def shade(row: int) -> Image.Image:
    return Image.new("RGB", (4, 4), (row, 0, 0))


def gallery(rows: Tensor = ROWS, **further: Any) -> Nearest:
    return Nearest(rows, shade, **further)


def ranked(distances: Tensor, count: int) -> Tensor:
    return distances.argsort(dim=1)[:, :count]


@pytest.fixture(params=[1, 7 * 256, 2**22], ids=["row by row", "in parts", "at once"])
def _parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NUMBERS", request.param)
    monkeypatch.setattr(module, "_QUERIES", 256 if request.param > 1 else 3)


@pytest.mark.usefixtures("_parts")
class TestFormulas:
    def test_embeddings_by_angle_about_the_mean(self) -> None:
        found = gallery().nearest(WANTED, 5)
        mean = ROWS.double().mean(dim=0)
        angles = angles_between(WANTED - mean, ROWS - mean)
        assert torch.equal(found.indices, ranked(angles, 5))
        cosines = torch.deg2rad(angles.gather(1, found.indices)).cos()
        torch.testing.assert_close(found.similarities, cosines)

    def test_about_zero_where_asked(self) -> None:
        found = gallery(centre=False).nearest(WANTED, 5).indices
        assert torch.equal(found, ranked(angles_between(WANTED, ROWS), 5))
        assert not torch.equal(found, gallery().nearest(WANTED, 5).indices)

    def test_features_by_distance(self) -> None:
        found = gallery(by="features").nearest(WANTED, 5)
        distances = (WANTED[:, None] - ROWS).double().norm(dim=2)
        assert torch.equal(found.indices, ranked(distances, 5))
        wanted = -distances.gather(1, found.indices)
        torch.testing.assert_close(found.similarities, wanted, check_dtype=False)

    def test_features_by_both_parts_in_units_of_their_spread(self) -> None:
        weight = normal(2, 6, seed=2).double()
        found = gallery(by="features", null_space=SPACE).nearest(WANTED, 5)
        apart = (WANTED[:, None] - ROWS).double()
        about = (ROWS - ROWS.mean(dim=0)).double()
        spreads = [
            part.norm(dim=1).square().mean().sqrt()
            for part in (about @ weight.T, SPACE.project(about))
        ]
        seen, ignored = (apart @ weight.T).norm(dim=2), SPACE.project(apart).norm(dim=2)
        distances = ((2 * seen / spreads[0]) ** 2 + (ignored / spreads[1]) ** 2).sqrt()
        assert torch.equal(found.indices, ranked(distances, 5))
        torch.testing.assert_close(
            found.similarities, -distances.gather(1, found.indices), rtol=1e-5, atol=0
        )

    @pytest.mark.parametrize("by", module.SPACES)
    def test_what_is_left_out_is_as_if_it_were_not_there(self, by: str) -> None:
        left_out = [0, 7, 49]
        kept = [row for row in range(50) if row not in left_out]
        whole, part = gallery(by=by, without=left_out), gallery(ROWS[kept], by=by)
        found, wanted = whole.nearest(WANTED, 47), part.nearest(WANTED, 47)
        assert torch.equal(found.indices, torch.tensor(kept)[wanted.indices])
        torch.testing.assert_close(found.similarities, wanted.similarities)
        assert len(whole) == 47 and whole.facts["without"] == left_out


def test_more_queries_than_are_compared_at_once() -> None:
    many = normal(600, 6, seed=5) + 3.0
    apart = torch.cat([gallery().nearest(part, 2).indices for part in many.split(100)])
    assert torch.equal(gallery().nearest(many, 2).indices, apart)


def test_a_picture_is_nearest_to_itself_unless_it_is_left_out() -> None:
    far = ROWS + 1e4  # single precision would lose the distances
    for by in module.SPACES:
        found = gallery(far, by=by).nearest(far)
        assert torch.equal(found.indices[:, 0], torch.arange(50))
    assert (gallery(far, by="features").nearest(far).similarities == 0).all()
    alone = gallery(without=[3]).nearest(ROWS[3:4])
    assert alone.indices.item() != 3


def test_a_swap_is_near_its_donor_unless_the_head_is_asked() -> None:
    """Two classes in one seen direction, everything else ignored and much larger."""
    space = NullSpace.from_weight(torch.tensor([[1.0, *[0.0] * 9]]))
    rows = 5 * normal(200, 10, seed=3)
    label = torch.arange(200) % 2
    rows[:, 0] = 2.0 * label + 0.1 * normal(200, seed=4)
    swap = rows[:1] - space.project(rows[:1] - rows[1:2])
    assert label[gallery(rows, by="features").nearest(swap).indices.item()] == 1
    asked = gallery(rows, by="features", null_space=space, without=[0])
    assert label[asked.nearest(swap).indices.item()] == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rows_are_kept_as_given(dtype: torch.dtype) -> None:
    rows = ROWS.to(dtype)
    made = gallery(rows)
    assert made.rows.data_ptr() == rows.data_ptr() and made.rows.dtype == dtype
    assert torch.equal(made.nearest(rows[:3]).indices[:, 0], torch.arange(3))


def test_draws_what_is_nearest_whatever_the_seed_and_loads_nothing_else() -> None:
    loaded: list[int] = []

    def load(row: int) -> Image.Image:
        loaded.append(row)
        return Image.new("L", (4, 4), row)

    drawer = Nearest(ROWS, load)
    assert isinstance(drawer, Renderer) and not loaded
    drawn = drawer.render(ROWS[[4, 9, 4]], seeds=[1, 2, 3])
    assert sorted(loaded) == [4, 9]
    assert [image.getpixel((0, 0)) for image in drawn] == [(row,) * 3 for row in (4, 9, 4)]
    assert all(
        a.tobytes() == b.tobytes()
        for a, b in zip(drawn, drawer.render(ROWS[[4, 9, 4]]), strict=True)
    )
    listed = Nearest(
        ROWS, [shade(row) for row in range(50)], names=[f"{row}.png" for row in range(50)]
    )
    assert listed.render(ROWS[[8]])[0].getpixel((0, 0)) == (8, 0, 0) and listed.names[8] == "8.png"


def test_facts_are_json() -> None:
    made = gallery(by="features", model="m", null_space=SPACE, without=torch.tensor([2]))
    facts = json.loads(json.dumps(made.facts))
    assert facts["gallery"] == 49 and facts["by"] == "features" and facts["model"] == "m"
    assert (made.takes, made.restores_norm, made.normalize) == ("features", False, None)


def test_a_study_hands_over_its_cache() -> None:
    """The blocks leave out what could not be read, so rows of the gallery are not places."""
    pictures = Pictures.of([shade(place) for place in range(6)])
    features, embeddings = normal(6, 4, seed=6), normal(6, 5, seed=7)
    embeddings[2] = torch.nan
    extraction = Extraction.from_tensors(
        features, embeddings, normal(2, 4, seed=8), block_size=2, encoder="e"
    )
    blocks = list(extraction.blocks())
    places = torch.cat([block.rows for block in blocks]).tolist()
    made = Nearest(
        torch.cat([block.embeddings for block in blocks]),
        lambda row: pictures.read(places[row]).image,
        names=[extraction.names[place] for place in places],
        encoder=extraction.facts["encoder"],
    )
    row = int(made.nearest(embeddings[4:5]).indices)
    assert (row, made.names[row]) == (3, "image 4")
    assert made.render(embeddings[4:5])[0].getpixel((0, 0)) == (4, 0, 0)


class TestCheck:
    def test_by_embeddings_asks_for_the_encoder(self) -> None:
        fitted = (
            TranslatorFitter(encoder="e", model="m")
            .update(normal(30, 4, seed=1), normal(30, 6, seed=2))
            .fit()
        )
        gallery(encoder="e").check(fitted)
        gallery(encoder="e", model="another").check(fitted)  # its features are not the gallery's
        gallery().check(fitted)
        gallery(encoder="e").check(any_named(6, {}))
        with pytest.raises(
            SINGValueError, match="Nearest: expected translator for the gallery's encoder, f, got e"
        ):
            gallery(encoder="f").check(fitted)
        with pytest.raises(
            SINGValueError, match="with embeddings of width 6, as the gallery's, got 16"
        ):
            gallery().check(any_translator(6))

    def test_by_features_asks_for_the_model(self) -> None:
        drawer = gallery(by="features", model="m", encoder="e")
        drawer.check(any_translator(6))
        drawer.check(any_named(6, {"model": "m", "encoder": "another"}))
        with pytest.raises(SINGValueError, match="for the gallery's model, m, got n"):
            drawer.check(any_named(6, {"model": "n"}))
        with pytest.raises(
            SINGValueError, match="with features of width 6, as the gallery's, got 5"
        ):
            drawer.check(any_named(5, {}))


def any_named(width: int, facts: dict[str, Any]) -> LinearTranslator:
    return LinearTranslator(
        normal(6, width, seed=3), torch.zeros(width), torch.zeros(6), facts=facts
    )


HEADED = {"null_space": SPACE, "by": "features"}


def holed(row: int) -> Tensor:
    rows = ROWS.clone()
    rows[row, 1] = torch.nan
    return rows


@pytest.mark.parametrize(
    ("rows", "further", "error", "match"),
    [
        (ROWS.long(), {}, SINGTypeError, "rows to be a floating-point tensor, got torch.int64"),
        ([1.0], {}, SINGTypeError, "rows to be a floating-point tensor, got list"),
        (ROWS[:0], {}, SINGValueError, r"rows of shape .*, not empty, got \(0, 6\)"),
        (ROWS[0], {}, SINGValueError, r"rows of shape .*, got \(6,\)"),
        (holed(17), {}, SINGValueError, r"rows to be finite, got NaN or infinity in rows \[17\]"),
        (ROWS, {"by": "pixels"}, SINGValueError, "by in .*, got 'pixels'"),
        (ROWS, {"load": [1, 2]}, SINGValueError, "load of length 50, got 2"),
        (ROWS, {"load": 3}, SINGTypeError, "load to be a sequence or callable, got int"),
        (ROWS, {"names": ["a"]}, SINGValueError, "names of length 50, got 1"),
        (ROWS, {"without": [50]}, SINGValueError, "without to be row numbers from 0 to 49"),
        (ROWS, {"without": [-1]}, SINGValueError, "without to be row numbers from 0 to 49"),
        (ROWS, {"without": [0.5]}, SINGValueError, "without to be row numbers from 0 to 49"),
        (ROWS, {"without": range(50)}, SINGValueError, "without to be fewer than all 50 rows"),
        (ROWS, {"null_space": SPACE}, SINGValueError, "by features of width 6, got embeddings"),
        (ROWS[:, :4], HEADED, SINGValueError, "by features of width 6, got features of width 4"),
        (
            ROWS - SPACE.project(ROWS),
            HEADED,
            SINGValueError,
            "rows that differ in what the head sees and in what it ignores, got spreads",
        ),
        (
            ROWS[0] + SPACE.project(ROWS),
            HEADED,
            SINGValueError,
            "rows that differ in what the head sees and in what it ignores, got spreads",
        ),
    ],
)  # fmt: skip
def test_refuses_a_gallery(rows: Any, further: dict[str, Any], error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        Nearest(rows, **{"load": shade, **further})


def test_refuses_what_cannot_be_drawn() -> None:
    drawer = gallery(without=[0])
    for count in (0, 50):
        with pytest.raises(SINGValueError, match="count from 1 to the gallery's 49 pictures, got"):
            drawer.nearest(WANTED, count)
    with pytest.raises(SINGValueError, match=r"wanted of shape \(B, 6\)"):
        drawer.nearest(WANTED[:, :5])
    with pytest.raises(SINGValueError, match=r"NaN or infinity in rows \[3\]"):
        drawer.render(holed(3))
    with pytest.raises(SINGValueError, match="seeds"):
        drawer.render(WANTED, seeds=[1])
    with pytest.raises(SINGTypeError, match="load to give PIL pictures, got Tensor for row 4"):
        Nearest(ROWS, lambda row: torch.zeros(3, 8, 8)).render(ROWS[4:5])
    with pytest.raises(
        SINGValueError, match=r"wanted to differ from zero, got the same in rows \[0\]"
    ):
        gallery(centre=False).nearest(torch.zeros(1, 6))
    with pytest.raises(SINGValueError, match=r"differ from the mean of the gallery, got .* \[0\]"):
        gallery(ROWS.double()).nearest(ROWS.double().mean(dim=0, keepdim=True))


def share_of(hits: Tensor) -> tuple[float, float, float]:
    """A share with its exact 95 % interval."""
    exact = binomtest(int(hits.sum()), len(hits)).proportion_ci()
    return float(hits.double().mean()), exact.low, exact.high


def nearest_of_swaps(name: str, images: int, swaps: int) -> dict[str, Any]:
    """Factors of the picture nearest to T(f), and to T(f~) with the next image's null part."""
    model, translator = load_classifier(name).requires_grad_(False), load_translator(name)
    encoder = load_encoder()
    scenes, tested = (
        sample_scenes(images, seed=91_000_001),
        sample_scenes(swaps + 1, seed=92_000_001),
    )
    features = model.features(tested.images)
    space = NullSpace.from_layer(model.head)
    own, donors = features[:-1], features[1:]
    equivalents = space.remove(own, donors)
    drawer = Nearest(encode_scenes(encoder, scenes.images), shade, encoder=encoder.name)
    drawer.check(translator)
    before, after = (drawer.nearest(translator(part)).indices[:, 0] for part in (own, equivalents))
    found = {}
    for factor, label in tested.labels.items():
        mine, theirs, real = label[:-1], label[1:], scenes.labels[factor]
        found[factor] = {
            "own": share_of(real[before] == mine),
            "own after": share_of(real[after] == mine),
            "donor before": share_of((real[before] == theirs)[mine != theirs]),
            "donor": share_of((real[after] == theirs)[mine != theirs]),
        }
    return found


def test_the_nearest_picture_to_a_swap_has_the_shape_and_the_donors_color() -> None:
    found = nearest_of_swaps("resnet/neck_color", images=800, swaps=50)
    assert found["color"]["own"][0] >= 0.95 and found["color"]["donor before"][0] <= 0.05
    assert found["color"]["donor"][1] >= 0.9
    assert found["shape"]["own after"][1] >= 0.8
    low, high = found["position"]["donor"][1:]
    assert low < 0.2 < high  # what was not planted stays at chance


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet/neck_color", "convnext/neck_color", "plain"])
def test_table_of_swaps(name: str) -> None:
    found = nearest_of_swaps(name, images=8000, swaps=100)
    for factor, shares in found.items():
        told = ", ".join(f"{k} {v:.2f} [{a:.2f}, {b:.2f}]" for k, (v, a, b) in shares.items())
        print(f"{name} {factor}: {told}")
    assert found["shape"]["own after"][0] >= 0.85
    if name != "plain":
        assert found["color"]["donor"][1] >= 0.95
