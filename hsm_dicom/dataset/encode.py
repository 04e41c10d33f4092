"""Encoding of new elements (PS3.5 7.1), in any Transfer Syntax; lengths are always defined."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from hsm_dicom.dataset.element import ITEM_TAG, SEQUENCE_DELIMITATION_TAG, explicit_header
from hsm_dicom.dataset.octets.source import swap_bytes
from hsm_dicom.dataset.tags import ITEM
from hsm_dicom.dataset.transfer_syntax import TransferSyntax
from hsm_dicom.dataset.vr import FORMS, SHORT, SWAPPED_UNITS


class NewElement(NamedTuple):
    """An element to be written: its value in little endian and unpadded, or the Items of a sequence."""

    tag: int
    vr: str
    value: bytes | tuple[NewItem, ...]


NewItem: TypeAlias = tuple[NewElement, ...]


def encode_element(element: NewElement, syntax: TransferSyntax) -> bytes:
    """Return the element as encoded in this Transfer Syntax."""
    if isinstance(element.value, bytes):
        data = pad(element.vr, element.value)
        if syntax.big_endian and element.vr in SWAPPED_UNITS:
            data = swap_bytes(data, SWAPPED_UNITS[element.vr])
    else:
        data = b"".join(encode_item(item, syntax) for item in element.value)
    return encode_header(element.tag, element.vr, len(data), syntax) + data


def encode_header(tag: int, vr: str, length: int, syntax: TransferSyntax) -> bytes:
    """Return tag, VR and length as encoded in this Transfer Syntax."""
    order = ">" if syntax.big_endian else "<"
    if syntax.implicit_vr:
        return struct.pack(order + "HHI", tag >> 16, tag & 0xFFFF, length)
    if FORMS[vr] == SHORT:
        return struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length)
    return struct.pack(order + "HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, length)


def encode_item(item: NewItem, syntax: TransferSyntax) -> bytes:
    """Return an Item of defined length."""
    content = b"".join(encode_element(element, syntax) for element in item)
    order = ">" if syntax.big_endian else "<"
    return struct.pack(order + "HHI", ITEM >> 16, ITEM & 0xFFFF, len(content)) + content


def mac_encoding(element: NewElement) -> bytes:
    """Return the element as it enters a MAC (PS3.3 C.12.1.1.3.1.2)."""
    if isinstance(element.value, bytes):
        data = pad(element.vr, element.value)
        return explicit_header(element.tag, element.vr, len(data)) + data
    items = b"".join(ITEM_TAG + b"".join(map(mac_encoding, item)) for item in element.value)
    return explicit_header(element.tag, element.vr, None) + items + SEQUENCE_DELIMITATION_TAG


def encode_tags(tags: Iterable[int]) -> bytes:
    """Return the little endian value of an AT."""
    numbers = tuple(tags)
    halves = array("H", struct.pack(f"<{len(numbers)}I", *numbers))  # element numbers come first
    halves[::2], halves[1::2] = halves[1::2], halves[::2]
    return halves.tobytes()


def decode_tags(data: bytes, syntax: TransferSyntax) -> tuple[int, ...]:
    """Return the tags in the value of an AT, whose size must be a multiple of 4."""
    halves = struct.unpack(f"{'>' if syntax.big_endian else '<'}{len(data) // 2}H", data)
    return tuple([group << 16 | number for group, number in zip(halves[::2], halves[1::2], strict=True)])


def pad(vr: str, value: bytes) -> bytes:
    """Return the value, padded to an even length: UIs and bytes get a zero byte, text a space (PS3.5 6.2)."""
    if len(value) % 2 == 0:
        return value
    return value + (b"\0" if vr in ("UI", "OB", "UN") else b" ")
