"""Fitting a translator to pictures: one pass, with a share of them held out."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_sing.classifiers import LoadedClassifier
from captum_sing.datasets import Pictures, Unusable, read_batches
from captum_sing.devices import device_of
from captum_sing.encoders import ImageTextEncoder
from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.fitter import TranslatorFitter
from captum_sing.fitting.judging import HeldOut, judge
from captum_sing.fitting.pairs import Blocks, PairReader, Split
from captum_sing.translator import LinearTranslator

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["check_settings", "fit_translator"]

_WHERE = "fit_translator"
_TOLD = 3  # reasons of pictures that were left out


def fit_translator(
    model: LoadedClassifier | nn.Module,
    encoder: ImageTextEncoder,
    images: Any,
    *,
    layer: nn.Module | str | Sequence[nn.Module | str] | None = None,
    preprocess: Callable[[Image.Image], Tensor] | None = None,
    alpha: float | Literal["cv"] | None = "cv",
    held_out: float = 0.1,
    batch_size: int = 32,
    num_workers: int = 0,
    limit: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    show_progress: bool = True,
    remember: bool = True,
) -> LinearTranslator:
    r"""Fit a translator to a classifier's features and an encoder's embeddings of pictures (Eq. 4).

    One pass: each picture is read once, preprocessed for the model and for the encoder, and added
    to streaming sums. Pictures that cannot be read, or of which the model or the encoder makes no
    finite numbers, are left out, counted, and told in one warning.

    One in every 1 / ``held_out`` consecutive pictures is **held out**, by a seeded draw that does
    not depend on the batch size, and 5,000 at most; so a folder sorted by class gives some of
    each. They judge the translator: cosine, degrees and R², of the principal and the null part
    apart, and how many a linear classifier names rightly from translated and from original
    principal features, trained on one half of them and judged on the other.

    Args:
        model (LoadedClassifier or nn.Module): the classifier.
        encoder (ImageTextEncoder): into whose space features are translated.
        images: a folder of images, a dataset, a list of pictures or paths, or a stream of them; see
            :meth:`captum_sing.datasets.Pictures.of`.
        layer (nn.Module, str or sequence of these, optional): the head, or several heads that the
            model averages. Default: found, see :func:`captum_sing.find_head`
        preprocess (callable, optional): one RGB picture -> (3, H, W), for an ``nn.Module``.
        alpha (float or "cv", optional): see :class:`~captum_sing.TranslatorFitter`.
            Default: "cv", chosen by cross-validation from the same sums. The pictures take turns
            among its folds, so near-duplicates that follow each other are torn apart, and it
            favours a penalty that is too small for them
        held_out (float, optional): share of the pictures, from 0 to 0.5. Default: 0.1
        batch_size (int, optional): pictures that go through model and encoder at once. Default: 32
        num_workers (int, optional): processes that read and preprocess. Default: 0, this one alone
        limit (int, optional): use so many pictures only, drawn at random. Default: all
        seed (int, optional): of the draws. Default: 0
        device (str or torch.device, optional): the model is moved there. Default: it stays
        show_progress (bool, optional): show a progress bar. Default: True
        remember (bool, optional): let the translator know its own images again. Default: True

    Returns:
        LinearTranslator: its ``facts`` hold the ``"report"``, which
        :meth:`captum_sing.fitting.FitReport.from_dict` reads and prints; how many ``"images"`` were
        fitted, held out and skipped; the names of the ``"layer"`` or layers that were read; and
        the classifier's ``"preprocessing"``.

    Raises:
        SINGTypeError, SINGValueError: arguments that cannot be used, or do not fit each other;
            too few pictures.
        SINGFileError: no folder, or no pictures in it.

    Example::

        >>> from torchvision.transforms.functional import to_pil_image
        >>> from captum_sing.classifiers import load_classifier
        >>> from captum_sing.demo import load_encoder, sample_scenes
        >>> pictures = [to_pil_image(scene) for scene in sample_scenes(200, seed=3).images]
        >>> model = load_classifier("demo/resnet/neck_color")
        >>> translator = fit_translator(model, load_encoder(), pictures, show_progress=False)
        >>> translator.facts["images"]["fitted"], translator.facts["images"]["held_out"]
        (180, 20)
    """
    classifier = _with_preprocessing(model, preprocess, encoder)
    pictures = Pictures.of(images, limit=limit, seed=seed)
    check_settings(pictures, alpha, held_out, seed)
    if device is not None:
        device = device_of(device, _WHERE, "device")
    name = classifier.name or None
    blocks = Blocks(TranslatorFitter(alpha, encoder=encoder.name, model=name, remember=remember))
    reader = PairReader(classifier.model.to(device), encoder, layer)
    batches = read_batches(
        pictures,
        {"preprocess": classifier.preprocess, "encoder.preprocess": encoder.preprocess},
        batch_size=batch_size,
        num_workers=num_workers,
    )
    split, rest = Split(held_out, pictures.count, seed), HeldOut()
    skipped: list[Unusable] = []
    with tqdm(desc=_WHERE, total=pictures.count, unit="image", disable=not show_progress) as bar:
        for batch in batches:
            bar.update(len(batch.names) + len(batch.unusable))
            skipped += batch.unusable
            rows: list[int] = []
            if batch.names:
                inputs, encoder_inputs = batch.tensors.values()
                features, embeddings, rows, unusable = reader.read(
                    inputs, encoder_inputs, batch.names
                )
                skipped += unusable
            if not rows:
                if blocks.count + rest.count == 0 and any(one.read for one in skipped):
                    raise _unusable(skipped)  # it is not the pictures
                continue
            out = torch.tensor([split.takes(batch.places[row]) for row in rows])
            blocks.add(features[~out], embeddings[~out])
            labels = [batch.labels[row] for row in rows]
            rest.add(features[out], embeddings[out], list(itertools.compress(labels, out)))
    if blocks.count < 2 or (held_out and rest.count < 2):
        raise _unusable(skipped) if skipped else _too_few(2, blocks.count, rest.count)
    blocks.flush()
    translator = blocks.fitter.fit()
    translator.facts["layer"] = reader.names
    translator.facts["preprocessing"] = _description(classifier)
    translator.facts["images"] = {
        "fitted": blocks.count,
        "held_out": rest.count,
        "skipped": len(skipped),
        "reasons": {one.name: one.reason for one in skipped[:_TOLD]},
        "other_files": dict(pictures.other_files),
    }
    report = judge(translator, reader.head, rest, seed)
    if skipped:
        seen = len(skipped) + blocks.count + rest.count
        told = f"Left out {len(skipped):,} of {seen:,} pictures: {_reasons(skipped)}."
        warnings.warn(f"{_WHERE}: {told}", stacklevel=2)
        report = replace(report, notes=(*report.notes, told))
    if others := pictures.other_files:
        named = ", ".join(f"{count:,} {ending}" for ending, count in others.most_common())
        told = f"Not taken for pictures, by their endings: {named}."
        report = replace(report, notes=(*report.notes, told))
    translator.facts["report"] = report.to_dict()
    return translator


def check_settings(
    pictures: Pictures, alpha: float | Literal["cv"] | None, held_out: float, seed: int
) -> None:
    """What can be known before any picture is read: the numbers, and that there are enough.

    Raises:
        SINGValueError: a number that cannot be used, or too few pictures.
    """
    if not 0.0 <= held_out <= 0.5:
        raise SINGValueError(expected(_WHERE, "held_out", "in [0, 0.5]", held_out, "Use 0.1"))
    least = 2 * TranslatorFitter(alpha).folds
    if pictures.count is None or pictures.count > 10 * least:
        return
    split = Split(held_out, pictures.count, seed)
    out = sum(map(split.takes, range(pictures.count)))
    if pictures.count - out < least or (held_out and out < 2):
        raise _too_few(least, pictures.count - out, out)


def _with_preprocessing(
    model: Any, preprocess: Callable[[Image.Image], Tensor] | None, encoder: Any
) -> LoadedClassifier:
    """The model with the preprocessing that is its own, and with no other."""
    if not isinstance(encoder, ImageTextEncoder):
        raise SINGTypeError(
            expected(
                _WHERE,
                "encoder",
                "to be an ImageTextEncoder",
                type(encoder).__name__,
                "Load one with captum_sing.encoders.load_encoder(name)",
            )
        )
    if not isinstance(model, (LoadedClassifier, nn.Module)):
        raise SINGTypeError(
            expected(
                _WHERE,
                "model",
                "to be a LoadedClassifier or a module",
                type(model).__name__,
                "Load one with captum_sing.classifiers.load_classifier(name)",
            )
        )
    if isinstance(model, LoadedClassifier):
        if preprocess is None:
            return model
        wanted, actual, remedy = "None: a LoadedClassifier has its own", "another", "Leave it out"
        raise SINGTypeError(expected(_WHERE, "preprocess", wanted, actual, remedy))
    if preprocess is None:
        raise SINGTypeError(
            expected(
                _WHERE,
                "preprocess",
                "beside an nn.Module",
                "None",
                "Give what makes a tensor (C, H, W) of a picture, as the model was trained",
            )
        )
    if preprocess == encoder.preprocess:
        raise SINGValueError(
            expected(
                _WHERE,
                "preprocess",
                "of the model",
                "that of the encoder",
                "The encoder preprocesses for itself. If this model was trained with the same "
                "preprocessing, say so with lambda picture: encoder.preprocess(picture)",
            )
        )
    return LoadedClassifier(model, preprocess, None, "")


def _description(classifier: LoadedClassifier) -> str | None:
    """The preprocessing in words; None for a function, which has no more than a name."""
    nameless = not classifier.name and " at 0x" in repr(classifier.preprocess)
    return None if nameless else classifier.preprocessing


def _reasons(skipped: Sequence[Unusable]) -> str:
    told = "; ".join(f"{one.name} ({one.reason.rstrip('.')})" for one in skipped[:_TOLD])
    return told + ("; ..." if len(skipped) > _TOLD else "")


def _unusable(skipped: Sequence[Unusable]) -> SINGValueError:
    return SINGValueError(
        expected(
            _WHERE,
            "images",
            "that can be read, preprocessed and encoded",
            f"{len(skipped):,} that cannot: {_reasons(skipped)}",
            "Check the pictures, and that the preprocessing is the model's own",
        )
    )


def _too_few(least: int, fitted: int, held_out: int) -> SINGValueError:
    rather = "" if least == 2 else ", or a fixed penalty, as alpha=1.0"
    return SINGValueError(
        expected(
            _WHERE,
            "images",
            f"of {least} or more to fit, and 2 or more to hold out",
            f"{fitted} and {held_out}",
            f"Give more pictures{rather}, or another share of them as held_out, or held_out=0",
        )
    )
