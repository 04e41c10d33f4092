"""A second implementation of ISCL's default profile, as a peer for tests. It can also seal each block for itself, and
run DES the other way round for responses and session keys.

Written from the tables of messages and from the norms (FIPS 46-3, FIPS 81, FIPS 113, RFC 1321, PKCS #5), as straight
code without a state machine; it imports nothing of hsm_dicom or tokens. Its keys are in its memory. What it sends can
be spoilt frame by frame, so that it is also every bad peer that the tests need.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

ACK, NAK = 0, 0xFFFFFFFF
NO_ENCRYPTION, DES_CBC = 0, 0x1212
NO_MAC, MD5, DES_MAC = 0, 0x1441, 0x4001

LINE_CHECK_RQ, LINE_CHECK_RP = 0x110001, 0x110003
AUTH_RQ, AUTH_RP, PASS_1, PASS_2, PASS_3, AUTH_DONE = 0x120001, 0x120003, 0x130002, 0x140002, 0x150002, 0x160002
SEND_RQ, BLOCK, SEND_RP, RANDOM_RQ, RANDOM_RP, CODE = 0x200001, 0x200002, 0x200003, 0x210001, 0x210003, 0x230002
THROUGH, BYE_RQ, BYE_RP = 0x260002, 0xFF0001, 0xFF0003


class Hung(Exception):
    """The other end closed the line."""


class Refused(Exception):
    """The other end said NAK, or that its device failed; `args` are the message id and the option."""


def ecb(key: bytes, block: bytes, *, decrypt: bool = False) -> bytes:
    """DES of one block. Triple DES with three equal keys is DES."""
    cipher = Cipher(TripleDES(key * 3), modes.ECB())
    context = cipher.decryptor() if decrypt else cipher.encryptor()
    return context.update(block) + context.finalize()


def cbc(key: bytes, iv: bytes, data: bytes, *, decrypt: bool = False) -> bytes:
    """DES-CBC of whole blocks."""
    cipher = Cipher(TripleDES(key * 3), modes.CBC(iv))
    context = cipher.decryptor() if decrypt else cipher.encryptor()
    return context.update(data) + context.finalize()


def pad(data: bytes) -> bytes:
    """PKCS #5."""
    count = 8 - len(data) % 8
    return data + bytes([count] * count)


def unpad(data: bytes) -> bytes:
    """PKCS #5."""
    count = data[-1]
    assert data[-count:] == bytes([count] * count), "bad padding"
    return data[:-count]


def fips_113(key: bytes, data: bytes) -> bytes:
    """The DES-MAC of a message, all 64 bits."""
    code = bytes(8)
    for start in range(0, len(data), 8):
        block = data[start : start + 8].ljust(8, b"\0")
        code = ecb(key, bytes(a ^ b for a, b in zip(code, block, strict=True)))
    return code


def odd_parity(key: bytes) -> bytes:
    """The key with the parity that FIPS 46-3 asks for."""
    return bytes((octet & 0xFE) | (bin(octet >> 1).count("1") + 1) % 2 for octet in key)


def words(*values: int) -> bytes:
    """32-bit integers, big-endian."""
    return b"".join(value.to_bytes(4, "big") for value in values)


def frame(message: int, data: bytes = b"", option: int = ACK) -> bytes:
    """One message with its header."""
    return words(0, message, len(data), option, 0, 0, 0, 0) + data


Spoil = dict[int, Callable[[bytes], bytes]]
"""What to do to the frames of a message id before they are sent."""


