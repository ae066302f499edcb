"""Figures: each question of a study, and each figure of the paper, as one function.

Every one returns a :class:`matplotlib.figure.Figure` that pyplot does not know, so nothing has to
be closed; ``figure.savefig("joint.png")`` writes it.
"""

from captum_sing.plots.arrows import plot_concept_arrows
from captum_sing.plots.axes import plot_null_axes
from captum_sing.plots.drift import plot_logit_drift
from captum_sing.plots.equivalents import plot_equivalents
from captum_sing.plots.forest import plot_forest
from captum_sing.plots.joint import plot_joint_scores
from captum_sing.plots.matrix import plot_planted_against_found
from captum_sing.plots.natural import plot_natural_equivalents
from captum_sing.plots.shares import plot_seen_and_ignored
from captum_sing.plots.steering import plot_steered
from captum_sing.plots.violins import plot_class_violins

__all__ = [
    "plot_class_violins",
    "plot_concept_arrows",
    "plot_equivalents",
    "plot_forest",
    "plot_joint_scores",
    "plot_logit_drift",
    "plot_natural_equivalents",
    "plot_null_axes",
    "plot_planted_against_found",
    "plot_seen_and_ignored",
    "plot_steered",
]
