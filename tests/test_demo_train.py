"""The script that rebuilds the embedded world."""

from __future__ import annotations

import pytest
import torch

from captum_sing.demo import (
    CLASSIFIERS,
    FACTORS,
    load_classifier,
    load_decoder,
    load_encoder,
    load_translator,
    sample_scenes,
)
from captum_sing.demo.models import FEATURES, NECK
from captum_sing.demo.train import _install, main
from captum_sing.demo.training.common import Job, image_seed
from captum_sing.demo.training.evaluation import probe
from captum_sing.demo.training.necks import Anatomy, make_neck
from captum_sing.demo.training.plan import PHASES
from captum_sing.demo.world import WEIGHTS
from captum_sing.errors import SINGFileError
from captum_sing.null_space import NullSpace


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_quick_training_writes_a_whole_world(tmp_path, capsys):
    output = tmp_path / "world"
    (output / "clip").mkdir(parents=True)
    (output / "clip" / "open_clip_config.json").touch()
    (output / "stale").touch()
    main(["--quick", "--seed", "3", "--output", str(output)])
    shipped = {path.relative_to(WEIGHTS) for path in WEIGHTS.rglob("*") if path.is_file()}
    written = {path.relative_to(output) for path in output.rglob("*") if path.is_file()}
    assert written == shipped
    assert list(tmp_path.iterdir()) == [output]
    images = sample_scenes(2, 0).images
    width = load_encoder(folder=output).embedding_dim
    for name, about in CLASSIFIERS.items():
        model, translator = (
            load_classifier(name, folder=output),
            load_translator(name, folder=output),
        )
        features = model.features(images)
        assert features.shape == (2, NECK if about.necked else FEATURES)
        assert model(images).shape == (2, 8)
        assert translator(features).shape == (2, width)
    assert load_decoder(folder=output)(torch.zeros(2, width)).shape == images.shape
    told = capsys.readouterr().out
    assert all(name in told for phase in PHASES for name in phase)
    assert "null space" in told and "s CPU" in told


@pytest.fixture(scope="module")
def dissected():
    """Features in which every factor is a shifted cloud, with correlated noise, and its anatomy."""
    generator = torch.Generator().manual_seed(0)
    labels = {
        name: torch.randint(len(words), (6000,), generator=generator)
        for name, words in FACTORS.items()
    }
    mix = torch.randn(FEATURES, FEATURES, generator=generator) / FEATURES**0.5
    features = torch.randn(6000, FEATURES, generator=generator) @ mix
    for name, words in FACTORS.items():
        features += 2.0 * torch.randn(len(words), FEATURES, generator=generator)[labels[name]]
    return features, labels, Anatomy.of(features[:4000], labels_of(labels, slice(4000)))


def labels_of(labels, rows):
    return {name: label[rows] for name, label in labels.items()}


@pytest.mark.parametrize("planted", [(), ("color",), ("size", "background"), ("position",)])
def test_a_neck_hides_what_is_planted_and_has_nothing_else(dissected, planted):
    features, labels, anatomy = dissected
    neck, head = make_neck(anatomy, planted, seed=1)
    null_space = NullSpace.from_layer(head)
    assert (null_space.rank, null_space.nullity) == (7, NECK - 7)
    with torch.no_grad():
        narrow = neck(features)
        shape = (head(narrow).argmax(1) == labels["shape"])[4000:].float().mean()
    hidden = null_space.project(narrow)
    parts = {"null": hidden, "row": narrow - hidden}
    assert shape > 0.95
    for factor, words in FACTORS.items():
        for part, inputs in parts.items():
            named = probe(inputs[:4000], labels[factor][:4000], inputs[4000:])
            right = (named == labels[factor][4000:]).float().mean()
            told = factor in planted if part == "null" else factor == "shape"
            means = torch.stack(
                [inputs[:4000][labels[factor][:4000] == v].mean(0) for v in range(len(words))]
            )
            assert told or (means - means[0]).abs().max() < 1e-4, (factor, part)
            assert (right > 0.95) if told else (right < 1 / len(words) + 0.06), (factor, part)


def test_a_neck_is_rotated_and_moved_away_from_zero(dissected):
    features, _, anatomy = dissected
    neck, head = make_neck(anatomy, ("color",), seed=1)
    assert neck(features).mean(0).norm().item() == pytest.approx(5.0, rel=0.2)
    assert (head.weight.abs().amax(0) > 1e-3).all()  # no column stands for one factor
    other, _ = make_neck(anatomy, ("color",), seed=2)
    assert not torch.allclose(neck.weight, other.weight)


def test_streams_never_share_an_image():
    steps = Job("any", 3, 512, 1e-3).steps
    seeds = {image_seed(stream, step) for stream in range(200) for step in range(steps)}
    assert len(seeds) == 200 * steps
    assert min(seeds) > 20_270_000  # small seeds are left for tests


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(SINGFileError, match="--output to be new, empty, or a world"):
        main(["--quick", "--output", str(tmp_path)])
    assert (tmp_path / "thesis.tex").exists()


def test_an_old_folder_is_replaced_whole(tmp_path):
    built, output = tmp_path / "built", tmp_path / "world"
    for folder, name in ((built, "new"), (output, "old")):
        folder.mkdir()
        (folder / name).touch()
    _install(built, output)
    assert [p.name for p in output.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [output]
