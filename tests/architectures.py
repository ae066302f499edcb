"""Real architectures, what SING must find in each, and the command that publishes what it found.

``python tests/architectures.py`` builds them one after another and writes the table of
``docs/architectures.md``.
"""

from __future__ import annotations

import argparse
import ast
import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from builders import BUILDERS, redrawn
from torch import Tensor, nn
from toys import BANK, any_translator

from captum_sing import SING, NullSpace, find_head
from captum_sing.errors import HeadNotFoundError, NoNullSpaceError
from captum_sing.files import write_whole
from captum_sing.head import resolve_layer
from captum_sing.hooks import Inputs, read_inputs
from captum_sing.linear_head import LinearHead
from captum_sing.verification import Verification

PUBLISHED = Path(__file__).parents[1] / "docs" / "architectures.csv"
COLUMNS = ("model", "head", "D", "C", "rank", "nullity", "null drift", "random drift", "outcome")

SILENT, FULL, REFUSED = "silent", "no exact null space", "HeadNotFoundError"
JOINT, TIED = ", heads analysed jointly", ", inputs tied"


@dataclass(frozen=True)
class Architecture:
    """A model and what must come out, written down before anything is run.

    Attributes:
        name (str): the library and its name there.
        size (int): height and width of the smallest images that it takes as it is.
        heads (str): what makes the logits; several where they are averaged.
        width, classes, rank, nullity (int): of the head, D, C, R and K; of averaged heads, jointly.
        outcome (str): SILENT or FULL, of averaged heads with JOINT, and TIED where the input of one
            follows from another's; or REFUSED with what the error says.
    """

    name: str
    size: int
    heads: str = ""
    width: int = 0
    classes: int = 1000
    rank: int = 0
    nullity: int = 0
    outcome: str = SILENT

    @property
    def row(self) -> dict[str, str]:
        """What the table must say, but for the drifts."""
        row = dict.fromkeys(COLUMNS, "—") | {"model": self.name, "outcome": self.outcome}
        if self.heads:
            sizes = {"D": self.width, "C": self.classes, "rank": self.rank, "nullity": self.nullity}
            row |= {"head": self.heads} | {name: str(size) for name, size in sizes.items()}
        return row

    def as_built(self) -> tuple[nn.Module, Tensor]:
        """The model with random weights, and images for it."""
        library, name = self.name.split("/", 1)
        torch.manual_seed(0)
        model = BUILDERS[library](name).eval()
        few = 3 if JOINT in self.outcome else 2 if self.size < 224 else 1  # three show what is tied
        images = torch.randn(few, 3, self.size, self.size)
        return model, images.to(next(model.parameters()).dtype)

    def build(self) -> Built:
        """The same, its head drawn anew."""
        model, images = self.as_built()
        return Built(redrawn(model, self.classes), images)


@dataclass(frozen=True)
class Built:
    """A model, and what this package makes of it."""

    model: nn.Module
    images: Tensor

    @cached_property
    def heads(self) -> list[str]:
        """What find_head names: one head, or the list that its error says to pass."""
        try:
            return [find_head(self.model, self.images).name]
        except HeadNotFoundError as error:
            listed = re.search(r"Pass layer=(\[.*?\])", str(error))
            if listed is None:
                raise
            return list(ast.literal_eval(listed[1]))

    @cached_property
    def layers(self) -> list[nn.Module]:
        """The modules of these names."""
        return [resolve_layer(self.model, head) for head in self.heads]

    @cached_property
    def received(self) -> Inputs:
        """What they read."""
        return read_inputs(self.model, self.layers, self.images)

    @property
    def weight(self) -> Tensor:
        """W as the output sees it: of averaged heads, jointly, over what they read."""
        return LinearHead.of(self.layers).weight(self.received.features.shape[1])

    def verify(self, space: NullSpace | None = None, target: Tensor | None = None) -> Verification:
        """The drift of another null space, or of that of a class an image."""
        translator = any_translator(self.weight.shape[1])
        layer = self.heads if len(self.heads) > 1 else self.heads[0]
        sing = SING(self.model, layer, translator, BANK, null_space=space)
        return sing.verify(self.images, target=target)

    @cached_property
    def drift(self) -> Verification:
        """Of the exact null space that SING finds itself."""
        return self.verify()

    @cached_property
    def found(self) -> dict[str, str]:
        """What came out, in the columns of the table; an error's message is its outcome."""
        try:
            head = ", ".join(self.heads)
        except HeadNotFoundError as error:
            return {"outcome": f"{REFUSED}: {error}"}
        classes, width = self.weight.shape
        found = {"head": head, "D": str(width), "C": str(classes)}
        joint = JOINT if len(self.heads) > 1 else ""
        joint += TIED if self.received.tied else ""
        try:
            drift = self.drift
        except NoNullSpaceError as error:
            rank = re.search(r"got rank (\d+) ", str(error))[1]
            return found | {"rank": rank, "nullity": "0", "outcome": FULL + joint}
        space = NullSpace.from_weight(self.weight)
        return found | {
            "rank": str(space.rank),
            "nullity": str(space.nullity),
            "null drift": f"{drift.null.max():.0e}",
            "random drift": f"{drift.random.min():.0e}",
            "outcome": SILENT + joint,
        }


