"""Loading from transformers leaves the library as it was, and names what it loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_models import write_classifier
from transformers.utils import logging

from captum_sing.errors import SINGFileError
from captum_sing.pretrained import digest_of_folder, first_line, load_pretrained

ARGUMENTS = ("AutoModelForImageClassification", ("AutoImageProcessor",))


def test_it_is_quiet_and_leaves_the_settings(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_classifier(tmp_path / "mine", "ViT")
    capfd.readouterr()
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    assert load_pretrained("here", str(tmp_path / "mine"), *ARGUMENTS).parts
    assert capfd.readouterr() == ("", "")
    (tmp_path / "mine" / "config.json").write_text("{")
    with pytest.raises(SINGFileError, match="here: expected source"):
        load_pretrained("here", str(tmp_path / "mine"), *ARGUMENTS)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_a_digest_is_of_the_content(tmp_path: Path) -> None:
    write_classifier(tmp_path / "mine", "ViT")
    known = digest_of_folder(tmp_path / "mine")
    shutil.copytree(tmp_path / "mine", tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("of no account")
    config = tmp_path / "copy" / "config.json"
    config.write_bytes(config.read_text().replace("\n", "\r\n").encode())
    assert digest_of_folder(tmp_path / "copy") == known
    (tmp_path / "copy" / "config.json").rename(tmp_path / "copy" / "other.json")
    assert digest_of_folder(tmp_path / "copy") != known


def test_the_first_line_of_an_error() -> None:
    assert first_line(ValueError("\n one thing.\nanother")) == "one thing"
    assert first_line(ValueError()) == ""
