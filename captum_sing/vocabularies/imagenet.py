"""ImageNet's classes as open_clip names them, in the order of the classes."""

from __future__ import annotations

__all__ = ["GROUP", "imagenet_prompts"]

GROUP = "imagenet class"

# open_clip's list has "missile" and "sunglasses" twice: ImageNet's own other word for one of the
# two keeps them apart. The fruit would be the color's namesake.
_RENAMED = {744: "projectile", 836: "sunglass", 950: "orange (fruit)"}


def imagenet_prompts() -> dict[str, tuple[str, ...]]:
    """Each class and its prompts, by open_clip's seven short templates.

    The full eighty cost eleven times as much and name classes hardly better.

    Returns:
        dict of str to tuple of str: 1000 classes.

    Example::

        >>> list(imagenet_prompts().items())[950]
        ('orange (fruit)', ('itap of a orange.', 'a bad photo of the orange.', ...
    """
    from open_clip import IMAGENET_CLASSNAMES, SIMPLE_IMAGENET_TEMPLATES

    prompts = {}
    for number, name in enumerate(IMAGENET_CLASSNAMES):
        name = _RENAMED.get(number, name)
        word = name.removesuffix(" (fruit)")
        prompts[name] = tuple(template(word) for template in SIMPLE_IMAGENET_TEMPLATES)
    return prompts
