"""The services that a route admits, and the SOP Classes of each (PS3.4; UIDs of PS3.6, Annex A).

A device that speaks plain DICOM does not prove its identity. Anyone who takes its address and AE title uses this node's
identity, so a route admits storing by default, and reading only if its settings list it.
"""

from __future__ import annotations

from collections.abc import Set
from enum import StrEnum
from functools import cache

from hsm_dicom.dataset._pydicom import load_registered_uids
from hsm_dicom.network.storage.sop_classes import storage_sop_classes


class Service(StrEnum):
    """A group of SOP Classes, by the name that the configuration uses."""

    ECHO = "echo"
    STORAGE = "storage"
    COMMITMENT = "commitment"
    QUERY_RETRIEVE = "query-retrieve"
    WORKLIST = "worklist"
    MPPS = "mpps"
    PRINT = "print"
    PRIVATE = "private"
    """SOP Classes that a manufacturer has defined, whatever they are for."""
    ANY = "any"
    """Every SOP Class, also those of no other service here."""


DEFAULT_SERVICES = frozenset({Service.ECHO, Service.STORAGE, Service.COMMITMENT})

READING_SERVICES = frozenset({Service.QUERY_RETRIEVE, Service.WORKLIST, Service.PRIVATE, Service.ANY})
"""Services that return patients' data to the caller, and to anyone who imitates it."""

_STANDARD, _STORAGE = "1.2.840.10008.", "1.2.840.10008.5.1.4.1.1."
"""Where the UIDs of DICOM itself begin (PS3.5, Annex B), and those of the storage SOP Classes among them."""

_ECHO = "1.2.840.10008.1.1"
_COMMITMENT = "1.2.840.10008.1.20."
_MPPS = "1.2.840.10008.3.1.2.3."
_WORKLIST = "1.2.840.10008.5.1.4.31"
_PRINT = "1.2.840.10008.5.1.1."


@cache
def find_service(abstract_syntax: str) -> Service:
    """Return the service of a SOP Class; `Service.ANY` for one of the standard that is in no other group."""
    if abstract_syntax == _ECHO:
        return Service.ECHO
    if abstract_syntax == _WORKLIST:
        return Service.WORKLIST
    for prefix, service in ((_COMMITMENT, Service.COMMITMENT), (_MPPS, Service.MPPS), (_PRINT, Service.PRINT)):
        if abstract_syntax.startswith(prefix):
            return service
    if abstract_syntax in storage_sop_classes():
        return Service.STORAGE
    if not abstract_syntax.startswith(_STANDARD):
        return Service.PRIVATE
    registered = load_registered_uids().get(abstract_syntax)
    if registered is None:
        return Service.STORAGE if abstract_syntax.startswith(_STORAGE) else Service.ANY
    is_query = registered.name.endswith(("FIND", "MOVE", "GET"))
    return Service.QUERY_RETRIEVE if is_query else Service.ANY


def is_admitted(abstract_syntax: str, services: Set[Service]) -> bool:
    """Return whether a route with these services admits a SOP Class."""
    return Service.ANY in services or find_service(abstract_syntax) in services
