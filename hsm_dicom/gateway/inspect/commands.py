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
    field, kind = _read_number(found, COMMAND_FIELD), _read_number(found, COMMAND_DATA_SET_TYPE)
    if field is None or kind is None or field & ~RESPONSE not in NAMES:
        return None
    is_response = bool(field & RESPONSE)
    refers = is_response or field == C_CANCEL_RQ
    message_id = _read_number(found, _MESSAGE_ID_RESPONDED_TO if refers else MESSAGE_ID)
    status = _read_number(found, _STATUS)
    if message_id is None or (is_response and status is None):
        return None
    sop_class = "" if is_response else _read_sop_class(found)
    sop_instance = read_uid(found.get(AFFECTED_SOP_INSTANCE_UID, b""))
    return Command(field, message_id, sop_class, sop_instance, status, kind != NO_DATA_SET)


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


def _read_number(found: Mapping[int, bytes], tag: int) -> int | None:
    value = found.get(tag, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None
