"""The tiny classifiers: a backbone, perhaps a fixed linear neck, and a linear head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captum_sing.demo.scenes import FACTORS, IMAGE_SIZE
from captum_sing.errors import SINGNameError, SINGValueError, expected

BACKBONES = ("resnet", "convnext")
FEATURES = 128
NECK = 64
MEAN, STD = 0.5, 0.25


def normalize(images: Tensor) -> Tensor:
    """Images in [0, 1] as all networks of this world want them."""
    return ((images - MEAN) / STD).to(memory_format=torch.channels_last)


def make_backbone(architecture: str) -> nn.Module:
    """A small timm network from normalised images to (B, 128) features.

    Args:
        architecture (str): one of :data:`BACKBONES`.

    Raises:
        SINGNameError: for another architecture.
    """
    if architecture == "resnet":
        from timm.models.resnet import BasicBlock, ResNet

        return ResNet(
            BasicBlock,
            (1, 1, 1, 1),
            num_classes=0,
            channels=(24, 48, 96, FEATURES),
            stem_width=16,
            stem_type="deep",
        )
    if architecture == "convnext":
        from timm.models.convnext import ConvNeXt

        return ConvNeXt(
            num_classes=0,
            depths=(1, 1, 2, 1),
            dims=(24, 48, 96, FEATURES),
            kernel_sizes=5,
            stem_type="overlap_tiered",
            conv_mlp=True,
            ls_init_value=None,
        )
    raise SINGNameError(
        expected(
            "make_backbone",
            "architecture",
            f"in {list(BACKBONES)}",
            repr(architecture),
            "Choose one of them",
        )
    )


class SceneClassifier(nn.Module):
    """Says which shape is in an image: logits = head(neck(backbone(images))).

    Args:
        backbone (nn.Module): normalised images -> (B, 128).
        head (nn.Linear): features -> one logit for each shape.
        neck (nn.Module, optional): a linear map of the backbone's features; the head's input is
            its output.
    """

    def __init__(self, backbone: nn.Module, head: nn.Linear, neck: nn.Linear | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Identity() if neck is None else neck
        self.head = head

    @classmethod
    def build(cls, architecture: str, *, neck: bool = False) -> SceneClassifier:
        """An untrained classifier of one of the :data:`BACKBONES`."""
        width = NECK if neck else FEATURES
        return cls(
            make_backbone(architecture),
            nn.Linear(width, len(FACTORS["shape"])),
            nn.Linear(FEATURES, NECK) if neck else None,
        )

    def features(self, images: Tensor) -> Tensor:
        """The head's input.

        Args:
            images (Tensor): (B, 3, 64, 64) in [0, 1], or mosaics of such scenes.

        Returns:
            Tensor: (B, D), with D = 64 behind a neck and 128 otherwise.

        Raises:
            SINGValueError: for images of another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not _whole_scenes(images):
            raise SINGValueError(
                expected(
                    "SceneClassifier",
                    "images",
                    f"of shape (B, 3, {IMAGE_SIZE}, {IMAGE_SIZE}), or a mosaic of such scenes",
                    tuple(images.shape),
                    "Resize them, colour first, values in [0, 1]",
                )
            )
        return self.neck(self.backbone(normalize(images)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 8) of images (B, 3, 64, 64) in [0, 1]."""
        return self.head(self.features(images))


def _whole_scenes(images: Tensor) -> bool:
    return all(size > 0 and size % IMAGE_SIZE == 0 for size in images.shape[2:])
