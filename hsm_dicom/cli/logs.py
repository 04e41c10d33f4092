"""Log on standard error: errors only, or with -v, information too."""

from __future__ import annotations

import logging
import sys

_OURS = ("tokens", "hsm_dicom")
_LIBRARIES = "py.warnings"
"""Logger of Python warnings, in which libraries inform developers, for example of a defect in a certificate."""


class PrintableFormatter(logging.Formatter):
    """Formatter that makes a record printable: one line, and a traceback below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of a record, made printable."""
        from tokens.printable import printable  # --help needs no driver

        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record and its traceback, if there is one."""
        from tokens.printable import printable_lines

        return printable_lines(super().format(record))


def set_up(*, verbose: bool = False) -> None:
    """Set up the log on standard error; a further call changes its level."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        PrintableFormatter("%(asctime)s %(name)s: %(message)s" if verbose else "hsm-dicom: %(message)s")
    )
    logging.captureWarnings(True)
    for name in (*_OURS, _LIBRARIES):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO if verbose else logging.ERROR)


def verbose() -> bool:
    """Return whether -v was given."""
    return logging.getLogger(_OURS[1]).isEnabledFor(logging.INFO)
