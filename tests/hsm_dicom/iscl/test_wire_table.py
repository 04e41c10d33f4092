"""A wire profile from a table of the configuration, and what a table cannot say."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from hsm_dicom.iscl import ISCLSettingsError, Role, WireProfile
from hsm_dicom.iscl.entity import authentication_data, decode_entity
from hsm_dicom.iscl.wire.profile import ByteOrder, IvChain, ResponseCode, SessionKeyDerivation, UniqueKeyForm
from hsm_dicom.iscl.wire.table import wire_profile


def test_an_empty_table_is_the_default() -> None:
    assert wire_profile({}) == WireProfile()


def test_every_kind_of_field_is_read() -> None:
    table = {
        "byte_order": "little",
        "iv_chain": "direction",
        "unique_key_form": "bare",
        "response_code": "decrypted-challenge",
        "session_key": "decrypted-random-number",
        "glare_yields": "server",
        "directional_keys": True,
        "mac_length": 4,
        "handshake_timeout": 10,
        "version": "MEDIS-ISCL V1.01",
    }
    assert wire_profile(table) == WireProfile(
        byte_order=ByteOrder.LITTLE,
        iv_chain=IvChain.DIRECTION,
        unique_key_form=UniqueKeyForm.BARE,
        response_code=ResponseCode.DECRYPTED_CHALLENGE,
        session_key=SessionKeyDerivation.DECRYPTED_RANDOM_NUMBER,
        glare_yields=Role.SERVER,
        directional_keys=True,
        mac_length=4,
        handshake_timeout=10.0,
        version=b"MEDIS-ISCL V1.01",
    )


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("byte_odrer", "little", "The key 'byte_odrer' is not known in wire. Did you mean 'byte_order'?"),
        ("layouts", "x", "The key 'layouts' is not known in wire. Known keys: byte_order, "),
        ("byte_order", "middle", "byte_order of wire must be one of: big, little."),
        ("byte_order", 1, "byte_order of wire must be one of"),
        ("directional_keys", "yes", "directional_keys of wire must be one of: true, false."),
        ("directional_keys", 1, "must be one of: true, false."),
        ("mac_length", 5, "mac_length of wire must be one of: 4, 8."),
        ("mac_length", 8.0, "must be one of: 4, 8."),
        ("handshake_timeout", "10", "handshake_timeout of wire must be a number, not below 0."),
        ("handshake_timeout", -1, "not below 0."),
        ("handshake_timeout", True, "must be a number"),
        ("abort_reason", 2, "The key 'abort_reason' is not known in wire. Known keys: byte_order, "),
        ("version", "MEDIS-ISCL é", "version of wire must be a text of ASCII characters."),
        ("version", "short", "16 octets"),
    ],
)
def test_what_makes_no_profile_is_one_sentence(name: str, value: Any, sentence: str) -> None:
    with pytest.raises(ISCLSettingsError) as caught:
        wire_profile({name: value})
    assert sentence in str(caught.value)


def test_every_field_but_the_layouts_can_be_set_from_a_table() -> None:
    for field in fields(WireProfile):
        if field.name == "layouts":
            continue
        default = getattr(WireProfile(), field.name)
        written = default.decode() if isinstance(default, bytes) else default
        if hasattr(default, "name") and hasattr(default, "value"):
            written = default.name.lower().replace("_", "-")
        assert wire_profile({field.name: written}) == WireProfile(), field.name


@pytest.mark.parametrize("data", [b"CT 1", b"\x00\xff", b"hex", b"hex:01", b"a\nb"])
def test_what_an_end_calls_itself_survives_as_text(data: bytes) -> None:
    name = decode_entity(data)
    assert name.isprintable()
    assert authentication_data(name) == data


@pytest.mark.parametrize("name", ["Straße", "hex:0", "hex:zz"])
def test_what_is_no_authentication_data_is_one_sentence(name: str) -> None:
    with pytest.raises(ISCLSettingsError, match="is no authentication data"):
        authentication_data(name)
