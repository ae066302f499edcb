"""What a reader of a study must know beside its numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from captum_sing.descriptions import number
from captum_sing.study.extraction import Extraction
from captum_sing.study.scoring import Scorer
from captum_sing.study.table import tested_rows
from captum_sing.translator import LinearTranslator

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["notes_of", "quality_of", "unknown_sample"]

_JUDGED = 2000  # images; memory must not grow with their number


def quality_of(
    extraction: Extraction, scorer: Scorer, table: pd.DataFrame
) -> dict[str, Any] | None:
    """How well the translator does on up to 2,000 of the tested images, from all over the table.

    Returns:
        dict or None: as :class:`captum_sing.TranslatorReport`; None for fewer than two.
    """
    features, embeddings, count = [], [], 0
    tested = torch.from_numpy(tested_rows(table))
    step = max(1, int(tested.sum()) // _JUDGED)
    chosen = torch.zeros_like(tested)
    chosen[tested.nonzero().flatten()[::step][:_JUDGED]] = True
    for block in extraction.blocks():
        rows = chosen[count : count + len(block.rows)]
        features.append(block.features[rows])
        embeddings.append(block.embeddings[rows])
        count += len(block.rows)
    count = int(chosen.sum())
    if count < 2:
        return None
    space = scorer.space if scorer.translator.has_statistics else None
    report = scorer.translator.evaluate(torch.cat(features), torch.cat(embeddings), space)
    return {
        name: {key: number(value) for key, value in fact.items()}
        if isinstance(fact, dict)
        else fact
        for name, fact in asdict(report).items()
    }


def unknown_sample(translator: LinearTranslator, precision: torch.dtype) -> str | None:
    """Why it cannot be told whether the translator was fitted on an image, if it cannot."""
    if translator.record is None:
        return (
            "the translator keeps no record of its images; if these are others, say "
            "held_out=True (--held-out)"
        )
    if precision in (torch.float16, torch.bfloat16):
        return (
            "in 16 bits the translator does not know its images again; if these are others, say "
            "held_out=True (--held-out)"
        )
    return None


def notes_of(table: pd.DataFrame, scorer: Scorer, not_held_out: str | None) -> list[str]:
    """What is amiss, a sentence each."""
    translator, space, notes = scorer.translator, scorer.space, []
    own, count = int(table["in_sample"].sum()), len(table)
    if not_held_out:
        notes.append(f"No stars: {not_held_out}.")
    elif own == count:
        notes.append("In-sample, not tested: the translator was fitted on all of these images.")
    elif own:
        notes.append(
            f"The translator was fitted on {own} of {count} images: they are in the table, and in "
            "no number of a class or of the model."
        )
    if repeated := int(table["repeated"].sum()):
        notes.append(
            f"{repeated} of {count} images are the same as an earlier one: they are in the table, "
            "and in no number of a class or of the model."
        )
    if not translator.has_statistics:
        notes.append("The translator has no statistics of reference images: there is no evidence.")
    elif translator.covariance is None:
        notes.append("The translator has no feature covariance: no conditional baseline.")
    if table["label"].isna().all():
        notes.append("The images have no labels: there is no class level.")
    if not any(name.startswith("own_") for name in table):
        notes.append("No image's word is known: evidence is in the table, and nothing is tested.")
    if space.classes is not None:
        notes.append(f"Only the {space.invariant_to} of classes {list(space.classes)} are kept.")
    elif space.invariant_to != "logits":
        notes.append("The probabilities are kept: all logits may move together.")
    if space.energy is not None:
        notes.append(f"The null space is approximate (energy {space.energy:g}).")
    return notes
