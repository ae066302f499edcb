"""Pictures from folders, datasets, lists and streams; what cannot be used is told."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import IterableDataset, Subset
from torchvision.datasets import FakeData, ImageFolder
from torchvision.transforms.functional import pil_to_tensor

from captum_sing.datasets import Picture, Pictures, read_batches
from captum_sing.errors import SINGFileError, SINGTypeError, SINGValueError


def picture(seed: int, size: int = 12) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(values)


def pixels(image: Image.Image) -> torch.Tensor:
    return pil_to_tensor(image.resize((8, 8))).float()


def read_all(images: object, **options: object) -> list[Picture]:
    pictures = Pictures.of(images, **options)
    return [pictures.read(place) for place in range(pictures.count)]


def batches_of(images: object, transform=pixels, **options):
    return list(read_batches(Pictures.of(images), {"preprocess": transform}, **options))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, nested, with capital letters, hidden files and a text among them."""
    for number, name in enumerate(["b/1.png", "a/2.PNG", "a/deep/0.png", "a/.hidden.png",
                                   ".cache/3.png"]):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    return tmp_path


class TestFolder:
    def test_sorted_labelled_and_without_hidden_files(self, folder: Path) -> None:
        found = read_all(folder)
        names = [str(folder / name) for name in ("a/2.PNG", "a/deep/0.png", "b/1.png")]
        assert [p.name for p in found] == names
        assert [p.label for p in found] == ["a", "a", "b"]
        assert [np.asarray(p.image).tolist() for p in found] == [
            np.asarray(picture(seed)).tolist() for seed in (1, 2, 0)
        ]
        assert Pictures.of(folder).other_files == {".txt": 1}
        assert read_all(str(folder)) == found

    def test_files_beside_the_classes_have_no_label(self, tmp_path: Path) -> None:
        picture(0).save(tmp_path / "0.png")
        assert [p.label for p in read_all(tmp_path)] == [None]

    def test_a_linked_folder_is_read_and_a_circle_is_left(self, folder: Path) -> None:
        inner = folder / "c"
        inner.symlink_to(folder / "b")
        (folder / "b" / "back").symlink_to(folder)
        labels = [p.label for p in read_all(folder)]
        assert labels.count("a") == 2 and len(labels) == 3

    @pytest.mark.parametrize("kind", ["empty", "without pictures", "missing", "a file"])
    def test_nothing_in_it(self, kind: str, tmp_path: Path) -> None:
        path = {"missing": tmp_path / "x", "a file": tmp_path / "a.txt"}.get(kind, tmp_path)
        if kind != "empty":
            (tmp_path / "a.txt").write_text("no picture")
        wanted = {
            "empty": r"\.jpeg, \.jpg, .*got .* with 0 other files",
            "without pictures": "with 1 other files",
            "missing": "x, which does not exist",
            "a file": "got the file",
        }[kind]
        with pytest.raises(SINGFileError, match=wanted):
            Pictures.of(path)


class HuggingFaceLike:
    """A dataset of dictionaries, as the ``datasets`` package has them."""

    def __init__(self, image: str, label: str) -> None:
        self.keys = image, label

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict[str, object]:
        return dict(zip(self.keys, (picture(index), index - 1), strict=True))


