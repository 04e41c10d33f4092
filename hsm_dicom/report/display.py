"""Values of DICOM as people write them: names without carets, dates with dashes (PS3.5 6.2)."""

from __future__ import annotations

import re


def format_person_name(value: str) -> str:
    """Return a person name (VR PN) for people: "Doe, Dr. John Robert, MD", other writings of it in parentheses."""
    groups = [_format_group(group) for group in value.split("=")]
    shown = list(dict.fromkeys(filter(None, groups)))
    return shown[0] + (f" ({'; '.join(shown[1:])})" if shown[1:] else "") if shown else ""


def _format_group(group: str) -> str:
    """Return one component group: family, given and middle name, prefix, suffix."""
    family, given, middle, prefix, suffix = (*(part.strip() for part in group.split("^")), "", "", "", "", "")[:5]
    first = " ".join(filter(None, (prefix, given, middle)))
    return ", ".join(filter(None, (family, first, suffix)))


def format_date(value: str) -> str:
    """Return a date (VR DA) as "2004-01-19"; anything else as it is."""
    found = re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)", value.strip(), re.ASCII)
    return "-".join(found.groups()) if found else value
