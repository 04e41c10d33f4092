"""Results that are written to a file of their own, and replace none."""

from __future__ import annotations

from pathlib import Path

import typer


def require_new_file(path: Path | None) -> None:
    """Raise `typer.BadParameter` if a result would replace a file. Called before a device is asked for anything."""
    if path is not None and path.exists():
        raise typer.BadParameter(
            f"{path} exists, and is not replaced. Give another name, or delete it first.", param_hint="--out"
        )


def write_new_file(path: Path, content: bytes) -> None:
    """Write a result to a file that does not exist. Raises `typer.BadParameter` if another process has made it."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        require_new_file(path)
        raise
