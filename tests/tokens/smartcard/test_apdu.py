"""APDUs, status words and data objects, without a card."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cards.iso7816 import Command as CardCommand
from tokens.errors import CardLostError
from tokens.smartcard.apdu import commands, tlv
from tokens.smartcard.apdu.encoding import ANY, MANY, Command, encode_apdus, exchange
from tokens.smartcard.apdu.status import StatusError, get_retries_left, meaning


def sent(command: Command, *, extended: bool = True) -> list[str]:
    return [apdu.hex() for apdu in encode_apdus(command, extended=extended)]


def answering(*responses: str) -> tuple[Callable[[bytes], bytes], list[bytes]]:
    """A card that gives these responses, and what it was sent."""
    left, seen = [bytes.fromhex(response) for response in responses], []

    def transmit(apdu: bytes) -> bytes:
        seen.append(apdu)
        return left.pop(0)

    return transmit, seen


# -- commands --------------------------------------------------------------------------------------------------


def test_commands_are_the_standard_s() -> None:
    assert sent(commands.select_application(bytes.fromhex("a000000308"))) == ["00a4040005a00000030800"]
    assert sent(commands.get_challenge()) == ["0084000008"]
    assert sent(commands.internal_authenticate(0x81, bytes(8), expected=8)) == ["0088008108000000000000000008"]
    assert sent(commands.external_authenticate(0x81, bytes(8))) == ["00820081080000000000000000"]
    assert sent(commands.verify(0x80, b"123456\xff\xff")) == ["0020008008313233343536ffff"]
    assert sent(commands.verify(0x80, b"")) == ["00200080"]
    assert sent(commands.get_data_by_tag_list(0x5FC105), extended=False) == ["00cb3fff055c035fc10500"]
    assert sent(commands.read_binary(0x0123)) == ["00b0012300"]
    assert sent(commands.read_binary(0, 2)) == ["00b0820000"]
    references = bytes.fromhex("840121")
    assert sent(commands.manage_security_environment(commands.Template.SIGNATURE, references)) == ["002241b603840121"]


def test_long_data_goes_extended_or_in_a_chain() -> None:
    command = Command("TEST", 0x2A, 0x9E, 0x9A, bytes(range(256)) + bytes(44), expected=256)
    (whole,) = encode_apdus(command, extended=True)
    assert whole[:7].hex() == "002a9e9a00012c"
    assert whole[-2:].hex() == "0100"
    first, last = encode_apdus(command, extended=False)
    assert first[:5].hex() == "102a9e9aff"
    assert len(first) == 5 + 255
    assert last[:5].hex() == "002a9e9a2d"
    assert last[-1] == 0


@given(
    data=st.binary(max_size=1200),
    expected=st.sampled_from([0, 1, 8, 255, 256, 300, ANY, MANY]),
    extended=st.booleans(),
)
def test_what_is_sent_is_what_an_independent_card_reads(data: bytes, expected: int, extended: bool) -> None:
    read = [
        CardCommand.read(bytes(apdu)) for apdu in encode_apdus(Command("T", 1, 2, 3, data, expected), extended=extended)
    ]
    assert b"".join(part.data for part in read) == data
    assert [part.cla for part in read] == [0x10] * (len(read) - 1) + [0x00]
    asked = read[-1].le
    if expected > 0 and (extended or expected <= 256):
        assert asked == expected or (not extended and asked == 256)
    assert (asked > 0) is (expected != 0)
    assert all(len(part.data) <= 255 for part in read) or extended


def test_a_command_shows_neither_a_pin_nor_other_data() -> None:
    assert "313233" not in repr(commands.verify(0x80, b"123456"))
    assert "123456" not in repr(commands.verify(0x80, b"123456"))


# -- responses -------------------------------------------------------------------------------------------------


def test_an_answer_in_parts_is_put_together() -> None:
    transmit, seen = answering("61 03", "aabb 61 01", "cc 9000")
    assert exchange(transmit, Command("T", 1, 2, 3, expected=ANY), extended=False).hex() == "aabbcc"
    assert [apdu.hex() for apdu in seen[1:]] == ["00c0000003", "00c0000001"]


def test_a_wrong_le_is_corrected() -> None:
    transmit, seen = answering("6c 02", "aabb 9000")
    assert exchange(transmit, Command("T", 1, 2, 3, expected=ANY), extended=False).hex() == "aabb"
    assert seen[1].hex() == "0001020302"


@pytest.mark.parametrize("response", ["aa 9000", "aabbccddee 9000", "9000"])
def test_an_answer_of_another_length_is_not_trusted(response: str) -> None:
    transmit, _ = answering(response)
    with pytest.raises(CardLostError, match="bytes instead of 2"):
        exchange(transmit, Command("T", 1, 2, 3, expected=2), extended=False)


def test_an_answer_without_a_status_word_is_not_trusted() -> None:
    transmit, _ = answering("0000000000")
    with pytest.raises(CardLostError, match="0000, which is no status word"):
        exchange(transmit, Command("T", 1, 2, 3, expected=ANY), extended=False)


def test_an_answer_without_end_is_given_up() -> None:
    with pytest.raises(CardLostError, match="has no end"):
        exchange(lambda apdu: b"\x00" * 256 + b"\x61\x00", Command("T", 1, 2, 3, expected=ANY), extended=False)
    with pytest.raises(CardLostError, match="has no end"):
        exchange(lambda apdu: b"\x61\x10", Command("T", 1, 2, 3, expected=ANY), extended=False)


def test_a_chain_stops_at_its_first_refusal() -> None:
    transmit, seen = answering("6884")
    with pytest.raises(StatusError, match="6884: command chaining is not supported"):
        exchange(transmit, Command("T", 1, 2, 3, bytes(600)), extended=False)
    assert len(seen) == 1


# -- status words ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "left", "said"),
    [
        (0x63C2, 2, "wrong, 2 retries left"),
        (0x63C1, 1, "wrong, 1 retry left"),
        (0x6983, 0, "authentication method blocked"),
        (0x6300, None, "what was presented is wrong"),
        (0x6982, None, "security status not satisfied"),
        (0x6A88, None, "referenced data or key not found"),
        (0x6A99, None, "not a status word"),
        (0x6999, None, "command not allowed"),
        (0x6110, None, "16 more bytes are available"),
        (0x6C00, None, "256 bytes are available"),
    ],
)
def test_status_words_are_said_in_the_standard_s_words(status: int, left: int | None, said: str) -> None:
    assert get_retries_left(status) == left
    assert said in meaning(status)
    error = StatusError("VERIFY", status)
    assert f"VERIFY with {status:04X}" in str(error)
    assert error.retries_left == left


# -- data objects ----------------------------------------------------------------------------------------------


@given(st.binary(max_size=70000), st.sampled_from([0x5A, 0x84, 0x7F49, 0x5FC105]))
def test_a_data_object_is_read_as_it_was_written(value: bytes, tag: int) -> None:
    assert list(tlv.objects(tlv.encode(tag, value))) == [(tag, value)]
    assert tlv.find(tlv.encode(0x6F, tlv.encode(tag, value)), 0x6F, tag) == value
    assert tlv.find(tlv.encode(0x6F, b""), 0x6F, tag) is None
    assert tlv.unwrap(tlv.encode(tag, value), tag) == value
    for filling in (b"", bytes(40), b"\xff" * 7):
        assert tlv.first_object(tlv.encode(tag, value) + filling) == tlv.encode(tag, value)


@pytest.mark.parametrize("length", [1, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x10000])
def test_a_file_that_is_filled_up_is_cut_to_its_object_whatever_the_form_of_its_length(length: int) -> None:
    certificate = tlv.encode(0x30, b"\x01" * length)
    assert tlv.first_object(certificate + bytes(100)) == certificate
    with pytest.raises(CardLostError):
        tlv.first_object(certificate[:-1])
    assert tlv.first_object(b"") == tlv.first_object(bytes(10)) == b""


def test_a_value_without_its_tag_is_taken_as_it_is() -> None:
    aid = bytes.fromhex("d276000124010304000500001234abcd")
    assert tlv.unwrap(aid, 0x4F) == tlv.unwrap(tlv.encode(0x4F, aid), 0x4F) == aid
    assert tlv.unwrap(b"\x4f\x09\x01", 0x4F) == b"\x4f\x09\x01"


@given(st.binary(max_size=64))
def test_a_broken_data_object_is_an_error_and_no_crash(data: bytes) -> None:
    try:
        objects = list(tlv.objects(data))
    except CardLostError:
        return
    assert sum(len(value) for _, value in objects) <= len(data)
