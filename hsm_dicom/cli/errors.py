"""Errors as a person reads them: one sentence, and an exit status."""

from __future__ import annotations

from hsm_dicom.cli import exits
from hsm_dicom.cli.remedies import remedy_of
from hsm_dicom.cli.render.output import shown
from hsm_dicom.errors import DicomError
from tokens.errors import PinError, PinSourceError, TokenError


def sentence(error: Exception) -> str:
    """What went wrong, without a traceback. What is not foreseen asks to be reported."""
    if isinstance(error, TokenError | DicomError):
        return f"{shown(str(error))} {remedy_of(error)}".rstrip()
    if isinstance(error, OSError) and error.strerror:
        place = f"{shown(str(error.filename))}: " if error.filename is not None else ""
        return f"{place}{shown(error.strerror)}."
    kind = f"{type(error).__name__}: {shown(str(error))}".rstrip(": ")
    return f"This should not have happened ({kind}). Run it again with -v, and report what it shows."


def exit_status(error: Exception) -> int:
    """77 where a PIN was refused, locked or held back, so that a service manager can be told not to go on; else 1."""
    held_back = isinstance(error, PinError) and not isinstance(error, PinSourceError)
    return exits.REFUSED if held_back else exits.FAILED
