"""List the licences in a CycloneDX bill of materials: `list_licences.py BOM`; one package on each line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Print the packages of the bill of materials with their versions and licences."""
    bom = json.loads(Path(sys.argv[1]).read_text())
    root = bom["metadata"]["component"]
    rows = [(c["name"], c["version"], licences(c)) for c in [root, *bom["components"]]]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, version, licence in rows:
        print(f"{name:{widths[0]}}  {version:{widths[1]}}  {licence}")
    unknown = [name for name, _, licence in rows if not licence]
    if unknown:
        sys.exit(f"These packages state no licence: {', '.join(unknown)}.")


def licences(component: dict[str, Any]) -> str:
    """Return the licence of a component: its expression, or the identifiers and names that it declares."""
    declared = component.get("licenses", ())
    words = [
        entry.get("expression") or entry["license"].get("id") or entry["license"]["name"].rpartition(" :: ")[2]
        for entry in declared
    ]
    return ", ".join(dict.fromkeys(words))


if __name__ == "__main__":
    main()
