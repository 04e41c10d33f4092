"""One tree of errors: `Error` is the root, `TokenError` its branch for devices, `DicomError` its branch for DICOM."""

from __future__ import annotations

from tokens.errors import Error, TokenError

__all__ = ["DicomError", "Error", "TokenError"]


class DicomError(Error):
    """Base of every error that a file, a peer, a certificate or a setting can cause."""

    is_repairable: bool = False
    """Whether a clean copy of the object could be signed (`SigningRequest.repair`)."""

    @property
    def remedy(self) -> str | None:
        """What to do about it, as a sentence; None if the message says everything."""
        return "To sign a clean copy of it, set repair." if self.is_repairable else super().remedy
