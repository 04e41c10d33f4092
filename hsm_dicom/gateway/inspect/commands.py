"""What is read of a command set: numbers and UIDs (PS3.7, 6.3.1 and Annex E).

`hsm_dicom.network.dimse.commands` holds a whole command set, with its Error Comment and its titles. Here other values
are skipped while it arrives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from hsm_dicom.gateway.inspect.scanner import Scanner
from hsm_dicom.gateway.inspect.study import LONGEST_UID
from hsm_dicom.network.dimse.commands import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    C_CANCEL_RQ,
    C_STORE_RQ,
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    MESSAGE_ID,
    NO_DATA_SET,
)

MOST_OCTETS = 1 << 16
"""Octets of the longest command set that is followed."""

RESPONSE = 0x8000
"""The bit of a Command Field that makes a response of a request."""

NAMES = {
    C_STORE_RQ: "C-STORE",
    0x0010: "C-GET",
    0x0020: "C-FIND",
    0x0021: "C-MOVE",
    0x0030: "C-ECHO",
    0x0100: "N-EVENT-REPORT",
    0x0110: "N-GET",
    0x0120: "N-SET",
    0x0130: "N-ACTION",
    0x0140: "N-CREATE",
    0x0150: "N-DELETE",
    C_CANCEL_RQ: "C-CANCEL",
}
"""Requests, by their Command Field (PS3.7, E.1)."""

_REQUESTED_SOP_CLASS_UID = 0x00000003
_MESSAGE_ID_RESPONDED_TO = 0x00000120
_STATUS = 0x00000900
_LAST = 0x0000FFFF
_NUMBERS = (COMMAND_FIELD, MESSAGE_ID, _MESSAGE_ID_RESPONDED_TO, COMMAND_DATA_SET_TYPE, _STATUS)
_UIDS = (AFFECTED_SOP_CLASS_UID, _REQUESTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID)
_WANTED = dict.fromkeys(_NUMBERS, 2) | dict.fromkeys(_UIDS, LONGEST_UID)

_NO_DATA_SET = NO_DATA_SET.to_bytes(2, "little")
_from_bytes = int.from_bytes
_UID = re.compile(rb"([0-2](?:\.[0-9]+)+)[\0 ]*")


class Command(NamedTuple):
    """A command set. `message_id` is its own, or for a response and a C-CANCEL that of the request it belongs to.

    `sop_class_uid` is that of a request. A UID that is missing, or that is not one, is an empty string.
    """

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    status: int | None
    has_data_set: bool

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return bool(self.field & RESPONSE)


def make_command_scanner() -> Scanner:
    """Return a scanner for one command set."""
    return Scanner(_WANTED, _LAST, implicit_vr=True)


def read_command(found: Mapping[int, bytes]) -> Command | None:
    """Return the command set of which a scanner found this; None if it lacks what its message must have."""
    octets = found.get(COMMAND_FIELD, b"")
    field = _from_bytes(octets, "little")
    is_response = bool(field & RESPONSE)
    refers = is_response or field == C_CANCEL_RQ
    number = found.get(_MESSAGE_ID_RESPONDED_TO if refers else MESSAGE_ID, b"")
    kind, status = found.get(COMMAND_DATA_SET_TYPE, b""), found.get(_STATUS, b"")
    if not len(octets) == len(number) == len(kind) == 2 or (is_response and len(status) != 2):
        return None
    if field & ~RESPONSE not in NAMES:
        return None
    return Command(
        field,
        _from_bytes(number, "little"),
        "" if is_response else _read_sop_class(found),
        read_uid(found.get(AFFECTED_SOP_INSTANCE_UID, b"")),
        _from_bytes(status, "little") if len(status) == 2 else None,
        kind != _NO_DATA_SET,
    )


def read_uid(value: bytes) -> str:
    """Return an encoded UID, or an empty string if it is not one (PS3.5, 9.1).

    One component alone is not: a field that holds a patient's number instead of a UID gives an empty string. Components
    with leading zeros are common, and allowed.
    """
    found = _UID.fullmatch(value)
    return found[1].decode("ascii") if found else ""


def _read_sop_class(found: Mapping[int, bytes]) -> str:
    tag = AFFECTED_SOP_CLASS_UID if AFFECTED_SOP_CLASS_UID in found else _REQUESTED_SOP_CLASS_UID
    return read_uid(found.get(tag, b""))
