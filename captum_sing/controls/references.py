"""Does one image's ignored part point at a word? Against references that do not have the word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_sing.controls.samples import check_held_out, check_labels, check_mask, check_rows

__all__ = ["MINIMUM_REFERENCES", "ImageTests", "References", "presence"]

MINIMUM_REFERENCES = 500


@dataclass(frozen=True, eq=False)
class ImageTests:
    """One test for each image and word.

    Attributes:
        z (Tensor): shape (B, V); NaN where there are fewer than two references.
        p (Tensor): one-sided, shape (B, V); NaN where too few references are without the word.
        n (Tensor): references without the word, shape (V,).
        notes (tuple of str or None): a word each, why it gets no star.
    """

    z: Tensor
    p: Tensor
    n: Tensor
    notes: tuple[str | None, ...]


@dataclass(frozen=True, eq=False)
class References:
    """Evidence of held-out images without the word: its mean and standard deviation.

    Among *all* images a z or a rank is uniform by construction, so that a common word could never
    be found; only images without it say what evidence is without it.

    Attributes:
        mean, std (Tensor): shape (V,) each.
        n (Tensor): number of references without the word, shape (V,).

    Example::

        >>> import torch
        >>> noise = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
        >>> labels, none = torch.arange(1000) % 2, torch.zeros(1000, dtype=torch.bool)
        >>> references = References.of(noise, presence(labels, 2), in_sample=none)
        >>> tests = references.test(torch.tensor([[4.0, 0.0]]), in_sample=none[:1])
        >>> (tests.p < 0.01).tolist()
        [[True, False]]
    """

    mean: Tensor
    std: Tensor
    n: Tensor

    @classmethod
    def of(cls, evidence: Tensor, has_word: Tensor, *, in_sample: Tensor) -> References:
        """The references of each word.

        Args:
            evidence (Tensor): of reference images, shape (N, V).
            has_word (Tensor): whether the image has the word, or may have it, bool, shape (N, V):
                from labels, or from the name that the encoder itself gives it; see
                :func:`presence`.
            in_sample (Tensor): which of them the translator was fitted on, bool, shape (N,).

        Raises:
            SINGTypeError, SINGValueError: shapes that differ, or an image that the translator was
                fitted on.
        """
        evidence = check_rows("References.of", "evidence", evidence, (None, None))
        shape = tuple(evidence.shape)
        without = (~check_mask("References.of", "has_word", has_word, shape)).double()
        check_held_out("References.of", in_sample, shape[0])
        n = without.sum(dim=0)
        mean = (without * evidence).sum(dim=0) / n
        squares = (without * (evidence - mean).square()).sum(dim=0)
        return cls(mean, (squares / (n - 1)).sqrt(), n.long())

    def test(
        self, evidence: Tensor, *, in_sample: Tensor, minimum: int = MINIMUM_REFERENCES
    ) -> ImageTests:
        r"""z of each image and word, :math:`(e - \bar e) / s`, and its one-sided normal p.

        Any constant baseline gives the same. The conditional baseline gives no test of presence.

        Args:
            evidence (Tensor): of images that are none of the references, shape (B, V).
            in_sample (Tensor): which of them the translator was fitted on, bool, shape (B,).
            minimum (int, optional): of references for a star. Default: 500
        """
        from scipy.stats import norm

        evidence = check_rows("References.test", "evidence", evidence, (None, len(self.mean)))
        check_held_out("References.test", in_sample, len(evidence))
        z = torch.where(self.std > 0, (evidence - self.mean) / self.std, torch.nan)
        p = torch.as_tensor(norm.sf(z.numpy()), dtype=z.dtype)
        enough = self.n >= minimum
        notes = tuple(
            None if ok else f"no star: {count} of {minimum} references without the word"
            for count, ok in zip(self.n.tolist(), enough.tolist(), strict=True)
        )
        return ImageTests(z, torch.where(enough, p, torch.nan), self.n, notes)


def presence(labels: Any, words: int) -> Tensor:
    """Which words each image has, for exclusive words; an unlabeled image may have any.

    Args:
        labels (Tensor): column of the image's word, or the encoder's own name for it, -1 for
            unknown, shape (N,).
        words (int): V.

    Returns:
        Tensor: shape (N, V), bool.

    Example::

        >>> import torch
        >>> presence(torch.tensor([1, -1]), 2).tolist()
        [[False, True], [True, True]]
    """
    count = len(labels) if isinstance(labels, Tensor) and labels.dim() else 0
    labels = check_labels("presence", labels, count, words)
    unknown = (labels < 0)[:, None]
    return unknown | (labels[:, None] == torch.arange(words))
