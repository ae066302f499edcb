"""Fitting from pictures: the same as by hand, from every source, with a report that is right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import beta
from sklearn.linear_model import RidgeClassifierCV
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torchvision.datasets import ImageFolder
from toys import ENCODER, untouched

from captum_sing import SING, LinearTranslator, NullSpace, TranslatorFitter, fit_translator
from captum_sing.classifiers import load_classifier
from captum_sing.fitting import FitReport
from captum_sing.fitting.accuracy import accuracies
from captum_sing.fitting.pairs import MOST_HELD_OUT, Split
from captum_sing.hooks import read_features
from captum_sing.testing import ToyClassifier, ToyEncoder

COUNT = 130


def prepare(picture: Image.Image) -> Tensor:
    """The model's own preprocessing, unlike the encoder's."""
    values = np.asarray(picture.resize((10, 10)), dtype=np.float32)
    return torch.from_numpy(values).permute(2, 0, 1) / 127.5 - 1


def make_pictures(count: int = COUNT) -> list[Image.Image]:
    """Random colors, each picture about one of its own: features and embeddings agree on it."""
    generator = np.random.default_rng(0)
    colors = generator.integers(40, 216, (count, 1, 1, 3))
    noise = generator.integers(-40, 40, (count, 12, 12, 3))
    return [Image.fromarray(values.astype(np.uint8)) for values in colors + noise]


PICTURES = make_pictures()


def fit(images: object = None, model: nn.Module | None = None, **options) -> LinearTranslator:
    given = {"preprocess": prepare, "alpha": 0.5, "held_out": 0.25, "show_progress": False}
    return fit_translator(
        model or ToyClassifier().eval(),
        ENCODER,
        PICTURES if images is None else images,
        **given | options,
    )


def pairs(pictures: list[Image.Image], model: nn.Module) -> tuple[Tensor, Tensor]:
    batch = torch.stack([prepare(picture) for picture in pictures])
    embeddings = ENCODER.encode_image(torch.stack([ENCODER.preprocess(p) for p in pictures]))
    return read_features(model, model.head, batch), embeddings


def places(share: float = 0.25, count: int = COUNT, seed: int = 0) -> list[int]:
    split = Split(share, count, seed)
    return [place for place in range(count) if split.takes(place)]


def apart(out: list[int]) -> tuple[list[Image.Image], list[Image.Image]]:
    fitted = [picture for place, picture in enumerate(PICTURES) if place not in out]
    return fitted, [PICTURES[place] for place in out]


def same(one: LinearTranslator, other: LinearTranslator) -> bool:
    scale = float(one.weight.abs().max())
    return torch.allclose(one.weight, other.weight, rtol=0, atol=1e-4 * scale) and torch.allclose(
        one.mean, other.mean, rtol=0, atol=1e-6
    )


class TestSplit:
    @pytest.mark.parametrize("share", [0.5, 0.3, 0.25, 0.1, 1 / 7])
    def test_one_in_each_run(self, share: float) -> None:
        found = places(share, 1000)
        assert [int(place * share + 1e-9) for place in found] == list(range(len(found)))
        assert len(found) in (int(1000 * share + 1e-9), int(1000 * share) + 1)

    def test_seeds(self) -> None:
        assert places(seed=1) == places(seed=1) != places(seed=2)
        gaps = {b - a for a, b in zip(places(), places()[1:], strict=False)}
        assert len(gaps) > 3  # drawn, not every fourth

    def test_none(self) -> None:
        assert places(0.0) == []

    def test_no_more_than_memory_holds(self) -> None:
        for count in (100_000, None):
            split = Split(0.5, count, 0)
            found = [place for place in range(100_000) if split.takes(place)]
            assert len(found) == MOST_HELD_OUT
            assert (found[-1] > 99_900) == (count is not None)  # from all, where all are known


class TestSameAsByHand:
    @pytest.mark.parametrize("alpha", ["cv", 0.5, None])
    def test_weights_and_report(self, alpha: object) -> None:
        model = ToyClassifier().eval()
        found = fit(model=model, alpha=alpha)
        fitted, rest = apart(places())
        by_hand = TranslatorFitter(alpha, encoder=ENCODER.name).update(*pairs(fitted, model)).fit()
        assert same(found, by_hand)
        assert found.facts["alpha"] == pytest.approx(by_hand.facts["alpha"])
        assert found.encoder == ENCODER.name and found.model is None
        assert found.facts["images"]["fitted"] == len(fitted) == found.facts["count"]
        assert found.facts["images"]["held_out"] == len(rest) == COUNT // 4
        report = FitReport.from_dict(found.facts["report"])
        wanted = by_hand.evaluate(*pairs(rest, model), NullSpace.from_layer(model.head))
        assert report.translation.count == wanted.count and report.translation.in_sample == 0
        assert wanted.whole.r2 > 0.15  # there is something to get wrong
        for part in ("whole", "principal", "null"):
            for kind in ("cosine", "degrees", "r2"):
                ours, theirs = (
                    getattr(getattr(r, part), kind) for r in (report.translation, wanted)
                )
                assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-3)

    @pytest.mark.parametrize("batch_size", [1, 7, 1000])
    def test_batch_size_does_not_matter(self, batch_size: int) -> None:
        assert same(fit(batch_size=batch_size), fit())

    def test_more_than_a_block(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = fit(alpha="cv")
        monkeypatch.setattr("captum_sing.fitting.pairs._BLOCK", 20)
        parts = fit(alpha="cv", batch_size=7)
        assert same(whole, parts) and parts.facts["count"] == whole.facts["count"]

    def test_seed_and_limit(self) -> None:
        assert not same(fit(seed=1), fit())
        assert same(fit(seed=1), fit(seed=1))
        few = fit(limit=60)
        assert few.facts["images"]["fitted"] + few.facts["images"]["held_out"] == 60

    def test_knows_its_images(self) -> None:
        model = ToyClassifier().eval()
        fitted, rest = apart(places())
        found = fit(model=model)
        assert found.knows(pairs(fitted, model)[0]).all()
        assert not found.knows(pairs(rest, model)[0]).any()
        assert fit(remember=False).record is None

    def test_the_model_is_left_as_it_was(self) -> None:
        model = ToyClassifier().train()
        with untouched(model):
            trained = fit(model=model)
        assert same(trained, fit())

    def test_a_model_in_half_precision(self) -> None:
        half = fit(model=ToyClassifier().eval().bfloat16())
        assert torch.nn.functional.cosine_similarity(half.weight, fit().weight).min() > 0.9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures as files, the first half of them in one subfolder."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, image in enumerate(PICTURES):
        path = folder / "ab"[i * 2 // COUNT] / f"{i:04d}.png"
        path.parent.mkdir(exist_ok=True)
        image.save(path)
    return folder


class TestSources:
    def test_all_give_one_translator(self, folder: Path) -> None:
        def stream() -> Iterator[Image.Image]:
            yield from PICTURES

        class Dictionaries:
            def __len__(self) -> int:
                return COUNT

            def __getitem__(self, index: int) -> dict[str, object]:
                return {"image": PICTURES[index], "label": index % 2}

        paths = sorted(folder.rglob("*.png"))
        for images in (folder, paths, ImageFolder(str(folder)), Dictionaries(), stream()):
            found = fit(images)
            assert same(found, fit()), type(images)
            assert found.facts["images"]["held_out"] == COUNT // 4

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 and later
    def test_workers(self, folder: Path) -> None:
        assert same(fit(folder, num_workers=2), fit())

    def test_labels_of_the_folder_are_what_is_named(self, folder: Path) -> None:
        report = FitReport.from_dict(fit(folder, held_out=0.5).facts["report"])
        assert report.truth == "labels"
        assert {found.count for found in report.accuracy.values()} == {33}
        # the folders mean nothing: neither does what is named
        assert all(found.low < 0.5 < found.high for found in report.accuracy.values())


class Averaged(nn.Module):
    """Two heads on features of their own, averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = ToyClassifier(width=12), ToyClassifier(width=9, seed=1)

    def forward(self, images: Tensor) -> Tensor:
        mean: Tensor = (self.first(images) + self.second(images)) / 2
        return mean


