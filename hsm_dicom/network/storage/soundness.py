"""Whether a received file can be what its request says it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hsm_dicom.dataset import DicomFile, DicomFileError
from hsm_dicom.network.storage.incoming import (
    CANNOT_UNDERSTAND,
    DOES_NOT_MATCH_SOP_CLASS,
    RefusedInstanceError,
    uid_or_none,
)

_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018


def require_sound(path: Path, sop_class_uid: str | None, sop_instance_uid: str | None) -> None:
    """Require that a Data Set ends where it should, and is the instance that its request says.

    Raises `RefusedInstanceError`.
    """
    with open_sound(path, sop_class_uid, sop_instance_uid):
        pass


@contextmanager
def open_sound(path: Path, sop_class_uid: str | None, sop_instance_uid: str | None) -> Iterator[DicomFile]:
    """Open a file of which `require_sound` holds. Raises `RefusedInstanceError`."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(DicomFile.open(path))
            found = [
                uid_or_none(file.value(element).decode("latin-1").rstrip("\0 "))
                if (element := file.main.get(tag))
                else None
                for tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID)
            ]
        except DicomFileError as error:
            raise RefusedInstanceError(CANNOT_UNDERSTAND, f"The Data Set is malformed: {error.reason}") from error
        if found != [sop_class_uid, sop_instance_uid]:
            raise RefusedInstanceError(DOES_NOT_MATCH_SOP_CLASS, "The Data Set is of another instance or SOP Class.")
        yield file
