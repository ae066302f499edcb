"""Built-in words in groups that tell them apart, with prompts in a grammar that suits each.

Some four hundred attributes of pictures, and ImageNet's thousand classes. Words of most groups are
alternatives, of which one is true; the others, such as parts and overlays, only contrast their
words (see :mod:`captum_sing.vocabularies.attributes`).

Example::

    >>> from captum_sing.vocabularies import load_vocabulary, names
    >>> names()[:3]
    ('attributes', 'imagenet', 'actions')
    >>> colors = load_vocabulary("colors")
    >>> colors.groups["color"][:3], colors.prompts["orange"][:2]
    (('red', 'orange', 'yellow'), ('something orange', 'a photo of an orange object'))
"""

from captum_sing.vocabularies.loading import Vocabulary, load_vocabulary, names

__all__ = ["Vocabulary", "load_vocabulary", "names"]
