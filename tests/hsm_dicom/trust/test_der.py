"""DER that comes from files and peers: where it ends, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_dicom.trust.der import content_type, parse_generalized_time, remove_padding, without_pad_byte
from tests import pki

DER = pki.Authority("DER CA").der


def test_a_value_is_returned_without_its_pad_byte() -> None:
    assert remove_padding(DER) == remove_padding(DER + b"\0") == DER
    assert without_pad_byte(DER) == without_pad_byte(DER + b"\0") == DER
    assert without_pad_byte(b"\x02\x01\x07\x00") == b"\x02\x01\x07"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "does not start as a DER SEQUENCE"),
        (b"hello", "does not start as a DER SEQUENCE"),
        (b"\x31\x00", "does not start as a DER SEQUENCE"),
        (b"\x30", "cut short"),
        (DER[:-1], "cut short"),
        (b"\x30\x84\xff\xff\xff\xff", "cut short"),
        (b"\x30\x80\x02\x01\x07\x00\x00", "indefinite"),
        (b"\x30\x80" * 5000, "cut short"),
        (DER + b"\0\0", "2 bytes follow"),
        (DER + b"x", "1 bytes follow"),
    ],
    ids=["nothing", "text", "SET", "tag", "cut", "long", "indefinite", "nested", "two-more", "one-more"],
)
def test_what_is_not_one_der_sequence_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        remove_padding(data)
    assert without_pad_byte(data) == data


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"\x18\x0d203001020304Z",
        b"\x18\x0f20300102030405+",
        b"\x18\x1120300102030405.5Z",
        b"\x18\x1320300102030405+0000",
        b"\x18\x0f20301302030405Z",
        b"\x17\x0d300102030405Z",
        b"\x18\x0f20300102030405Z\x00",
    ],
)
def test_a_time_that_is_not_der_is_no_time(der: bytes) -> None:
    assert parse_generalized_time(der) is None


def test_a_generalized_time_is_in_utc() -> None:
    assert parse_generalized_time(b"\x18\x0f20300102030405Z") == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_content_type_is_the_first_object_identifier() -> None:
    assert content_type(bytes.fromhex("300d06092a864886f70d010702a000")) == "1.2.840.113549.1.7.2"
    assert content_type(DER) is None
    assert content_type(b"text") is None


@given(st.binary(max_size=40))
def test_no_bytes_raise_another_error(data: bytes) -> None:
    try:
        value = remove_padding(data)
    except ValueError:
        value = b""
    assert data.startswith(value)
    assert data.startswith(without_pad_byte(data))
    content_type(data)
    parse_generalized_time(data)
