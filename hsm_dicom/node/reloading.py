"""Why a reload failed, whatever was raised: a service goes on with its old settings."""

from __future__ import annotations

from hsm_dicom.errors import Error
from hsm_dicom.transport.events import log


def explain_failure(name: str, error: Exception) -> str:
    """Return why a reload failed. What nobody expected, such as no more threads, is logged with its traceback."""
    if isinstance(error, Error):
        return str(error)
    log.error("%s: reloading failed because of an unexpected error.", name, exc_info=error)
    return f"an unexpected error ({type(error).__name__}); see the log."
