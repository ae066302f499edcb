"""What a drawing is asked for with, and on which machine: checked before anything is loaded."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from captum_sing.devices import device_of
from captum_sing.errors import SINGError, SINGRuntimeError, SINGValueError, expected
from captum_sing.render.kinds import Kind

__all__ = [
    "OFFLOADS",
    "Machine",
    "check_guidance",
    "check_negative",
    "check_steps",
    "lacks_memory",
    "machine_of",
]

OFFLOADS = ("model", "sequential")
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_FEWEST, _MOST = 2, 1000
_FULL = re.compile(r"out of memory|not enough memory|can't allocate memory", re.IGNORECASE)


class Machine(NamedTuple):
    """Where a pipeline runs.

    Attributes:
        device (torch.device): where it computes.
        dtype (torch.dtype): of weights and noise.
        offload (str or None): one of :data:`OFFLOADS`: what waits on the CPU.
        batch_size (int): pictures that are drawn at once.
    """

    device: torch.device
    dtype: torch.dtype
    offload: str | None
    batch_size: int

    def take(self, pipeline: Any) -> Any:
        """Put a pipeline where it runs."""
        if self.offload == "model":
            pipeline.enable_model_cpu_offload(device=self.device)
        elif self.offload == "sequential":
            pipeline.enable_sequential_cpu_offload(device=self.device)
        else:
            pipeline.to(self.device)
        return pipeline

    @contextmanager
    def enough(self, where: str) -> Iterator[None]:
        """Say what helps when memory does not suffice.

        Raises:
            SINGRuntimeError: with the settings that need less.
        """
        try:
            yield
        except SINGError:
            raise
        except (MemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
            raise SINGRuntimeError(
                expected(
                    where,
                    "memory",
                    f"to suffice on {self.device}",
                    (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip("."),
                    self._remedy(),
                )
            ) from error

    def _remedy(self) -> str:
        helps = [f"a batch_size below {self.batch_size}"] if self.batch_size > 1 else []
        if self.device.type == "cpu":
            helps.append("a smaller pipeline, or dtype=torch.float16 on a GPU")
        else:
            if self.dtype == torch.float32:
                helps.append("dtype=torch.float16")
            if self.offload != "sequential":
                first = "" if self.offload else 'offload="model", or '
                helps.append(f'{first}offload="sequential", which needs least and is slow')
        return f"Use {'; '.join(helps or ['a smaller pipeline'])}"


def lacks_memory(error: BaseException) -> bool:
    """Whether an error, of Python, a GPU or torch's CPU, says that memory does not suffice."""
    full = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return full or (isinstance(error, RuntimeError) and bool(_FULL.search(str(error))))


def machine_of(
    where: str,
    device: str | torch.device | None,
    dtype: torch.dtype | None,
    offload: str | None,
    batch_size: int,
) -> Machine:
    """A machine that exists and can compute so.

    Raises:
        SINGValueError: no such device, half precision or offloading on the CPU, or nonsense.
        SINGRuntimeError: offloading without accelerate.
    """
    at = device_of(device, where, "device")
    kept = torch.float32 if dtype is None else dtype
    if kept not in _DTYPES:
        raise SINGValueError(
            expected(where, "dtype", f"None or one of {_DTYPES}", repr(dtype), "Leave it out")
        )
    if at.type == "cpu" and kept != torch.float32:
        raise SINGValueError(
            expected(
                where,
                "dtype",
                "None or torch.float32 on the CPU",
                kept,
                "Half precision is for GPUs: on the CPU some of what pipelines compute lacks it",
            )
        )
    if offload not in (None, *OFFLOADS):
        raise SINGValueError(
            expected(where, "offload", f"None or one of {OFFLOADS}", repr(offload), "Leave it out")
        )
    if offload and importlib.util.find_spec("accelerate") is None:
        raise SINGRuntimeError(
            expected(
                where,
                "accelerate",
                f"to be installed for offload={offload!r}",
                "no such package",
                "pip install accelerate",
            )
        )
    if offload and at.type == "cpu":
        raise SINGValueError(
            expected(where, "offload", "None on the CPU", repr(offload), "It spares a GPU's memory")
        )
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise SINGValueError(
            expected(where, "batch_size", "an integer from 1", repr(batch_size), "Leave it out")
        )
    return Machine(at, kept, offload, batch_size)


def check_steps(where: str, kind: Kind, steps: int | Sequence[int] | None) -> tuple[int, ...]:
    """Steps of each stage.

    Raises:
        SINGValueError: too few, too many, or of another number of stages.
    """
    if steps is None:
        return kind.steps
    given = (steps,) * len(kind.steps) if isinstance(steps, int) else tuple(steps)
    fits = all(
        isinstance(n, int) and not isinstance(n, bool) and _FEWEST <= n <= _MOST for n in given
    )
    if len(given) != len(kind.steps) or not fits:
        raise SINGValueError(
            expected(
                where,
                "steps",
                f"an integer from {_FEWEST} to {_MOST} for each of {len(kind.steps)} stages of "
                f"{kind.name}",
                repr(steps),
                f"Leave it out for {kind.steps}",
            )
        )
    return given


def check_guidance(
    where: str, kind: Kind, guidance: float | None, negative: Tensor | None
) -> float:
    """How far to go from the unguided picture.

    Raises:
        SINGValueError: below 1, or not finite; a negative embedding for a kind that has none, or
            none for one that needs it.
    """
    if guidance is not None and not (
        isinstance(guidance, (int, float)) and 1 <= guidance < math.inf
    ):
        raise SINGValueError(
            expected(
                where,
                "guidance",
                "a number from 1, which is none",
                repr(guidance),
                f"Leave it out for {kind.guidance}",
            )
        )
    strength = kind.guidance if guidance is None else float(guidance)
    if negative is not None and not kind.negative:
        raise SINGValueError(
            expected(
                where,
                "negative",
                f"None for {kind.name}",
                "an embedding",
                "Leave it out: it steers away from what it learnt itself",
            )
        )
    if negative is None and kind.name == "kandinsky" and strength > 1:
        raise SINGValueError(
            expected(
                where,
                "negative",
                "to be given for kandinsky, whose guidance steers away from it",
                None,
                "Pass blank_embedding(encoder), as its authors do; guidance=1 needs none",
            )
        )
    return strength


def check_negative(where: str, negative: Tensor | None, width: int) -> Tensor:
    """What guidance steers away from, shape (E,), on the CPU; zero where nothing is given.

    Raises:
        SINGValueError: of another shape, or not finite.
    """
    if negative is None:
        return torch.zeros(width)
    if (
        not isinstance(negative, Tensor)
        or negative.shape != (width,)
        or not negative.is_floating_point()
        or not negative.isfinite().all()
    ):
        raise SINGValueError(
            expected(
                where,
                "negative",
                f"a finite tensor of shape ({width},)",
                tuple(negative.shape) if isinstance(negative, Tensor) else type(negative).__name__,
                "Pass blank_embedding(encoder)",
            )
        )
    return negative.detach().float().cpu()
