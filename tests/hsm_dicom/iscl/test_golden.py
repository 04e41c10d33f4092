"""The golden exchanges: the decoder explains them, plain DES confirms every octet, and our suite opens them today."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest

from hsm_dicom.iscl import Encryption, Mac, Role
from hsm_dicom.iscl.errors import IntegrityError
from hsm_dicom.iscl.suite.algorithms import Suite
from hsm_dicom.iscl.tracing.recording import read_exchange
from hsm_dicom.iscl.tracing.trace import explain
from tests.hsm_dicom.iscl import independent as plain
from tests.hsm_dicom.iscl.lines import AUTHENTICATION_KEY, ENCRYPTION_KEY, MODES, Ends, Mode, settings
from tests.hsm_dicom.iscl.make_golden import BLOCK_DATA, FROM_CLIENT, FROM_SERVER, GOLDEN, explanation, record

modes = pytest.mark.parametrize("mode", MODES, ids=str)


@dataclass(frozen=True)
class Frame:
    """One message of a golden file, cut by hand."""

    sender: str
    id: int
    option: int
    data: bytes


def frames(mode: Mode) -> list[Frame]:
    result = []
    for row in (GOLDEN / f"{mode}.txt").read_text().splitlines():
        sender, text = row.split()
        octets = bytes.fromhex(text)
        length = int.from_bytes(octets[8:12], "big")
        assert len(octets) == 32 + length
        assert octets[:4] == bytes(4)
        assert octets[16:32] == bytes(16)
        result.append(
            Frame(sender, int.from_bytes(octets[4:8], "big"), int.from_bytes(octets[12:16], "big"), octets[32:])
        )
    return result


@modes
def test_the_decoder_explains_each_exchange_and_finds_nothing_wrong(mode: Mode) -> None:
    lines = (GOLDEN / f"{mode}.txt").read_text().splitlines()
    assert explanation(lines) == (GOLDEN / f"{mode}.explained.txt").read_text()
    assert all(explained.remark is None for explained in explain(read_exchange(lines)))


@modes
def test_plain_des_and_md5_confirm_every_octet(mode: Mode) -> None:
    it = iter(frames(mode))

    def following(sender: str, message: int) -> bytes:
        frame = next(it)
        assert (frame.sender, frame.id, frame.option) == (sender, message, 0)
        return frame.data

    version = b"MEDIS-ISCL V1.00"
    assert following("server", plain.LINE_CHECK_RQ) == version + plain.words(BLOCK_DATA + 32)
    assert following("client", plain.LINE_CHECK_RP) == plain.words(BLOCK_DATA + 32)
    assert following("server", plain.AUTH_RQ) == plain.words(0, 1, 13) + b"golden server"
    assert following("client", plain.AUTH_RP) == plain.words(13) + b"golden client"
    challenge = following("server", plain.PASS_1)
    second = following("client", plain.PASS_2)
    assert second[:8] == plain.ecb(AUTHENTICATION_KEY, challenge)
    assert following("server", plain.PASS_3) == plain.ecb(AUTHENTICATION_KEY, second[8:])
    assert following("client", plain.AUTH_DONE) == b""

    iv = bytes(8)
    for sender, other, message in (("client", "server", FROM_CLIENT), ("server", "client", FROM_SERVER)):
        key_id = 0x11 if mode.unique else 1
        request = plain.words(mode.encryption, key_id, mode.mac, len(message))
        assert following(sender, plain.SEND_RQ) == request
        assert following(other, plain.SEND_RP) == plain.words(len(message))
        key = ENCRYPTION_KEY
        if mode.unique:
            key = plain.odd_parity(plain.ecb(ENCRYPTION_KEY, following(sender, plain.RANDOM_RQ)))
            assert following(other, plain.RANDOM_RP) == b""
        data = message
        if mode.encryption is Encryption.DES_CBC:
            data = plain.cbc(key, iv, plain.pad(message))
            iv = data[-8:]
        for start in range(0, len(data), BLOCK_DATA):
            assert following(sender, plain.BLOCK) == data[start : start + BLOCK_DATA]
        code = hashlib.md5(message).digest() if mode.mac is Mac.MD5 else plain.fips_113(key, message)
        if mode.mac is Mac.MD5 or mode.encryption is Encryption.DES_CBC:
            code = plain.cbc(key, iv, plain.pad(code))
            iv = code[-8:]
        assert following(sender, plain.CODE) == code
    assert following("client", plain.BYE_RQ) == b""
    assert following("server", plain.BYE_RP) == b""
    assert next(it, None) is None


@modes
def test_our_suite_opens_them_with_the_keys_on_the_device(ends: Ends, mode: Mode) -> None:
    suite = Suite(settings(mode), ends.ours)
    random: bytes | None = None
    length = 0
    opened: list[bytes] = []
    protection = None
    for frame in frames(mode):
        match frame.id:
            case plain.SEND_RQ:
                length, random, protection = int.from_bytes(frame.data[12:], "big"), None, None
            case plain.RANDOM_RQ:
                random = frame.data
            case plain.BLOCK:
                protection = protection or suite.protect(Role(frame.sender), random)
                protection.take(frame.data)
            case plain.CODE:
                assert protection is not None
                opened.append(protection.open(frame.data, length))
                protection.settle()
                protection.close()
    assert opened == [FROM_CLIENT, FROM_SERVER]


@modes
def test_what_we_send_today_has_the_same_shape(ends: Ends, mode: Mode) -> None:
    """Challenges, random numbers and what follows from them differ; everything else is the golden exchange."""

    def shape(row: str) -> tuple[str, str, int]:
        sender, text = row.split()
        return sender, text[:64], len(text)

    kept = (GOLDEN / f"{mode}.txt").read_text().splitlines()
    assert [shape(row) for row in record(ends, mode)] == [shape(row) for row in kept]


def test_an_exchange_cannot_be_replayed_in_another_order(ends: Ends) -> None:
    """The chain of initialisation vectors ties each message to all before it."""
    mode = Mode(Mac.MD5, Encryption.DES_CBC, unique=False)
    blocks = [frame for frame in frames(mode) if frame.id in (plain.BLOCK, plain.CODE)]
    suite = Suite(settings(mode), ends.ours)
    protection = suite.protect(Role.SERVER, None)
    protection.take(blocks[-2].data)
    with pytest.raises(IntegrityError):
        protection.open(blocks[-1].data, len(FROM_SERVER))
