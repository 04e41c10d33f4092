"""Reference of mistakes in a configuration, from the table that the tests check."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from markdown import write_table

TABLE = Path(__file__).with_name("mistakes.toml")


def read_mistakes() -> list[dict[str, Any]]:
    """Return the mistakes, each with `what`, `text`, `key` and `report`."""
    return tomllib.loads(TABLE.read_text())["mistake"]


def write_mistakes() -> str:
    """Return a table of each mistake, the key at which it is reported, and the sentence."""
    rows = (
        [one["what"], f"`{one['key']}`" if one["key"] else "the file", one.get("severity", "error"), one["report"]]
        for one in read_mistakes()
    )
    return write_table(["mistake", "reported at", "as", "sentence"], rows)
