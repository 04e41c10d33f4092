"""Which SOP Classes and Transfer Syntaxes a listener accepts for C-STORE (PS3.4, Annexes B and GG; PS3.6, Annex A).

Old devices send retired SOP Classes, and private ones. The standard's own are accepted by default, retired or not;
private ones where the settings name them, or ask for any.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from hsm_dicom.dataset._pydicom import load_registered_uids
from hsm_dicom.dataset.transfer_syntax import transfer_syntax
from hsm_dicom.network._pynetdicom import storage_classes
from hsm_dicom.network.errors import SettingsError
from hsm_dicom.network.storage.incoming import uid_or_none

STORAGE, ANY = "storage", "any"

_NOT_FOR_C_STORE = ("Storage Commitment", "Media Storage Directory")
"""SOP Classes with Storage in their name that are of other services."""

_ROOT, _STORAGE_ROOT = "1.2.840.10008.", "1.2.840.10008.5.1.4.1.1."
"""Where the UIDs of DICOM itself begin (PS3.5, Annex B), and those of the storage SOP Classes among them."""


@dataclass(frozen=True)
class SopClasses:
    """What a listener stores: the standard's storage SOP Classes, others besides, or any that may be for storage."""

    storage: bool = True
    also: frozenset[str] = frozenset()
    any: bool = False

    @classmethod
    def of(cls, written: str | Iterable[str]) -> SopClasses:
        """Read "storage", "any", or UIDs and keywords of PS3.6, "storage" among them. Raises `SettingsError`."""
        if written == ANY:
            return cls(any=True)
        names = [written] if isinstance(written, str) else list(written)
        also = frozenset(_uid_of(name) for name in names if name != STORAGE)
        return cls(storage=STORAGE in names, also=also)

    def accept(self, uid: str) -> bool:
        """Return whether this SOP Class is stored; with `any`, unless it is known for another service."""
        if uid in self.also or (self.storage and uid in storage_sop_classes()):
            return True
        newer = uid.startswith(_STORAGE_ROOT) and uid not in load_registered_uids()
        return self.any and (newer or uid in storage_sop_classes() or not uid.startswith(_ROOT))


@cache
def storage_sop_classes() -> dict[str, str]:
    """List the storage SOP Classes of PS3.6, Table A-1, also retired ones: UID to name, or to keyword."""
    newer = {str(uid): keyword for keyword, uid in storage_classes().items()}
    return newer | {
        uid: registered.name + (" (retired)" if registered.retired else "")
        for uid, registered in load_registered_uids().items()
        if registered.type == "SOP Class"
        and "Storage" in registered.name
        and not registered.name.startswith(_NOT_FOR_C_STORE)
    }


@cache
def list_transfer_syntaxes() -> dict[str, str]:
    """List the Transfer Syntaxes of PS3.6, Table A-1, whose Data Sets can be read to their end: UID to name."""
    return {
        uid: registered.name + (" (retired)" if registered.retired else "")
        for uid, registered in load_registered_uids().items()
        if registered.type == "Transfer Syntax" and transfer_syntax(uid) is not None
    }


def _uid_of(name: str) -> str:
    if uid_or_none(name) is not None:
        return name
    sop_classes = ((uid, known.keyword) for uid, known in load_registered_uids().items() if known.type == "SOP Class")
    found = next((uid for uid, keyword in sop_classes if keyword == name), None)
    if found is None or not name:  # some entries have no keyword
        raise SettingsError(
            f"'{name}' is not a SOP Class. Write a UID, a keyword of PS3.6 such as CTImageStorage, or \"{STORAGE}\" "
            "into sop_classes."
        )
    return found