class IndependentPeer:
    """One end of a line over a connected socket."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        server: bool,
        authentication_key: bytes,
        encryption_key: bytes,
        encryption: int = DES_CBC,
        mac: int = MD5,
        unique: bool = False,
        key_index: int = 1,
        name: bytes = b"independent",
        block: int = 8192,
        limit: int = 1_048_576,
        each_block: bool = False,
        decrypted_response: bool = False,
        decrypted_session_key: bool = False,
        spoil: Spoil | None = None,
    ) -> None:
        self.sock = sock
        self.server = server
        self.authentication_key = authentication_key
        self.encryption_key = encryption_key
        self.encryption = encryption
        self.mac = mac
        self.unique = unique
        self.key_index = key_index
        self.name = name
        self.block = block
        self.limit = limit
        self.each_block = each_block
        self.decrypted_response = decrypted_response
        self.decrypted_session_key = decrypted_session_key
        self.spoil = spoil or {}
        self.iv = bytes(8)
        self.other_name = b""
        self.seen: list[tuple[str, bytes]] = []

    # -- frames

    def put(self, message: int, data: bytes = b"", option: int = ACK) -> None:
        octets = self.spoil.get(message, bytes)(frame(message, data, option))
        self.seen.append(("server" if self.server else "client", octets))
        self.sock.sendall(octets)
        if len(octets) < 32 + int.from_bytes(octets[8:12], "big") < 0x10000:
            raise Hung("cut off by ourselves")

    def get(self, *expected: int) -> tuple[int, bytes]:
        header = self._exactly(32)
        fields = [int.from_bytes(header[i : i + 4], "big") for i in range(0, 32, 4)]
        _, message, length, option, *_ = fields
        data = self._exactly(length)
        self.seen.append(("client" if self.server else "server", header + data))
        if option != ACK:
            raise Refused(message, option, data)
        assert message in expected, f"{message:#x} came where {[hex(e) for e in expected]} was due"
        return message, data

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise Hung
            data += more
        return data

    # -- the four protocols

    def handshake(self) -> None:
        if self.server:
            self._serve_handshake()
        else:
            self._ask_handshake()

    def _serve_handshake(self) -> None:
        self.put(LINE_CHECK_RQ, b"MEDIS-ISCL V1.00" + words(self.block))
        self.block = int.from_bytes(self.get(LINE_CHECK_RP)[1], "big")
        self.put(AUTH_RQ, words(0, self.key_index, len(self.name)) + self.name)
        data = self.get(AUTH_RP)[1]
        self.other_name = data[4:]
        assert len(self.other_name) == int.from_bytes(data[:4], "big")
        challenge, expected = self._challenge()
        self.put(PASS_1, challenge)
        data = self.get(PASS_2)[1]
        assert data[:8] == expected, "the client does not have the key"
        self.put(PASS_3, self._response(data[8:]))
        self.get(AUTH_DONE)

    def _ask_handshake(self) -> None:
        data = self.get(LINE_CHECK_RQ)[1]
        assert data[:16] == b"MEDIS-ISCL V1.00"
        self.block = min(self.block, int.from_bytes(data[16:], "big"))
        self.put(LINE_CHECK_RP, words(self.block))
        data = self.get(AUTH_RQ)[1]
        assert data[:8] == words(0, self.key_index)
        self.other_name = data[12:]
        self.put(AUTH_RP, words(len(self.name)) + self.name)
        theirs = self.get(PASS_1)[1]
        challenge, expected = self._challenge()
        self.put(PASS_2, self._response(theirs) + challenge)
        assert self.get(PASS_3)[1] == expected, "the server does not have the key"
        self.put(AUTH_DONE)

    def _challenge(self) -> tuple[bytes, bytes]:
        """A challenge and its response: one is a random number, and the other one is that number encrypted."""
        random = os.urandom(8)
        encrypted = ecb(self.authentication_key, random)
        return (encrypted, random) if self.decrypted_response else (random, encrypted)

    def _response(self, challenge: bytes) -> bytes:
        return ecb(self.authentication_key, challenge, decrypt=self.decrypted_response)

    def send(self, message: bytes) -> None:
        """Send one message in one transfer."""
        key_id = 0x10 | 1 if self.unique else 1
        self.put(SEND_RQ, words(self.encryption, key_id, self.mac, len(message)))
        self.get(SEND_RP)
        key = self.encryption_key
        if self.unique:
            random = os.urandom(8)
            self.put(RANDOM_RQ, random)
            self.get(RANDOM_RP)
            key = self._session_key(random)
        room = self.block - 32
        if self.each_block:
            for fragment in self._fragments(message):
                self.put(BLOCK, self._encrypt(key, fragment))
        else:
            data = self._encrypt(key, message) if self.encryption == DES_CBC else message
            for start in range(0, len(data), room):
                self.put(BLOCK, data[start : start + room])
        if self.mac != NO_MAC:
            self.put(CODE, self._code(key, message))

    def receive(self) -> bytes:
        """Receive one message, or nothing after a disconnection, which is answered."""
        kind, data = self.get(SEND_RQ, BYE_RQ)
        if kind == BYE_RQ:
            self.put(BYE_RP)
            return b""
        encryption, key_id, mac, length = (int.from_bytes(data[i : i + 4], "big") for i in range(0, 16, 4))
        assert (encryption, key_id, mac) == (self.encryption, 0x11 if self.unique else 1, self.mac)
        if length > self.limit:
            self.put(SEND_RP, words(self.limit), NAK)
            raise Hung
        self.put(SEND_RP, words(length))
        key = self.encryption_key
        if self.unique:
            key = self._session_key(self.get(RANDOM_RQ)[1])
            self.put(RANDOM_RP)
        if self.each_block:
            message = b""
            for fragment in self._fragments(bytes(length)):
                message += self._decrypt(key, self.get(BLOCK)[1])
                assert len(message) % len(fragment) == 0 or len(message) == length
        else:
            total = (length // 8 + 1) * 8 if encryption == DES_CBC else length
            data = b""
            while len(data) < total:
                data += self.get(BLOCK)[1]
            message = self._decrypt(key, data) if encryption == DES_CBC else data
        assert len(message) == length
        if mac != NO_MAC:
            self._judge(key, message, self.get(CODE)[1])
        return message

    def _fragments(self, message: bytes) -> list[bytes]:
        """What goes into each block where each is padded by itself: one octet of padding in all but the last."""
        room = (self.block - 32) // 8 * 8 - 1
        return [message[start : start + room] for start in range(0, len(message), room)]

    def _session_key(self, random: bytes) -> bytes:
        return odd_parity(ecb(self.encryption_key, random, decrypt=self.decrypted_session_key))

    def bye(self) -> None:
        """The line disconnection, asked for by this end."""
        self.put(BYE_RQ)
        self.get(BYE_RP)

    # -- MAC and encryption, with one chain for the connection

    def _encrypt(self, key: bytes, data: bytes) -> bytes:
        ciphertext = cbc(key, self.iv, pad(data))
        self.iv = ciphertext[-8:]
        return ciphertext

    def _decrypt(self, key: bytes, data: bytes) -> bytes:
        message = unpad(cbc(key, self.iv, data, decrypt=True))
        self.iv = data[-8:]
        return message

    def _code(self, key: bytes, message: bytes) -> bytes:
        if self.mac == MD5:
            return self._encrypt(key, hashlib.md5(message).digest())
        code = fips_113(key, message)
        return self._encrypt(key, code) if self.encryption == DES_CBC else code

    def _judge(self, key: bytes, message: bytes, code: bytes) -> None:
        if self.mac == MD5:
            assert self._decrypt(key, code) == hashlib.md5(message).digest(), "wrong MAC"
        else:
            plain = self._decrypt(key, code) if self.encryption == DES_CBC else code
            assert plain == fips_113(key, message), "wrong MAC"
