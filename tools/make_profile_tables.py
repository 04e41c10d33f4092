"""Write hsm_dicom/signatures/profiles/tables.py: which attributes the modules named by PS3.15 Annex C have.

Run it where highdicom (MIT) is installed beside pydicom:

    python tools/make_profile_tables.py > hsm_dicom/signatures/profiles/tables.py

Two sources are united: ``profile_modules_2019c.txt`` (PS3.3 2019c, and Curve as of 2004), and the module tables that
highdicom takes from a later PS3.3, whose edition it does not state. Both lists have attributes that the other lacks,
and a signature that covers the union satisfies validators that know either.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import distribution
from pathlib import Path

from pydicom.datadict import tag_for_keyword

LATER_NAMES = {
    "Implant Template": [
        "generic-implant-template-description",
        "generic-implant-template-2d-drawings",
        "generic-implant-template-3d-models",
        "generic-implant-template-mating-features",
        "generic-implant-template-planning-landmarks",
    ],
    "Enhanced XA/XRF Image": ["enhanced-xa-xrf-image"],
    "Curve": [],
}
ONLY_LATER = ["Microscopy Bulk Simple Annotations"]
REPEATING = {"Overlay Plane": 0x6000}


def edition_2019c() -> dict[str, set[int]]:
    modules: dict[str, set[int]] = {}
    name = ""
    for line in (Path(__file__).parent / "profile_modules_2019c.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        if ":" in line:
            name, line = line.split(":")
        tags = {int(tag.replace(",", ""), 16) for tag in re.findall(r"[0-9A-F]{4},[0-9A-F]{4}", line)}
        modules.setdefault(name, set()).update(tags)
    return modules


def later_edition(names: list[str]) -> dict[str, set[int]]:
    source = distribution("highdicom").locate_file("highdicom/_standard/module_attribute_map.json")
    table = json.loads(Path(str(source)).read_text())
    modules: dict[str, set[int]] = {}
    for name in names:
        keys = LATER_NAMES.get(name, [name.lower().replace(" ", "-")])
        for key in keys:
            for attribute in table[key]:
                if attribute["path"]:
                    continue
                tag = tag_for_keyword(attribute["keyword"])
                if tag is None and name in REPEATING:
                    tag = overlay_tag(attribute["keyword"])
                if tag is None:
                    raise SystemExit(f"no tag for {attribute['keyword']} of {name}")
                modules.setdefault(name, set()).add(tag)
    return modules


def overlay_tag(keyword: str) -> int | None:
    from pydicom._dicom_dict import RepeatersDictionary

    return next(
        (int(mask.replace("x", "0"), 16) for mask, row in RepeatersDictionary.items() if row[4] == keyword), None
    )


def main() -> None:
    old = edition_2019c()
    names = list(old) + ONLY_LATER
    new = later_edition(names)
    version = distribution("highdicom").version
    print(
        '"""Attributes of the modules that PS3.15 Annex C names, top level only. Made by tools/make_profile_tables.py.'
    )
    print()
    print(
        f"Editions: PS3.3 2019c, united with highdicom {version}'s module tables (a later PS3.3, edition not stated)."
    )
    print("Groups 6000 (Overlay Plane) and 5000 (Curve) stand for all repeating groups.")
    print('"""')
    print()
    print("from __future__ import annotations")
    print()
    print()
    print("def _tags(text: str) -> frozenset[int]:")
    print('    return frozenset(int(tag.replace(",", ""), 16) for tag in text.split())')
    print()
    print()
    print("MODULES: dict[str, frozenset[int]] = {")
    for name in names:
        tags = sorted(old.get(name, set()) | new.get(name, set()))
        print(f'    "{name}": _tags(')
        print('        """')
        for at in range(0, len(tags), 10):
            print("        " + " ".join(f"{tag >> 16:04X},{tag & 0xFFFF:04X}" for tag in tags[at : at + 10]))
        print('        """')
        print("    ),")
    print("}")


if __name__ == "__main__":
    main()
