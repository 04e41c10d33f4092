"""An exception that is kept is never raised itself: threads would overwrite each other's tracebacks."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]


def raised_attributes(path: Path) -> list[str]:
    """The statements that raise what an object keeps; a class, which begins with a capital, is not kept."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise)
        for part in ([node.exc, *node.exc.values] if isinstance(node.exc, ast.BoolOp) else [node.exc])
        if isinstance(part, ast.Attribute) and not part.attr[0].isupper()
    ]


def test_no_statement_raises_what_an_object_keeps() -> None:
    assert [found for path in sorted((ROOT / "hsm_dicom").rglob("*.py")) for found in raised_attributes(path)] == []
