"""A translator that knows nothing: the same gains, in random directions of the feature."""

from __future__ import annotations

import torch

from captum_sing.translator import LinearTranslator

__all__ = ["random_translator"]


def random_translator(translator: LinearTranslator, seed: int = 0) -> LinearTranslator:
    r"""The same singular values, turned at random in the feature space.

    :math:`A = U S V^\top` becomes :math:`U S Q^\top` with random orthonormal Q. What such a
    translator finds in a null space is what any linear map of that strength finds there.

    Args:
        translator (LinearTranslator): with or without statistics, which are kept.
        seed (int, optional): equal seeds give equal translators. Default: 0

    Returns:
        LinearTranslator: its ``facts["random"]`` is the seed.

    Example::

        >>> import torch
        >>> translator = LinearTranslator(torch.eye(3)[:2], torch.zeros(3), torch.zeros(2))
        >>> random_translator(translator, seed=1).weight @ random_translator(translator).weight.T
        tensor([[..., ...],
                [..., ...]])
    """
    u, s, vh = torch.linalg.svd(translator.weight.double().cpu(), full_matrices=False)
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(vh.T.shape, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()  # uniform over all orientations
    return LinearTranslator(
        ((u * s) @ q.T).to(translator.weight),
        translator.origin,
        translator.image,
        covariance=translator.covariance,
        embedding_covariance=translator.embedding_covariance,
        record=translator.record,
        facts={**translator.facts, "random": seed},
    )
