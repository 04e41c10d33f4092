"""The inventory of a node as one self-contained HTML page, from the document that `inventory --json` prints.

The page has no script and no external resource, and its values are escaped as those of every page are.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hsm_dicom.report.environment import make_environment
from hsm_dicom.report.html_report import write_page

_LOOKS = {"problem": "bad", "soon": "question", "fine": "good"}


def write_inventory(target: Path, document: Mapping[str, Any]) -> None:
    """Write the page; replace an older one when the new one is complete. Raises `ReportError`."""
    template = make_environment().get_template("inventory.html.j2")
    counts = {urgency: sum(one["urgency"] == urgency for one in document["entries"]) for urgency in _LOOKS}
    write_page(target, template.generate(**document, looks=_LOOKS, counts=counts, version=version("hsm-dicom")))
