"""Classifiers by name or file, with their preprocessing, and the images they look at."""

from captum_sing.classifiers.images import as_rgb, load_image
from captum_sing.classifiers.loading import LoadedClassifier
from captum_sing.classifiers.sources import ClassifierSource, find_classifier, load_classifier

__all__ = [
    "ClassifierSource",
    "LoadedClassifier",
    "as_rgb",
    "find_classifier",
    "load_classifier",
    "load_image",
]
