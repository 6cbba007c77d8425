"""Runs the suite and writes docs/channels.md from what came out: `python -m tests.conformance`."""

import sys
from pathlib import Path

import pytest

from tests.conformance.document import DOCUMENT, GREEN, RED, expected_results, render
from tests.conformance.kits import all_kits


class Collector:
    """Keeps the outcome of each row of each provider."""

    def __init__(self) -> None:
        self.failed: set[tuple[str, str]] = set()
        self.passed: set[tuple[str, str]] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        _, _, named = report.nodeid.partition("::test_row[")
        provider, mark, row = named.rstrip("]").partition("-")
        if mark and report.failed:
            self.failed.add((provider, row))
        elif mark and report.when == "call" and report.passed:
            self.passed.add((provider, row))


def main() -> int:
    """The exit code: 0 where every row that applies is green."""
    collector, kits = Collector(), all_kits()
    pytest.main(
        [str(Path(__file__).parent / "test_conformance.py"), "-q", "--no-header"], plugins=[collector]
    )
    results = {
        key: (GREEN if key in collector.passed - collector.failed else RED) if value == GREEN else value
        for key, value in expected_results(kits).items()
    }
    DOCUMENT.write_text(render(kits, results), encoding="utf-8")
    return int(RED in results.values())


if __name__ == "__main__":
    sys.exit(main())
