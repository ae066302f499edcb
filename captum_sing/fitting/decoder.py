"""Training feature decoders on pictures: one pass to read them, then epochs in memory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_sing.classifiers import LoadedClassifier
from captum_sing.datasets import Pictures, Unusable, read_batches
from captum_sing.devices import device_of
from captum_sing.errors import NoNullSpaceError, SINGTypeError, SINGValueError, expected
from captum_sing.fitting.decoder_report import DecoderReport, judge_decoders
from captum_sing.fitting.pairs import PairReader, Split
from captum_sing.linear_head import LinearHead
from captum_sing.null_space import NullSpace
from captum_sing.render.decoder import PARTS, SIZES, FeatureDecoder, picture_size
from captum_sing.render.decoder_fitter import DecoderFitter, check_settings
from captum_sing.render.frame import Frame, resized

__all__ = ["BOTH", "fit_decoder"]

BOTH = "both"

_WHERE = "fit_decoder"
_LEAST = 16  # pictures to train on, and 2 to hold out
_TOLD = 3  # reasons of pictures that were left out

Layers = nn.Module | str | Sequence[nn.Module | str] | None


def fit_decoder(
    model: LoadedClassifier,
    images: Any,
    *,
    part: str = BOTH,
    layer: Layers = None,
    energy: float | None = None,
    size: int | None = None,
    epochs: int = 8,
    batch_size: int = 32,
    held_out: float = 0.1,
    num_workers: int = 0,
    limit: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    show_progress: bool = True,
) -> dict[str, FeatureDecoder]:
    r"""Train decoders of a classifier's features on one's own pictures.

    Each picture is read once, preprocessed, and kept in memory as the classifier saw it, small and
    in 8 bits, beside its features: 20 KB for 64 x 64 pixels and 2048 features, and 4 GiB at most.
    Then a decoder of the whole feature and one of its principal part are trained alike, as
    :class:`~captum_sing.render.decoder_fitter.DecoderFitter` says, so that what differs between
    their pictures is what the head ignores. Pictures that cannot be used are left out, counted,
    and told in one warning.

    One in every 1 / ``held_out`` pictures is held out by a seeded draw, and judges them.

    Args:
        model (LoadedClassifier): the classifier with its preprocessing, which must resize, crop
            and normalise and do nothing else.
        images: a folder of images, a dataset, a list of pictures or paths, or a stream of them; see
            :meth:`captum_sing.datasets.Pictures.of`. Some thousands, better ten thousand.
        part (str, optional): "whole", "principal" or "both". Default: "both"; of a head without a
            null space both are the same, so one is trained and that is noted
        layer (nn.Module, str or sequence of these, optional): the head. Default: found
        energy (float, optional): the principal part of an approximate null space, see
            :meth:`captum_sing.NullSpace.from_weight`. Default: the exact one
        size (int, optional): pixels of the longer side, 32, 64 or 128. Default: 64, or 32 where the
            model sees less than 64
        epochs (int, optional): passes over the pictures in memory. Default: 8
        batch_size (int, optional): pictures at once, in reading and in training. Default: 32
        held_out (float, optional): share of the pictures, from 0 to 0.5. Default: 0.1
        num_workers (int, optional): processes that read and preprocess. Default: 0
        limit (int, optional): use so many pictures only, drawn at random. Default: all
        seed (int, optional): of all draws. Default: 0
        device (str or torch.device, optional): the model is moved there, and decoders are trained
            and stay there. Default: where the model is
        show_progress (bool, optional): progress bars. Default: True

    Returns:
        dict of str to FeatureDecoder: "whole" and "principal", or the one that was asked for. The
        ``facts`` of each hold the ``"report"`` on all, which
        :meth:`captum_sing.fitting.decoder_report.DecoderReport.from_dict` reads and prints; the
        numbers of ``"images"``; ``"model"``, ``"layer"`` and ``"preprocessing"``.

    Raises:
        SINGTypeError, SINGValueError: arguments that cannot be used; too few pictures.
        SINGFileError: no folder, or no pictures in it.
        NoNullSpaceError: the principal part of a head that sees everything.

    Example::

        >>> from torchvision.transforms.functional import to_pil_image
        >>> from captum_sing.classifiers import load_classifier
        >>> from captum_sing.demo import sample_scenes
        >>> pictures = [to_pil_image(scene) for scene in sample_scenes(40, seed=3).images]
        >>> model = load_classifier("demo/resnet/neck_color")
        >>> decoders = fit_decoder(model, pictures, size=32, epochs=1, show_progress=False)
        >>> sorted(decoders), decoders["principal"].facts["images"]["held_out"]
        (['principal', 'whole'], 4)
    """
    if not isinstance(model, LoadedClassifier):
        raise SINGTypeError(
            expected(
                _WHERE,
                "model",
                "to be a LoadedClassifier",
                type(model).__name__,
                "Load one with load_classifier(name), or write LoadedClassifier(module, "
                "preprocess, None, name)",
            )
        )
    frame = Frame.of(model.preprocess, _WHERE)
    pictures = Pictures.of(images, limit=limit, seed=seed)
    check_decoding(pictures, part, size, epochs, batch_size, held_out, seed)
    if device is not None:
        model.model.to(device_of(device, _WHERE, "device"))
    reader = _Reader(model.model, layer, frame)
    size = _size_of(frame) if size is None else size
    parts: Sequence[str] = PARTS if part == BOTH else [part]
    batches = read_batches(
        pictures, {"preprocess": model.preprocess}, batch_size=batch_size, num_workers=num_workers
    )
    split = Split(held_out, pictures.count, seed)
    fitter: DecoderFitter | None = None
    notes: list[str] = []
    rest: list[tuple[Tensor, Tensor]] = []
    skipped: list[Unusable] = []
    with tqdm(desc=_WHERE, total=pictures.count, unit="image", disable=not show_progress) as bar:
        for batch in batches:
            bar.update(len(batch.names) + len(batch.unusable))
            skipped += batch.unusable
            if not batch.names:
                continue
            inputs = batch.tensors["preprocess"]
            features, seen, rows, unusable = reader.read(inputs, inputs, batch.names)
            skipped += unusable
            if not rows:
                continue
            if fitter is None:
                space, parts, notes = _space_of(reader.head, features.shape[1], parts, energy)
                fitter = DecoderFitter(
                    frame,
                    space,
                    parts=parts,
                    size=size,
                    epochs=epochs,
                    batch_size=batch_size,
                    seed=seed,
                    show_progress=show_progress,
                )
                fitter.check_room(pictures.count or 0, features.shape[1])
            out = torch.tensor([split.takes(batch.places[row]) for row in rows])
            fitter.update(features[~out], seen[~out])
            small = resized(seen[out], picture_size(frame, size))
            rest.append((features[out].float().cpu(), (small.cpu() * 255).round().byte()))
    left = sum(len(features) for features, _ in rest)
    if fitter is None or fitter.count < _LEAST or (held_out and left < 2):
        raise _too_few(fitter.count if fitter else 0, left, skipped)
    decoders = fitter.fit(reader.device)
    if skipped:
        told = f"Left out {len(skipped):,} pictures: {_reasons(skipped)}."
        notes.append(told)
        warnings.warn(f"{_WHERE}: {told}", stacklevel=2)
    report = _judged(decoders, reader, fitter, rest, notes)
    for decoder in decoders.values():
        decoder.facts["model"] = model.name or None
        decoder.facts["layer"] = reader.names
        decoder.facts["preprocessing"] = model.preprocessing
        decoder.facts["energy"] = energy
        decoder.facts["images"] |= {"held_out": left, "skipped": len(skipped)}
        decoder.facts["report"] = report.to_dict()
    return decoders


def check_decoding(
    pictures: Pictures,
    part: str,
    size: int | None,
    epochs: int,
    batch_size: int,
    held_out: float,
    seed: int,
) -> None:
    """What can be known before any picture is read: the settings, and that there are enough.

    Raises:
        SINGValueError: a setting that cannot be used, or too few pictures.
    """
    if part not in (*PARTS, BOTH):
        constraint = f"in {[*PARTS, BOTH]}"
        raise SINGValueError(expected(_WHERE, "part", constraint, repr(part), "Choose one"))
    if not 0.0 <= held_out <= 0.5:
        raise SINGValueError(expected(_WHERE, "held_out", "in [0, 0.5]", held_out, "Use 0.1"))
    check_settings(PARTS, SIZES[0] if size is None else size, epochs, batch_size)
    if pictures.count is None or pictures.count > 100 * _LEAST:
        return
    split = Split(held_out, pictures.count, seed)
    out = sum(map(split.takes, range(pictures.count)))
    if pictures.count - out < _LEAST or (held_out and out < 2):
        raise _too_few(pictures.count - out, out, [])


def held_out_examples(
    model: LoadedClassifier,
    images: Any,
    layer: Layers = None,
    held_out: float = 0.1,
    seed: int = 0,
    count: int = 8,
) -> tuple[Tensor, Tensor]:
    """Some of the pictures that :func:`fit_decoder` holds out with the same arguments.

    Returns:
        tuple: features (N, D), and the pictures as the classifier sees them, (N, 3, H, W) in
        [0, 1]; N is ``count`` at most, and 0 for a stream, which is over, or ``held_out`` of 0.
    """
    pictures = Pictures.of(images)
    split = Split(held_out, pictures.count, seed)
    reader = _Reader(model.model, layer, Frame.of(model.preprocess, _WHERE))
    order = pictures.order or ()
    places = [place for place in range(len(order)) if split.takes(place)][:count]
    features, seen = torch.empty(0, 0), torch.empty(0, 3, *reader.frame.size)
    again = replace(pictures, order=[order[place] for place in places])
    transforms = {"preprocess": model.preprocess}
    for batch in read_batches(again, transforms, batch_size=count) if places else ():
        if batch.names:
            inputs = batch.tensors["preprocess"]
            features, seen, _, _ = reader.read(inputs, inputs, batch.names)
    return features.cpu(), seen.cpu()


class _Reader(PairReader):
    """Features of pictures, and the pictures as the classifier saw them in place of embeddings.

    Args:
        model (nn.Module), layer: as :class:`PairReader`.
        frame (Frame): the classifier's input.
    """

    def __init__(self, model: nn.Module, layer: Layers, frame: Frame) -> None:
        super().__init__(model, None, layer)  # type: ignore[arg-type]
        self.frame = frame

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._like(torch.zeros(1)).device

    def classes(self, pictures: Tensor) -> Tensor:
        """What the head says of pictures (B, 3, h, w) in [0, 1]; shape (B,)."""
        return self.of_features(self._features(self.frame.normalize(pictures)))

    def of_features(self, features: Tensor) -> Tensor:
        """What the head says of features (B, D); shape (B,)."""
        return self.head.logits(features.to(self.device)).argmax(dim=1).cpu()

    def _like(self, otherwise: Tensor) -> Tensor:
        floats = (p for p in self.model.parameters() if p.is_floating_point())
        return next(floats, otherwise)

    def _embeddings(self, inputs: Tensor) -> Tensor:
        return self.frame.pictures(inputs)


def _size_of(frame: Frame) -> int:
    return max((size for size in SIZES[:2] if size <= max(frame.size)), default=SIZES[0])


def _space_of(
    head: LinearHead, width: int, parts: Sequence[str], energy: float | None
) -> tuple[NullSpace | None, Sequence[str], list[str]]:
    """The head's null space, and the parts that there are; notes where one is not."""
    if PARTS[1] not in parts:
        return None, parts, []
    try:
        return NullSpace.from_weight(head.weight(width), energy=energy), parts, []
    except NoNullSpaceError as error:
        same = "The head sees every direction: its principal part is the whole feature"
        if PARTS[0] in parts:
            note = f"{same}, and a decoder of the whole feature is both."
            warnings.warn(f"{_WHERE}: {note}", stacklevel=3)
            return None, PARTS[:1], [note]
        raise NoNullSpaceError(
            expected(
                _WHERE,
                "part",
                '"whole" for a head without a null space',
                repr(PARTS[1]),
                f"{same}. Ask for an approximate null space with energy=0.99, or for the whole",
            )
        ) from error


