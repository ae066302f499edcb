"""Where a class's logit comes from, beside where what is ignored does, by Captum's own methods.

:func:`compare_attributions` makes both maps with each method, says how alike they are, and what
becomes of logit and evidence when either map's pixels are taken away; :func:`mask_share` says how
much of a map lies in a known place.
"""

from captum_sing.attributions.comparing import compare_attributions
from captum_sing.attributions.maps import Logits
from captum_sing.attributions.pointing import MaskShare, mask_share
from captum_sing.attributions.results import AttributionComparison, Maps

__all__ = [
    "AttributionComparison",
    "Logits",
    "Maps",
    "MaskShare",
    "compare_attributions",
    "mask_share",
]
