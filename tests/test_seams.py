"""Internals of third-party libraries are used in private modules only, each with a canary test.

A seam is a module whose name begins with an underscore. Its docstring names the test that fails when a newer version
of the library differs.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("tokens", "hsm_dicom")
SOURCES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))
SEAMS = [path for path in SOURCES if re.fullmatch(r"_[a-z]\w*\.py", path.name)]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_third_party(module: str) -> bool:
    first = module.partition(".")[0]
    return first not in OURS and first not in sys.stdlib_module_names


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield what a module imports from third-party libraries: the full name, and the name that it is bound to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level and is_third_party(node.module):
            yield from ((f"{node.module}.{one.name}", one.asname or one.name) for one in node.names)
        elif isinstance(node, ast.Import):
            yield from ((one.name, one.asname or one.name) for one in node.names if is_third_party(one.name))


def internals(source: str) -> list[str]:
    """Return the private names of third-party libraries that a module imports or reads from an imported name."""
    tree = ast.parse(source)
    imported = dict(imports(tree))
    bound = {name.partition(".")[0] for name in imported.values()}
    used = [name for name in imported if any(map(is_private, name.split(".")))]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            holder = node.value
            while isinstance(holder, ast.Attribute):
                holder = holder.value
            if isinstance(holder, ast.Name) and holder.id in bound:
                used.append(ast.unparse(node))
    return used


@pytest.mark.parametrize(
    "source",
    [
        "from library import _config",
        "from library._inner import thing",
        "import library._inner",
        "import library\nlibrary._switch = 1",
        "from library import Kind\nKind._MEMBER",
        "import library.part as short\nshort.thing._attribute",
    ],
)
def test_each_way_to_use_an_internal_is_seen(source: str) -> None:
    assert internals(source)
    assert not internals(source.replace("_", ""))


def test_internals_are_used_in_seams_only() -> None:
    outside = {str(path.relative_to(ROOT)): internals(path.read_text()) for path in SOURCES if path not in SEAMS}
    assert {path: used for path, used in outside.items() if used} == {}


@pytest.mark.parametrize("seam", SEAMS, ids=[path.stem for path in SEAMS])
def test_each_seam_names_its_canary_test(seam: Path) -> None:
    docstring = ast.get_docstring(ast.parse(seam.read_text())) or ""
    named = re.findall(r"tests/[\w/]+\.py", docstring)
    assert named, f"{seam.relative_to(ROOT)} names no test"
    for test in named:
        assert "\ndef test_" in (ROOT / test).read_text()
