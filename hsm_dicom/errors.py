"""One tree of errors: `Error` is the root, `TokenError` its branch for devices, `DicomError` its branch for DICOM."""

from __future__ import annotations

from tokens.errors import Error, TokenError

__all__ = ["DicomError", "Error", "TokenError"]


class DicomError(Error):
    """Base of every error that a file, a peer, a certificate or a setting can cause."""
