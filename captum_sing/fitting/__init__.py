"""From a model, an encoder and pictures to a translator: one pass, and a report on the rest."""

from captum_sing.fitting.accuracy import Accuracy
from captum_sing.fitting.fit import fit_translator
from captum_sing.fitting.report import FitReport

__all__ = ["Accuracy", "FitReport", "fit_translator"]
