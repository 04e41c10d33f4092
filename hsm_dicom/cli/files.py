"""Input files of a command, and the target of each result.

A folder stands for every file below it. A file that is no DICOM file is reported as a failure, so that a damaged file
is not ignored silently. `--only` selects files by a pattern.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import typer

from hsm_dicom.dataset.folders import FolderError, is_folder, list_folder


@dataclass(frozen=True)
class Input:
    """A file to work on, and its path below the argument that it came from."""

    path: Path
    below: Path


@dataclass(frozen=True)
class Selection:
    """The files to work on, in a stable order, and the omitted ones with their reasons; each of those is a failure."""

    inputs: list[Input]
    left_out: list[FolderError]


def expand(arguments: Iterable[Path], only: str | None = None) -> Selection:
    """Find every file of the arguments, including those in folders.

    A missing file remains in the inputs, and the command reports it. ``only`` is a pattern for the files of folders; a
    folder in which it matches nothing is a failure.
    """
    if only == "":
        raise typer.BadParameter("--only needs a pattern, such as '*.dcm'.")
    inputs: list[Input] = []
    left_out: list[FolderError] = []
    for argument in arguments:
        if not is_folder(argument):
            inputs.append(Input(argument, Path(argument.name)))
            continue
        content = list_folder(argument)
        left_out += content.left_out
        found = [Input(path, path.relative_to(argument)) for path in content.files]
        if only is not None:
            found = [item for item in found if item.below.match(only)]
            if not found:
                left_out.append(FolderError(argument, f"no file below this folder matches --only {only!r}."))
        inputs += found
    return Selection(inputs, left_out)


def one_file(path: Path) -> list[Input]:
    """Return the input of a command that takes one file, in which a folder does not stand for its files."""
    return [Input(path, Path(path.name))]


@dataclass(frozen=True)
class Destination:
    """Target of results: one file, a folder, or the input itself."""

    out: Path | None
    out_dir: Path | None
    in_place: bool

    def __post_init__(self) -> None:
        given = [self.out is not None, self.out_dir is not None, self.in_place]
        if sum(given) != 1:
            raise typer.BadParameter("Give an output: --out FILE, --out-dir FOLDER or --in-place.")

    def require_outside(self, arguments: Iterable[Path]) -> None:
        """Raise a usage error if the output folder lies in an input folder: the next run would work on its results."""
        if self.out_dir is None:
            return
        results = Path(os.path.realpath(self.out_dir))
        for argument in arguments:
            if is_folder(argument) and results.is_relative_to(os.path.realpath(argument)):
                raise typer.BadParameter(
                    f"--out-dir {self.out_dir} lies in the input folder {argument}, so the next run would take these "
                    "results for input; give a folder outside of it."
                )

    def targets(self, inputs: list[Input]) -> list[Path | None]:
        """Return the target of each input; None means in place. Two inputs with one target are a usage error."""
        if self.in_place:
            # Each result would be made from the present file, and the last one would replace the others.
            again = [name for name, count in Counter(os.path.realpath(i.path) for i in inputs).items() if count > 1]
            if again:
                raise typer.BadParameter(f"{again[0]} is given more than once; with --in-place, give each file once.")
            return [None for _ in inputs]
        if self.out is not None:
            if len(inputs) != 1:
                raise typer.BadParameter(f"--out takes one file, but {len(inputs)} are to be signed; use --out-dir.")
            return [self.out]
        folder = self.out_dir or Path()
        twice = [str(name) for name, count in Counter(i.below for i in inputs).items() if count > 1]
        if twice:
            raise typer.BadParameter(
                f"Several inputs would become {folder / twice[0]}; sign them into different folders."
            )
        return [folder / item.below for item in inputs]
