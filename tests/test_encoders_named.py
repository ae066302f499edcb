"""Encoders by one line of text."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import write_open_clip, write_two_towers

from captum_sing.cli.encoders import encoder_of
from captum_sing.encoders import OpenCLIPEncoder, TransformersEncoder, load_encoder
from captum_sing.errors import SINGFileError, SINGNameError


def test_folders_of_both_libraries(tmp_path: Path) -> None:
    write_open_clip(tmp_path / "one", 0)
    write_two_towers(tmp_path / "other", "siglip")
    one = load_encoder(f"local-dir:{tmp_path}/one", "cpu")
    other = load_encoder(f"transformers/{tmp_path}/other", device="cpu")
    assert isinstance(one, OpenCLIPEncoder) and one.name.startswith("open_clip/one@")
    assert isinstance(other, TransformersEncoder) and other.name.startswith("transformers/other@")


def test_the_tiny_clip_of_the_demo() -> None:
    encoder = encoder_of("demo", "cpu")
    assert encoder.name.startswith("open_clip/clip@")
    with pytest.raises(SINGNameError, match="got 'demo'"):
        load_encoder("demo")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ViT-L-15:openai", "got 'ViT-L-15:openai'. The nearest are .*ViT-L-14:openai"),
        ("ViT-L-14", "got 'ViT-L-14'. The nearest are ViT-L-14"),
        ("ViT-L-14:", "got 'ViT-L-14:'"),
        ("ViT-L-14:openay", r"pretrained to be a file or one of \['openai',.*got 'openay'"),
        ("qqqq", "got 'qqqq'. open_clip.list_pretrained.. has all"),
        ("transformers/", "to be a folder, or the name of a repository"),
    ],
)
def test_names_that_do_not_exist(spec: str, message: str) -> None:
    for load in (load_encoder, encoder_of):
        with pytest.raises(SINGNameError, match=message):
            load(spec)


def test_weights_that_are_not_there() -> None:
    for spec in ("hf-hub:nobody/nothing", "transformers/nobody/nothing", "local-dir:/nowhere"):
        with pytest.raises(SINGFileError):
            load_encoder(spec)
