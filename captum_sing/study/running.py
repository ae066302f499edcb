"""From pictures, or from what was read of them, to a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from captum_sing.checks import check_parts, check_width
from captum_sing.classifiers import LoadedClassifier
from captum_sing.concepts import ConceptBank
from captum_sing.controls import isotropic_image_score
from captum_sing.datasets import Pictures
from captum_sing.encoders import ImageTextEncoder
from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.linear_head import LinearHead
from captum_sing.null_space import NullSpace
from captum_sing.sing import SING
from captum_sing.study.asking import check_asked, check_draws, check_origin, no_donor
from captum_sing.study.beyond import partial_out
from captum_sing.study.extraction import Extraction
from captum_sing.study.extractor import extract
from captum_sing.study.geometry import haar_spreads
from captum_sing.study.labels import groups_with_evidence
from captum_sing.study.networks import Layers
from captum_sing.study.notes import notes_of, quality_of, unknown_sample
from captum_sing.study.scoring import Scorer
from captum_sing.study.study import Study
from captum_sing.study.table import fill_table, own_column
from captum_sing.translator import LinearTranslator

__all__ = ["run_study", "study_of"]

_WHERE = "run_study"


def run_study(
    model: LoadedClassifier | SING | nn.Module,
    images: Any,
    concepts: ConceptBank | None = None,
    *,
    translator: LinearTranslator | None = None,
    encoder: ImageTextEncoder | None = None,
    preprocess: Callable[..., Tensor] | None = None,
    layer: Layers = None,
    null_space: NullSpace | None = None,
    words: Sequence[str] | None = None,
    word_labels: Mapping[str, Sequence[str | None]] | None = None,
    donor: str | Tensor | None = None,
    held_out: bool = False,
    folder: str | Path | None = None,
    draws: int = 1000,
    seed: int = 0,
    **reading: Any,
) -> Study:
    """What a head ignores in a collection of images: each of them, each class, and the model.

    One pass reads the networks, see :func:`extract`; with ``folder``, a second study with other
    words, baselines or null spaces reads none, and an interrupted one goes on.

    Args:
        model (LoadedClassifier, SING or nn.Module): the classifier; a :class:`SING` brings its
            translator, words, layer and null space. These two need ``preprocess``.
        images: a folder, a dataset or a list; as :func:`extract`.
        concepts (ConceptBank, optional): the words.
        translator (LinearTranslator, optional): from the head's input to their space.
        encoder (ImageTextEncoder, optional): of that space.
        preprocess (callable, optional): one RGB picture -> (3, H, W), for a bare model.
        layer (nn.Module, str or sequence of these, optional): the head. Default: found
        null_space (NullSpace, optional): another one than the exact one of the head.
        words, word_labels, donor, held_out, draws, seed: as :func:`study_of`.
        folder (str or Path, optional): where what was read is kept.
        **reading: ``batch_size``, ``num_workers``, ``device``, ``shard_size`` and
            ``show_progress`` of :func:`extract`.

    Returns:
        Study

    Raises:
        SINGTypeError, SINGValueError: parts that are missing, or do not fit each other: before any
            network runs.
        NoNullSpaceError: the head sees every direction.

    Example::

        >>> from torchvision.transforms.functional import to_pil_image
        >>> from captum_sing.classifiers import load_classifier
        >>> from captum_sing.demo import load_concepts, load_encoder, load_translator, sample_scenes
        >>> encoder, scenes = load_encoder(), sample_scenes(60, seed=5)
        >>> bank = load_concepts(encoder)
        >>> study = run_study(
        ...     load_classifier("demo/resnet/neck_color"),
        ...     [to_pil_image(image) for image in scenes.images],
        ...     bank,
        ...     translator=load_translator("resnet/neck_color"),
        ...     encoder=encoder,
        ...     word_labels={"color": [scenes.words(i)["color"] for i in range(60)]},
        ...     show_progress=False,
        ... )
        >>> study.groups[["group", "starred"]].values.tolist(), study.groups["share"].item() > 0.9
        ([['color', True]], True)
    """
    network: Any = model
    if isinstance(model, SING):
        network, encoder = model.forward_func, encoder or model.encoder
        layer, null_space = layer or model.layer, null_space or model.null_space
        concepts, translator = concepts or model.concepts, translator or model.translator
    classifier = _classifier(network, preprocess, translator)
    # refuses what does not fit, before the networks run
    sing = SING(
        classifier.model, layer, _given("translator", translator), _given("concepts", concepts),
        encoder=_given("encoder", encoder), null_space=null_space,
    )  # fmt: skip
    pictures = images if isinstance(images, Pictures) else Pictures.of(images)
    check_asked(pictures, sing.concepts, words, word_labels, donor, draws, classifier.class_names)
    check_origin(sing.translator, classifier.name, classifier.preprocessing)
    if sing.layer is not None and null_space is None:
        head = LinearHead.of(sing.layer)
        null_space = NullSpace.from_weight(head.weight(sing.translator.feature_dim))
    extraction = extract(
        classifier, _given("encoder", encoder), pictures, folder=folder, layer=sing.layer, **reading
    )
    return study_of(
        extraction,
        sing.concepts,
        sing.translator,
        null_space=null_space,
        words=words,
        word_labels=word_labels,
        donor=donor,
        held_out=held_out,
        draws=draws,
        seed=seed,
    )


def study_of(
    extraction: Extraction,
    concepts: ConceptBank,
    translator: LinearTranslator,
    *,
    null_space: NullSpace | None = None,
    words: Sequence[str] | None = None,
    word_labels: Mapping[str, Sequence[str | None]] | None = None,
    donor: str | Tensor | None = None,
    held_out: bool = False,
    draws: int = 1000,
    seed: int = 0,
) -> Study:
    """A study of what was read: no network runs, and memory grows with the table alone.

    Args:
        extraction (Extraction): see :func:`extract`.
        concepts (ConceptBank): the words.
        translator (LinearTranslator): from the head's input to their space.
        null_space (NullSpace, optional): Default: the exact one of the head
        words (sequence of str, optional): whose evidence is kept, two columns each and two for
            each baseline. A group of words is tested if all of them are. Default: all
        word_labels (mapping of str to sequence of str or None, optional): group -> the word that
            each image of the collection has. Where they are missing, the label is the word if it
            is one; without any labels words are ranked, and nothing is tested.
        donor (str or Tensor, optional): an image of the collection by its name, or a feature of
            shape (D,), whose ignored part is swapped into all images.
        held_out (bool, optional): say that the translator was fitted on none of these images,
            where it cannot tell: it keeps no record, or the features are of 16 bits. There are no
            stars otherwise. Default: False
        draws, seed (int, optional): of the bootstraps. Default: 1000 and 0

    Returns:
        Study

    Raises:
        SINGTypeError, SINGValueError, SINGNameError: what does not fit, or is not there.
    """
    import pandas as pd

    if not isinstance(extraction, Extraction):
        raise SINGTypeError(
            expected(
                "study_of",
                "extraction",
                "to be an Extraction",
                type(extraction).__name__,
                "Make one with extract(...), or call run_study",
            )
        )
    check_draws(draws)
    check_parts(extraction.head.logits, translator, concepts, None)
    width = extraction.sizes[0]
    check_width(extraction.head, translator, null_space, width)
    check_origin(translator, extraction.facts["model"], extraction.facts["preprocessing"])
    space = null_space or NullSpace.from_weight(extraction.head.weight(width))
    asked = list(dict.fromkeys(concepts.names if words is None else words))
    concepts.indices(asked)
    device = translator.weight.device
    given = None if donor is None else _donor(extraction, donor).to(device)
    space = space.to(device)
    scorer = Scorer(space, translator, concepts, asked, given)
    table = fill_table(extraction, scorer, word_labels)
    precision = next(extraction.blocks()).features.dtype
    unknown = None if held_out else unknown_sample(translator, precision)
    facts: dict[str, Any] = {
        **extraction.facts,
        "key": extraction.key,
        "layers": list(extraction.layers),
        "classes": extraction.sizes[1],
        "class_names": extraction.class_names and list(extraction.class_names),
        "translator": {
            name: value
            for name, value in translator.facts.items()
            if isinstance(value, (str, int, float))
        },
        "rank": space.rank,
        "nullity": space.nullity,
        "width": space.width,
        "gap": space.gap if space.gap < float("inf") else None,
        "isotropic_image_score": isotropic_image_score(space.nullity, space.width),
        "quality": quality_of(extraction, scorer, table),
        "not_held_out": unknown,
        "unit": "sd" if translator.knows_embeddings else "common sd",
        "baselines": list(scorer.baselines),
        "words": asked,
        "groups": {group: list(of_group) for group, of_group in concepts.groups.items()},
        "unusable": [{"path": one.name, "reason": one.reason} for one in extraction.unusable],
        "draws": draws,
        "seed": seed,
    }
    facts["notes"] = notes_of(table, scorer, unknown)
    groups = groups_with_evidence(facts)
    tested = {group: words for group, words in groups.items() if own_column(group) in table}
    if tested:
        facts["haar_spreads"] = haar_spreads(extraction, scorer, table, tested)
        columns, facts["beyond"] = partial_out(extraction, scorer, table, tested, seed)
        further = pd.DataFrame(columns, index=table.index)
        table = pd.concat([table, further], axis=1)
    return Study(table, facts)


def _classifier(
    model: Any, preprocess: Callable[..., Tensor] | None, translator: LinearTranslator | None
) -> LoadedClassifier:
    if isinstance(model, LoadedClassifier):
        return model
    if not isinstance(model, nn.Module):
        raise SINGTypeError(
            expected(
                _WHERE,
                "model",
                "to be a LoadedClassifier, a SING of a module, or a module",
                type(model).__name__,
                "Load one with load_classifier(...)",
            )
        )
    name = getattr(translator, "model", None) or type(model).__name__
    return LoadedClassifier(model, _given("preprocess", preprocess), None, name)


def _given(argument: str, value: Any) -> Any:
    if value is None:
        raise SINGTypeError(expected(_WHERE, argument, "to be given", None, "Pass it by name"))
    return value


def _donor(extraction: Extraction, donor: str | Tensor) -> Tensor:
    """The feature to swap in, shape (1, D), float64."""
    if isinstance(donor, Tensor):
        if donor.shape != extraction.sizes[:1] or not donor.isfinite().all():
            raise SINGValueError(
                expected(
                    _WHERE,
                    "donor",
                    f"finite and of shape {extraction.sizes[:1]}",
                    tuple(donor.shape),
                    "Pass one feature",
                )
            )
        return donor[None].double()
    for block in extraction.blocks():
        names = [extraction.names[row] for row in block.rows]
        if donor in names:
            return block.features[names.index(donor)][None].double()
    raise no_donor(donor, extraction.names)
