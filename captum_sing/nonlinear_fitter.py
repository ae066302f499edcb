"""Fitting a nonlinear translator by gradient descent, with early stopping."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from captum_sing.errors import SINGValueError, expected
from captum_sing.membership import FeatureRecord, sketch
from captum_sing.nonlinear import ACTIVATIONS, KINDS, Layer, NonlinearTranslator, network

__all__ = ["fit_nonlinear"]

_WHERE = "fit_nonlinear"


def fit_nonlinear(
    features: Tensor,
    embeddings: Tensor,
    kind: str = "3layer",
    *,
    hidden_dim: int = 1024,
    activation: str = "gelu",
    epochs: int = 200,
    patience: int = 10,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
    held_out: float = 0.1,
    seed: int = 0,
    encoder: str | None = None,
    model: str | None = None,
    show_progress: bool = False,
) -> NonlinearTranslator:
    """Fit a multilayer perceptron to pairs of features and embeddings, by Adam.

    It minimises the squared error, as the ridge regression of a linear translator does, and keeps
    the weights of the epoch that did best on pairs held out for that. Everything is on the device
    of ``features``, in float32; the same seed gives the same translator there.

    Args:
        features (Tensor): shape (N, D), all in memory.
        embeddings (Tensor): of the same images, shape (N, E).
        kind (str, optional): ``"3layer"``, ``"4layer"`` or ``"residual"``. Default: ``"3layer"``
        hidden_dim (int, optional): the width H between the layers. Default: 1024
        activation (str, optional): a key of ``ACTIVATIONS``. Default: ``"gelu"``
        epochs (int, optional): at most so many. Default: 200
        patience (int, optional): stop after so many epochs without a better one. Default: 10
        batch_size (int, optional): pairs a step. Default: 512
        learning_rate (float, optional): of Adam. Default: 0.001
        held_out (float, optional): the share of pairs that judge the epochs. Default: 0.1
        seed (int, optional): of the initial weights, the held-out pairs and their order.
            Default: 0
        encoder, model (str, optional): the names that the translator keeps.
        show_progress (bool, optional): a progress bar over the epochs. Default: False

    Returns:
        NonlinearTranslator: its ``facts`` hold the number of ``epochs``, the ``best_epoch``, whose
        weights these are, and its ``validation_error``, a share of the embeddings' variance.

    Raises:
        SINGValueError: pairs or settings that cannot be used.

    Example::

        >>> import torch
        >>> f = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
        >>> translator = fit_nonlinear(f[:300], f[:300].abs(), hidden_dim=32, batch_size=32)
        >>> translator.evaluate(f[300:], f[300:].abs()).whole.r2 > 0.9
        True
    """
    for name, value, known in (("kind", kind, KINDS), ("activation", activation, ACTIVATIONS)):
        if value not in list(known):
            raise _refusal(name, f"in {list(known)}", repr(value), "Choose one of them")
    if not 0.0 < held_out < 1.0:
        raise _refusal("held_out", "above 0 and below 1", held_out, "Use 0.1")
    validation = max(2, round(held_out * len(features)))
    _check(features, embeddings, validation)
    for name, number in (
        ("hidden_dim", hidden_dim),
        ("epochs", epochs),
        ("patience", patience),
        ("batch_size", batch_size),
    ):
        if number < 1 or number != int(number):
            raise _refusal(name, "of at least 1, an integer", number, "Leave it out")
    if not 0.0 < learning_rate < float("inf"):
        raise _refusal("learning_rate", "finite and above 0", learning_rate, "Use 0.001")

    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(features), generator=generator).to(features.device)
    f, z = (
        features.detach().double()[order],
        embeddings.detach().to(features.device).double()[order],
    )
    train = slice(validation, None)
    origin, image = f[train].mean(dim=0), z[train].mean(dim=0)
    spread = f[train].std(dim=0)
    unit = torch.where(spread > 0, spread, 1.0)
    length = (z[train] - image).square().mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny)
    x, y = ((f - origin) / unit).float(), ((z - image) / length).float()

    sizes = [f.shape[1], *[hidden_dim] * (KINDS[kind] - 1), z.shape[1]]
    layers = _initial(sizes, generator, features.device)
    optimizer = torch.optim.Adam([t for layer in layers for t in layer], lr=learning_rate)
    best, best_layers, best_epoch = float("inf"), layers, 0
    with tqdm(range(1, epochs + 1), _WHERE, disable=not show_progress) as bar:
        for epoch in bar:
            shuffled = torch.randperm(len(x) - validation, generator=generator) + validation
            for rows in shuffled.to(x.device).split(batch_size):
                loss = F.mse_loss(network(kind, activation, layers, x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                judged = network(kind, activation, layers, x[:validation])
                error = float(F.mse_loss(judged, y[:validation]))
            bar.set_postfix(error=f"{error:.4f}")
            if error < best:
                best, best_epoch = error, epoch
                best_layers = [(w.detach().clone(), b.detach().clone()) for w, b in layers]
            elif epoch - best_epoch >= patience:
                break
    if best == float("inf"):
        raise _refusal(
            "learning_rate", "at which the error stays finite", learning_rate, "Use less"
        )

    (first, bias), *between, (last, last_bias) = best_layers
    scale, length = unit.float(), length.float()
    outer = (last * length, last_bias * length + image.float())
    return NonlinearTranslator(
        kind,
        [(first / scale, bias), *between, outer],
        activation,
        origin=origin,
        record=FeatureRecord.from_sketches(sketch(features)),
        facts={
            "encoder": encoder,
            "model": model,
            "count": len(features),
            "epochs": epoch,
            "best_epoch": best_epoch,
            "validation_error": best,
        },
    )


def _initial(sizes: list[int], generator: torch.Generator, device: torch.device) -> list[Layer]:
    """Torch's own initial weights of linear layers, from a generator of their own."""
    layers: list[Layer] = []
    for columns, rows in pairwise(sizes):
        bound = columns**-0.5
        drawn = [torch.rand(shape, generator=generator) for shape in ((rows, columns), (rows,))]
        weight, bias = (nn.Parameter(((2 * u - 1) * bound).to(device)) for u in drawn)
        layers.append((weight, bias))
    return layers


def _check(features: Tensor, embeddings: Tensor, validation: int) -> None:
    for name, tensor in (("features", features), ("embeddings", embeddings)):
        if tensor.dim() != 2 or 0 in tensor.shape or not tensor.isfinite().all():
            remedy = "Flatten them, and leave images without them out"
            raise _refusal(name, "finite and of shape (N, width)", tuple(tensor.shape), remedy)
    if len(features) != len(embeddings):
        raise _refusal(
            "embeddings", f"for {len(features)} features", tuple(embeddings.shape), "Pair them"
        )
    if len(features) < validation + 2:
        raise _refusal(
            "features", f"more than the {validation} held out", len(features), "Give more"
        )


def _refusal(name: str, constraint: str, actual: object, remedy: str) -> SINGValueError:
    return SINGValueError(expected(_WHERE, name, constraint, actual, remedy))
