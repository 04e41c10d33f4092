"""What the log shows on standard error: nothing but what must be known, unless -v asks for more."""

from __future__ import annotations

import logging
import sys

_OURS = ("tokens", "hsm_dicom")
_LIBRARIES = "py.warnings"
"""What Python's warnings go to: libraries speak there to developers, of a peer's odd certificate, for example."""


class PrintableFormatter(logging.Formatter):
    """Writes a record on one line, and a traceback below it, whatever is in them."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of the record."""
        from tokens.printable import printable  # --help needs no driver

        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one."""
        from tokens.printable import printable_lines

        return printable_lines(super().format(record))


def set_up(*, verbose: bool = False) -> None:
    """Begin to log to standard error; again to change how much."""
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
    """Whether -v was given."""
    return logging.getLogger(_OURS[1]).isEnabledFor(logging.INFO)
