"""Processing of many files in turn: report a file that fails, and continue with the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hsm_dicom.cli import exits
from hsm_dicom.cli.errors import sentence
from hsm_dicom.cli.render import output
from hsm_dicom.cli.runs.termination import Terminated, stop_when_terminated
from hsm_dicom.dataset.folders import FolderError
from hsm_dicom.errors import DicomError
from tokens.errors import TokenError


@dataclass
class Attempts:
    """Count of failures, and the resulting exit status."""

    failed: int = 0

    def leave_out(self, folders: Iterable[FolderError]) -> None:
        """Report omitted folders, each as a failure."""
        for folder in folders:
            self.failed += 1
            output.complain(str(folder.path), sentence(folder))

    @contextmanager
    def at(self, file: Path) -> Iterator[None]:
        """Report the file on standard error if the block fails."""
        try:
            yield
        except (DicomError, OSError) as error:
            self.failed += 1
            output.complain(str(file), sentence(error))

    @property
    def status(self) -> int:
        """Exit status: 1 if any file failed, else 0."""
        return exits.FAILED if self.failed else exits.OK


@contextmanager
def interruptible(summarise: Callable[[], None]) -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C, SIGTERM or SIGHUP sets; print a summary after the block has ended.

    The program then ends by the signal. A second signal does not wait for the block.
    """
    with stop_when_terminated() as stopping:
        try:
            try:
                yield stopping.stop
            except TokenError:
                stopping.check()  # after a signal, devices are not waited for
                raise
            stopping.check()
        except (KeyboardInterrupt, Terminated):
            summarise()
            output.note("hsm-dicom: interrupted; run the command again with --resume to continue.")
            raise
