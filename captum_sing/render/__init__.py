"""Pictures of equivalents, and whether they can be believed.

Four ways to draw, behind one protocol, :class:`Renderer`; :func:`render_equivalents` draws a
photograph and its equivalents alike, and asks the classifier about every picture again.
"""

from captum_sing.render.equivalents import Drawn, RenderedEquivalents, render_equivalents
from captum_sing.render.protocol import Renderer
from captum_sing.render.verify import Check, check, verdicts

__all__ = [
    "Check",
    "Drawn",
    "RenderedEquivalents",
    "Renderer",
    "check",
    "render_equivalents",
    "verdicts",
]
