"""Passes of a classifier, a score and a method over one set of images, in parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from captum_sing.attributions.maps import Logits, map_of, takes
from captum_sing.attributions.removal import Removal, remove_pixels
from captum_sing.forward_pass import as_tuple
from captum_sing.hooks import read_features
from captum_sing.inputs import in_batches
from captum_sing.score import SINGScore
from captum_sing.sing import SING

__all__ = ["Passes"]


class Passes:
    """The classifier, its images, and passes over them in parts."""

    def __init__(self, sing: SING, inputs: Tensor, extra: Any, size: int | None) -> None:
        self.sing, self.inputs, self.extra, self.size = sing, inputs.detach(), extra, size
        self.classifier = Logits(sing.forward_func)

    def outputs(self, module: nn.Module, images: Tensor) -> Tensor:
        """Of the classifier or a score, (B, outputs), in float64 on the CPU."""
        with torch.no_grad():
            found = [
                module(part, *as_tuple(extra)).cpu().double()
                for part, extra in self._parts(images, self.extra)
            ]
        return torch.cat(found)

    def features(self, score: SINGScore) -> Tensor:
        """What the head reads, (B, D)."""
        return read_features(
            self.sing.forward_func,
            () if score.head is None else score.head.layers,
            self.inputs,
            self.extra,
            internal_batch_size=self.size,
        )

    def score(self, kind: str, words: list[str] | None) -> tuple[SINGScore, list[str] | None]:
        """The score of these words alone, or of each image's word of highest score."""
        if words is None:
            score = self.sing.score(kind)
            if score.names == (kind,):  # of no word
                return score, None
            outputs = self.outputs(score, self.inputs)
            words = [score.names[best] for best in outputs.argmax(dim=1).tolist()]
        return self.sing.score(kind, sorted(set(words))), words

    def map(
        self,
        name: str,
        attribution: Any,
        targets: Tensor,
        options: Mapping[str, Any],
        seed: int,
        bar: Any,
    ) -> Tensor:
        """One method's maps of one output an image, (B, H, W)."""
        found = []
        keys, values = tuple(options), tuple(options.values())
        for images, extra, target, given in self._parts(self.inputs, self.extra, targets, values):
            further = dict(zip(keys, given, strict=True))
            part = target.to(images.device)
            if self.size and takes(attribution.attribute, "internal_batch_size"):
                further = {"internal_batch_size": self.size, **further}
            found.append(map_of(name, attribution, images, part, extra, further, seed))
            bar.update()
        return torch.cat(found)

    def picked(
        self,
        score: SINGScore,
        images: Tensor,
        targets: Tensor,
        outputs: Tensor,
        runners_up: Tensor | None,
    ) -> Tensor:
        """Each image's class logit, the score of its word, and the runner-up's logit, (3, B)."""
        logits, scores = self.outputs(self.classifier, images), self.outputs(score, images)
        picked = [
            of_all.gather(1, chosen.unsqueeze(1)).squeeze(1)
            for of_all, chosen in (
                (logits, targets),
                (scores, outputs),
                (logits, targets if runners_up is None else runners_up),
            )
        ]
        if runners_up is None:  # a model of one class
            picked[2] = picked[2] * torch.nan
        return torch.stack(picked)

    def removed(self, replace: Removal, masks: Tensor) -> Tensor:
        """The images without these pixels."""
        found = [
            remove_pixels(replace, images, part.to(images.device))
            for images, part in self._parts(self.inputs, masks)
        ]
        return torch.cat(found)

    def _parts(self, *arguments: Any) -> Iterator[tuple[Any, ...]]:
        return in_batches(len(self.inputs), self.size, "compare_attributions", *arguments)
