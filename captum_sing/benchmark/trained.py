"""Trained classifiers, of which the truth is not known, beside what linear probes say of them."""

from __future__ import annotations

from dataclasses import dataclass

from captum_sing.benchmark.judging import study_images
from captum_sing.benchmark.probing import probe_parts
from captum_sing.benchmark.scenes import TRAINED, Gallery
from captum_sing.null_space import NullSpace
from captum_sing.study.statistics import MODEL

__all__ = ["TrainedFactor", "trained_factors"]


@dataclass(frozen=True)
class TrainedFactor:
    """A factor in a trained classifier.

    Attributes:
        model, factor (str): which.
        planted (bool or None): what is known.
        z, starred: of the study, on 1,200 images.
        share, share_low, share_high (float): of its signal that is ignored; NaN without a signal.
        named_seen, named_ignored (float): from what is seen, and ignored, by the translator.
        probe_seen, probe_ignored (float): the same by linear probes, fitted with true labels.
    """

    model: str
    factor: str
    planted: bool | None
    z: float
    starred: bool
    share: float
    share_low: float
    share_high: float
    named_seen: float
    named_ignored: float
    probe_seen: float
    probe_ignored: float


def trained_factors(gallery: Gallery, name: str, number: int) -> list[TrainedFactor]:
    """Study a trained classifier.

    Args:
        gallery (Gallery): its scenes.
        name (str): a key of ``TRAINED``.
        number (int): of the world.
    """
    world = gallery.trained(name, number)
    study = study_images(world, world.references)
    space = NullSpace.from_layer(gallery.models[name].head)
    pool, references = gallery.pool, gallery.references
    probed = probe_parts(
        space,
        pool.features[name],
        pool.labels,
        references.features[name],
        references.labels,
    )
    groups, names = (frame[frame["level"] == MODEL] for frame in (study.groups, study.naming))
    right = names.set_index(["group", "source"])["right"]
    return [
        TrainedFactor(
            name,
            row["group"],
            TRAINED[name].get(row["group"]),
            row["z"],
            bool(row["starred"]),
            row["share"],
            row["share_low"],
            row["share_high"],
            float(right[row["group"], "seen"]),
            float(right[row["group"], "ignored"]),
            *probed[row["group"]],
        )
        for row in groups.to_dict("records")
    ]
