"""Padding (R12) and fragmentation (R17) of messages into data blocks, as arithmetic without keys and sockets.

PKCS #5 and ISO/IEC 9797-1 method 2 both always add 1 to 8 octets, so lengths do not depend on the method.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from hsm_dicom.iscl.wire.messages import Encryption
from hsm_dicom.iscl.wire.profile import DES_BLOCK, AnnouncedLength, Fragmenting, Padding, WireProfile


def pad(data: bytes, padding: Padding) -> bytes:
    """Pad data by 1 to 8 octets to a whole number of DES blocks."""
    room = DES_BLOCK - len(data) % DES_BLOCK
    tail = bytes([room]) * room if padding is Padding.PKCS5 else b"\x80" + bytes(room - 1)
    return data + tail


def compute_padded_length(length: int) -> int:
    """Return the length of so many octets with their padding."""
    return (length // DES_BLOCK + 1) * DES_BLOCK


def padding_length(data: bytes, padding: Padding) -> int | None:
    """Return how many octets of padding end the data, 1 to 8; None if it does not end in padding."""
    if padding is Padding.PKCS5:
        room = data[-1] if data else 0
        right = 1 <= room <= DES_BLOCK and hmac.compare_digest(data[-room:], bytes([room]) * room)
        return room if right else None
    stripped = data[-DES_BLOCK:].rstrip(b"\0")
    return len(data[-DES_BLOCK:]) - len(stripped) + 1 if stripped.endswith(b"\x80") else None


@dataclass(frozen=True)
class Fragmentation:
    """How messages are cut into blocks. `block_data` is how many octets of data a block has, as negotiated."""

    profile: WireProfile
    encryption: int
    block_data: int

    @cached_property
    def seals_each_block(self) -> bool:
        """Whether each block is padded and encrypted separately."""
        return self.encryption != Encryption.NONE and self.profile.fragmenting is Fragmenting.EACH_BLOCK

    @cached_property
    def full(self) -> int:
        """Octets of data in every block that we send, but for the last one of a message."""
        return self.block_data // DES_BLOCK * DES_BLOCK if self.seals_each_block else self.block_data

    @cached_property
    def unit(self) -> int:
        """After each so many octets of a message, what is sealed of it fills whole blocks."""
        if self.seals_each_block:
            return self.full - 1
        return self.full if self.encryption == Encryption.NONE else math.lcm(self.full, DES_BLOCK)

    def fragments(self, data: bytes) -> Iterator[bytes]:
        """Return what each block holds of these octets, if each block is encrypted separately."""
        return (data[start : start + self.unit] for start in range(0, len(data), self.unit))

    def compute_sealed_length(self, length: int) -> int:
        """Return how many octets of data blocks a message of `length` octets, at least 1, becomes."""
        if self.encryption == Encryption.NONE:
            return length
        if not self.seals_each_block:
            return compute_padded_length(length)
        before_last = (length - 1) // self.unit
        return before_last * self.full + compute_padded_length(length - before_last * self.unit)

    def announce_length(self, length: int) -> int:
        """Return the length that a transmission request announces for a message of `length` octets."""
        return (
            length if self.profile.announced_length is AnnouncedLength.PLAINTEXT else self.compute_sealed_length(length)
        )

    def on_the_wire(self, announced: int) -> int:
        """Return how many octets of data blocks follow a transmission request that announced this length."""
        if self.profile.announced_length is AnnouncedLength.CIPHERTEXT:
            return announced
        return self.compute_sealed_length(announced)
