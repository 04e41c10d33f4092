"""What the writers of the generated reference share: tables, and the texts under the fields of a class."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import textwrap
from collections.abc import Iterable, Sequence


def write_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, or nothing if it has no rows."""
    lines = [_row(row) for row in rows]
    return "\n".join([_row(header), "|" + "---|" * len(header), *lines, ""]) if lines else ""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


@functools.cache
def field_texts(kind: type) -> dict[str, str]:
    """Return the text under each field of a class and of its bases, by the field's name."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        try:
            [tree] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError):
            continue
        texts |= dict(documented(getattr(tree, "body", [])))
    return texts


def documented(body: list[ast.stmt]) -> Iterable[tuple[str, str]]:
    """Yield the name of each assignment that has a text under it, with the text."""
    for line, under in itertools.pairwise(body):
        match line:
            case ast.AnnAssign(target=target) | ast.Assign(targets=[target]):
                pass
            case _:
                continue
        if isinstance(target, ast.Name) and isinstance(under, ast.Expr) and isinstance(under.value, ast.Constant):
            yield target.id, inspect.cleandoc(str(under.value.value))
