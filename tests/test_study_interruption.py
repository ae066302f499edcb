"""Killed, stopped, out of room, beside another run or spread over processes: the same files."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from study_toys import (
    files_in,
    folder_of_pictures,
    same,
    toy_extraction,
)
from torch import Tensor

from captum_sing.errors import SINGFileError
from captum_sing.testing import ToyEncoder

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
COUNT = 400


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = folder_of_pictures(tmp_path_factory.mktemp("pictures"), COUNT)
    (root / "cat" / "00100.png").write_bytes(b"broken")
    return root


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    toy_extraction(images, folder)
    return files_in(folder)


def started(images: Path, folder: Path) -> Any:
    """A run in a process of its own."""
    process = multiprocessing.get_context("fork").Process(
        target=toy_extraction, args=(images, folder)
    )
    process.start()
    return process


def check_kills(images: Path, whole: dict[str, bytes], folder: Path, kills: int) -> list[int]:
    """Kill a run at random moments, each time resume it; how many files there were each time."""
    begin = time.monotonic()
    uninterrupted = started(images, folder / "timed")
    uninterrupted.join()
    duration = time.monotonic() - begin
    assert uninterrupted.exitcode == 0
    generator = random.Random(0)
    found: list[int] = []
    attempts = itertools.count()
    while len(found) < kills:
        cache = folder / str(next(attempts))
        process = started(images, cache)
        time.sleep(generator.uniform(0.05, 1.0) * duration)
        process.kill()
        process.join()
        there = files_in(cache)
        if process.exitcode == -signal.SIGKILL and len(there) < len(whole):
            assert there.items() <= whole.items()  # none that is not whole
            found.append(len(there))
            resumed = toy_extraction(images, cache)
            assert files_in(cache) == whole
            assert same(resumed, toy_extraction(images, folder / "timed"))
        else:  # it was over before
            duration *= 0.9
    return found


def test_killed_and_resumed(images: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    check_kills(images, whole, tmp_path, 2)


@pytest.mark.slow
def test_killed_and_resumed_often(images: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    found = check_kills(images, whole, tmp_path, 20)
    print(f"files at the moments of killing, of {len(whole)}: {sorted(found)}")
    assert len(set(found)) > 5  # the moments were different ones


def test_stopped_by_the_keyboard(images: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    class Stopping(ToyEncoder):
        calls = 0

        def encode_image(self, images: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 30:
                os.kill(os.getpid(), signal.SIGINT)
            return super().encode_image(images)

    with pytest.raises(KeyboardInterrupt):
        toy_extraction(images, tmp_path, encoder=Stopping())
    assert 3 < len(files_in(tmp_path)) < 30
    assert not list(tmp_path.rglob(".*"))
    toy_extraction(images, tmp_path)
    assert files_in(tmp_path) == whole


@contextmanager
def little_room(size: int) -> Iterator[None]:
    """No file may grow beyond a size, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [100, 1000])
def test_full_disk(images: Path, whole: dict[str, bytes], tmp_path: Path, room: int) -> None:
    """No room for the manifest, or for the first part."""
    with (
        little_room(room),
        pytest.raises(SINGFileError, match=r"with room for all parts, got .*arge.*Make room, or"),
    ):
        toy_extraction(images, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]
    toy_extraction(images, tmp_path)
    assert files_in(tmp_path) == whole


def test_two_runs_share_a_folder(images: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    runs = [started(images, tmp_path) for _ in range(2)]
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0]
    assert files_in(tmp_path) == whole
    assert not list(tmp_path.rglob(".*"))


SHARE = """
import sys
from datetime import timedelta
from pathlib import Path
from torch import distributed
sys.path.insert(0, {tests!r})
from study_toys import toy_classifier, toy_extraction
from captum_sing.errors import SINGValueError
images, folder, log = sys.argv[1:]
distributed.init_process_group("gloo", timeout=timedelta(seconds=100))
try:
    toy_extraction(images)
except SINGValueError as error:
    print(error)
classifier, counts = toy_classifier(), []
classifier.model.register_forward_hook(lambda _, args, __: counts.append(len(args[0])))
extraction = toy_extraction(images, Path(folder), classifier=classifier, layer="head")
rows = sum(len(block.rows) for block in extraction.blocks())
Path(log, str(distributed.get_rank())).write_text(f"{{sum(counts)}} {{rows}} {{extraction.key}}")
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_processes_share_the_work(images: Path, tmp_path: Path) -> None:
    """Two of torchrun's, over gloo: each computes every other part, and both read all of them."""
    alone = toy_extraction(images, tmp_path / "alone", layer="head")
    script, log = tmp_path / "share.py", tmp_path / "log"
    script.write_text(SHARE.format(tests=str(Path(__file__).parent)), encoding="utf-8")
    log.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    run = subprocess.run(
        [*command, str(script), str(images), str(tmp_path / "shared"), str(log)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.count("expected folder to be one that all 2 processes share, got None") == 2
    logs = [(log / str(rank)).read_text(encoding="utf-8").split() for rank in range(2)]
    assert [rows for _, rows, _ in logs] == [str(COUNT - 1)] * 2
    assert {key for _, _, key in logs} == {alone.key}
    assert sorted(int(count) for count, _, _ in logs) == [COUNT // 2 - 1, COUNT // 2]
    assert files_in(tmp_path / "shared") == files_in(tmp_path / "alone")


MEASURE = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from study_toys import wide_extraction
paths = sorted(Path(sys.argv[1]).iterdir())[: int(sys.argv[3])]
extraction = wide_extraction(paths, Path(sys.argv[2]))
assert sum(len(block.rows) for block in extraction.blocks()) == len(paths)
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 images of the embedded world."""
    from torchvision.transforms.functional import to_pil_image

    from captum_sing.demo import sample_scenes

    root = tmp_path_factory.mktemp("scenes")
    for part in range(20):
        for number, image in enumerate(sample_scenes(1000, seed=part).images):
            to_pil_image(image).save(root / f"{part:02d}-{number:03d}.ppm")
    return root


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_does_not_grow(scenes: Path, tmp_path: Path) -> None:
    """Ten times as many pictures, 221 MB of numbers more, need no more than their columns."""
    peaks = {}
    for count in (2_000, 20_000):
        arguments = [str(scenes), str(tmp_path / str(count)), str(count)]
        script = MEASURE.format(tests=str(Path(__file__).parent))
        run = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert run.returncode == 0, run.stderr[-3000:]
        peaks[count] = int(run.stdout) / 1024
        print(f"{count} pictures: peak {peaks[count]:.0f} MiB")
    a_kilobyte_each = 18_000 * 1024 / 2**20  # for its path, label and identity
    assert peaks[20_000] - peaks[2_000] < a_kilobyte_each + 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_second_run_is_fifty_times_faster(scenes: Path, tmp_path: Path) -> None:
    """Even where the networks are small."""
    from captum_sing.classifiers import load_classifier
    from captum_sing.demo import load_encoder
    from captum_sing.study import extract

    paths = sorted(scenes.iterdir())[:2000]
    classifier, encoder = load_classifier("demo/resnet/neck_color"), load_encoder()
    times = []
    for _ in range(4):
        begin = time.perf_counter()
        extract(classifier, encoder, paths, folder=tmp_path, show_progress=False)
        times.append(time.perf_counter() - begin)
    first, second = times[0], min(times[1:])
    print(f"{first:.1f} s, then {second:.3f} s: {first / second:.0f} times faster")
    assert first / second >= 50
