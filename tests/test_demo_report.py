"""The demo's report: everything is written, and says what the numbers say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from PIL import Image

from captum_sing.demo import CLASSIFIERS, FACTORS
from captum_sing.demo.figure import example_scenes
from captum_sing.demo.report import run_demo
from captum_sing.errors import SINGFileError


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "out"
    return folder, run_demo(folder, seeds=(11, 12), count=60, progress=False)


def test_every_file_is_there_and_whole(demo):
    folder, report = demo
    assert sorted(p.name for p in folder.iterdir()) == ["demo.json", "demo.png", "demo.txt"]
    assert sorted(report.files) == sorted(folder.iterdir())
    with Image.open(folder / "demo.png") as picture:
        picture.load()
        assert min(picture.size) > 400


def test_json_holds_every_number_of_the_report(demo):
    folder, report = demo
    numbers = json.loads((folder / "demo.json").read_text())
    assert [head["classifier"] for head in numbers["heads"]] == list(CLASSIFIERS)
    rows = numbers["planted_against_found"]
    necks = sum(about.necked for about in CLASSIFIERS.values())
    trained = len(CLASSIFIERS) - necks
    assert len(rows) == len(FACTORS) * (2 * necks + trained) == len(report.findings)
    assert rows[0]["ignored_auc"] == report.findings[0].ignored_auc
    for image, truth in zip(numbers["images"], report.truth, strict=True):
        assert image["truth"] == truth
        assert set(image["descriptions"]) == set(CLASSIFIERS)
    words = numbers["images"][0]["descriptions"]["plain"]["words"]
    assert words["red"]["ignored"] == float(report.descriptions["plain"].ignored[0, 8])
    assert len(words) == sum(map(len, FACTORS.values()))


def test_no_head_is_moved_by_removal(demo):
    for head in demo[1].heads:
        assert head.null_drift <= 1e-5
        assert head.random_drift >= 1000 * head.null_drift
        assert head.rank + head.nullity in (64, 128)
        assert head.translation.in_sample == 0


def test_text_names_every_classifier_and_hides_no_redundancy(demo):
    text = (demo[0] / "demo.txt").read_text()
    assert all(name in text for name in CLASSIFIERS)
    assert "plain is redundant: shape" in text
    assert "Planted against found" in text


def test_the_described_image_is_what_its_words_say():
    scenes = example_scenes()
    assert scenes.words(0)["shape"] == "star" and scenes.words(1)["color"] == "green"
    red, green, blue = scenes.images[0][:, 28:36, 28:36].mean(dim=(1, 2))
    assert red > 2 * green and red > 2 * blue


@pytest.mark.slow
def test_the_command_runs_offline_within_a_minute(tmp_path):
    """With a network that refuses everything, and none of the variables that the tests set."""
    ours = {"HF_HUB_OFFLINE", "OMP_NUM_THREADS", "no_proxy", "NO_PROXY"}
    env = {name: value for name, value in os.environ.items() if name not in ours}
    env |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    env |= {"HF_HOME": str(tmp_path / "hub"), "PYTHONPATH": os.pathsep.join(sys.path)}
    start = time.monotonic()
    command = [sys.executable, "-m", "captum_sing", "demo", "--output", str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True, env=env, timeout=240)
    seconds = time.monotonic() - start
    assert run.returncode == 0, run.stderr[-2000:]
    assert "180 of" in run.stdout and "Planted against found" in run.stdout
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert seconds < 180  # a minute where the cores are idle, which one cannot count on here


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SINGFileError, match="output to be a folder that can be made, got .*file"):
        run_demo(tmp_path / "file" / "out", count=10, progress=False)
