"""The commands of ISO/IEC 7816-4 and -8, by the standard's names.

Pure functions: each makes one command; `encoding.exchange` carries it out. Clauses are those of ISO/IEC
7816-4:2005; PERFORM SECURITY OPERATION and what goes with it is in ISO/IEC 7816-8.
"""

from __future__ import annotations

from enum import IntEnum

from tokens.smartcard.apdu.encoding import ANY, MANY, Command
from tokens.smartcard.apdu.tlv import encode

CHALLENGE_LENGTH = 8
"""Bytes of a challenge for DES."""


class Template(IntEnum):
    """Control reference templates (tags A4 to B8): what MANAGE SECURITY ENVIRONMENT sets a key for."""

    AUTHENTICATION = 0xA4
    CHECKSUM = 0xB4
    SIGNATURE = 0xB6
    CONFIDENTIALITY = 0xB8


def select_application(aid: bytes) -> Command:
    """SELECT by DF name (7.1.1). The answer is the application's template, if it has one."""
    return Command("SELECT", 0xA4, 0x04, 0x00, aid, ANY)


def select_file(identifier: int) -> Command:
    """SELECT an elementary file under the current DF (7.1.1), without an answer."""
    return Command("SELECT", 0xA4, 0x02, 0x0C, identifier.to_bytes(2, "big"))


def read_binary(offset: int, short_identifier: int | None = None) -> Command:
    """READ BINARY (7.2.3): the content from `offset` of the current file or the one with this short identifier."""
    if short_identifier is not None:
        return Command("READ BINARY", 0xB0, 0x80 | short_identifier, offset, expected=ANY)
    return Command("READ BINARY", 0xB0, offset >> 8 & 0x7F, offset & 0xFF, expected=ANY)


def get_data(tag: int) -> Command:
    """GET DATA (7.4.2) with the tag in P1 and P2."""
    return Command("GET DATA", 0xCA, tag >> 8, tag & 0xFF, expected=MANY)


def get_data_by_tag_list(tag: int) -> Command:
    """GET DATA (7.4.2) with a tag list, in the current DF."""
    length = (tag.bit_length() + 7) // 8
    return Command("GET DATA", 0xCB, 0x3F, 0xFF, encode(0x5C, tag.to_bytes(length, "big")), MANY)


def verify(reference: int, pin: bytes | bytearray) -> Command:
    """VERIFY (7.5.6). Without a PIN it is a query: 9000 if verified already, 63CX for the retry counter."""
    return Command("VERIFY", 0x20, 0x00, reference, pin)


def reset_retry_counter(reference: int, data: bytes | bytearray, *, verified: bool = False) -> Command:
    """RESET RETRY COUNTER (7.5.10): the code and the new PIN; only the new PIN if the code was `verified`."""
    return Command("RESET RETRY COUNTER", 0x2C, 0x02 if verified else 0x00, reference, data)


def get_challenge(length: int = CHALLENGE_LENGTH) -> Command:
    """GET CHALLENGE (7.5.3): random bytes, good for the very next command."""
    return Command("GET CHALLENGE", 0x84, 0x00, 0x00, expected=length)


def internal_authenticate(reference: int, challenge: bytes, algorithm: int = 0, expected: int = ANY) -> Command:
    """INTERNAL AUTHENTICATE (7.5.2): the card answers a challenge."""
    return Command("INTERNAL AUTHENTICATE", 0x88, algorithm, reference, challenge, expected)


def external_authenticate(reference: int, response: bytes, algorithm: int = 0) -> Command:
    """EXTERNAL AUTHENTICATE (7.5.4): the card verifies the response to its last challenge."""
    return Command("EXTERNAL AUTHENTICATE", 0x82, algorithm, reference, response)


def general_authenticate(algorithm: int, reference: int, template: bytes) -> Command:
    """GENERAL AUTHENTICATE (7.5.5) with a dynamic authentication template (tag 7C)."""
    return Command("GENERAL AUTHENTICATE", 0x87, algorithm, reference, template, MANY)


def manage_security_environment(template: Template, references: bytes, *, verify: bool = False) -> Command:
    """MANAGE SECURITY ENVIRONMENT, SET (7.5.11), for computing and deciphering; for verifying if asked."""
    return Command("MANAGE SECURITY ENVIRONMENT", 0x22, 0x81 if verify else 0x41, template, references)


def compute_digital_signature(data: bytes, expected: int = ANY) -> Command:
    """PERFORM SECURITY OPERATION, COMPUTE DIGITAL SIGNATURE."""
    return Command("COMPUTE DIGITAL SIGNATURE", 0x2A, 0x9E, 0x9A, data, expected)


def compute_cryptographic_checksum(data: bytes, expected: int) -> Command:
    """PERFORM SECURITY OPERATION, COMPUTE CRYPTOGRAPHIC CHECKSUM."""
    return Command("COMPUTE CRYPTOGRAPHIC CHECKSUM", 0x2A, 0x8E, 0x80, data, expected)


def encipher(data: bytes) -> Command:
    """PERFORM SECURITY OPERATION, ENCIPHER: as long as the data, without padding indicator."""
    return Command("ENCIPHER", 0x2A, 0x84, 0x80, data, len(data))


def decipher(data: bytes, expected: int) -> Command:
    """PERFORM SECURITY OPERATION, DECIPHER of a cryptogram without padding indicator."""
    return Command("DECIPHER", 0x2A, 0x80, 0x84, data, expected)


def decipher_with_indicator(indicator: int, data: bytes) -> Command:
    """PERFORM SECURITY OPERATION, DECIPHER of a cryptogram behind its padding indicator byte."""
    return Command("DECIPHER", 0x2A, 0x80, 0x86, bytes([indicator]) + data, ANY)


def read_public_key(references: bytes) -> Command:
    """GENERATE ASYMMETRIC KEY PAIR with P1 = 81: no generation, the public key as it is (tag 7F49)."""
    return Command("READ PUBLIC KEY", 0x47, 0x81, 0x00, references, MANY)
