"""The multilayer perceptrons: their map, their file, the authors' layout, and SING's refusal."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from test_authors import folder_of
from torch import Tensor, nn
from toys import BANK, ToyClassifier

from captum_sing import SING, image_score
from captum_sing.errors import SINGFileError, SINGRuntimeError, SINGTypeError, SINGValueError
from captum_sing.files import save_tensors
from captum_sing.nonlinear import ACTIVATIONS, KINDS, NonlinearTranslator

D, H, E = 6, 9, 4
TORCH = {
    "gelu": nn.GELU(),
    "leaky_relu": nn.LeakyReLU(),
    "relu": nn.ReLU(),
    "silu": nn.SiLU(),
    "tanh": nn.Tanh(),
}


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layers_of(kind: str) -> list[tuple[Tensor, Tensor]]:
    sizes = [D, *[H] * (KINDS[kind] - 1), E]
    return [
        (gaussian(rows, columns, seed=n) / math.sqrt(columns), gaussian(rows, seed=20 + n))
        for n, (columns, rows) in enumerate(pairwise(sizes))
    ]


def slow(kind: str, activation: str, f: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Of torch's own modules."""
    linears = []
    for weight, bias in layers:
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data, linear.bias.data = weight, bias
        linears.append(linear)
    act = TORCH[activation]
    if kind != "residual":
        parts = [part for linear in linears for part in (linear, act)][:-1]
        return nn.Sequential(*parts)(f)
    first, second, third, last = linears
    h = act(first(f))
    h = h + act(second(h))
    h = h + act(third(h))
    return last(h)


@pytest.mark.parametrize("kind", KINDS)
class TestMap:
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_is_that_of_torch_modules(self, kind: str, activation: str) -> None:
        f = gaussian(7, D, seed=30)
        translator = NonlinearTranslator(kind, layers_of(kind), activation)
        wanted = slow(kind, activation, f, layers_of(kind))
        torch.testing.assert_close(translator(f), wanted, rtol=0, atol=1e-6)

    def test_takes_the_mean_off_first(self, kind: str) -> None:
        mean, f = 5000 + gaussian(D, seed=31).double(), gaussian(7, D, seed=30).double()
        translator = NonlinearTranslator(kind, layers_of(kind), "relu", origin=mean)
        plain = NonlinearTranslator(kind, layers_of(kind), "relu")
        torch.testing.assert_close(translator(mean + f), plain(f), rtol=0, atol=1e-9)
        single = (mean + f).float()
        wanted = plain(single.double() - mean)
        assert translator(single).dtype == torch.float32
        assert (translator(single) - wanted).abs().max() < 1e-5

    def test_comes_back_from_its_file(self, kind: str, tmp_path: Path) -> None:
        translator = NonlinearTranslator(
            kind, layers_of(kind), "silu", origin=torch.ones(D), facts={"encoder": "toy"}
        )
        again = NonlinearTranslator.load(translator.save(tmp_path / "t.safetensors"))
        f = gaussian(7, D, seed=30)
        assert torch.equal(again(f), translator(f))
        assert (again.kind, again.activation, again.facts) == (kind, "silu", {"encoder": "toy"})
        assert torch.equal(again.mean, translator.mean)

    @pytest.mark.parametrize("stem", ["", "net.", "model.layers."])
    def test_comes_from_the_authors_layout(self, kind: str, stem: str, tmp_path: Path) -> None:
        """With the activations' numbers left out, as torch.nn.Sequential does."""
        state = {}
        for n, (weight, bias) in enumerate(layers_of(kind)):
            place = f"{stem}{5 * n}"  # 0, 5, 10: in the order of numbers, not of letters
            state |= {f"{place}.weight": weight, f"{place}.bias": bias}
        state = dict(sorted(state.items()))
        folder = folder_of(tmp_path, state, architecture=kind, hidden_dim=H, activation="gelu")
        translator = NonlinearTranslator.from_authors(folder)
        f = gaussian(7, D, seed=30)
        wanted = slow(kind, "gelu", f, layers_of(kind))
        torch.testing.assert_close(translator(f), wanted, rtol=0, atol=1e-6)
        chosen = NonlinearTranslator.from_authors(folder, activation="relu")
        torch.testing.assert_close(
            chosen(f), slow(kind, "relu", f, layers_of(kind)), rtol=0, atol=1e-6
        )
        assert translator.facts["metadata"]["model_name"] == "toy"
        with pytest.raises(
            SINGRuntimeError, match="translator with the mean of reference features"
        ):
            _ = translator.mean


