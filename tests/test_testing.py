"""The shipped toys: heads of a known rank, an encoder that notices everything, a classifier."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from captum_sing import ConceptBank, ImageTextEncoder, find_head
from captum_sing.linear_head import head_weight
from captum_sing.testing import ToyClassifier, ToyEncoder, toy_heads

HEADS = toy_heads()


@pytest.mark.parametrize("name", HEADS)
def test_rank_is_cut_clearly(name: str) -> None:
    head = HEADS[name]
    weight = head_weight(head.module).double().numpy()
    values = np.linalg.svd(weight, compute_uv=False)
    following = values[head.rank] if head.rank < len(values) else 0.0
    assert values[head.rank - 1] > 1e4 * following
    assert head.rank < weight.shape[1]


def test_heads_are_what_their_names_say() -> None:
    weights = {name: head_weight(head.module) for name, head in HEADS.items()}
    assert len(weights["wide"]) < weights["wide"].shape[1]
    assert len(weights["tall"]) > weights["tall"].shape[1]
    assert HEADS["rank deficient"].rank < min(weights["rank deficient"].shape)
    assert torch.equal(weights["duplicated rows"][4], weights["duplicated rows"][1])
    assert HEADS["no bias"].module.bias is None
    assert isinstance(HEADS["1x1 convolution"].module, nn.Conv2d)
    assert weights["scaled by 1e-7"].abs().max() < 1e-5
    for name, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        assert weights[name].dtype == dtype
    for name, decades in (("four decades", 1e4), ("float64, ten decades", 1e10)):
        values = torch.linalg.svdvals(weights[name].double())
        assert values[0] / values[-1] == pytest.approx(decades, rel=1e-2)


def test_heads_are_the_same_each_time_and_leave_the_random_state_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    again = toy_heads()
    assert set(again) == set(HEADS)
    for name, head in again.items():
        assert torch.equal(head_weight(head.module), head_weight(toy_heads()[name].module))
    ToyClassifier()
    ToyEncoder()
    assert torch.equal(torch.get_rng_state(), state)


class TestEncoder:
    encoder = ToyEncoder()

    def test_is_an_encoder(self) -> None:
        assert isinstance(self.encoder, ImageTextEncoder)

    def test_texts_do_not_depend_on_their_company(self) -> None:
        texts = ["a red star", "a blue square", "", "red"]
        together = self.encoder.encode_text(texts)
        assert together.shape == (4, self.encoder.embedding_dim)
        for text, row in zip(texts, together, strict=True):
            assert torch.equal(self.encoder.encode_text([text])[0], row)

    @pytest.mark.parametrize(
        "other",
        ["blue star on red", "red star on green", "red on blue star", "red star", "star on blue"],
    )
    def test_texts_depend_on_every_word_and_its_place(self, other: str) -> None:
        one, two = self.encoder.encode_text(["red star on blue", other])
        assert torch.cosine_similarity(one, two, dim=0) < 0.99

    def test_alike_texts_are_near(self) -> None:
        one, two, far = self.encoder.encode_text(["red star", "a red star", "big dog"])
        near = torch.cosine_similarity(one, two, dim=0)
        assert near > torch.cosine_similarity(one, far, dim=0) + 0.1

    def test_swapped_words_and_templates_are_found_out(self) -> None:
        """With two words and two templates, averaging over the wrong ones mixes words up."""
        words, templates = ["red", "blue"], ["a {}", "one {} thing"]
        bank = ConceptBank.from_words(words, self.encoder, templates)

        def slow(word: str) -> Tensor:
            units = [self.encode(template.replace("{}", word)) for template in templates]
            return torch.nn.functional.normalize(sum(units[1:], units[0]), dim=0)

        for word, row in zip(words, bank.embeddings, strict=True):
            torch.testing.assert_close(row, slow(word))
        mixed = torch.stack([self.encode(t.replace("{}", w)) for t in templates for w in words])
        wrong = torch.nn.functional.normalize(mixed.reshape(2, 2, -1).mean(dim=1), dim=1)
        assert (wrong - bank.embeddings).abs().max() > 0.1
        assert not torch.allclose(bank.embeddings, bank.embeddings.flip(0), atol=0.1)

    def encode(self, text: str) -> Tensor:
        return torch.nn.functional.normalize(self.encoder.encode_text([text])[0], dim=0)

    def test_images_are_linear_in_every_pixel(self) -> None:
        generator = torch.Generator().manual_seed(0)
        a, b = torch.rand(2, 4, 3, 8, 8, generator=generator)
        mixed = self.encoder.encode_image(2 * a - b)
        wanted = 2 * self.encoder.encode_image(a) - self.encoder.encode_image(b)
        torch.testing.assert_close(mixed, wanted, rtol=0, atol=1e-5)
        pixels = torch.eye(3 * 64).reshape(-1, 3, 8, 8)
        assert self.encoder.encode_image(pixels).norm(dim=1).min() > 0.01

    def test_pictures_keep_place_and_color(self) -> None:
        picture = Image.new("RGB", (8, 8), (255, 0, 51))
        picture.putpixel((2, 5), (0, 255, 0))
        tensor = self.encoder.preprocess(picture)
        assert tensor.shape == (3, 8, 8)
        torch.testing.assert_close(tensor[:, 5, 2], torch.tensor([0.0, 1.0, 0.0]))
        torch.testing.assert_close(tensor[:, 2, 5], torch.tensor([1.0, 0.0, 0.2]))
        grey = self.encoder.preprocess(Image.new("L", (20, 30), 51))
        torch.testing.assert_close(grey, torch.full((3, 8, 8), 0.2))

    def test_of_another_seed_is_another_space(self) -> None:
        other, same = ToyEncoder(seed=1), ToyEncoder()
        texts = ["red", "blue"]
        assert other.name != self.encoder.name == same.name
        assert torch.equal(same.encode_text(texts), self.encoder.encode_text(texts))
        assert not torch.allclose(other.encode_text(texts), self.encoder.encode_text(texts))


def test_classifier_ends_in_its_head_and_depends_on_its_seed() -> None:
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model = ToyClassifier().eval()
    name, head = find_head(model, images)
    assert (name, head) == ("head", model.head)
    with torch.no_grad():
        torch.testing.assert_close(head(model.features(images)), model(images))
        assert torch.equal(ToyClassifier().eval()(images), model(images))
        assert not torch.allclose(ToyClassifier(seed=1).eval()(images), model(images))
        assert model(images).std(dim=0).min() > 0
