"""Errors as a person reads them: one sentence, and an exit status."""

from __future__ import annotations

import os

from hsm_dicom.cli import exits
from hsm_dicom.cli.remedies import remedy_of
from hsm_dicom.cli.render.output import shown
from tokens.errors import Error, PinError, PinSourceError


def sentence(error: Exception) -> str:
    """Return what failed and what to do, without a traceback. An unexpected error asks to be reported."""
    if isinstance(error, Error):
        return shown(f"{error.message} {remedy_of(error) or ''}".strip())
    if isinstance(error, OSError) and error.strerror:
        place = f"{shown(str(error.filename))}: " if error.filename is not None else ""
        return f"{place}{shown(error.strerror)}."
    settings = os.environ.get("OPENSSL_CONF")
    if settings and type(error).__module__.partition(".")[0] == "cryptography":
        # Its OpenSSL reads the same settings, and has no provider for FIPS.
        return (
            f"The Python package cryptography, which has an OpenSSL of its own, cannot work with OPENSSL_CONF="
            f"{shown(settings)} ({type(error).__name__}). Unset OPENSSL_CONF; for FIPS mode, change "
            "/etc/ssl/openssl.cnf instead."
        )
    kind = f"{type(error).__name__}: {shown(str(error))}".rstrip(": ")
    return f"Unexpected error ({kind}). Run the command again with --verbose, and report the output."


def exit_status(error: Exception) -> int:
    """Return 77 where a PIN was refused, locked or not presented, which a service manager must not retry; else 1."""
    refused = isinstance(error, PinError) and not isinstance(error, PinSourceError)
    return exits.REFUSED if refused else exits.FAILED
