"""Problems of a configuration, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Severity(StrEnum):
    """How serious a problem is: an error keeps the configuration from being used.

    A note is about what cannot be checked where the check runs, and never makes it fail.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Problem:
    """One problem of a configuration file.

    `key` is the TOML path ("tokens.ct-room.pin"), empty for the file itself; `line` and `column` count from 1.
    `text` and `remedy` are sentences. Neither repeats a value that could be a PIN.
    """

    file: Path
    key: str
    text: str
    remedy: str
    line: int | None = None
    severity: Severity = Severity.ERROR
    column: int | None = None

    @property
    def place(self) -> str:
        """File, line and key, such as "hsm-dicom.toml:7: tokens.ct-room.pin"."""
        at = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return f"{at}: {self.key}" if self.key else at

    def __str__(self) -> str:
        return f"{self.place}: {self.text} {self.remedy}".rstrip()
