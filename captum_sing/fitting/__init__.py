"""From a model and pictures to a translator, or to a decoder, with a report on the rest."""

from captum_sing.fitting.accuracy import Accuracy
from captum_sing.fitting.decoder import fit_decoder
from captum_sing.fitting.fit import fit_translator
from captum_sing.fitting.report import FitReport

__all__ = ["Accuracy", "FitReport", "fit_decoder", "fit_translator"]
