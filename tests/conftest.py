"""What every test shares: an offline, windowless process, and no skip that passes silently."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: threads wait longer than they work

ROOT = Path(__file__).parents[1]

# A skip is expected where its reason contains the text and the condition holds.
EXPECTED_SKIPS = {
    "../shared/data/authors": lambda: not (ROOT / "../shared/data/authors").is_dir(),
}


class SkipGuard:
    """Fails the session for every skip that is not in ``EXPECTED_SKIPS``."""

    def __init__(self) -> None:
        self.unexpected: set[str] = set()

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(text in reason and holds() for text, holds in EXPECTED_SKIPS.items()):
            self.unexpected.add(f"{report.nodeid}: {reason}")

    pytest_runtest_logreport = _note
    pytest_collectreport = _note

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.unexpected and exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in sorted(self.unexpected):
            terminalreporter.write_line(f"UNEXPECTED SKIP {line}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(SkipGuard(), "skip-guard")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, a model, an encoder, a translator and words, for the command line."""
    from command import furnish

    place = tmp_path_factory.mktemp("place")
    furnish(place)
    return place
