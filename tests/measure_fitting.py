"""Time and memory of fitting a translator: ``python tests/measure_fitting.py``.

Every line is a process of its own with one thread, which makes its rows block by block from a seed,
so that only scikit-learn holds them all. Seconds are those of the processor, for the work that is
named, without the making of the rows. ``products`` is what no ridge regression can avoid: X^T X and
X^T Z of the same blocks, in float32, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import Tensor

FEATURES, EMBEDDINGS = map(int, os.environ.get("FITTING_WIDTHS", "2048 768").split())
BLOCK = 4096


def blocks(rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Features with unequal spreads and means of their own, and embeddings that follow them."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.logspace(0, -1.5, FEATURES)
    mixing = torch.randn(FEATURES, EMBEDDINGS, generator=generator) / FEATURES**0.5
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        features = torch.randn(count, FEATURES, generator=generator) * spread
        noise = torch.randn(count, EMBEDDINGS, generator=generator)
        yield features + 2.0, features @ mixing + 0.3 * noise + 1.0


def fitting(rows: int, alpha: float | str) -> dict[str, float]:
    from captum_sing import TranslatorFitter

    fitter, seconds = TranslatorFitter(alpha), 0.0
    for features, embeddings in blocks(rows):
        start = time.process_time()
        fitter.update(features, embeddings)
        seconds += time.process_time() - start
    start = time.process_time()
    translator = fitter.fit()
    last = time.process_time() - start
    unit = rows * float(torch.logspace(0, -1.5, FEATURES).square().mean())
    alpha = translator.facts["alpha"] / unit
    return {"pass": seconds, "fit": last, "seconds": seconds + last, "relative alpha": alpha}


def products(rows: int) -> dict[str, float]:
    gram, cross, seconds = torch.zeros(FEATURES, FEATURES), torch.zeros(FEATURES, EMBEDDINGS), 0.0
    for features, embeddings in blocks(rows):
        start = time.process_time()
        gram.addmm_(features.T, features)
        cross.addmm_(features.T, embeddings)
        seconds += time.process_time() - start
    return {"seconds": seconds}


def scikit_learn(rows: int, dtype: torch.dtype) -> dict[str, float]:
    from sklearn.linear_model import Ridge

    x, z = (torch.cat(parts).to(dtype).numpy() for parts in zip(*blocks(rows), strict=True))
    start = time.process_time()
    Ridge(alpha=1.0).fit(x, z)
    return {"seconds": time.process_time() - start}


WORK = {
    "products": products,
    "alpha=1.0": lambda rows: fitting(rows, 1.0),
    "alpha='cv'": lambda rows: fitting(rows, "cv"),
    "scikit-learn, float32": lambda rows: scikit_learn(rows, torch.float32),
    "scikit-learn, float64": lambda rows: scikit_learn(rows, torch.float64),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--only", nargs=2, metavar=("WORK", "ROWS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        name, rows = arguments.only
        torch.set_num_threads(1)
        figures = WORK[name](int(rows))
        figures["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(figures))
        return
    for rows in arguments.rows:
        for name in WORK:
            if "scikit" in name and rows > 50_000:
                continue  # it holds all rows in memory, and its own copies of them
            command = [sys.executable, __file__, "--only", name, str(rows)]
            # large blocks are given back when freed, so that the peak is what was in use
            env = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
            run = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
            figures = json.loads(run.stdout)
            listed = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
            print(f"{rows:>7} rows, {name:<22}: {listed}", flush=True)


if __name__ == "__main__":
    main()
