"""The docstring of a package is its table of contents: it mentions every module, and lists none that is not there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [
    path.parent
    for room in ("tokens", "hsm_dicom")
    for path in sorted((ROOT / room).rglob("__init__.py"))
    if "| module" in path.read_text()
]


def name_of_package(package: Path) -> str:
    return str(package.relative_to(ROOT))


@pytest.fixture(params=PACKAGES, ids=name_of_package)
def package(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.param
    return folder


def contents(package: Path) -> str:
    return ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""


def test_every_module_is_mentioned(package: Path) -> None:
    mentioned = set(re.findall(r"\w+", contents(package)))
    modules = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert modules - {"__init__"} - mentioned == set()


def test_every_module_in_the_table_exists(package: Path) -> None:
    cells = re.findall(r"^\| *([^|]*?) *\|", contents(package), re.M)[2:]
    listed = [name.strip("` /").removesuffix(".py") for cell in cells for name in cell.split(",")]
    assert listed
    places = [package.joinpath(*name.split(".")) for name in listed]
    assert [place.name for place in places if not (place.with_suffix(".py").exists() or place.is_dir())] == []
