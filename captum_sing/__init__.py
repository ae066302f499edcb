"""What does this classifier ignore, and does it matter? SING as a Captum attribution."""

from captum_sing.angles import angle, attribute_score, image_score
from captum_sing.attributions import compare_attributions
from captum_sing.classifiers import load_classifier
from captum_sing.concepts import ConceptBank
from captum_sing.descriptions import Description, Descriptions
from captum_sing.encoders import (
    ImageTextEncoder,
    OpenCLIPEncoder,
    TransformersEncoder,
    load_encoder,
)
from captum_sing.errors import SINGError
from captum_sing.fitter import TranslatorFitter
from captum_sing.fitting import fit_decoder, fit_translator
from captum_sing.head import Head, find_head
from captum_sing.localization import LayerEvidence
from captum_sing.null_space import NullSpace
from captum_sing.quality import TranslatorReport
from captum_sing.render import natural_equivalents, render_equivalents
from captum_sing.score import SINGScore
from captum_sing.sing import SING, SINGAttribution
from captum_sing.translator import LinearTranslator
from captum_sing.verification import Verification

__version__ = "0.1.0"

__all__ = [
    "SING",
    "ConceptBank",
    "Description",
    "Descriptions",
    "Head",
    "ImageTextEncoder",
    "LayerEvidence",
    "LinearTranslator",
    "NullSpace",
    "OpenCLIPEncoder",
    "SINGAttribution",
    "SINGError",
    "SINGScore",
    "TransformersEncoder",
    "TranslatorFitter",
    "TranslatorReport",
    "Verification",
    "angle",
    "attribute_score",
    "compare_attributions",
    "find_head",
    "fit_decoder",
    "fit_translator",
    "image_score",
    "load_classifier",
    "load_encoder",
    "natural_equivalents",
    "render_equivalents",
]
