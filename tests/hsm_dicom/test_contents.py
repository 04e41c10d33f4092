"""The docstring of a package is its table of contents, so it lists the modules that are there, and no others."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("network", "transport", "tls", "iscl")
PACKAGES = [
    path.parent
    for room in ROOMS
    for path in sorted((ROOT / "hsm_dicom" / room).rglob("__init__.py"))
    if "| module" in path.read_text()
]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package.relative_to(ROOT)))
def test_a_table_of_contents_lists_each_module_once(package: Path) -> None:
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    cells = re.findall(r"^\| *([^|]*?) *\|", text, re.M)[2:]
    listed = [name.strip("` ") for cell in cells for name in cell.split(",")]
    modules = {path.name + "/" if path.is_dir() else path.stem for path in package.iterdir() if path.stem != "__init__"}
    there = {name for name in modules if not name.startswith("__")}
    assert sorted(name.removesuffix(".py") for name in listed) == sorted(there)