class TestItems:
    def test_torchvision(self, folder: Path) -> None:
        for path in (folder / ".cache", folder / "a" / ".hidden.png"):
            path.rename(folder.parent / path.name.strip("."))
        found = read_all(ImageFolder(str(folder)))
        assert [p.label for p in found] == ["a", "a", "b"]  # its numbers are no model's
        fake = FakeData(size=4, image_size=(3, 9, 7), num_classes=3)
        assert [p.label for p in read_all(fake)] == [int(label) for _, label in fake]
        assert read_all(fake)[0].image.size == (7, 9)

    @pytest.mark.parametrize("keys", [("image", "label"), ("img", "fine_label"), ("img", "labels")])
    def test_hugging_face(self, keys: tuple[str, str]) -> None:
        found = read_all(HuggingFaceLike(*keys))
        assert [p.label for p in found] == [None, 0, 1]  # -1 is no class
        assert found[2].name == "image 2" and found[2].image.tobytes() == picture(2).tobytes()

    def test_datasets_name_their_classes(self, folder: Path) -> None:
        """Whose numbers are the data set's, and in general not those of a model."""
        for path in (folder / ".cache", folder / "a" / ".hidden.png"):
            path.rename(folder.parent / f"{folder.name}-{path.name}")
        whole = ImageFolder(str(folder))
        known = Pictures.of(whole)
        assert [known.name(i) for i in range(3)] == [path for path, _ in whole.samples]
        turned = ImageFolder(str(folder), transform=lambda image: image.rotate(90))
        assert Pictures.of(turned).items is turned
        assert [p.label for p in read_all(turned)] == ["a", "a", "b"]
        assert [p.label for p in read_all(Subset(turned, [2, 0]))] == ["b", "a"]
        hub = HuggingFaceLike("image", "label")
        hub.features = {"image": object(), "label": SimpleNamespace(names=["cat", "dog"])}
        assert [p.label for p in read_all(hub)] == [None, "cat", "dog"]
        hub.features["label"].names = ["cat"]
        assert [p.label for p in read_all(hub)] == [None, "cat", 1]

    def test_pictures_and_paths(self, folder: Path) -> None:
        path = folder / "b" / "1.png"
        found = read_all([path, str(path), picture(0), (path, "b"), [picture(0), torch.tensor(4)]])
        assert [p.name for p in found] == [str(path), str(path), "image 2", str(path), "image 4"]
        assert [p.label for p in found] == [None, None, None, "b", 4]
        assert len({p.image.tobytes() for p in found}) == 1

    def test_pictures_in_memory_are_made_upright_and_rgb(self) -> None:
        turned = Image.new("L", (4, 6), 99)
        turned.getexif()[0x0112] = 6  # the camera was held on its side
        deep = Image.fromarray(np.full((3, 3), 25_700, dtype=np.uint16))
        clear = Image.new("RGBA", (3, 3), (255, 0, 0, 0))
        images = [p.image for p in read_all([turned, deep, clear])]
        assert [image.mode for image in images] == ["RGB"] * 3
        assert images[0].size == (6, 4)
        assert [image.getpixel((1, 1)) for image in images[1:]] == [(100,) * 3, (255,) * 3]

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            ([torch.zeros(3, 8, 8)], "got image 0 as Tensor. Leave transforms out"),
            ([(np.zeros((8, 8, 3)), 1)], "got image 0 as ndarray"),
            (torch.zeros(2, 3, 8, 8), "got image 0 as Tensor"),
            ([{"pixel_values": 1}], "got image 0 as dict of pixel_values"),
            (FakeData(2, transform=pixels), "got image 0 as Tensor"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 and later
    @pytest.mark.parametrize("num_workers", [0, 1])
    def test_no_pictures(self, images: object, message: str, num_workers: int) -> None:
        with pytest.raises(SINGTypeError, match=message) as caught:
            batches_of(images, num_workers=num_workers)
        assert "Traceback" not in str(caught.value)

    @pytest.mark.parametrize(
        ("images", "message"),
        [({"train": 1, "test": 2}, "got dict of train, test. Choose a split"), (3, "got int")],
    )
    def test_no_collection(self, images: object, message: str) -> None:
        with pytest.raises(SINGTypeError, match=message):
            Pictures.of(images)

    def test_nothing(self) -> None:
        with pytest.raises(SINGValueError, match="with one picture or more, got none"):
            Pictures.of([])
        with pytest.raises(SINGValueError, match="limit of at least 1, got 0"):
            Pictures.of([picture(0)], limit=0)


class TestNoPictureAmongOthers:
    @pytest.mark.parametrize("wrong", [None, {"image": None}, (None, 3), torch.zeros(3), {"a": 1}])
    @pytest.mark.parametrize("stream", [False, True])
    def test_is_left_out(self, wrong: object, stream: bool) -> None:
        images = [picture(0), wrong, picture(2)]
        found = batches_of(iter(images) if stream else images, batch_size=1)
        assert [place for batch in found for place in batch.places] == [0, 2]
        (unusable,) = [one for batch in found for one in batch.unusable]
        assert unusable.name == "image 1" and not unusable.read and unusable.reason

    def test_none_at_first_says_nothing_about_the_others(self) -> None:
        first, second = batches_of([None, picture(0)], batch_size=1)
        assert [one.name for one in first.unusable] == ["image 0"] and second.places == [1]

    def test_a_wrong_type_at_first_is_a_mistake(self) -> None:
        with pytest.raises(SINGTypeError, match="Pictures: expected .* got image 1 as Tensor"):
            batches_of([None, torch.zeros(3), picture(0)], batch_size=1)


class TestLimit:
    def test_of_pictures_is_drawn_from_them(self) -> None:
        images = [(picture(0), i) for i in range(100)]
        fifty = Pictures.of(images, limit=50, seed=1)
        assert Pictures.of(fifty, limit=60) == fifty
        ten = Pictures.of(fifty, limit=10, seed=2)
        assert ten.count == 10 and set(ten.order) < set(fifty.order)
        assert list(ten.order) == sorted(ten.order) != list(fifty.order[:10])
        stream = Pictures.of(iter(range(9)), limit=5)
        assert Pictures.of(stream).count == 5 == Pictures.of(stream, limit=7).count
        assert list(Pictures.of(stream, limit=3).stream()) == [0, 1, 2]

    def test_of_a_stream_asks_for_no_more(self) -> None:
        asked = iter(range(9))
        assert list(Pictures.of(asked, limit=3).stream()) == [0, 1, 2]
        assert next(asked) == 3

    def test_a_stream_that_knows_its_length_is_one(self) -> None:
        class Stream(IterableDataset):
            def __len__(self) -> int:
                return 3

            def __iter__(self) -> Iterator[Image.Image]:
                yield from (picture(i) for i in range(3))

        pictures = Pictures.of(Stream())
        assert pictures.order is None
        assert [b.places for b in batches_of(Stream(), batch_size=2)] == [[0, 1], [2]]

    def test_is_drawn_from_all_and_sorted(self) -> None:
        images = [(picture(0), i) for i in range(100)]
        labels = [p.label for p in read_all(images, limit=10, seed=1)]
        assert labels == sorted(labels) and len(set(labels)) == 10 and labels[-1] > 50
        assert labels == [p.label for p in read_all(images, limit=10, seed=1)]
        assert labels != [p.label for p in read_all(images, limit=10, seed=2)]

    def test_of_a_stream_is_its_beginning(self) -> None:
        pictures = Pictures.of((i for i in range(100)), limit=3)
        assert pictures.count == 3 and list(pictures.stream()) == [0, 1, 2]
        assert Pictures.of(i for i in range(2)).count is None


class TestBatches:
    def test_everything_once_in_order(self) -> None:
        images = [(picture(i), i) for i in range(7)]
        for count in (1, 3, 7, 20):
            found = batches_of(images, batch_size=count)
            assert [place for batch in found for place in batch.places] == list(range(7))
            assert [label for batch in found for label in batch.labels] == list(range(7))
            tensors = torch.cat([batch.tensors["preprocess"] for batch in found])
            assert torch.equal(tensors, torch.stack([pixels(image) for image, _ in images]))

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 and later
    def test_workers_read_the_same(self, folder: Path) -> None:
        (folder / "a" / "1.jpg").write_bytes(b"no picture")
        alone, helped = (batches_of(folder, batch_size=2, num_workers=n) for n in (0, 2))
        assert len(alone) == len(helped) == 2
        for ours, theirs in zip(alone, helped, strict=True):
            assert torch.equal(ours.tensors["preprocess"], theirs.tensors["preprocess"])
            assert (ours.places, ours.names, ours.labels) == (
                theirs.places, theirs.names, theirs.labels)  # fmt: skip
            assert ours.unusable == theirs.unusable

    def test_a_stream(self) -> None:
        def images() -> Iterator[Image.Image]:
            yield from (picture(i) for i in range(5))

        found = batches_of(images(), batch_size=2)
        assert [batch.names for batch in found] == [
            ["image 0", "image 1"], ["image 2", "image 3"], ["image 4"]]  # fmt: skip
        with pytest.raises(SINGValueError, match="num_workers of 0 for images without a length"):
            batches_of(images(), num_workers=2)

    def test_what_cannot_be_read_is_kept_apart(self, folder: Path) -> None:
        whole = (folder / "b" / "1.png").read_bytes()
        (folder / "a" / "0.png").write_bytes(whole[: len(whole) // 2])
        (folder / "a" / "1.jpg").write_bytes(b"no picture")
        (folder / "a" / "3.png").symlink_to(folder / "nowhere.png")
        (batch,) = batches_of(folder)
        assert batch.places == [2, 4, 5]
        assert batch.labels == ["a", "a", "b"]
        assert [Path(one.name).name for one in batch.unusable] == ["0.png", "1.jpg", "3.png"]
        reasons = [one.reason for one in batch.unusable]
        assert "truncated" in reasons[0] and "cannot identify" in reasons[1]
        assert not any(one.read for one in batch.unusable)

    def test_a_dataset_that_fails_at_one_index(self) -> None:
        class Torn(HuggingFaceLike):
            def __getitem__(self, index: int) -> dict[str, object]:
                if index == 1:
                    raise OSError("the archive ends here.\nand more")
                return super().__getitem__(index)

        (batch,) = batches_of(Torn("image", "label"))
        assert batch.places == [0, 2]
        assert [(one.name, one.reason) for one in batch.unusable] == [
            ("image 1", "the archive ends here")]  # fmt: skip

    def test_a_transform_that_fails_on_one(self) -> None:
        def picky(image: Image.Image) -> torch.Tensor:
            if image.width > 12:
                raise ValueError("too wide")
            return pixels(image)

        (batch,) = batches_of([picture(0), picture(1, size=20)], picky)
        assert batch.places == [0]
        assert [(one.reason, one.read) for one in batch.unusable] == [
            ("preprocess: too wide", True)]  # fmt: skip

    @pytest.mark.parametrize(
        ("transform", "message"),
        [
            (lambda image: image, "preprocess to make a tensor .* got Image"),
            (lambda image: pixels(image)[None], r"got Tensor of shape \(1, 3, 8, 8\)"),
            (pil_to_tensor, r"one shape, got \(3, 12, 12\) and \(3, 20, 20\). Let it resize"),
        ],
    )
    def test_a_transform_of_another_kind(self, transform, message: str) -> None:
        with pytest.raises(SINGTypeError, match=message):
            batches_of([picture(0), picture(1, size=20)], transform)

    @pytest.mark.parametrize("options", [{"batch_size": 0}, {"num_workers": -1}])
    def test_numbers_that_cannot_be(self, options: dict[str, int]) -> None:
        with pytest.raises(
            SINGValueError, match=f"read_batches: expected {next(iter(options))} of at"
        ):
            batches_of([picture(0)], **options)

    def test_goes_to_processes_that_are_started_anew(self) -> None:
        pictures = Pictures.of([picture(0)])
        assert pickle.loads(pickle.dumps(pictures)).read(0).image == picture(0)  # noqa: S301
