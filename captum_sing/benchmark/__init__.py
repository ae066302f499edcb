"""The proof: worlds with planted truths, and empty ones, through the study's own code.

``python -m captum_sing.demo.benchmark`` runs it and prints, for each way to judge what a head
ignores, the recall of planted factors, the false alarms, and whether p-values are uniform where
nothing is planted.
"""

from captum_sing.benchmark.calibration import Calibration, calibrate
from captum_sing.benchmark.judging import MEASURES, STARRED, Judgement, judge
from captum_sing.benchmark.main import main
from captum_sing.benchmark.running import Benchmark, run_benchmark
from captum_sing.benchmark.synthetic import SyntheticWorld, random_world
from captum_sing.benchmark.worlds import World, world_of_numbers

__all__ = [
    "MEASURES",
    "STARRED",
    "Benchmark",
    "Calibration",
    "Judgement",
    "SyntheticWorld",
    "World",
    "calibrate",
    "judge",
    "main",
    "random_world",
    "run_benchmark",
    "world_of_numbers",
]
