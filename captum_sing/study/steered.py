"""Steered equivalents of a collection: how near a text one comes with no logit moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_sing.angles import attribute_score
from captum_sing.controls import bootstrap_mean
from captum_sing.errors import SINGValueError, expected
from captum_sing.null_space import NullSpace
from captum_sing.steering import steer
from captum_sing.study.extraction import Extraction
from captum_sing.study.repeats import Repeats
from captum_sing.study.statistics import interval
from captum_sing.translator import LinearTranslator

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["steered"]

_WHERE = "steered"


def steered(
    extraction: Extraction,
    translator: LinearTranslator,
    prompts: Mapping[str, Tensor],
    image_scores: Sequence[float] = (10.0, 20.0, 30.0, 40.0),
    *,
    null_space: NullSpace | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    r"""The paper's Table 1: features steered towards a text, by steps calibrated to an IS.

    Every feature is moved inside the null space, :func:`captum_sing.steering.steer`, until its
    translation has turned by the angle; how much nearer the text it is then is the attribute score
    of the move. That any head with a null space can be steered far is geometry, and the step says
    at what price: one of many feature norms leads to where no image is.

    Args:
        extraction (Extraction): see :func:`captum_sing.study.extract`.
        translator (LinearTranslator): from the head's input; its own images, and repeated ones,
            are left out.
        prompts (mapping of str to Tensor): each text's embedding by the translator's encoder,
            shape (E,).
        image_scores (sequence of float, optional): the angles, degrees, above 0 and below 180.
        null_space (NullSpace, optional): Default: the exact one of the head
        draws, seed (int, optional): of the bootstrap. Default: 1000 and 0

    Returns:
        pandas.DataFrame: a row a prompt and angle, with ``prompt``, ``image_score``; ``n``
        held-out images that reach the angle, and ``unreachable`` ones; of the former the mean
        ``attribute_score``, :math:`\angle(T(f), t) - \angle(T(f + \varepsilon d), t)`, in degrees,
        positive towards the text, with its interval ``low``, ``high``; and the median and the 95th
        percentile of :math:`\varepsilon / \|f\|`, ``step`` and ``step_high``.

    Raises:
        SINGValueError: no prompt, one of another width, or an angle out of range.

    Example::

        >>> from torchvision.transforms.functional import to_pil_image
        >>> from captum_sing.classifiers import load_classifier
        >>> from captum_sing.demo import load_concepts, load_encoder, load_translator, sample_scenes
        >>> from captum_sing.study import extract
        >>> encoder = load_encoder()
        >>> scenes = [to_pil_image(image) for image in sample_scenes(40, seed=3).images]
        >>> model = load_classifier("demo/plain")
        >>> extraction = extract(model, encoder, scenes, show_progress=False)
        >>> bank = load_concepts(encoder)
        >>> red = bank.embeddings[bank.names.index("red")]
        >>> table = steered(extraction, load_translator("plain"), {"red": red}, [20.0])
        >>> table["n"].item(), table["attribute_score"].item() > 0
        (40, True)
    """
    import pandas as pd

    texts = _checked(prompts, image_scores, translator)
    space = null_space or NullSpace.from_weight(extraction.head.weight(extraction.sizes[0]))
    space = space.to(translator.weight.device)
    asked = [(prompt, float(score)) for prompt in texts for score in image_scores]
    scores: list[list[Tensor]] = [[] for _ in asked]
    steps: list[list[Tensor]] = [[] for _ in asked]
    repeats = Repeats()
    for block in extraction.blocks():
        features = block.features.to(translator.weight.device).double()
        features = features[~(translator.knows(features) | repeats.among(block))]
        original, norms = translator(features), features.norm(dim=1)
        for place, (prompt, angle) in enumerate(asked):
            moved = steer(features, texts[prompt], angle, space, translator)
            text = texts[prompt][None]
            scores[place].append(attribute_score(original, translator(moved), text)[:, 0].cpu())
            steps[place].append(((moved - features).norm(dim=1) / norms).cpu())
    rows = []
    for (prompt, angle), score, step in zip(
        asked, map(_joined, scores), map(_joined, steps), strict=True
    ):
        reached = step.isfinite()
        found = bootstrap_mean(score[reached], draws=draws, seed=seed)
        ends = torch.tensor([0.5, 0.95], dtype=step.dtype)
        median, most = (
            step[reached].quantile(ends).tolist() if reached.any() else [float("nan")] * 2
        )
        row: dict[str, Any] = {"prompt": prompt, "image_score": angle, "n": found.n}
        row |= {"unreachable": int((~reached).sum()), "attribute_score": found.value}
        rows.append(row | {**interval(found.interval), "step": median, "step_high": most})
    return pd.DataFrame(rows)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts)) if parts else torch.empty(0, dtype=torch.float64)


def _checked(
    prompts: Mapping[str, Tensor], image_scores: Sequence[float], translator: LinearTranslator
) -> dict[str, Tensor]:
    """The texts, in float64 where the translator is."""
    shape = (translator.embedding_dim,)
    for prompt, text in prompts.items():
        if text.shape != shape or not text.isfinite().all():
            raise SINGValueError(
                expected(
                    _WHERE,
                    "prompts",
                    f"finite and of shape {shape}",
                    f"{prompt!r} of shape {tuple(text.shape)}",
                    "Embed them with the translator's encoder",
                )
            )
    if not prompts or not image_scores or not all(0 < score < 180 for score in image_scores):
        raise SINGValueError(
            expected(
                _WHERE,
                "image_scores and prompts",
                "with one angle or more above 0 and below 180 degrees, and one text or more",
                f"{list(image_scores)} and {len(prompts)} texts",
                "Ask for some, such as 20.0",
            )
        )
    return {prompt: text.to(translator.weight.device).double() for prompt, text in prompts.items()}