def sequential(kind: str = "3layer", **changes: Any) -> dict[str, Tensor]:
    state = {}
    for n, (weight, bias) in enumerate(layers_of(kind)):
        state |= {f"{2 * n}.weight": weight, f"{2 * n}.bias": bias}
    state |= changes
    return {name: tensor for name, tensor in state.items() if tensor is not None}


class TestAuthors:
    @pytest.mark.parametrize(
        "state",
        [
            {},
            sequential("4layer"),
            sequential(**{"4.bias": None}),
            sequential(**{"2.weight": torch.ones(H, H + 1)}),
            sequential(**{"1.weight": torch.ones(H), "1.bias": torch.ones(H)}),
            sequential(**{"other.4.weight": torch.ones(E, H), "4.weight": None}),
            sequential(**{"norm.running_mean": torch.ones(H)}),
            sequential(**{"0.bias": torch.full((H,), torch.inf)}),
        ],
        ids=lambda state: ",".join(state),
    )
    def test_other_entries_are_refused(self, state: dict[str, Tensor], tmp_path: Path) -> None:
        """A normalisation layer, one layer more or less, another width."""
        folder = folder_of(tmp_path, state, architecture="3layer", hidden_dim=H, activation="relu")
        with pytest.raises(SINGFileError, match=r"from_authors: expected checkpoint "):
            NonlinearTranslator.from_authors(folder)

    def test_an_activation_is_never_guessed(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path, sequential(), architecture="3layer", hidden_dim=H)
        with pytest.raises(SINGValueError, match=r"activation in \['gelu', .*\], got 'None'"):
            NonlinearTranslator.from_authors(folder)
        with pytest.raises(SINGValueError, match=r"activation in .* got 'softplus'"):
            NonlinearTranslator.from_authors(folder, activation="softplus")

    @pytest.mark.parametrize("architecture", ["linear", "5layer"])
    def test_another_architecture_is_refused(self, architecture: str, tmp_path: Path) -> None:
        folder = folder_of(tmp_path, sequential(), architecture=architecture, activation="relu")
        with pytest.raises(SINGValueError, match=rf"kind in {re.escape(str(list(KINDS)))}, got"):
            NonlinearTranslator.from_authors(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layers: layers[:2], "layers 3 of weights"),
        (lambda layers: [layers[0], layers[0], layers[2]], "layers 3 of weights"),
        (lambda layers: [(w, b[1:]) for w, b in layers], "layers 3 of weights"),
        (lambda layers: [(w * math.nan, b) for w, b in layers], "layers finite, got NaN"),
    ],
)
def test_refuses_layers_that_do_not_fit(change: Any, message: str) -> None:
    with pytest.raises(SINGValueError, match=message):
        NonlinearTranslator("3layer", change(layers_of("3layer")), "relu")
    with pytest.raises(SINGValueError, match="layers 3 of weights"):
        NonlinearTranslator("3layer", layers_of("3layer"), "relu", origin=torch.ones(D + 1))


@pytest.mark.parametrize(
    "change",
    [{"weight1": torch.ones(2, 2)}, {"weight3": torch.ones(E, H), "bias3": torch.ones(E)}],
)
def test_refuses_a_file_of_another_layout(change: dict[str, Tensor], tmp_path: Path) -> None:
    translator = NonlinearTranslator("3layer", layers_of("3layer"), "relu")
    tensors = dict(translator.named_buffers()) | change
    facts = {"architecture": "3layer", "activation": "relu", "facts": {}}
    path = save_tensors(tmp_path / "t.safetensors", "NonlinearTranslator", tensors, facts)
    with pytest.raises(SINGFileError, match="load NonlinearTranslator: expected path to hold one"):
        NonlinearTranslator.load(path)


def test_sing_refuses_it_and_names_what_still_works() -> None:
    layers = [
        (gaussian(9, 12), gaussian(9)),
        (gaussian(9, 9), gaussian(9)),
        (gaussian(16, 9), gaussian(16)),
    ]
    translator = NonlinearTranslator("3layer", layers, "relu")
    with pytest.raises(
        SINGTypeError,
        match=r"translator to be linear, since evidence adds up only for a linear map, got a "
        r"NonlinearTranslator\. .*image_score\(translator\(f\), translator\(equivalent\)\)",
    ):
        SING(ToyClassifier(), "head", translator, BANK)  # type: ignore[arg-type]
    f = gaussian(3, 12)
    assert (image_score(translator(f), translator(f + 1)) > 0).all()
