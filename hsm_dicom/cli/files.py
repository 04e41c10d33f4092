"""Which files a command works on, where each result goes, and how many processes help.

A folder stands for every file below it: a file that is no DICOM file is reported like any other that cannot be worked
on, so that a damaged one is not passed over in silence. `--only` narrows the choice.
"""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import typer

from hsm_dicom.cli import logs

_PART = re.compile(r"\..*\.part\Z")
"""What a process that was killed may leave behind; see `hsm_dicom.dataset.rewrite`."""


@dataclass(frozen=True)
class Input:
    """A file to work on, and its path below the argument that it came from."""

    path: Path
    below: Path


def expand(arguments: Iterable[Path], only: str | None = None) -> list[Input]:
    """Every file that the arguments name, folders included, in a stable order. What is not there stays in the list:

    the command says so when it comes to it.
    """
    inputs: list[Input] = []
    for argument in arguments:
        if argument.is_dir():
            found = sorted(path for path in argument.rglob(only or "*") if not path.is_dir())
            inputs += [Input(path, path.relative_to(argument)) for path in found if not _PART.fullmatch(path.name)]
        else:
            inputs.append(Input(argument, Path(argument.name)))
    return inputs


@dataclass(frozen=True)
class Destination:
    """Where results go: one file, a folder, or in place."""

    out: Path | None
    out_dir: Path | None
    in_place: bool

    def __post_init__(self) -> None:
        given = [self.out is not None, self.out_dir is not None, self.in_place]
        if sum(given) != 1:
            raise typer.BadParameter("Say where to write: one of --out FILE, --out-dir FOLDER, --in-place.")

    def targets(self, inputs: list[Input]) -> list[Path | None]:
        """The target of each input; None means in place. Two inputs with one target are a usage error."""
        if self.in_place:
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


@contextmanager
def workers(jobs: int) -> Iterator[Executor]:
    """Where hashing happens: a thread of this process, or so many others, which never see a token."""
    if jobs == 1:
        with ThreadPoolExecutor(1, "hashing") as threads:
            yield threads
        return
    # Started anew, not forked: no process inherits the token's login.
    begin = partial(_begin_worker, logs.verbose())
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=begin) as processes:
        yield processes


def _begin_worker(verbose: bool) -> None:
    # Ctrl-C is for the parent to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.set_up(verbose=verbose)
