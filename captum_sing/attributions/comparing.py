"""Class maps beside maps of what is ignored, by the same methods, with numbers of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from captum.attr import IntegratedGradients, Saliency
from torch import Tensor
from tqdm import tqdm

from captum_sing.attributions.checks import (
    Methods,
    check_asked,
    check_images,
    check_methods,
    check_pictures,
    check_removal,
    check_targets,
    check_words,
)
from captum_sing.attributions.numbers import alike, changes, regions_of
from captum_sing.attributions.passes import Passes
from captum_sing.attributions.removal import Removal
from captum_sing.attributions.results import REGIONS, AttributionComparison, Maps
from captum_sing.attributions.units import SPREADS, logit_unit, score_unit
from captum_sing.errors import SINGTypeError, SINGValueError, expected
from captum_sing.sing import SING
from captum_sing.visualization import Picture

__all__ = ["METHODS", "compare_attributions"]

_WHERE = "compare_attributions"

METHODS: Methods = {"IntegratedGradients": IntegratedGradients, "Saliency": Saliency}
"""What is compared unless methods are named."""


@torch.inference_mode(False)  # which gradients cannot leave
def compare_attributions(
    sing: SING,
    inputs: Tensor,
    concept: str | Sequence[str] | None = None,
    target: int | Sequence[int] | Tensor | None = None,
    methods: Methods | None = None,
    *,
    kind: str = "ignored",
    pictures: Sequence[Picture] | Tensor | None = None,
    top: float = 0.1,
    removal: str | Removal = "blur",
    additional_forward_args: Any = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    internal_batch_size: int | None = None,
    seed: int = 0,
    show_progress: bool = False,
) -> AttributionComparison:
    r"""Ask the same methods where a class's logit comes from, and where what is ignored does.

    Each method makes three maps of an image: of its class, of the score of its word
    (:class:`~captum_sing.SINGScore`), and of the class with the next highest logit. Two maps by one
    method of one image are much alike whatever they explain, so class against runner-up is the
    yardstick for class against word. Then each map's top pixels are replaced, and the model says
    what becomes of the logit and of the score: *logit-silence*. Its controls are the same set of
    pixels at a random place (:func:`~captum_sing.attributions.removal.elsewhere`), and the
    runner-up's logit in the score's place: pixels picked for *any* output move that output most.

    What the numbers do not show: a method that smears every map alike finds agreement, whatever
    the model does; removed pixels make an image that the model was never trained on, and both logit
    and score answer to that too. Where class and word are told by the same object, the logit is
    quieter without the word's pixels than without the class's, and not silent.

    Args:
        sing (SING): of the classifier.
        inputs (Tensor): images, shape (B, C, H, W).
        concept (str or sequence of str, optional): the word, for all images or each. Default: each
            image's own word of highest score, where a kind has one. Chosen as the highest, it falls
            whatever is removed: changes and silences of such words are too large, and only the
            maps are to be looked at. Attribute scores are negative for what is ignored, and want a
            word.
        target (int, sequence of int or Tensor, optional): the class. Default: the predicted one
        methods (mapping of str to callable, optional): name -> what makes an attribution of a
            module: a class such as ``Saliency``, or
            ``lambda module: LayerGradCam(module, model.layer4)``. Default: :data:`METHODS`
        kind (str, optional): of :data:`captum_sing.score.KINDS`. Default: ``"ignored"``
        pictures (sequence, optional): what to draw instead of the inputs, B of them; see
            :data:`~captum_sing.visualization.Picture`.
        top (float, optional): the share of pixels, those of largest signed relevance (which raise
            the logit or score most), that are compared and removed. Default: 0.1
        removal (str or callable, optional): what they are replaced by: ``"blur"``, ``"inpaint"``
            (see :mod:`captum_sing.attributions.removal`), or a function of images (B, C, H, W) and
            boolean masks (B, H, W) that returns images. Default: ``"blur"``
        additional_forward_args (optional): handed on to the model.
        options (mapping, optional): name of a method -> further arguments of its ``attribute``,
            such as ``{"IntegratedGradients": {"n_steps": 20}}``; tensors as long as the batch are
            cut with it.
        internal_batch_size (int, optional): images that go through a method at once, and Captum's
            argument of that name where the method has it. Default: all
        seed (int, optional): of ties, of places, and of methods that draw numbers: the three maps
            of an image are made with the same ones, which depend on the part that the image is in.
            Default: 0
        show_progress (bool, optional): a progress bar. Default: False

    Returns:
        AttributionComparison: ``maps``, ``table``, ``summary`` and ``figure()``.

    Raises:
        SINGError: arguments that do not fit, before any method runs; maps or removed images that
            cannot be used, by the name of the method.

    Example::

        >>> from captum.attr import Saliency
        >>> from captum_sing import SING
        >>> from captum_sing.demo import load_demo
        >>> model, translator, concepts, images = load_demo("resnet/neck_color")
        >>> sing = SING(model, "head", translator, concepts)
        >>> comparison = compare_attributions(sing, images[:2], "red", methods={"S": Saliency})
        >>> comparison.maps["S"].concept.shape, len(comparison.table)
        (torch.Size([2, 64, 64]), 2)
    """
    import pandas as pd

    check_asked(sing, top, seed, internal_batch_size)
    count = check_images(inputs)
    methods = METHODS if methods is None else methods
    asked = check_methods(methods, options)
    replace = check_removal(removal)
    check_pictures(pictures, count)
    words = check_words(sing, kind, concept, count)
    run = Passes(sing, inputs, additional_forward_args, internal_batch_size)
    logits = run.outputs(run.classifier, inputs)
    if logits.dim() != 2:
        shape = tuple(logits.shape)
        remedy = "Wrap the model in a function that returns its logits"
        raise SINGValueError(expected(_WHERE, "sing", "of logits (B, C)", shape, remedy))
    targets = check_targets(target, logits)
    runners_up = _runners_up(logits, targets)
    score, words = run.score(kind, words)
    outputs = torch.tensor([0] * count if words is None else [*map(score.target, words)])
    attributions = {
        name: (_made(name, factory, run.classifier), _made(name, factory, score))
        for name, factory in methods.items()
    }
    before = run.picked(score, inputs, targets, outputs, runners_up)
    features = run.features(score).flatten(1)
    spreads, unit = logit_unit(score, features, logits, targets)
    rivals = targets if runners_up is None else runners_up
    units = torch.stack(
        [spreads, torch.ones_like(spreads), logit_unit(score, features, logits, rivals)[0]]
    )
    comparable = {unit, score_unit(score)} <= set(SPREADS)
    facts = {
        "image": range(count),
        "target": targets.tolist(),
        "runner_up": [None] * count if runners_up is None else runners_up.tolist(),
        "concept": [None] * count if words is None else words,
        "in_sample": sing.translator.knows(features).tolist(),
        "logit": before[0].tolist(),
        "score": before[1].tolist(),
        "logit_unit": unit,
        "score_unit": score_unit(score),
    }
    maps: dict[str, Maps] = {}
    columns: dict[str, dict[str, Any]] = {}
    parts = -(-count // (internal_batch_size or count))
    with tqdm(total=3 * parts * len(asked), desc=_WHERE, disable=not show_progress) as bar:
        for name, further in asked.items():
            of_class, of_score = attributions[name]
            maps[name] = Maps(
                run.map(name, of_class, targets, further, seed, bar),
                run.map(name, of_score, outputs, further, seed, bar),
                None
                if runners_up is None
                else run.map(name, of_class, runners_up, further, seed, bar),
            )
            regions = regions_of(maps[name], top, seed)
            numbers = alike(maps[name], regions)
            for region in REGIONS:
                removed = run.removed(replace, regions[region])
                after = run.picked(score, removed, targets, outputs, runners_up)
                logit, own, rival = (after - before) / units
                numbers |= changes(region, regions[region], logit, own, rival, comparable)
            columns[name] = {**facts, **{key: value.tolist() for key, value in numbers.items()}}
    table = pd.concat([pd.DataFrame({"method": name, **rows}) for name, rows in columns.items()])
    return AttributionComparison(
        maps,
        table.reset_index(drop=True),
        inputs.detach(),
        pictures,
        spreads,
        kind,
        top,
        removal if isinstance(removal, str) else getattr(removal, "__name__", "a function"),
        seed,
    )


def _made(name: str, factory: Any, module: torch.nn.Module) -> Any:
    """A method of a module, which can be asked for attributions."""
    made = factory(module)
    if not callable(getattr(made, "attribute", None)):
        raise SINGTypeError(
            expected(
                _WHERE,
                f"methods[{name!r}]",
                "to make an attribution",
                type(made).__name__,
                "Pass what takes a module and has .attribute afterwards",
            )
        )
    return made


def _runners_up(logits: Tensor, targets: Tensor) -> Tensor | None:
    """The class of highest logit but for the target; None for a model of one class."""
    if logits.shape[1] < 2:
        return None
    others = logits.scatter(1, targets.unsqueeze(1), -torch.inf)
    return others.argmax(dim=1)
