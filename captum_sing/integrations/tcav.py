"""Captum's TCAV beside SING: what moves a logit, and what no logit sees, of the same concepts."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from itertools import count
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import torch
from captum.concept import TCAV, Classifier, Concept
from torch import Tensor, nn
from tqdm import tqdm

from captum_sing.attributions import Logits
from captum_sing.controls import paired_difference
from captum_sing.controls.samples import check_held_out
from captum_sing.errors import SINGNameError, SINGTypeError, SINGValueError, expected
from captum_sing.forward_pass import evaluating
from captum_sing.inputs import batch_of, check_size
from captum_sing.targets import numbers_of
from captum_sing.wrapping import unwrapped

if TYPE_CHECKING:
    import pandas as pd

    from captum_sing.descriptions import Descriptions
    from captum_sing.sing import SING

__all__ = ["MINIMUM_EXAMPLES", "RANDOM", "CAVClassifier", "tcav_table"]

MINIMUM_EXAMPLES = 10
"""Images on each side that a CAV is fitted and judged on, at least."""
RANDOM = "(random)"
"""The row of random images that are taken for a concept."""

_WHERE = "tcav_table"
_SCORES = ("sign_count", "magnitude")
_EVIDENCE = ("seen", "ignored")
_COLUMNS = (
    *(f"{score}{end}" for score in _SCORES for end in ("", "_spread", "_q")),
    "accuracy",
    *(f"{kind}{end}" for kind in _EVIDENCE for end in ("", "_low", "_high")),
)
_HELD_OUT = 3  # one image in so many judges a CAV


class CAVClassifier(Classifier):
    """Captum's default classifier of concepts, but seeded, and with CAVs of length one.

    Captum's own draws from Python's and numpy's global generators, and its magnitudes are in units
    of whatever length a CAV happens to have. These are logits for one unit of the layer.

    Args:
        seed (int, optional): of the held-out third and of the solver. Default: 0
        progress (tqdm, optional): a bar to move on with every CAV.
    """

    def __init__(self, seed: int = 0, progress: Any = None) -> None:
        self.seed = seed
        self.progress = tqdm(disable=True) if progress is None else progress

    def train_and_eval(self, dataloader: Any, **_: Any) -> dict[str, Tensor]:
        """Fit on two thirds of the activations; the accuracy is that on the others."""
        from sklearn.linear_model import SGDClassifier

        activations, labels = (torch.cat(part) for part in zip(*dataloader, strict=True))
        x, y = activations.double().cpu().numpy(), labels.cpu().numpy()
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.seed)).numpy()
        test, train = order[: len(x) // _HELD_OUT], order[len(x) // _HELD_OUT :]
        model = SGDClassifier(alpha=0.01, max_iter=1000, tol=1e-3, random_state=self.seed)
        self._model = model.fit(x[train], y[train])
        self.progress.update()
        return {"accs": torch.tensor(float(model.score(x[test], y[test])))}

    def weights(self) -> Tensor:
        """The two CAVs, shape (2, activations)."""
        cav = torch.from_numpy(self._model.coef_[0])
        cav = nn.functional.normalize(cav, dim=0).float()
        return torch.stack([-cav, cav])

    def classes(self) -> list[int]:
        """The concepts' numbers, in the order of :meth:`weights`."""
        return [int(number) for number in self._model.classes_]


