"""Errors before a validation, such as files that cannot be read. The validation itself returns a verdict."""

from __future__ import annotations

from hsm_dicom.errors import DicomError


class TrustFileError(DicomError):
    """A file of trust anchors, intermediates, CRLs or OCSP responses cannot be used; has the file and the remedy."""


class FetchError(DicomError):
    """A URL could not be fetched within the limits of time and size; has the URL and the reason."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{url}: {why}.")
        self.url = url
        self.why = why