_tv, _timm, _tf, _small = (partial(lambda at, name, *rest: Architecture(f"{at}/{name}", *rest), at)
                           for at in BUILDERS)  # fmt: skip
SOMETHING_AFTER = "differs from that of every linear layer"

ARCHITECTURES = (
    # the models of the paper
    _tv("resnet50", 32, "fc", 2048, 1000, 1000, 1048),
    _tv("densenet121", 32, "classifier", 1024, 1000, 1000, 24),
    _tv("vgg16", 32, "classifier.6", 4096, 1000, 1000, 3096),
    _tv("vgg19", 32, "classifier.6", 4096, 1000, 1000, 3096),
    _timm("vit_large_patch16_224", 224, "head", 1024, 1000, 1000, 24),
    _timm("resnetv2_50x1_bit.goog_in21k_ft_in1k", 32, "head.fc", 2048, 1000, 1000, 1048),
    _timm("resnext101_32x8d", 32, "fc", 2048, 1000, 1000, 1048),
    _timm("tf_efficientnet_b0", 32, "classifier", 1280, 1000, 1000, 280),
    _timm("swin_large_patch4_window7_224", 224, "head.fc", 1536, 1000, 1000, 536),
    _timm("deit3_large_patch16_224", 224, "head", 1024, 1000, 1000, 24),
    _timm("eva02_large_patch14_448.mim_in22k_ft_in22k_in1k", 448, "head", 1024, 1000, 1000, 24),
    _timm("convnext_base", 32, "head.fc", 1024, 1000, 1000, 24),
    _tf("Dinov2ForImageClassification large", 28, "classifier", 2048, 1000, 1000, 1048),
    # torchvision
    _tv("vit_b_16", 224, "heads.head", 768, 1000, 768, 0, FULL),
    _tv("convnext_tiny", 32, "classifier.2", 768, 1000, 768, 0, FULL),
    _tv("efficientnet_b0", 32, "classifier.1", 1280, 1000, 1000, 280),
    _tv("swin_t", 32, "head", 768, 1000, 768, 0, FULL),
    _tv("mobilenet_v3_large", 32, "classifier.3", 1280, 1000, 1000, 280),
    _tv("regnet_y_400mf", 32, "fc", 440, 1000, 440, 0, FULL),
    _tv("regnet_y_16gf", 32, "fc", 3024, 1000, 1000, 2024),
    _tv("maxvit_t", 224, "classifier.5", 512, 1000, 512, 0, FULL),
    _tv("squeezenet1_1", 32, "", 0, 1000, 0, 0, f"{REFUSED}: {SOMETHING_AFTER}"),
    _tv("resnet18", 32, "fc", 512, 1000, 512, 0, FULL),
    # timm
    _timm("mobilenetv4_conv_small", 32, "classifier", 1280, 1000, 1000, 280),
    _timm("dpn68", 32, "classifier", 832, 1000, 832, 0, FULL),
    _timm("nfnet_l0", 32, "head.fc", 2304, 1000, 1000, 1304),
    _timm("caformer_s18", 32, "head.fc.fc2", 2048, 1000, 1000, 1048),
    _timm("repvgg_a0", 32, "head.fc", 1280, 1000, 1000, 280),
    _timm("fastvit_t8", 32, "head.fc", 768, 1000, 768, 0, FULL),
    _timm("beit_base_patch16_224", 224, "head", 768, 1000, 768, 0, FULL),
    _timm("mixer_b16_224", 224, "head", 768, 1000, 768, 0, FULL),
    _timm("xcit_nano_12_p16_224", 32, "head", 128, 1000, 128, 0, FULL),
    # timm, heads averaged: of one input, of two, of four; of one width and of several
    _timm("efficientformer_l1", 224, "head, head_dist", 448, 1000, 448, 0, FULL + JOINT),
    _timm("levit_128s", 224, "head.linear, head_dist.linear", 768, 1000, 768, 0,
          FULL + JOINT + TIED),
    _timm("levit_384", 224, "head.linear, head_dist.linear", 1536, 1000, 1000, 536,
          SILENT + JOINT + TIED),
    _timm("crossvit_tiny_240", 240, "head.0, head.1", 288, 1000, 288, 0, FULL + JOINT),
    _timm("crossvit_base_240", 240, "head.0, head.1", 1152, 1000, 1000, 152, SILENT + JOINT),
    _timm("deit_base_distilled_patch16_224", 224, "head, head_dist", 1536, 1000, 1000, 536,
          SILENT + JOINT),
    _timm("repvit_m0_9", 32, "head.head.l, head.head_dist.l", 768, 1000, 768, 0,
          FULL + JOINT + TIED),
    _timm("efficientvim_m1", 32, "heads.0, heads.1, heads.2, heads.3", 960, 1000, 960, 0,
          FULL + JOINT),
    _timm("efficientvim_m4", 32, "heads.0, heads.1, heads.2, heads.3", 1568, 1000, 1000, 568,
          SILENT + JOINT),
    _timm("volo_d1_224", 224, "", 0, 1000, 0, 0, f"{REFUSED}: {SOMETHING_AFTER}"),
    # transformers
    _tf("ViTForImageClassification", 224, "classifier", 768, 1000, 768, 0, FULL),
    _tf("ConvNextForImageClassification", 32, "classifier", 768, 1000, 768, 0, FULL),
    _tf("SwinForImageClassification", 224, "classifier", 768, 1000, 768, 0, FULL),
    _tf("BeitForImageClassification", 224, "classifier", 768, 1000, 768, 0, FULL),
    _tf("ResNetForImageClassification", 32, "classifier.1", 2048, 1000, 1000, 1048),
    _tf("MobileNetV2ForImageClassification", 32, "classifier", 1280, 1000, 1000, 280),
    _tf("DeiTForImageClassificationWithTeacher", 224, "cls_classifier, distillation_classifier",
        1536, 1000, 1000, 536, SILENT + JOINT + TIED),  # as built, both tokens are zeros
    # one small model in many ways
    _small("nn.Sequential", 32, "4", 64, 10, 10, 54),
    _small("behind a normalising layer", 32, "1.fc", 512, 10, 10, 502),
    _small("behind a softmax", 32, "", 0, 10, 0, 0, f"{REFUSED}: {SOMETHING_AFTER}"),
    _small("in DataParallel", 32, "module.fc", 512, 10, 10, 502),
    _small("compiled", 32, "fc", 512, 10, 10, 502),
    _small("compiled and called under no_grad", 32, "fc", 512, 10, 10, 502),
    _small("in float16", 32, "fc", 512, 10, 10, 502),
    _small("in bfloat16", 32, "fc", 512, 10, 10, 502),
    _small("head called by keyword", 32, "head", 512, 10, 10, 502),
    _small("head applied by F.linear", 32, "", 0, 10, 0, 0, f"{REFUSED}: never calls head"),
    _small("as many classes as features", 32, "head", 512, 512, 512, 0, FULL),
)  # fmt: skip


def publish(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """Write the table, whole or not at all."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="—", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    write_whole(path, write)


def main() -> None:
    from rich.progress import Progress

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=PUBLISHED, help="the table, CSV")
    output = parser.parse_args().output
    rows = []
    with Progress() as progress:
        task = progress.add_task("", total=len(ARCHITECTURES))
        for architecture in ARCHITECTURES:
            progress.update(task, description=architecture.name)
            rows.append(row_of(architecture, architecture.build().found))
            progress.advance(task)
    publish(output, rows)
    print(f"{len(rows)} models: {output}")


def row_of(architecture: Architecture, found: dict[str, str]) -> dict[str, str]:
    """The row to publish: of a message that says what it should, that part alone."""
    kind, _, reason = architecture.outcome.partition(": ")
    shortened = kind == REFUSED and found["outcome"].startswith(kind) and reason in found["outcome"]
    outcome = architecture.outcome if shortened else found["outcome"]
    return {"model": architecture.name} | found | {"outcome": outcome}


if __name__ == "__main__":
    main()
