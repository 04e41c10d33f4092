"""BER-TLV of cards: every form of tag and length, and no answer from octets that end too early."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokens.errors import CardLostError
from tokens.smartcard.apdu import tlv


@pytest.mark.parametrize("tag", [0x5A, 0x7F49, 0x5FC105, 0x1F8101])
@pytest.mark.parametrize("size", [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x1234])
def test_what_is_encoded_is_found(tag: int, size: int) -> None:
    value = bytes(size)
    assert list(tlv.objects(tlv.encode(tag, value))) == [(tag, value)]
    assert tlv.find(tlv.encode(0x01, b"x") + tlv.encode(tag, value), tag) == value


def test_padding_between_objects_is_skipped() -> None:
    data = b"\x00\xff" + tlv.encode(0x5A, b"1") + b"\x00" + tlv.encode(0x5B, b"2") + b"\xff\xff"
    assert list(tlv.objects(data)) == [(0x5A, b"1"), (0x5B, b"2")]


def test_what_is_not_there_is_none() -> None:
    inner = tlv.encode(0x7F49, tlv.encode(0x86, b"point"))
    assert tlv.find(inner, 0x7F49, 0x86) == b"point"
    assert tlv.find(inner, 0x7F49, 0x87) is None
    assert tlv.find(inner, 0x86) is None


@given(st.integers(0, 0x1FF), st.binary(min_size=1, max_size=300))
def test_data_that_ends_early_is_never_taken_for_data(cut: int, value: bytes) -> None:
    whole = tlv.encode(0x7F49, value)
    short = whole[: min(cut, len(whole) - 1)]
    if short:
        with pytest.raises(CardLostError):
            list(tlv.objects(short))


@given(st.binary(max_size=60))
def test_any_octets_are_objects_or_an_error(data: bytes) -> None:
    try:
        found = list(tlv.objects(data))
    except CardLostError:
        return
    assert sum(len(value) for _, value in found) <= len(data)