class TestHeads:
    def test_a_loaded_classifier_brings_its_preprocessing_and_name(self) -> None:
        model = load_classifier("demo/resnet/neck_color")
        found = fit(model=model, preprocess=None)
        assert found.model == model.name == "demo/resnet/neck_color"
        assert found.facts["preprocessing"] == model.preprocessing
        assert "Resize" in model.preprocessing
        assert found.feature_dim == model.model.head.in_features

    def test_a_function_has_no_description(self) -> None:
        assert fit().facts["preprocessing"] is None

    def test_a_named_layer(self) -> None:
        model = ToyClassifier().eval()
        assert same(fit(layer="head"), fit()) and same(fit(model=model, layer=model.head), fit())

    def test_averaged_heads_are_read_jointly(self) -> None:
        model = Averaged().eval()
        found = fit(model=model, layer=["first.head", "second.head"], held_out=0.5)
        assert found.feature_dim == 12 + 9
        report = FitReport.from_dict(found.facts["report"])
        assert report.truth == "model's predictions" and report.translation.null is not None

    def test_without_an_exact_null_space(self) -> None:
        report = FitReport.from_dict(
            fit(model=ToyClassifier(classes=20), held_out=0.5).facts["report"]
        )
        assert report.translation.principal is report.translation.null is None
        assert "no exact null space" in " ".join(report.notes)
        assert set(report.accuracy) == {"features", "translated features"}

    def test_a_head_of_zeros(self) -> None:
        model = ToyClassifier()
        nn.init.zeros_(model.head.weight)
        report = FitReport.from_dict(fit(model=model).facts["report"])
        assert "only zeros" in " ".join(report.notes) and report.translation.null is None


