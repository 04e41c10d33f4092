"""pydicom's table of UIDs (PS3.6, Annex A), which it publishes only under an underscored name.

`tests/hsm_dicom/dataset/test_pydicom_seam.py` fails when a newer version of pydicom keeps it elsewhere.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from pydicom._uid_dict import UID_dictionary


class RegisteredUid(NamedTuple):
    """What PS3.6 registers for a UID."""

    name: str
    type: str
    retired: bool
    keyword: str


@cache
def load_registered_uids() -> dict[str, RegisteredUid]:
    """Return every UID of PS3.6 that pydicom knows."""
    return {
        uid: RegisteredUid(name, kind, bool(retired), keyword)
        for uid, (name, kind, _, retired, keyword) in UID_dictionary.items()
    }
