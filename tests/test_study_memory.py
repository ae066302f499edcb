"""A study of ten times as many images needs no more memory than its table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MEASURE = """
import sys
from dataclasses import fields
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
from study_toys import ENCODER, pictures, toy_extraction
from captum_sing import ConceptBank, TranslatorFitter
from captum_sing.linear_head import LinearHead
from captum_sing.study import Block, Extraction, study_of

COUNT, WIDTH = int(sys.argv[1]), 1024
words = ["cat", "dog", "red", "blue"]
bank = ConceptBank.from_words(words, ENCODER)

def draw(start, count):
    generator = torch.Generator().manual_seed(start)
    return [torch.randn(count, n, generator=generator) for n in (WIDTH, 4, ENCODER.embedding_dim)]

class Drawn(Extraction):
    def blocks(self):
        for start in range(0, COUNT, 500):
            yield Block(torch.arange(start, start + 500), *draw(start, 500))

torch.manual_seed(0)
small = toy_extraction(pictures(2))
kept = {{field.name: getattr(small, field.name) for field in fields(Extraction)}}
kept |= dict(
    names=tuple(f"image {{i}}" for i in range(COUNT)), labels=("cat", "dog") * (COUNT // 2),
    valid=torch.ones(COUNT, dtype=torch.bool), predictions=torch.zeros(COUNT, dtype=torch.long),
    head=LinearHead((torch.nn.Linear(WIDTH, 4),)), sizes=(WIDTH, 4, ENCODER.embedding_dim),
)
features, _, embeddings = draw(1, 2000)
translator = TranslatorFitter(encoder=ENCODER.name).update(features, embeddings).fit()
study = study_of(Drawn(**kept), bank, translator, draws=200)
assert len(study) == COUNT == study.statistics["n"][0] and len(study.groups)
rows = study.table.memory_usage(deep=True).sum()
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0], rows)
"""


@pytest.mark.slow
def test_memory_does_not_grow() -> None:
    """The features alone of all further images would take 160 MB."""
    peaks, rows = {}, {}
    for count in (2_000, 42_000):
        run = subprocess.run(
            [sys.executable, "-c", MEASURE.format(tests=str(Path(__file__).parent)), str(count)],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(sys.path),
                "MALLOC_MMAP_THRESHOLD_": "1048576",  # what is freed is given back
            },
        )
        assert run.returncode == 0, run.stderr[-3000:]
        peak, size = map(int, run.stdout.split())
        peaks[count], rows[count] = peak / 1024, size / 2**20
        print(f"{count} images: peak {peaks[count]:.0f} MiB, the table {rows[count]:.1f} MiB")
    assert peaks[42_000] - peaks[2_000] < 4 * rows[42_000] + 40
