"""Devices by name, checked before anything is loaded onto them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from captum_sing.errors import SINGValueError, expected

__all__ = ["device_of", "one_thread"]


def device_of(
    device: str | torch.device | None, where: str = "captum-sing", argument: str = "--device"
) -> torch.device:
    """A device that this machine has.

    Args:
        device (str, torch.device or None): its name. None: torch's default, the CPU.
        where (str, optional): who complains.
        argument (str, optional): what it is called there.

    Raises:
        SINGValueError: it has none of that name.

    Example::

        >>> device_of("cpu")
        device(type='cpu')
    """
    try:
        made = torch.zeros(1, device=device)
        made.cpu()  # "meta" holds no values
        if made.device.type == "cpu" and torch.device(device or "cpu").index:
            raise RuntimeError("there is one CPU")
        return made.device
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise SINGValueError(
            expected(
                where,
                argument,
                "to be a device of this machine",
                f"{device} ({reason})",
                "Leave it out for the CPU",
            )
        ) from error


@contextmanager
def one_thread() -> Iterator[None]:
    """For what is so small that threads would wait for each other longer than they work.

    Example::

        >>> with one_thread():
        ...     torch.get_num_threads()
        1
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