class TestAccuracy:
    LABELS = tuple(i % 3 for i in range(300))

    def data(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(300, 6, generator=generator, dtype=torch.float64)
        planted = noise + 2 * torch.eye(6, dtype=torch.float64)[list(self.LABELS)]
        return {"planted": planted, "noise": noise}

    def test_equals_scikit_learn_on_the_halves(self) -> None:
        order = torch.randperm(300, generator=torch.Generator().manual_seed(5)).tolist()
        train, test = order[:150], order[150:]
        found = accuracies(self.data(), self.LABELS, seed=5)
        for name, values in self.data().items():
            scaler = StandardScaler().fit(values[train])
            ridge = RidgeClassifierCV(np.logspace(-2, 5, 8))
            labels = np.array(self.LABELS)
            ridge.fit(scaler.transform(values[train]), labels[train])
            right = ridge.score(scaler.transform(values[test]), labels[test])
            assert found[name].share == pytest.approx(right) and found[name].count == 150

    def test_what_is_planted_is_named_and_noise_is_not(self) -> None:
        found = accuracies(self.data(), self.LABELS)
        assert found["planted"].low > 0.6
        assert found["noise"].low < 1 / 3 < found["noise"].high

    def test_intervals_are_exact(self) -> None:
        found = accuracies(self.data(), self.LABELS)["planted"]
        right, wrong = round(found.share * found.count), round((1 - found.share) * found.count)
        assert found.low == pytest.approx(beta.ppf(0.025, right, wrong + 1))
        assert found.high == pytest.approx(beta.ppf(0.975, right + 1, wrong))

    def test_names_and_one_class(self) -> None:
        words = ["abc"[label] for label in self.LABELS]
        assert accuracies(self.data(), words) == accuracies(self.data(), self.LABELS)
        assert accuracies(self.data(), ["a"] * 300) == {}

    def test_of_parts_and_translations(self) -> None:
        """Labels that the null part alone tells: translations name them, principal features not."""
        model = ToyClassifier().eval()
        space = NullSpace.from_layer(model.head)
        pictures = make_pictures(600)
        features = pairs(pictures, model)[0].double()
        ignored = space.project(features - features.mean(dim=0))
        seen = features - ignored
        told = ignored - seen @ torch.linalg.lstsq(seen, ignored).solution  # and the rest does not
        labels = (told @ torch.linalg.svd(told)[2][0] > 0).int().tolist()
        found = fit(list(zip(pictures, labels, strict=True)), model=model, held_out=0.5, seed=4)

        rows = places(0.5, 600, seed=4)
        seen = features[rows] - space.project(features[rows] - found.mean)
        wanted = accuracies(
            {
                "principal features": features[rows] @ space.principal_basis,
                "translated principal features": found(seen),
                "translated features": found(features[rows]),
            },
            [labels[row] for row in rows],
            seed=4,
        )
        report = FitReport.from_dict(found.facts["report"])
        assert report.truth == "labels"
        for name, accuracy in wanted.items():
            assert report.accuracy[name].share == pytest.approx(accuracy.share, abs=0.03)
        assert wanted["translated features"].low > wanted["principal features"].high

    def test_of_a_fit(self) -> None:
        """Reds and greens: the encoder sees colors, so translations name them."""
        images = [
            (Image.blend(picture, Image.new("RGB", picture.size, color), 0.5), color)
            for picture, color in zip(PICTURES, ("red", "lime") * COUNT, strict=False)
        ]
        report = FitReport.from_dict(fit(images, held_out=0.5).facts["report"])
        assert report.truth == "labels"
        assert list(report.accuracy) == [
            "principal features", "translated principal features", "translated features",
        ]  # fmt: skip
        assert all(found.low > 0.8 for found in report.accuracy.values())


class TestReport:
    def test_survives_the_file(self, tmp_path: Path) -> None:
        found = fit(held_out=0.5)
        again = LinearTranslator.load(found.save(tmp_path / "t.safetensors"))
        assert again.facts == found.facts
        report = FitReport.from_dict(again.facts["report"])
        assert report.to_dict() == found.facts["report"]
        json.dumps(again.facts, allow_nan=False)

    def test_in_print(self) -> None:
        found = fit(held_out=0.5)
        text = str(FitReport.from_dict(found.facts["report"]))
        whole = found.facts["report"]["translation"]["whole"]
        assert f"{whole['degrees']:.1f}" in text and f"{whole['r2']:.3f}" in text
        share = found.facts["report"]["accuracy"]["principal features"]["share"]
        assert f"{share:.1%}" in text and "model's predictions" in text

    def test_without_held_out_images(self) -> None:
        found = fit(held_out=0.0)
        assert found.facts["images"]["fitted"] == COUNT
        report = FitReport.from_dict(found.facts["report"])
        assert report.translation is None and not report.accuracy
        assert "not known" in str(report)

    def test_pictures_that_are_all_alike(self) -> None:
        """No spread of the embeddings: R² is no number, and JSON has no NaN."""
        alike = [PICTURES[0]] * 20 + PICTURES[1:20] + [PICTURES[0]] * 41
        out = places(0.5, 80)
        images = [PICTURES[0] if i in out else picture for i, picture in enumerate(alike)]
        facts = fit(images, held_out=0.5).facts
        json.dumps(facts["report"], allow_nan=False)
        notes = " ".join(facts["report"]["notes"])
        assert "look like ones that were fitted" in notes and "of two classes or more" in notes

    def test_little_is_translated(self) -> None:
        generator = np.random.default_rng(1)
        noise = generator.integers(0, 256, (COUNT, 12, 12, 3), dtype=np.uint8)
        notes = fit([Image.fromarray(values) for values in noise]).facts["report"]["notes"]
        assert any("hardly more than the mean" in note for note in notes)
        assert not any("hardly" in note for note in fit().facts["report"]["notes"])


def test_the_whole_way() -> None:
    """What is fitted describes, and belongs to its encoder alone."""
    from toys import BANK, GROUPS, WORDS

    from captum_sing import ConceptBank
    from captum_sing.errors import SINGValueError

    model = ToyClassifier().eval()
    images = torch.stack([prepare(picture) for picture in apart(places())[1]])
    found = SING(model, None, fit(model=model), BANK).attribute(images).descriptions
    assert found.ignored.shape == (len(images), len(WORDS))
    other = ConceptBank.from_words(WORDS, ToyEncoder(seed=1), groups=GROUPS)
    with pytest.raises(SINGValueError, match="of the translator.s encoder"):
        SING(model, None, fit(model=model), other)


def test_labels_of_two_kinds_are_told_apart() -> None:
    """A class named 1 and one named "1" are two, and none becomes a text."""
    labels: list[int | str] = [1, "1", "cat"] * 30
    values = torch.eye(3).double().repeat(30, 1)
    assert accuracies({"own": values}, labels)["own"].share == 1.0


def test_facts_say_which_layer_was_read() -> None:
    assert fit().facts["layer"] == fit(layer="head").facts["layer"] == ["head"]
