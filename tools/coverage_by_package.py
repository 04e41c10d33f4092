"""Print the coverage of lines and branches by package: `python tools/coverage_by_package.py coverage.json`."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath


def package_of(path: str) -> str:
    """Return the package of a file: `tokens/pkcs11` for `tokens/pkcs11/login.py` and all below it."""
    parts = PurePosixPath(path).parts
    return "/".join(parts[: min(2, len(parts) - 1)])


def main(report: Path) -> None:
    """Add up coverage.py's JSON report and print one line for each package."""
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    for path, file in json.loads(report.read_text())["files"].items():
        numbers = {name: value for name, value in file["summary"].items() if isinstance(value, int)}
        totals[package_of(path)].update(numbers)
        totals["all"].update(numbers)
    print(f"{'package':28} {'lines':>7} {'missed':>7} {'':>7} {'branches':>9} {'missed':>7}")
    for package, total in sorted(totals.items(), key=lambda one: (one[0] == "all", one[0])):
        lines, branches = total["num_statements"], total["num_branches"]
        print(
            f"{package:28} {lines:7} {total['missing_lines']:7} {share(total['covered_lines'], lines)} "
            f"{branches:9} {total['missing_branches']:7} {share(total['covered_branches'], branches)}"
        )


def share(part: int, whole: int) -> str:
    """Return a share in per cent, seven characters wide."""
    return f"{100 * part / whole:6.1f}%" if whole else " " * 7


if __name__ == "__main__":
    main(Path(sys.argv[1]))