def tcav_table(
    sing: SING,
    layers: str | Sequence[str],
    inputs: Tensor,
    target: int,
    concept_images: Mapping[str, Tensor],
    random_images: Tensor,
    *,
    runs: int = 10,
    fresh: bool = True,
    attribute_to_layer_input: bool = False,
    internal_batch_size: int | None = None,
    seed: int = 0,
    show_progress: bool = False,
) -> pd.DataFrame:
    r"""TCAV's score of each concept beside SING's seen and ignored evidence for it.

    Two questions. TCAV (Kim et al., ICML 2018) asks whether *one logit* rises along the CAV v, the
    direction at a layer that tells a concept's images from others:

    .. math:: S_i = \nabla_h z_k(x_i) \cdot v ,

    of which ``sign_count`` is the share of inputs with S > 0 and ``magnitude`` the mean. SING asks
    whether the part of the head's input that *no logit* reads points at the word. Neither answers
    the other: a CAV takes whatever separates the images, and what the head ignores separates them
    as well as anything.

    From a layer on which the logits depend linearly, such as the head's input, S is the same for
    all inputs. The sign count of one run is then 0 or 1 whatever S is, also where it is noise about
    zero, as of an ignored concept; only the spread over runs tells.

    Args:
        sing (SING): of a classifier that is an ``nn.Module``.
        layers (str or sequence of str): dotted names of modules that return one tensor.
        inputs (Tensor): images of the class, shape (N, ...); they go through the model at once.
        target (int): the class k.
        concept_images (mapping of str to Tensor): words of the bank -> images that show them. Only
            the concept should tell them from the random ones: a CAV, and the evidence, take in all
            that does.
        random_images (Tensor): images whatever they show; cut into two sets a run, of which one
            stands against the concepts and the other is taken for a concept.
        runs (int, optional): CAVs a concept, each against other random images. Default: 10
        fresh (bool, optional): whether each run has its own part of a concept's images. If not,
            all use the same, as Kim et al. do; what these show by chance is then in all runs, where
            no test sees it. At the head's input of a demo classifier that ignores colour, tests of
            colours at 5 % fired in 9 to 14 % of cases with 10 such runs and in a third with 30;
            with fresh images in 3 to 12 % and 5 to 20 %, more with more images, since a CAV leans
            a little on what else helps to separate, which the logits may read. Default: True
        attribute_to_layer_input (bool, optional): the layers' inputs instead. Default: False
        internal_batch_size (int, optional): concept images that go through the model at once.
        seed (int, optional): of the CAVs and of the bootstrap. Default: 0
        show_progress (bool, optional): a progress bar over CAVs. Default: False

    Returns:
        pandas.DataFrame: one row a layer and concept, and one of :data:`RANDOM`.

        - ``sign_count``, ``magnitude``: means over runs, the latter in logits for one unit of the
          layer, to be compared within a layer alone. ``_spread`` is their standard deviation, and
          ``_q`` Welch's two-sided test against the random row, after Benjamini and Hochberg over
          the layer's concepts; NaN where neither varies. ``accuracy`` is the CAVs' on held-out
          images.
        - ``seen``, ``ignored``: mean evidence for the word in its images minus that in the random
          ones, from ``_low`` to ``_high`` (95 %, bootstrap). Random images that show the concept
          too make them smaller.

    Raises:
        SINGTypeError, SINGNameError, SINGValueError: no module, an unknown layer or word, too few
            images, or images that the translator was fitted on.
    """
    model = unwrapped(sing.forward_func)
    names = [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
    _check_layers(model, names)
    sing.concepts.indices(list(concept_images))
    check_size(internal_batch_size, _WHERE)
    batch_of(inputs, _WHERE)
    classifier = Logits(model)
    with torch.no_grad():
        classes = classifier(inputs[:1]).shape[-1]
    (target,) = numbers_of(target, 1, classes, _WHERE).tolist()
    examples = _examples(concept_images, random_images, runs, fresh)

    evidence = _evidence(sing, concept_images, random_images, internal_batch_size, seed)
    batch = internal_batch_size or examples
    sets = _experiments(concept_images, random_images, runs, fresh, examples, batch)
    total = len(sets) * runs * len(names)
    with (
        tempfile.TemporaryDirectory() as folder,
        torch.random.fork_rng(devices=[]),  # Captum's loaders draw from the global generator
        evaluating(model),
        tqdm(total=total, desc="CAVs", disable=not show_progress) as progress,
    ):
        tcav = TCAV(
            classifier,
            [f"model.{name}" for name in names],
            classifier=CAVClassifier(seed, progress),
            attribute_to_layer_input=attribute_to_layer_input,
            save_path=folder,  # it would read old CAVs there by number, whatever they were of
        )
        pairs = [pair for own in sets.values() for pair in own]
        found = tcav.interpret(inputs, pairs, target=target)
    return _table(names, sets, found, tcav.cavs, evidence)


def _experiments(
    concept_images: Mapping[str, Tensor],
    random_images: Tensor,
    runs: int,
    fresh: bool,
    examples: int,
    batch: int,
) -> dict[str, list[list[Concept]]]:
    """The pairs of sets that CAVs tell apart: a word's own and random ones, one pair a run."""
    numbers = count()

    def sets(images: Tensor, number: int) -> list[Concept]:
        # the name is a folder and a search pattern to Captum, which a word need not be
        parts = images.split(examples)[:number]
        return [Concept(next(numbers), "concept", part.split(batch)) for part in parts]

    against = sets(random_images, runs)
    own = {
        word: sets(images, runs) if fresh else sets(images, 1) * runs
        for word, images in concept_images.items()
    }
    own[RANDOM] = sets(random_images[runs * examples :], runs)
    return {
        word: [list(pair) for pair in zip(concepts, against, strict=True)]
        for word, concepts in own.items()
    }


def _evidence(
    sing: SING,
    concept_images: Mapping[str, Tensor],
    random_images: Tensor,
    internal_batch_size: int | None,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Each word's seen and ignored evidence in its images, beyond that in random ones."""

    def attribute(images: Tensor) -> Descriptions:
        found = sing.attribute(images, internal_batch_size=internal_batch_size).descriptions
        check_held_out(_WHERE, found.in_sample.cpu(), len(images))
        return found

    without, table = attribute(random_images), {}
    for word, images in concept_images.items():
        having, (column,) = attribute(images), sing.concepts.indices([word])
        has = (torch.arange(len(images) + len(random_images)) < len(images)).double()
        row = table[word] = dict[str, float]()
        for kind in _EVIDENCE:
            values = torch.cat([getattr(having, kind), getattr(without, kind)])[:, column].cpu()
            # the difference of two means, both drawn again
            apart = paired_difference(has * values, (1 - has) * values, has, 1 - has, seed=seed)
            row[kind] = apart.value
            row[f"{kind}_low"], row[f"{kind}_high"] = apart.interval or (math.nan, math.nan)
    return table


def _table(
    layers: Sequence[str],
    sets: Mapping[str, list[list[Concept]]],
    found: Mapping[str, Any],
    cavs: Mapping[str, Any],
    evidence: Mapping[str, dict[str, float]],
) -> pd.DataFrame:
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for layer in layers:
        of_layer: dict[str, dict[str, Any]] = {}
        for word, pairs in sets.items():
            row = of_layer[word] = {"layer": layer, "concept": word}
            keys, path = [f"{own.id}-{other.id}" for own, other in pairs], f"model.{layer}"
            for score in _SCORES:
                values = [float(found[key][path][score][0]) for key in keys]
                row[score], row[f"{score}_spread"] = mean(values), stdev(values)
            row["accuracy"] = mean(float(cavs[key][path].stats["accs"]) for key in keys)
            row |= evidence.get(word, {})
        for score in _SCORES:
            _test(of_layer, score, len(pairs))
        rows += of_layer.values()
    return pd.DataFrame(rows).set_index(["layer", "concept"])[list(_COLUMNS)]


def _test(rows: dict[str, dict[str, Any]], score: str, runs: int) -> None:
    """Write down how surely each concept differs from the random ones."""
    from scipy.stats import false_discovery_control, ttest_ind_from_stats

    random = (rows[RANDOM][score], rows[RANDOM][f"{score}_spread"], runs)
    p = {}
    for word, row in rows.items():
        own = (row[score], row[f"{score}_spread"], runs)
        if word != RANDOM and own[1] + random[1] > 0:
            p[word] = float(ttest_ind_from_stats(*own, *random, equal_var=False).pvalue)
    q = dict(zip(p, false_discovery_control(list(p.values())), strict=True)) if p else {}
    for word, row in rows.items():
        row[f"{score}_q"] = float(q.get(word, math.nan))


def _check_layers(model: Any, names: Sequence[str]) -> None:
    if not isinstance(model, nn.Module):
        raise SINGTypeError(
            expected(
                _WHERE,
                "sing",
                "of a classifier that is an nn.Module",
                type(model).__name__,
                "TCAV finds layers by name; wrap the function in a module",
            )
        )
    known = [name for name, _ in model.named_modules() if name]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise SINGNameError(
            expected(
                _WHERE,
                "layers",
                f"among the names of modules, such as {known[-5:]}",
                unknown or "none",
                "See dict(model.named_modules())",
            )
        )


def _examples(
    concept_images: Mapping[str, Tensor], random_images: Tensor, runs: int, fresh: bool
) -> int:
    """How many images there are on each side of a CAV: equally many, so that spreads compare."""
    if not isinstance(runs, int) or runs < 2 or not concept_images:
        argument, least = ("concept_images", 1) if not concept_images else ("runs", 2)
        raise SINGValueError(
            expected(
                _WHERE,
                argument,
                f"of at least {least}",
                runs if concept_images else 0,
                "Ask for one concept or more, in 10 runs: one CAV alone has no spread",
            )
        )
    sizes = {RANDOM: batch_of(random_images, _WHERE, "random_images") // (2 * runs)}
    for word, images in concept_images.items():
        sizes[word] = batch_of(images, _WHERE, f"concept_images[{word!r}]")
        sizes[word] //= runs if fresh else 1
    word, least = min(sizes.items(), key=lambda size: size[1])
    if least < MINIMUM_EXAMPLES:
        raise SINGValueError(
            expected(
                _WHERE,
                "images",
                f"enough for {MINIMUM_EXAMPLES} a run",
                f"{least} a run for {word!r}",
                "Take more images or fewer runs; with fresh=False all runs share a concept's",
            )
        )
    return least
