"""Encryption, key and MAC of a message, which the settings of both ends must agree on.

Nothing is negotiated: an end sends and accepts only what its settings say. Pure functions.
"""

from __future__ import annotations

from hsm_dicom.iscl.errors import ErrorCode, RemoteProtocolError
from hsm_dicom.iscl.settings import ISCLSettings
from hsm_dicom.iscl.wire.blocks import Fragmentation
from hsm_dicom.iscl.wire.messages import (
    UNIQUE_KEY,
    Encryption,
    Mac,
    TransmissionRequest,
    format_code,
    is_unique,
    key_index,
)
from hsm_dicom.iscl.wire.profile import UniqueKeyForm


def request_to_send(length: int, settings: ISCLSettings, fragmentation: Fragmentation) -> TransmissionRequest:
    """Make the request for a message of this length and fragmentation."""
    key = settings.encryption_key
    if settings.unique_keys:
        with_index = settings.profile.unique_key_form is UniqueKeyForm.WITH_INDEX
        key = UNIQUE_KEY | key if with_index else UNIQUE_KEY
    return TransmissionRequest(settings.encryption, key, settings.mac, fragmentation.announce_length(length))


def check_request(request: TransmissionRequest, settings: ISCLSettings, peer: str) -> None:
    """Raise `RemoteProtocolError` (109) if the peer's request differs from the settings."""
    unique = is_unique(request.encryption_key)
    index = key_index(request.encryption_key)
    if unique and index == 0:
        index = settings.authentication_key
    asked = (request.encryption, request.mac, unique, index)
    if asked != (settings.encryption, settings.mac, settings.unique_keys, settings.encryption_key):
        raise RemoteProtocolError(
            ErrorCode.METHOD_NOT_ACCEPTABLE,
            f"{peer} wants to send with {_describe_transfer(*asked)}; the settings say "
            f"{_describe_transfer(settings.encryption, settings.mac, settings.unique_keys, settings.encryption_key)}. "
            "Set both ends alike.",
        )


def _describe_transfer(encryption: int, mac: int, unique: bool, index: int) -> str:
    key = f"unique keys under encryption key {index}" if unique else f"encryption key {index}"
    return f"encryption {format_code(Encryption, encryption)}, MAC {format_code(Mac, mac)} and {key}"
