"""Is it more than geometry? Tests and intervals for what a head ignores, all on held-out images.

A bare angle cannot carry a claim: it grows with the number of ignored directions and with the
translator's fit, and removing *anything* turns a vector towards all the rest. What is tested here
is evidence, which is linear and adds up. One procedure answers each question:

=====================================================  ===========================================
more than geometry?                                    :func:`signal_share`, :func:`word_shares`,
                                                       :func:`against_other_words`
does one image's ignored part point at a word?         :class:`References`
does a group's?                                        :func:`permutation_z`, :func:`class_means`
ignored, or merely also there?                         :func:`naming_sources`, :func:`naming`,
                                                       :func:`naming_drop`, :class:`Partialled`
which of many words?                                   :func:`word_tests`
does one model ignore more than another?               :func:`paired_difference`
what would an untrained translator say?                :func:`random_translator`
=====================================================  ===========================================

Every function of images takes ``in_sample``, which images the translator was fitted on (see
:meth:`captum_sing.LinearTranslator.knows`), and refuses them: on its own images a translator finds
something in every empty world. A label of -1 is unknown and its image is left out.
"""

from captum_sing.controls.bootstrap import bootstrap_mean, bootstrap_means, paired_difference
from captum_sing.controls.geometry import haar_spread, isotropic_cosine, isotropic_image_score
from captum_sing.controls.groups import (
    DEFAULT_IMAGES,
    MINIMUM_CLASSES,
    MINIMUM_IMAGES,
    GroupTest,
    class_means,
    contrasts,
    images_needed,
    permutation_z,
)
from captum_sing.controls.names import (
    Naming,
    exact_interval,
    name,
    naming,
    naming_drop,
    naming_sources,
)
from captum_sing.controls.partialled import Partialled, partialled_test
from captum_sing.controls.random_maps import random_translator
from captum_sing.controls.references import MINIMUM_REFERENCES, ImageTests, References, presence
from captum_sing.controls.results import Result
from captum_sing.controls.shares import (
    Share,
    against_other_words,
    class_deviations,
    signal_share,
    word_shares,
)
from captum_sing.controls.words import MINIMUM_WITH_WORD, WordTests, word_tests

__all__ = [
    "DEFAULT_IMAGES",
    "MINIMUM_CLASSES",
    "MINIMUM_IMAGES",
    "MINIMUM_REFERENCES",
    "MINIMUM_WITH_WORD",
    "GroupTest",
    "ImageTests",
    "Naming",
    "Partialled",
    "References",
    "Result",
    "Share",
    "WordTests",
    "against_other_words",
    "bootstrap_mean",
    "bootstrap_means",
    "class_deviations",
    "class_means",
    "contrasts",
    "exact_interval",
    "haar_spread",
    "images_needed",
    "isotropic_cosine",
    "isotropic_image_score",
    "name",
    "naming",
    "naming_drop",
    "naming_sources",
    "paired_difference",
    "partialled_test",
    "permutation_z",
    "presence",
    "random_translator",
    "signal_share",
    "word_shares",
    "word_tests",
]
