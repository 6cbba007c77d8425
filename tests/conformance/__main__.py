"""Runs the suite and writes docs/channels.md from what came out: `python -m tests.conformance`."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

from tests.conformance.document import DOCUMENT, GREEN, RED, expected_results, render
from tests.conformance.kits import all_kits

_SUITE = Path(__file__).parent / "test_conformance.py"


def run_suite() -> set[tuple[str, str]]:
    """The rows that passed, by provider; a process of its own, since this one has the tests imported already."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            str(_SUITE),
            "-k",
            "test_row",
            f"--junitxml={report}",
        ]
        subprocess.run(command, check=False)
        cases = ET.parse(report).getroot().iter("testcase")
        passed = [case.attrib["name"] for case in cases if not len(case)]
    names = (name.removeprefix("test_row[").removesuffix("]").partition("-") for name in passed)
    return {(provider, row) for provider, _, row in names}


def main() -> int:
    """The exit code: 0 where every row that applies is green."""
    passed, kits = run_suite(), all_kits()
    results = {
        key: (GREEN if key in passed else RED) if expected == GREEN else expected
        for key, expected in expected_results(kits).items()
    }
    DOCUMENT.write_text(render(kits, results), encoding="utf-8")
    return int(RED in results.values())


if __name__ == "__main__":
    sys.exit(main())
