"""Command sets of DIMSE messages, as encoded (PS3.7, 6.3.1 and Annex E): implicit VR little endian, group 0000."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from hsm_dicom.network.errors import PDUError

AFFECTED_SOP_CLASS_UID = 0x00000002
COMMAND_FIELD = 0x00000100
MESSAGE_ID = 0x00000110
MESSAGE_ID_RESPONDED_TO = 0x00000120
COMMAND_DATA_SET_TYPE = 0x00000800
STATUS, ERROR_COMMENT = 0x00000900, 0x00000902
AFFECTED_SOP_INSTANCE_UID = 0x00001000

NO_DATA_SET = 0x0101
"""The Command Data Set Type of a message without a Data Set."""

C_STORE_RQ, C_STORE_RSP, C_CANCEL_RQ = 0x0001, 0x8001, 0x0FFF

COMMENT_LENGTH = 64
"""Characters of an Error Comment at the most (PS3.7, Annex E; VR LO)."""

LEAST_AMBIGUOUS = 0x4141
"""Length whose first two octets are "AA". pydicom 3.0 takes two capital letters there for a VR, and then decodes all of
the command set with explicit VR; no element of a command (PS3.7, E.1) is nearly that long."""

_HEADER = struct.Struct("<HHI")
_RESPONSE = 0x8000


@dataclass(frozen=True)
class CommandSet:
    """The elements of a command set: tag to value, which nothing has interpreted yet."""

    elements: dict[int, bytes] = field(repr=False)

    @classmethod
    def read(cls, data: bytes) -> CommandSet:
        """Take a command set apart.

        Raises `PDUError` if it is malformed, lacks what every message has, or could be read in two ways.
        """
        elements: dict[int, bytes] = {}
        at = 0
        while at < len(data):
            if at + _HEADER.size > len(data):
                raise PDUError("a command set that is cut off")
            group, number, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size
            if number in elements or length >= LEAST_AMBIGUOUS:
                raise PDUError("a command set with an element twice, or longer than it may be")
            if group != 0:
                raise PDUError(f"a command set with an element of group {group:04X}")
            if at + length > len(data):
                raise PDUError(f"a command set that is cut off in element (0000,{number:04X})")
            elements[number] = data[at : at + length]
            at += length
        command = cls(elements)
        for tag in (COMMAND_FIELD, COMMAND_DATA_SET_TYPE, *(() if command.is_response else (MESSAGE_ID,))):
            command.number(tag)
        return command

    @property
    def field(self) -> int:
        """The Command Field: which message it is."""
        return self.number(COMMAND_FIELD)

    @property
    def is_response(self) -> bool:
        """Whether it answers a request; C-CANCEL-RQ has no Message ID of its own either (PS3.7, Table 9.3-10)."""
        return bool(self.field & _RESPONSE) or self.field == C_CANCEL_RQ

    @property
    def has_data_set(self) -> bool:
        """Whether a Data Set follows."""
        return self.number(COMMAND_DATA_SET_TYPE) != NO_DATA_SET

    def number(self, tag: int) -> int:
        """Return the value of an element of VR US. Raises `PDUError` if it is missing or not a number."""
        value = self.elements.get(tag, b"")
        if len(value) != 2:
            raise PDUError(f"a command set without a number in (0000,{tag:04X})")
        return int.from_bytes(value, "little")

    def text(self, tag: int) -> str:
        """Return the value of an element of characters, without its padding; empty if it is missing."""
        return self.elements.get(tag, b"").decode("latin-1").rstrip("\0 ")


def encode_store_response(request: CommandSet, status: int, comment: str = "") -> bytes:
    """Encode the C-STORE-RSP to a request (PS3.7, 9.3.1.2); of `comment`, what fits into an Error Comment is sent."""
    elements = {
        AFFECTED_SOP_CLASS_UID: request.elements.get(AFFECTED_SOP_CLASS_UID, b""),
        COMMAND_FIELD: _encode_number(C_STORE_RSP),
        MESSAGE_ID_RESPONDED_TO: _encode_number(request.number(MESSAGE_ID)),
        COMMAND_DATA_SET_TYPE: _encode_number(NO_DATA_SET),
        STATUS: _encode_number(status),
        AFFECTED_SOP_INSTANCE_UID: request.elements.get(AFFECTED_SOP_INSTANCE_UID, b""),
    }
    if comment:
        text = comment[:COMMENT_LENGTH].encode("ascii", "replace").replace(b"\\", b"/")
        elements[ERROR_COMMENT] = text + b" " * (len(text) % 2)
    body = b"".join(_HEADER.pack(0, tag, len(elements[tag])) + elements[tag] for tag in sorted(elements))
    return _HEADER.pack(0, 0, 4) + len(body).to_bytes(4, "little") + body


def _encode_number(number: int) -> bytes:
    return number.to_bytes(2, "little")
