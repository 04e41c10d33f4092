"""One rule of a document, applied to one table of the configuration, with the line that decides it."""

from __future__ import annotations

from dataclasses import dataclass

from hsm_dicom.config.lines import KeyPath, find_line


@dataclass(frozen=True)
class Finding:
    """One rule applied to one table. `meets` is None where the configuration does not show it.

    `remedy` is a sentence, empty if the rule is met. `source` is the place of the rule in its document. `line` is that
    of the key which decides, or of its table, from 1; None for what the file does not have.
    """

    table: str
    topic: str
    meets: bool | None
    text: str
    source: str
    remedy: str = ""
    line: int | None = None


@dataclass(frozen=True)
class Table:
    """A table of the configuration, such as ("peers", "pacs"), and the lines of the file."""

    path: KeyPath
    lines: dict[KeyPath, int]

    def find(self, key: str, topic: str, meets: bool | None, text: str, source: str, remedy: str = "") -> Finding:
        """Return a finding on a key of the table, whether it is written there or has its default."""
        line = find_line(self.lines, (*self.path, key))
        return Finding(".".join(self.path), topic, meets, text, source, remedy, line)
