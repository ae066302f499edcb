"""An extraction of tensors in memory: the study of it is that of the same tensors on disk."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from study_toys import whole
from study_world import NAME, scenes_extraction
from torch import nn

from captum_sing.demo import load_concepts, load_encoder, load_translator
from captum_sing.errors import SINGTypeError, SINGValueError
from captum_sing.linear_head import LinearHead
from captum_sing.study import Extraction, study_of

FEATURES = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
EMBEDDINGS = torch.randn(10, 5, generator=torch.Generator().manual_seed(1))
WEIGHT = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))


def test_study_is_that_of_the_same_tensors_on_disk() -> None:
    disk, words = scenes_extraction()
    block = whole(disk)
    held = Extraction.from_tensors(
        block.features,
        block.embeddings,
        disk.head,
        logits=block.logits,
        labels=disk.labels,
        names=disk.names,
        class_names=disk.class_names,
        **{name: disk.facts[name] for name in ("model", "encoder", "preprocessing")},
        block_size=64,
    )
    for one, other in zip(disk.blocks(), held.blocks(), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    bank, translator = load_concepts(load_encoder()), load_translator(NAME)
    studies = [
        study_of(one, bank, translator, word_labels=words, draws=100) for one in (disk, held)
    ]
    pd.testing.assert_frame_equal(studies[0].table, studies[1].table, check_exact=True)
    pd.testing.assert_frame_equal(studies[0].groups, studies[1].groups, check_exact=True)
    facts = [study.facts for study in studies]
    differ = {name for name in facts[1] if facts[0][name] != facts[1][name]}
    assert differ == {"key", "layers"}


def test_blocks_are_of_the_asked_size() -> None:
    held = Extraction.from_tensors(FEATURES, EMBEDDINGS, WEIGHT, block_size=4)
    assert [block.rows.tolist() for block in held.blocks()] == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9]
    ]  # fmt: skip
    again = whole(held)
    assert torch.equal(again.features, FEATURES) and torch.equal(again.embeddings, EMBEDDINGS)
    assert len(list(Extraction.from_tensors(FEATURES, EMBEDDINGS, WEIGHT).blocks())) == 1


def test_logits_are_the_heads() -> None:
    layer = nn.Linear(6, 3)
    with torch.no_grad():
        wanted = layer(FEATURES)
    for head in (layer, LinearHead.of(layer)):
        held = Extraction.from_tensors(FEATURES, EMBEDDINGS, head)
        assert torch.allclose(whole(held).logits, wanted, atol=1e-6)
        assert held.predictions.tolist() == wanted.argmax(dim=1).tolist()
        assert held.sizes == (6, 3, 5)
    bare = Extraction.from_tensors(FEATURES, EMBEDDINGS, WEIGHT)
    assert torch.allclose(whole(bare).logits, FEATURES @ WEIGHT.T, atol=1e-5)
    assert torch.equal(bare.head.weight(6), WEIGHT)


def test_labels_and_names() -> None:
    held = Extraction.from_tensors(FEATURES, EMBEDDINGS, WEIGHT, labels=torch.arange(10) % 3)
    assert held.labels[:4] == (0, 1, 2, 0) and held.names[9] == "image 9"
    assert Extraction.from_tensors(FEATURES, EMBEDDINGS, WEIGHT).labels == (None,) * 10


def test_rows_that_are_not_finite_are_left_out_by_name() -> None:
    features, embeddings, logits = FEATURES.clone(), EMBEDDINGS.clone(), FEATURES @ WEIGHT.T
    features[1, 2], embeddings[3, 0], logits[6, 1] = torch.nan, torch.inf, torch.nan
    held = Extraction.from_tensors(features, embeddings, WEIGHT, logits=logits, block_size=4)
    assert held.valid.nonzero().flatten().tolist() == [0, 2, 4, 5, 7, 8, 9]
    assert whole(held).rows.tolist() == [0, 2, 4, 5, 7, 8, 9]
    assert [(one.name, one.reason) for one in held.unusable] == [
        ("image 1", "NaN or infinity in the features"),
        ("image 3", "NaN or infinity in the embeddings"),
        ("image 6", "NaN or infinity in the logits"),
    ]
    assert held.predictions[[1, 3, 6]].tolist() == [-1, -1, -1]
    with pytest.raises(SINGValueError, match="features with one finite row or more, got 10 others"):
        Extraction.from_tensors(FEATURES * torch.nan, EMBEDDINGS, WEIGHT)


def test_key_is_of_the_content() -> None:
    key = Extraction.from_tensors(FEATURES, EMBEDDINGS, WEIGHT).key
    assert Extraction.from_tensors(FEATURES.clone(), EMBEDDINGS, WEIGHT).key == key
    others = [
        Extraction.from_tensors(FEATURES + 1, EMBEDDINGS, WEIGHT),
        Extraction.from_tensors(FEATURES, EMBEDDINGS, WEIGHT * 2, logits=FEATURES @ WEIGHT.T),
        Extraction.from_tensors(FEATURES, EMBEDDINGS, WEIGHT, labels=[0] * 10),
        Extraction.from_tensors(FEATURES, EMBEDDINGS, WEIGHT, model="another"),
    ]
    assert len({key, *(other.key for other in others)}) == 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"features": FEATURES[:, :5]}, r"head of shape \('any', 5\), not empty, got \(3, 6\)"),
        ({"features": FEATURES[0]}, r"features of shape \('any', 'any'\), not empty, got \(6,\)"),
        ({"features": FEATURES[:0]}, r"features of shape .* got \(0, 6\)"),
        ({"embeddings": EMBEDDINGS[:9]}, r"embeddings of shape \(10, 'any'\).* got \(9, 5\)"),
        ({"logits": torch.zeros(10, 4)}, r"logits of shape \(10, 3\).* got \(10, 4\)"),
        ({"head": nn.Linear(7, 3)}, r"features of width in \[7\], as the head, got 6"),
        ({"names": ["a"]}, "names of length 10, got 1"),
        ({"labels": [0] * 9}, "labels of length 10, got 9"),
        ({"class_names": ("a", "b")}, "class_names of length 3, got 2"),
        ({"block_size": 0}, "block_size of at least 1, got 0"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, object], message: str) -> None:
    given = {"features": FEATURES, "embeddings": EMBEDDINGS, "head": WEIGHT, **changed}
    with pytest.raises(SINGValueError, match=message):
        Extraction.from_tensors(**given)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"features": FEATURES.long()}, "features to be a floating-point tensor, got torch.int64"),
        ({"embeddings": "clip"}, "embeddings to be a floating-point tensor, got str"),
        ({"head": nn.ReLU()}, "layer to be a linear map .* got ReLU"),
    ],
)
def test_what_is_of_another_kind_is_refused(changed: dict[str, object], message: str) -> None:
    given = {"features": FEATURES, "embeddings": EMBEDDINGS, "head": WEIGHT, **changed}
    with pytest.raises(SINGTypeError, match=message):
        Extraction.from_tensors(**given)