def _judged(
    decoders: dict[str, FeatureDecoder],
    reader: _Reader,
    fitter: DecoderFitter,
    rest: list[tuple[Tensor, Tensor]],
    notes: list[str],
) -> DecoderReport:
    features, pictures = (torch.cat(column) for column in zip(*rest, strict=True))
    if not len(features):
        notes = [*notes, "No pictures were held out: how well these draw is not known."]
        return DecoderReport(0, {}, tuple(notes))
    return judge_decoders(
        decoders,
        features,
        pictures.float() / 255,
        fitter.mean_picture(),
        reader.classes,
        reader.of_features(features),
        tuple(notes),
    )


def _reasons(skipped: Sequence[Unusable]) -> str:
    told = "; ".join(f"{one.name} ({one.reason.rstrip('.')})" for one in skipped[:_TOLD])
    return told + ("; ..." if len(skipped) > _TOLD else "")


def _too_few(fitted: int, held_out: int, skipped: Sequence[Unusable]) -> SINGValueError:
    left = f"; left out {len(skipped):,}: {_reasons(skipped)}" if skipped else ""
    return SINGValueError(
        expected(
            _WHERE,
            "images",
            f"of {_LEAST} or more to train on, and 2 or more to hold out",
            f"{fitted} and {held_out}{left}",
            "Give more pictures, some thousands if you can, or held_out=0",
        )
    )
