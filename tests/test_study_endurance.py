"""Studies of thousands of images: killed and resumed, within memory, and quick the second time."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from study_toys import files_in

from captum_sing import NullSpace
from captum_sing.study import Study, run_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
NAME = "plain"
KILLS = 20


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 images of the embedded world, 2,500 of each shape, the shapes in turn."""
    from torchvision.transforms.functional import to_pil_image

    from captum_sing.demo import FACTORS, sample_scenes

    root = tmp_path_factory.mktemp("scenes")
    for shape in FACTORS["shape"]:
        (root / shape).mkdir()
    for part in range(20):
        drawn = sample_scenes(1000, seed=part)
        for number, image in enumerate(drawn.images):
            name = f"{part:02d}-{number:03d}.ppm"
            to_pil_image(image).save(root / drawn.words(number)["shape"] / name)
    return root


def studied(root: Path, cache: Path, count: int | None = None, shard_size: int = 64) -> Study:
    """A study of a folder, or of its first pictures by name; labelled with their shape."""
    from captum_sing.classifiers import load_classifier
    from captum_sing.demo import load_concepts, load_encoder, load_translator

    torch.set_num_threads(1)
    paths = sorted(root.rglob("*.ppm"), key=lambda path: path.name)[:count]
    encoder = load_encoder()
    return run_study(
        load_classifier(f"demo/{NAME}"),
        [(str(path), path.parent.name) for path in paths],
        load_concepts(encoder),
        translator=load_translator(NAME),
        encoder=encoder,
        folder=cache,
        shard_size=shard_size,
        draws=200,
        show_progress=False,
    )


def study_and_save(root: Path, cache: Path, output: Path, count: int) -> None:
    studied(root, cache, count).save(output)


def started(*arguments: Any) -> Any:
    process = multiprocessing.get_context("fork").Process(target=study_and_save, args=arguments)
    process.start()
    return process


def test_killed_at_twenty_moments_it_ends_with_the_same_table(scenes: Path, tmp_path: Path) -> None:
    """One study of 5,000 images, killed again and again, each time a little further on."""
    count, cache = 5_000, tmp_path / "cache"
    whole = started(scenes, tmp_path / "whole", tmp_path / "wanted", count)
    whole.join()
    assert whole.exitcode == 0
    files = -(-count // 64)
    generator, there = random.Random(0), []
    for target in sorted(generator.sample(range(files), KILLS)):
        process = started(scenes, cache, tmp_path / "found", count)
        while process.is_alive() and len(list(cache.rglob("*.safetensors"))) < target:
            time.sleep(0.01)
        time.sleep(generator.uniform(0.0, 0.5))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        there.append(len(list(cache.rglob("*.safetensors"))))
    print(f"killed with so many of {files} files there: {there}")
    assert len(set(there)) > 10 and there[-1] < files
    last = started(scenes, cache, tmp_path / "found", count)
    last.join()
    assert last.exitcode == 0
    assert files_in(tmp_path / "found") == files_in(tmp_path / "wanted")
    found, wanted = (Study.load(tmp_path / name) for name in ("found", "wanted"))
    pd.testing.assert_frame_equal(found.table, wanted.table, check_exact=True)
    assert len(found) == count and found.to_dict() == wanted.to_dict()
    assert files_in(cache) == files_in(tmp_path / "whole")


MEASURE = """
import sys
from collections.abc import Sequence
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_study_endurance import studied
study = studied(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), 512)
assert len(study) == int(sys.argv[3]) and len(study.groups)
rows = study.table.memory_usage(deep=True).sum()
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0], rows)
"""


def test_ten_times_the_images_need_no_more_memory_than_the_table(
    scenes: Path, tmp_path: Path
) -> None:
    """From pictures to the last statistic; what is read alone would be 12 MB more."""
    peaks, rows = {}, {}
    for count in (2_000, 20_000):
        arguments = [str(scenes), str(tmp_path / str(count)), str(count)]
        run = subprocess.run(
            [sys.executable, "-c", MEASURE.format(tests=str(Path(__file__).parent)), *arguments],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(sys.path),
                "MALLOC_MMAP_THRESHOLD_": "1048576",
            },
        )
        assert run.returncode == 0, run.stderr[-3000:]
        peak, size = map(int, run.stdout.split())
        peaks[count], rows[count] = peak / 1024, size / 2**20
        print(f"{count} images: peak {peaks[count]:.0f} MiB, the table {rows[count]:.1f} MiB")
    a_kilobyte_each = 18_000 / 1024  # for its path, label and identity
    assert peaks[20_000] - peaks[2_000] < rows[20_000] + a_kilobyte_each + 20


class LargeEncoder:
    """A ViT-B/32 of random weights: how long it takes matters here, and what it says does not."""

    name, embedding_dim = "random ViT-B-32", 512

    def __init__(self) -> None:
        import open_clip

        torch.manual_seed(0)
        self.model, _, self.preprocess = open_clip.create_model_and_transforms("ViT-B-32")
        self.model.eval()

    @torch.no_grad()
    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.encode_image(images)

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        raise NotImplementedError


def test_a_second_study_is_fifty_times_faster(scenes: Path, tmp_path: Path) -> None:
    """Of a ResNet-50 and a ViT-B/32: with networks of that size the rest is little."""
    import timm
    from timm.data import create_transform

    from captum_sing import ConceptBank, TranslatorFitter
    from captum_sing.classifiers import LoadedClassifier

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = timm.create_model("resnet50").eval()
    transform = create_transform(**timm.data.resolve_model_data_config(model))
    fitter = TranslatorFitter(encoder=LargeEncoder.name)
    fitter.update(torch.randn(500, 2048).relu(), torch.randn(500, 512))
    words = tuple(f"word {i}" for i in range(100))
    groups = {f"group {g}": words[10 * g : 10 * g + 10] for g in range(10)}
    paths = sorted(scenes.rglob("*.ppm"))[:300]
    options: dict[str, Any] = {
        "concepts": ConceptBank(words, torch.randn(100, 512), groups),
        "translator": fitter.fit(),
        "encoder": LargeEncoder(),
        "word_labels": {group: [own[i % 10] for i in range(300)] for group, own in groups.items()},
        "folder": tmp_path,
        "show_progress": False,
    }
    classifier, times, tables = LoadedClassifier(model, transform, None, "resnet50"), [], []
    for energy in (0.9, 0.9, 0.5):
        options["null_space"] = NullSpace.from_layer(model.fc, energy=energy)
        begin = time.perf_counter()
        tables.append(run_study(classifier, [str(path) for path in paths], **options).table)
        times.append(time.perf_counter() - begin)
    print(f"{times[0]:.1f} s, then {times[1]:.2f} s, and {times[2]:.2f} s with another null space")
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[2]["image_score"].equals(tables[0]["image_score"])
    assert times[0] / min(times[1:]) >= 50
