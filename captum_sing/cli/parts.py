"""Models with their translators and words, checked against each other before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_sing.checks import check_parts
from captum_sing.classifiers import LoadedClassifier
from captum_sing.cli.analyzing import check_translator
from captum_sing.cli.encoders import encoder_of
from captum_sing.cli.request import Request, Wanted
from captum_sing.cli.words import embedded, load_translator, read_concepts, recorded
from captum_sing.concepts import ConceptBank
from captum_sing.datasets import Pictures, read_batches
from captum_sing.encoders import ImageTextEncoder
from captum_sing.errors import SINGValueError, expected
from captum_sing.head import find_head, resolve_layer
from captum_sing.linear_head import LinearHead
from captum_sing.null_space import NullSpace
from captum_sing.sing import SING
from captum_sing.translator import LinearTranslator
from captum_sing.vocabularies import Vocabulary

__all__ = ["Meanings", "Part", "first_images", "load_part", "read_meanings"]

_WHERE = "captum-sing"
_DEMO = "demo"


@dataclass(frozen=True)
class Meanings:
    """Translators and words that were read, and the encoder that is still a name.

    Attributes:
        translators (list of LinearTranslator): one a model.
        words (ConceptBank, Vocabulary or None): none is all words of the embedded world.
        groups (mapping): group -> its words.
        spec (str): of the encoder.
    """

    translators: list[LinearTranslator]
    words: ConceptBank | Vocabulary | None
    groups: Mapping[str, Sequence[str]]
    spec: str

    def load(self, device: torch.device) -> tuple[ImageTextEncoder, ConceptBank]:
        """The encoder, and the words in its space, which is that of every translator.

        Raises:
            SINGValueError: another space.
            SINGFileError: weights that are missing.
        """
        encoder = encoder_of(self.spec, device)
        bank = self.words
        if not isinstance(bank, ConceptBank):
            bank = embedded(bank, encoder, self.spec == _DEMO)
        for translator in self.translators:
            check_parts(encoder.encode_image, translator, bank, encoder)
        return encoder, bank


def read_meanings(request: Request, wanted: Sequence[Wanted]) -> Meanings:
    """Translators and words, from their files alone.

    Raises:
        SINGValueError: a model without a translator, or an encoder that nothing names.
        SINGNameError, SINGFileError: no such words; files that are missing or damaged.
    """
    translators = [load_translator(one.source, one.translator) for one in wanted]
    of_demo = request.encoder is None and all(one.source.kind == _DEMO for one in wanted)
    spec = _DEMO if of_demo else request.encoder or recorded(translators[0])
    if request.concepts or spec != _DEMO:
        words = read_concepts(request.concepts)
        return Meanings(translators, words, words.groups, spec)
    from captum_sing.demo.scenes import FACTORS

    return Meanings(translators, None, FACTORS, spec)


@dataclass(frozen=True)
class Part:
    """A model that is ready to be studied.

    Attributes:
        classifier (LoadedClassifier): the model.
        layers (tuple of str): its head, or the heads that it averages.
        space (NullSpace): what they ignore.
        sing (SING): with its translator and the words.
        classes (sequence of str or int): their names, or how many there are.
    """

    classifier: LoadedClassifier
    layers: tuple[str, ...]
    space: NullSpace
    sing: SING
    classes: Sequence[str] | int


def load_part(
    wanted: Wanted,
    translator: LinearTranslator,
    bank: ConceptBank,
    encoder: ImageTextEncoder,
    pictures: Pictures,
    *,
    energy: float | None,
    device: torch.device,
) -> Part:
    """Load a model, find its head in the first pictures, and check that all belongs together.

    Raises:
        NoNullSpaceError: the head sees every direction.
        SINGError: what cannot be loaded, or does not fit.
    """
    classifier = wanted.source.load(device)
    model, layers = classifier.model, wanted.layers
    if not layers:
        examples = first_images(pictures, classifier, 2)
        layers = (find_head(model, examples).name,)
    heads: list[nn.Module] = [resolve_layer(model, layer) for layer in layers]
    check_translator(translator, classifier, list(layers))
    layer = heads[0] if len(heads) == 1 else heads
    SING(model, layer, translator, bank, encoder=encoder)  # refuses a translator of another width
    weight = LinearHead.of(heads).weight(translator.feature_dim)
    space = NullSpace.from_weight(weight, energy=energy)
    given = None if energy is None else space
    sing = SING(model, layer, translator, bank, encoder=encoder, null_space=given)
    return Part(classifier, layers, space, sing, classifier.class_names or len(weight))


def first_images(
    pictures: Pictures, classifier: LoadedClassifier, count: int, places: Sequence[int] = ()
) -> Tensor:
    """The first pictures that can be read, as the model takes them, shape (B, 3, H, W).

    Args:
        pictures (Pictures): a collection.
        classifier (LoadedClassifier): whose preprocessing, and device.
        count (int): how many at most.
        places (sequence of int, optional): of the collection. Default: all

    Raises:
        SINGValueError: none can be read.
    """
    found: list[Tensor] = []
    left: list[str] = []
    order = pictures.order or ()
    few = Pictures(pictures.items, [order[place] for place in places] or order)
    device = next(classifier.model.parameters()).device
    for batch in read_batches(few, {"preprocess": classifier.preprocess}, batch_size=count):
        left += [f"{one.name}: {one.reason}" for one in batch.unusable]
        found += batch.tensors.get("preprocess", torch.empty(0))
        if len(found) >= count:
            break
    if not found:
        raise SINGValueError(
            expected(
                _WHERE,
                "--images",
                "with one picture or more that can be read",
                f"{len(left)} that cannot, the first being {left[0]}",
                "Check the files",
            )
        )
    return torch.stack(found[:count]).to(device)
