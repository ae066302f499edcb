"""Studies of data sets: one pass of a classifier and an encoder, and what it says, with controls.

:func:`run_study` goes from pictures to a :class:`Study`: a table with one row an image, and what
that says of each class and of the model. :func:`extract` is its first half, the pass through the
networks, which is kept on disk; :func:`study_of` its second, which is quick. Studies of one
collection are compared by :func:`compare_models`; :func:`null_axes` are the directions inside a
null space along which its images differ.
"""

from captum_sing.study.axes import NullAxis, null_axes
from captum_sing.study.comparing import Comparison, compare_models
from captum_sing.study.extraction import Extraction
from captum_sing.study.extractor import extract
from captum_sing.study.running import run_study, study_of
from captum_sing.study.shards import Block
from captum_sing.study.steered import steered
from captum_sing.study.study import Study

__all__ = [
    "Block",
    "Comparison",
    "Extraction",
    "NullAxis",
    "Study",
    "compare_models",
    "extract",
    "null_axes",
    "run_study",
    "steered",
    "study_of",
]
