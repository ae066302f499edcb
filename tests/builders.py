"""Models without trained weights, built by the constructors that anybody calls."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BUILDERS", "redrawn"]


def redrawn(model: nn.Module, classes: int) -> nn.Module:
    """Give every linear layer of as many outputs as classes N(0, 1 / width) weights, no bias.

    Some heads start as zeros or as good as; then nothing could be seen of them. Drifts are
    relative, so the scale of the features does not matter.
    """
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and len(module.weight) == classes:
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def from_torchvision(name: str) -> nn.Module:
    import torchvision

    return torchvision.models.get_model(name, weights=None)


def from_timm(name: str) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False)


LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}


def from_transformers(name: str) -> nn.Module:
    """A class for image classification from its own default configuration, or the large one."""
    import transformers

    kind, _, large = name.partition(" ")
    config = getattr(transformers, re.sub("ForImage.*", "Config", kind))
    return getattr(transformers, kind)(config(num_labels=1000, **(LARGE if large else {})))


class Headed(nn.Module):
    """A ResNet-18 whose head is called in a way of its own."""

    def __init__(self, call: Callable[[nn.Linear, Tensor], Tensor], classes: int = 10) -> None:
        super().__init__()
        self.body = from_torchvision("resnet18")
        self.body.fc = nn.Identity()
        self.head = nn.Linear(512, classes)
        self.call = call

    def forward(self, images: Tensor) -> Tensor:
        return self.call(self.head, self.body(images))


def small() -> nn.Module:
    import torchvision

    return torchvision.models.resnet18(weights=None, num_classes=10)


def normalized() -> nn.Module:
    from torchvision.transforms import Normalize

    return nn.Sequential(Normalize([0.5] * 3, [0.25] * 3), small())


def compiled(called: bool) -> Any:
    model = torch.compile(small().eval(), backend="eager")
    if called:
        with torch.no_grad():
            model(torch.zeros(1, 3, 32, 32))
    return model


VARIANTS: dict[str, Callable[[], Any]] = {
    "nn.Sequential": lambda: nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    ),
    "behind a normalising layer": normalized,
    "behind a softmax": lambda: nn.Sequential(small(), nn.Softmax(dim=1)),
    "in DataParallel": lambda: nn.DataParallel(small()),
    "compiled": lambda: compiled(called=False),
    "compiled and called under no_grad": lambda: compiled(called=True),
    "in float16": lambda: small().half(),
    "in bfloat16": lambda: small().bfloat16(),
    "head called by keyword": lambda: Headed(lambda head, f: head(input=f)),
    "head applied by F.linear": lambda: Headed(
        lambda head, f: functional.linear(f, head.weight, head.bias)
    ),
    "as many classes as features": lambda: Headed(lambda head, f: head(f), classes=512),
}

BUILDERS: dict[str, Callable[[str], Any]] = {
    "torchvision": from_torchvision,
    "timm": from_timm,
    "transformers": from_transformers,
    "a small model": lambda name: VARIANTS[name](),
}
