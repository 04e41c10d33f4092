"""Every way in which a peer's message can be wrong: we end the connection soon, with the right code, and say no more
than NAK.

The peer is the independent implementation, spoilt at one message. Secrets are on SoftHSM.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hsm_dicom.iscl import ErrorCode
from tests.hsm_dicom.iscl import independent as peer_side
from tests.hsm_dicom.iscl.bad_peers import (
    REQUEST,
    E,
    announced,
    cases,
    cut_off,
    data,
    flipped,
    instead,
    judge,
    longer,
    meet,
    option,
    say_a_message,
    shorter,
    twice,
)
from tests.hsm_dicom.iscl.independent import words
from tests.hsm_dicom.iscl.lines import Ends

AGAINST_US_AS_CLIENT = [
    ("another version", peer_side.LINE_CHECK_RQ, data(0, b"MEDIS-ISCL V1.01"), E.WRONG_VERSION, True),
    ("an absurd block length", peer_side.LINE_CHECK_RQ, data(16, words(5)), E.UNEXPECTED_LENGTH, True),
    ("a longer line check", peer_side.LINE_CHECK_RQ, longer, E.UNEXPECTED_LENGTH, False),
    ("a shorter line check", peer_side.LINE_CHECK_RQ, shorter, E.UNEXPECTED_LENGTH, False),
    ("4 GB of line check", peer_side.LINE_CHECK_RQ, announced(0xFFFFFFFF), E.UNEXPECTED_LENGTH, False),
    ("an unknown message", peer_side.LINE_CHECK_RQ, instead(0x00220001), E.UNEXPECTED_MESSAGE, False),
    ("the second message first", peer_side.LINE_CHECK_RQ, instead(peer_side.AUTH_RQ), E.UNEXPECTED_MESSAGE, False),
    ("data before authentication", peer_side.LINE_CHECK_RQ, instead(peer_side.SEND_RQ), E.UNEXPECTED_MESSAGE, False),
    ("through data before all", peer_side.LINE_CHECK_RQ, instead(peer_side.THROUGH, b"x"), E.UNEXPECTED_MESSAGE, False),
    ("a line check twice", peer_side.LINE_CHECK_RQ, twice, E.UNEXPECTED_MESSAGE, None),
    ("an option in a request", peer_side.LINE_CHECK_RQ, option(7), E.UNEXPECTED_OPTION, True),
    ("another method", peer_side.AUTH_RQ, data(0, words(1)), E.WRONG_AUTHENTICATION_METHOD, True),
    ("another key index", peer_side.AUTH_RQ, data(4, words(2)), E.KEY_NOT_CONFIGURED, True),
    ("a key index of 9", peer_side.AUTH_RQ, data(4, words(9)), E.KEY_NOT_CONFIGURED, True),
    ("a count beyond the data", peer_side.AUTH_RQ, data(8, words(100)), E.UNEXPECTED_LENGTH, False),
    ("another name", peer_side.AUTH_RQ, data(12, b"I"), E.WRONG_AUTHENTICATION_DATA, True),
    ("a card that fails", peer_side.PASS_1, option(0x6983), E.PEER_DEVICE_FAILED, False),
    ("a refusal", peer_side.PASS_1, option(peer_side.NAK), E.PEER_REFUSED, False),
    ("a pass twice", peer_side.PASS_1, twice, E.UNEXPECTED_MESSAGE, None),
    ("a wrong response", peer_side.PASS_3, flipped(0), E.PEER_NOT_AUTHENTIC, True),
    ("a refusal of our response", peer_side.PASS_3, option(peer_side.NAK), E.PEER_REFUSED, False),
    ("no third pass", peer_side.PASS_3, instead(peer_side.SEND_RQ, REQUEST + words(8)), E.UNEXPECTED_MESSAGE, None),
]

AGAINST_US_AS_SERVER = [
    ("a refusal of the line", peer_side.LINE_CHECK_RP, option(peer_side.NAK), E.PEER_REFUSED, False),
    ("an unknown option", peer_side.LINE_CHECK_RP, option(1), E.UNEXPECTED_OPTION, False),
    ("a larger block length", peer_side.LINE_CHECK_RP, data(0, words(8193)), E.BLOCK_LENGTH_TOO_LARGE, False),
    ("a refusal to authenticate", peer_side.AUTH_RP, option(peer_side.NAK), E.PEER_REFUSED, False),
    ("another name", peer_side.AUTH_RP, data(4, b"I"), E.WRONG_AUTHENTICATION_DATA, True),
    ("a wrong response", peer_side.PASS_2, flipped(0), E.PEER_NOT_AUTHENTIC, True),
    ("a card that fails", peer_side.PASS_2, option(0x6300), E.PEER_DEVICE_FAILED, False),
    ("a response twice", peer_side.PASS_2, twice, E.UNEXPECTED_MESSAGE, None),
    ("a refusal at last", peer_side.AUTH_DONE, option(peer_side.NAK), E.PEER_REFUSED, False),
    ("data before the completion", peer_side.AUTH_DONE, instead(peer_side.SEND_RQ, REQUEST + words(8)),
     E.UNEXPECTED_MESSAGE, False),
    ("a passive client", peer_side.AUTH_DONE, instead(peer_side.BYE_RQ), E.UNEXPECTED_MESSAGE, False),
]  # fmt: skip

AGAINST_OUR_RECEIVER = [
    ("no encryption", peer_side.SEND_RQ, data(0, words(0)), E.METHOD_NOT_ACCEPTABLE, True),
    ("an unknown encryption", peer_side.SEND_RQ, data(0, words(0x1313)), E.METHOD_NOT_ACCEPTABLE, True),
    ("another key", peer_side.SEND_RQ, data(4, words(2)), E.METHOD_NOT_ACCEPTABLE, True),
    ("unique keys", peer_side.SEND_RQ, data(4, words(0x11)), E.METHOD_NOT_ACCEPTABLE, True),
    ("another MAC", peer_side.SEND_RQ, data(8, words(0x4001)), E.METHOD_NOT_ACCEPTABLE, True),
    ("no MAC", peer_side.SEND_RQ, data(8, words(0)), E.METHOD_NOT_ACCEPTABLE, True),
    ("no length", peer_side.SEND_RQ, data(12, words(0)), E.UNEXPECTED_LENGTH, True),
    ("too great a length", peer_side.SEND_RQ, data(12, words(1_048_577)), E.OWN_LIMIT_TOO_SMALL, True),
    ("a request cut off", peer_side.SEND_RQ, cut_off, E.CONNECTION_LOST, None),
    ("a request twice", peer_side.SEND_RQ, twice, E.UNEXPECTED_MESSAGE, None),
    ("the MAC without data", peer_side.BLOCK, instead(peer_side.CODE, bytes(24)), E.UNEXPECTED_MESSAGE, False),
    ("an empty block", peer_side.BLOCK, instead(peer_side.BLOCK), E.UNEXPECTED_LENGTH, False),
    ("a block too many", peer_side.BLOCK, twice, E.UNEXPECTED_MESSAGE, False),
    ("a block too long", peer_side.BLOCK, longer, E.UNEXPECTED_LENGTH, False),
    ("a block cut off", peer_side.BLOCK, cut_off, E.CONNECTION_LOST, None),
    ("4 GB of block", peer_side.BLOCK, announced(0xFFFFFFFF), E.UNEXPECTED_LENGTH, False),
    ("a random number unasked", peer_side.BLOCK, instead(peer_side.RANDOM_RQ, bytes(8)), E.UNEXPECTED_MESSAGE, False),
    ("a changed message", peer_side.BLOCK, flipped(0), E.WRONG_MAC, False),
    ("changed padding", peer_side.BLOCK, flipped(-1), E.DECRYPTION_FAILED, False),
    ("a changed MAC", peer_side.CODE, flipped(0), E.WRONG_MAC, False),
    ("a MAC of no length", peer_side.CODE, instead(peer_side.CODE), E.WRONG_MAC, False),
    ("a clear digest", peer_side.CODE, instead(peer_side.CODE, bytes(16)), E.WRONG_MAC, False),
    ("a MAC too long", peer_side.CODE, longer, E.UNEXPECTED_LENGTH, False),
    ("a disconnection instead", peer_side.CODE, instead(peer_side.BYE_RQ), E.UNEXPECTED_MESSAGE, False),
    ("through data instead", peer_side.SEND_RQ, instead(peer_side.THROUGH, b"x"), E.THROUGH_MODE_CLOSED, False),
]  # fmt: skip


@cases(AGAINST_US_AS_CLIENT)
def test_a_bad_server_is_refused(
    ends: Ends, message: int, spoil: Callable[[bytes], bytes], code: ErrorCode, told: bool | None
) -> None:
    judge(meet(ends, False, {message: spoil}, say_a_message), code, told)


@cases(AGAINST_US_AS_SERVER)
def test_a_bad_client_is_refused(
    ends: Ends, message: int, spoil: Callable[[bytes], bytes], code: ErrorCode, told: bool | None
) -> None:
    judge(meet(ends, True, {message: spoil}, say_a_message), code, told)


@cases(AGAINST_OUR_RECEIVER)
@pytest.mark.parametrize("server", [True, False], ids=["we serve", "we ask"])
def test_a_bad_sender_is_refused(
    ends: Ends, server: bool, message: int, spoil: Callable[[bytes], bytes], code: ErrorCode, told: bool | None
) -> None:
    judge(meet(ends, server, {message: spoil}, say_a_message), code, told)


def test_data_before_the_random_number_of_its_key_is_refused(ends: Ends) -> None:
    outcome = meet(
        ends, True, {peer_side.RANDOM_RQ: instead(peer_side.BLOCK, bytes(8))}, say_a_message, unique_keys=True
    )
    judge(outcome, E.SESSION_RANDOM_EXPECTED, False)


def test_a_peer_whose_device_cannot_draw_a_random_number_is_given_up(ends: Ends) -> None:
    outcome = meet(ends, True, {peer_side.RANDOM_RQ: option(0x6F00)}, say_a_message, unique_keys=True)
    judge(outcome, E.PEER_DEVICE_FAILED, False)
