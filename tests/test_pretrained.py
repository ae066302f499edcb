"""Loading from transformers leaves the library as it was, and names what it loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_models import write_classifier
from transformers.utils import logging

from captum_sing.errors import SINGFileError
from captum_sing.pretrained import (
    check_source,
    commit_of,
    digest_of_folder,
    first_line,
    load_pretrained,
)

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
    for name in ("README.md", "notes.txt", "words.safetensors", "trainer_state.json"):
        (tmp_path / "copy" / name).write_text("{ of no account")
    config = tmp_path / "copy" / "config.json"
    config.write_bytes(config.read_text().replace("\n", "\r\n").encode())
    assert digest_of_folder(tmp_path / "copy") == known
    (tmp_path / "copy" / "config.json").rename(tmp_path / "copy" / "other.json")
    assert digest_of_folder(tmp_path / "copy") != known


def test_the_first_line_of_an_error() -> None:
    assert first_line(ValueError("\n one thing.\nanother")) == "one thing"
    assert first_line(ValueError()) == ""


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    model = write_classifier(tmp_path / "whole", "ViT")
    model.save_pretrained(tmp_path / "mine", max_shard_size="10KB")
    shutil.copy(tmp_path / "whole" / "preprocessor_config.json", tmp_path / "mine")
    return tmp_path / "mine"


def rename_shard(folder: Path, new: str) -> Path:
    """Let the index call its first shard by another name; returns the shard."""
    index = folder / "model.safetensors.index.json"
    old = sorted(json.loads(index.read_text())["weight_map"].values())[0]
    index.write_text(index.read_text().replace(json.dumps(old), json.dumps(new)))
    return folder / old


@pytest.mark.parametrize("place", ["../outside.safetensors", "{}/outside.safetensors", "none"])
def test_shards_are_files_of_the_folder(sharded: Path, place: str) -> None:
    place = place.format(sharded.parent)
    rename_shard(sharded, place).rename(sharded.parent / "outside.safetensors")
    with pytest.raises(SINGFileError, match=f"with '{place}', which is no file in it"):
        load_pretrained("here", str(sharded), *ARGUMENTS)


def test_a_link_leads_out_into_the_blobs_of_the_hub_alone(sharded: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    for place, refused in ((snapshot / "../../blobs", False), (tmp_path / "other", True)):
        shutil.rmtree(snapshot.parents[1], ignore_errors=True)
        shutil.copytree(sharded, snapshot)
        place.mkdir()
        for shard in snapshot.glob("*.safetensors"):
            shard.rename(place / shard.name)
            shard.symlink_to((place / shard.name).resolve())
        if refused:
            with pytest.raises(SINGFileError, match="which is no file in it"):
                check_source("here", str(snapshot))
        else:
            assert load_pretrained("here", str(snapshot), *ARGUMENTS).name.startswith("0123@")


def test_the_digest_is_of_the_shards_under_any_name(sharded: Path) -> None:
    found = set()
    rename_shard(sharded, "first").rename(sharded / "first")
    for end in (b"", b"more"):
        (sharded / "first").write_bytes((sharded / "first").read_bytes() + end)
        found.add(digest_of_folder(sharded))
    assert len(found) == 2


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_a_damaged_index(sharded: Path, text: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(text)
    with pytest.raises(SINGFileError, match="here: .* a whole model.safetensors.index.json"):
        check_source("here", str(sharded))


def test_a_damaged_file_that_counts_is_an_error_of_ours(tmp_path: Path) -> None:
    write_classifier(tmp_path / "mine", "ViT")
    (tmp_path / "mine" / "added_tokens.json").write_text("{")
    with pytest.raises(SINGFileError, match="here: expected source .* got JSONDecodeError"):
        load_pretrained("here", str(tmp_path / "mine"), *ARGUMENTS)


def test_without_a_commit_there_is_no_name() -> None:
    with pytest.raises(ValueError, match="config.json of nobody/nothing is not in the cache"):
        commit_of("nobody/nothing", "config.json")
