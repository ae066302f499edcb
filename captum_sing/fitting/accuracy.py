"""What a linear classifier can still name, from features and from their translations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Accuracy", "accuracies"]


@dataclass(frozen=True)
class Accuracy:
    """What a linear classifier names rightly, on images that it was not trained on.

    Attributes:
        share (float): of right answers.
        low, high (float): exact (Clopper-Pearson) 95 % interval of that share.
        count (int): images judged.
    """

    share: float
    low: float
    high: float
    count: int


def accuracies(
    inputs: Mapping[str, Tensor], labels: Sequence[int | str], seed: int = 0
) -> dict[str, Accuracy]:
    """Train a ridge classifier on one half of some images for each input, and judge the other.

    Args:
        inputs (mapping of str to Tensor): name -> what the classifier reads, shape (N, width).
        labels (sequence of int or str): what it has to name, N of them.
        seed (int, optional): of the halves, which are the same for all inputs. Default: 0

    Returns:
        dict of str to Accuracy: empty where either half is of one class only.

    Example::

        >>> import torch
        >>> labels = [0, 1] * 20
        >>> accuracies({"own": torch.tensor(labels)[:, None].double()}, labels)["own"].share
        1.0
    """
    from scipy.stats import binomtest
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    known = [numbers[label] for label in labels]  # arrays would make texts of them where they mix
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).tolist()
    train, test = order[: len(order) // 2], order[len(order) // 2 :]
    if any(len({known[i] for i in half}) < 2 for half in (train, test)):
        return {}
    found = {}
    for name, values in inputs.items():
        rows = values.double().cpu().numpy()
        ridge = RidgeClassifierCV([10.0**power for power in range(-2, 6)])
        classifier = make_pipeline(StandardScaler(), ridge)
        classifier.fit(rows[train], [known[i] for i in train])
        named = classifier.predict(rows[test]).tolist()
        right = sum(own == known[i] for own, i in zip(named, test, strict=True))
        interval = binomtest(right, len(test)).proportion_ci(0.95, method="exact")
        share = right / len(test)
        found[name] = Accuracy(share, float(interval.low), float(interval.high), len(test))
    return found
