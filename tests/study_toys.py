"""A folder of small pictures, and networks that are quick, for the tests of studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from captum_sing.classifiers import LoadedClassifier
from captum_sing.study import Block, Extraction, extract
from captum_sing.testing import ToyClassifier, ToyEncoder

ENCODER = ToyEncoder()


def toy_classifier(seed: int = 0, name: str = "toy") -> LoadedClassifier:
    """Images (B, 3, 8, 8) -> 4 logits, of 12 features."""
    model = ToyClassifier(seed=seed).eval().requires_grad_(False)
    return LoadedClassifier(model, ENCODER.preprocess, ("a", "b", "c", "d"), name)


def draw(seed: int) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(256, (8, 8, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(noise.numpy())


def pictures(count: int, first: int = 0) -> list[Image.Image]:
    return [draw(seed) for seed in range(first, first + count)]


def folder_of_pictures(root: Path, count: int, first: int = 0) -> Path:
    """Pictures of two classes, "cat" the even and "dog" the odd ones."""
    for number, picture in enumerate(pictures(count, first), first):
        path = root / ("cat", "dog")[number % 2] / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return root


def toy_extraction(images: Any, folder: Path | None = None, **further: Any) -> Extraction:
    """In files of eight pictures, unless asked otherwise."""
    options = {"batch_size": 4, "shard_size": 8, "show_progress": False, **further}
    classifier = options.pop("classifier", None) or toy_classifier()
    encoder = options.pop("encoder", ENCODER)
    return extract(classifier, encoder, images, folder=folder, **options)


def wide_extraction(images: Any, folder: Path) -> Extraction:
    """Of 2,048 features and embeddings of 1,024 numbers: 12 kB an image."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2048), nn.ReLU(), nn.Linear(2048, 4))
    classifier = LoadedClassifier(model.eval(), ENCODER.preprocess, None, "wide")
    return extract(classifier, ToyEncoder(1024), images, folder=folder, show_progress=False)


def whole(extraction: Extraction) -> Block:
    """All blocks as one."""
    return Block(*map(torch.cat, zip(*extraction.blocks(), strict=True)))


def same(one: Extraction, other: Extraction) -> bool:
    """Whether two extractions hold the same, to the bit."""
    columns = ("names", "labels", "unusable", "layers", "sizes", "key")
    tensors: list[tuple[Tensor, Tensor]] = [
        *zip(whole(one), whole(other), strict=True),
        (one.valid, other.valid),
        (one.predictions, other.predictions),
    ]
    return all(getattr(one, name) == getattr(other, name) for name in columns) and all(
        a.dtype == b.dtype and torch.equal(a, b) for a, b in tensors
    )


def files_in(folder: Path) -> dict[str, bytes]:
    """Every finished file below a folder."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [path for path in paths if not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}
