"""Pictures of equivalents, and whether they can be believed.

Four ways to draw, behind one protocol, :class:`Renderer`: :class:`UnCLIP` through diffusers,
:class:`Nearest` real pictures, :class:`Inversion` by gradient, and a trained
:class:`FeatureDecoder`. :func:`render_equivalents` draws photographs and their equivalents alike,
and asks the classifier about every picture again. :func:`natural_equivalents` finds pairs of
photographs that are nearly each other's equivalents, where nothing has to be drawn.
"""

from captum_sing.render.decoder import FeatureDecoder
from captum_sing.render.equivalents import Drawn, RenderedEquivalents, render_equivalents
from captum_sing.render.inversion import Inversion
from captum_sing.render.natural import NaturalEquivalents, Pairs, natural_equivalents
from captum_sing.render.nearest import Nearest
from captum_sing.render.protocol import Renderer
from captum_sing.render.unclip import UnCLIP
from captum_sing.render.verify import Check, check, verdicts

__all__ = [
    "Check",
    "Drawn",
    "FeatureDecoder",
    "Inversion",
    "NaturalEquivalents",
    "Nearest",
    "Pairs",
    "RenderedEquivalents",
    "Renderer",
    "UnCLIP",
    "check",
    "natural_equivalents",
    "render_equivalents",
    "verdicts",
]
