"""Words do not mix: in a bank of any size each embedding is that word's alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny_models import write_open_clip, write_two_towers
from torch import Tensor

from captum_sing.concepts import ConceptBank
from captum_sing.encoders import ImageTextEncoder, OpenCLIPEncoder, TransformersEncoder

NAMES = ("red", "blue", "green", "star", "moon")
TEMPLATES = ("{}", "a {}", "a photo of a {}", "photo of {} a", "of a {} a photo")
OTHER = "photo"  # a bank refuses a word without an alternative


@pytest.fixture(scope="module", params=["open_clip", "clip", "siglip"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp(request.param) / "tiny"
    if request.param == "open_clip":
        return OpenCLIPEncoder(f"local-dir:{write_open_clip(folder, seed=0)}")
    write_two_towers(folder, request.param)
    return TransformersEncoder(str(folder))


def alone(word: str, templates: Sequence[str], encoder: ImageTextEncoder) -> Tensor:
    """The formula, one prompt at a time: normalise each, average, normalise."""
    total = torch.zeros(encoder.embedding_dim, dtype=torch.float64)
    for template in templates:
        row = encoder.encode_text([template.format(word)])[0].double()
        total += row / row.norm()
    return total / total.norm()


@pytest.mark.parametrize("templates", [1, 2, 5])
@pytest.mark.parametrize("words", [1, 2, 5])
def test_each_word_is_its_own(encoder: ImageTextEncoder, words: int, templates: int) -> None:
    names, prompts = NAMES[:words], TEMPLATES[:templates]
    bank = ConceptBank.from_words(names if words > 1 else (*names, OTHER), encoder, prompts)
    expected = torch.stack([alone(word, prompts, encoder) for word in names])
    found = bank.embeddings[:words].double()
    assert (found - expected).abs().max() < 1e-5
    others = torch.stack([alone(word, prompts, encoder) for word in (*names[1:], OTHER)])
    assert ((found - others).norm(dim=1) > 1e-2).all()  # the words differ: a swap would show
    if templates > 1:
        one = torch.stack([alone(word, prompts[:1], encoder) for word in names])
        assert ((found - one).norm(dim=1) > 1e-2).all()  # and so do the templates


def test_templates_of_groups_keep_to_their_words(encoder: ImageTextEncoder) -> None:
    """Words of two groups in turn, with two templates and with three."""
    groups = {"color": NAMES[:3], "thing": NAMES[3:]}
    templates = {"color": TEMPLATES[:2], "thing": TEMPLATES[2:]}
    bank = ConceptBank.from_words(
        ("star", "red", "moon", "blue", "green"), encoder, templates, groups
    )
    for name, embedding in zip(bank.names, bank.embeddings, strict=True):
        expected = alone(name, templates[bank.group_of(name)], encoder)
        assert (embedding.double() - expected).abs().max() < 1e-5


def test_each_of_many_texts_is_its_own(encoder: ImageTextEncoder) -> None:
    texts = [f"a {one} {other} {last}" for one in NAMES for other in NAMES
             for last in (*NAMES, *("photo of " + name for name in NAMES), "a")]  # fmt: skip
    together = encoder.encode_text(texts)
    assert len(texts) == 275  # more than one batch
    rows = [0, 1, 100, 254, 255, 256, 257, 274]
    one_by_one = torch.cat([encoder.encode_text([texts[row]]) for row in rows])
    assert (together[rows] - one_by_one).abs().max() < 1e-5
