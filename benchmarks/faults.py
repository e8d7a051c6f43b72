"""The fault matrix as a table: `python -m benchmarks.faults [-k WORDS] [--out FILE]`.

Runs every cell of `tests/faults` and writes what came of it, one line per cell.
"""

import argparse
import csv
import sys
from pathlib import Path

import pytest

from tests.faults.matrix import CELLS

OUT = Path(__file__).resolve().parent / "results" / "fault-matrix.tsv"

COLUMNS = ("deployment", "fault", "moment", "outcome_wanted", "survived", "seconds", "in_make_test")


class Collector:
    """Keeps the outcome and the time of each cell."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[bool, float]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Told by pytest of each part of a test."""
        name = report.nodeid.partition("[")[2].rstrip("]")
        passed, seconds = self.found.get(name, (True, 0.0))
        if report.when == "call":
            seconds = report.duration
        self.found[name] = (passed and report.passed, seconds)


def main(arguments: list[str] | None = None) -> int:
    """Run the cells and write the table; 1 if one did not survive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-k", default="", help="only the cells that pytest's -k would choose")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(arguments)
    collector = Collector()
    words = ["-q", "-m", "slow or not slow", "tests/faults/test_matrix.py", "-k", given.k or "cell"]
    pytest.main(words, plugins=[collector])
    survived = 0
    with given.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        for cell in CELLS:
            if cell.name not in collector.found:
                continue
            passed, seconds = collector.found[cell.name]
            survived += passed
            writer.writerow(
                [cell.form, cell.fault, cell.moment, cell.outcome, "yes" if passed else "NO",
                 f"{seconds:.1f}", "yes" if cell.quick else "no"]
            )  # fmt: skip
    ran = sum(cell.name in collector.found for cell in CELLS)
    sys.stdout.write(f"{survived} of {ran} cells survived; {given.out}\n")
    return 0 if survived == ran else 1


if __name__ == "__main__":
    sys.exit(main())
