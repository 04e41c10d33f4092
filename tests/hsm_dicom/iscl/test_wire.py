"""Octets to messages and back: total, bounded, and as the profile says."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_dicom.iscl.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from hsm_dicom.iscl.wire.encoding import MessageReader, build, data_bounds, parse, parse_header
from hsm_dicom.iscl.wire.messages import (
    MESSAGES,
    AuthenticationRequest,
    DataBlock,
    LineCheckRequest,
    MacNotification,
    Message,
    Pass1,
    Pass2,
    ThroughData,
    TransmissionRequest,
)
from hsm_dicom.iscl.wire.profile import ByteOrder, Layout, Rest, WireProfile, Word
from tests.hsm_dicom.iscl.samples import SAMPLES, VALUE

DEFAULT = WireProfile()
LITTLE = WireProfile(byte_order=ByteOrder.LITTLE, reversed_values=True)

LAID_OUT = [
    (SAMPLES[0], "00000000 00110001 00000014 00000000 00000000 00000000 00000000 00000000"
                 "4d454449532d4953434c2056312e3030 00002000"),
    (SAMPLES[2], "00000000 00120001 00000012 00000000 00000000 00000000 00000000 00000000"
                 "00000000 00000001 00000006 736572766572"),
    (SAMPLES[5], "00000000 00140002 00000010 00000000 00000000 00000000 00000000 00000000"
                 "0011223344556677 7766554433221100"),
    (SAMPLES[8], "00000000 00200001 00000010 00000000 00000000 00000000 00000000 00000000"
                 "00001212 00000001 00001441 00000064"),
    (SAMPLES[16], "00000000 00ff0003 00000000 00000000 00000000 00000000 00000000 00000000"),
]  # fmt: skip
"""Written down by hand from the table of data areas in the documentation."""


@pytest.mark.parametrize(("message", "octets"), LAID_OUT)
def test_messages_are_laid_out_as_documented(message: Message, octets: str) -> None:
    assert build(message, DEFAULT) == bytes.fromhex(octets)


@pytest.mark.parametrize("profile", [DEFAULT, LITTLE])
@pytest.mark.parametrize("message", SAMPLES)
def test_what_is_built_is_read_again(message: Message, profile: WireProfile) -> None:
    reader = MessageReader(profile, keeps_octets=True)
    octets = build(message, profile)
    reader.feed(octets + octets[:10])
    assert reader.read(10_000) == message
    assert reader.octets == octets
    assert reader.read(10_000) is None
    assert not reader.is_empty


def test_a_little_endian_profile_turns_integers_and_64_bit_values_round() -> None:
    assert build(Pass1(VALUE), LITTLE)[4:12] == bytes.fromhex("02001300 08000000")
    assert build(Pass1(VALUE), LITTLE)[32:] == VALUE[::-1]


def test_every_message_id_has_a_layout_and_no_two_are_alike() -> None:
    assert set(DEFAULT.items) == set(MESSAGES.values())
    assert len(MESSAGES) == 17


def test_a_profile_may_lay_a_message_out_in_another_way() -> None:
    turned = tuple(
        Layout(Pass2, layout.items[::-1]) if layout.message is Pass2 else layout for layout in DEFAULT.layouts
    )
    profile = dataclasses.replace(DEFAULT, layouts=turned)
    octets = build(Pass2(VALUE, bytes(8)), profile)
    assert octets[32:] == bytes(8) + VALUE
    assert parse(parse_header(octets[:32], profile), octets[32:], profile) == Pass2(VALUE, bytes(8))


def test_a_profile_may_leave_the_authentication_data_out() -> None:
    without = tuple(
        Layout(AuthenticationRequest, (Word("method"), Word("key_index")))
        if layout.message is AuthenticationRequest
        else layout
        for layout in DEFAULT.layouts
    )
    profile = dataclasses.replace(DEFAULT, layouts=without)
    octets = build(AuthenticationRequest(0, 3, b"not sent"), profile)
    assert parse(parse_header(octets[:32], profile), octets[32:], profile) == AuthenticationRequest(0, 3)


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (build(SAMPLES[0], DEFAULT)[:4] + b"\0\x22\0\1" + build(SAMPLES[0], DEFAULT)[8:], ErrorCode.UNEXPECTED_MESSAGE),
        (build(SAMPLES[0], DEFAULT)[:8] + b"\0\0\0\x13" + build(SAMPLES[0], DEFAULT)[12:], ErrorCode.UNEXPECTED_LENGTH),
        (build(SAMPLES[0], DEFAULT)[:8] + b"\0\0\0\x15" + build(SAMPLES[0], DEFAULT)[12:], ErrorCode.UNEXPECTED_LENGTH),
        (build(SAMPLES[2], DEFAULT)[:43] + b"\x07server", ErrorCode.UNEXPECTED_LENGTH),
        (build(SAMPLES[2], DEFAULT)[:43] + b"\x05server", ErrorCode.UNEXPECTED_LENGTH),
        (build(SAMPLES[2], DEFAULT)[:40] + b"\xff\xff\xff\xffserver", ErrorCode.UNEXPECTED_LENGTH),
    ],
)
def test_a_malformed_message_has_its_code(octets: bytes, code: ErrorCode) -> None:
    reader = MessageReader(DEFAULT)
    reader.feed(octets)
    with pytest.raises(RemoteProtocolError) as caught:
        reader.read(100)
    assert caught.value.code is code


@pytest.mark.parametrize("kind", MESSAGES.values())
def test_a_length_beyond_the_kind_s_own_is_refused_from_the_header_alone(kind: type[Message]) -> None:
    most = data_bounds(kind, DEFAULT, 8160)[1]
    assert most <= 8160
    for length in (most + 1, 0xFFFFFFFF):
        reader = MessageReader(DEFAULT)
        reader.feed(b"".join(value.to_bytes(4, "big") for value in (0, kind.id, length, 0, 0, 0, 0, 0)))
        with pytest.raises(RemoteProtocolError) as caught:
            reader.read(8160)
        assert caught.value.code is ErrorCode.UNEXPECTED_LENGTH


def test_unused_header_fields_are_overlooked_unless_the_profile_says_otherwise() -> None:
    octets = bytearray(build(SAMPLES[7], DEFAULT))
    octets[0:4] = octets[16:20] = octets[20:24] = octets[24:28] = octets[28:32] = b"\1\2\3\4"
    for profile in (DEFAULT, WireProfile(unused_fields_ignored=False)):
        reader = MessageReader(profile)
        reader.feed(bytes(octets))
        if profile.unused_fields_ignored:
            assert reader.read(0) == SAMPLES[7]
        else:
            with pytest.raises(RemoteProtocolError) as caught:
                reader.read(0)
            assert caught.value.code is ErrorCode.UNEXPECTED_OPTION


@pytest.mark.parametrize(
    "message",
    [
        LineCheckRequest(b"too short", 8192),
        Pass1(bytes(7)),
        AuthenticationRequest(0, 1, bytes(129)),
        MacNotification(bytes(25)),
    ],
)
def test_what_does_not_fit_is_not_built(message: Message) -> None:
    with pytest.raises(LocalProtocolError):
        build(message, DEFAULT)


def test_the_bulk_of_a_message_and_its_challenges_stay_out_of_its_text() -> None:
    assert "secret" not in repr(DataBlock(b"secret")) + repr(ThroughData(b"secret"))
    assert "4369" in repr(TransmissionRequest(0x1212, 1, 0x1441, 4369))


def outcome(reader: MessageReader, variable: int) -> Message | ErrorCode | None:
    """A message, None, or the code of an error."""
    try:
        return reader.read(variable)
    except RemoteProtocolError as error:
        return error.code


@given(st.binary(max_size=300), st.sampled_from([DEFAULT, LITTLE]))
def test_any_octets_are_a_message_or_an_error_or_the_beginning_of_one(octets: bytes, profile: WireProfile) -> None:
    reader = MessageReader(profile, keeps_octets=True)
    reader.feed(octets)
    while isinstance(result := outcome(reader, 200), Message):
        assert build(result, profile)[32:] == reader.octets[32:]
    assert result in (None, ErrorCode.UNEXPECTED_MESSAGE, ErrorCode.UNEXPECTED_LENGTH)


@given(st.sampled_from(list(MESSAGES.values())), st.integers(0, 0xFFFFFFFF), st.binary(max_size=200))
def test_any_data_behind_a_sound_header_is_a_message_or_an_error(kind: type[Message], option: int, data: bytes) -> None:
    header = b"".join(value.to_bytes(4, "big") for value in (0, kind.id, len(data), option, 0, 0, 0, 0))
    reader = MessageReader(DEFAULT)
    reader.feed(header + data)
    result = outcome(reader, 100)
    if isinstance(result, Message):
        assert build(result, DEFAULT) == header + data
    else:
        assert result is ErrorCode.UNEXPECTED_LENGTH


def test_rest_is_bounded_by_what_the_connection_says() -> None:
    assert data_bounds(DataBlock, DEFAULT, 5) == (0, 5)
    assert DEFAULT.items[MacNotification] == (Rest("code", 24),)
