"""What protects a message: MAC and DES-CBC with keys on the device, and the chain of initialisation vectors.

PS3.15-2008 B.2: integrity by MD5 encrypted with DES or by DES-MAC (ISO 8730), privacy by DES. Every operation with a
key is the device's; this module cuts, pads, chains and compares. A message passes in pieces, so that one end encrypts
while the other already decrypts.

MAC first, then encryption: a receiver has to decrypt before it can judge. It therefore judges the MAC even when the
padding is already known to be wrong, and says the same thing to the peer either way: nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import Iterator

from hsm_dicom.iscl.errors import ErrorCode, IntegrityError, LocalProtocolError
from hsm_dicom.iscl.messages import Encryption, Mac
from hsm_dicom.iscl.profile import DES_BLOCK, IvChain, MacPadding, Md5Order, Padding, Role
from hsm_dicom.iscl.settings import ISCLSettings
from tokens.secrets import DataKey, Secrets

PIECE = 128 * 1024
"""Octets that go to the device at once: enough to be efficient, few enough for both ends to work at the same time."""

LEAST = 32 * 1024
"""Octets for which a call of the device is worth its while before the message is complete."""


def padded(data: bytes, padding: Padding) -> bytes:
    """The data with 1 to 8 octets more, a whole number of blocks."""
    room = DES_BLOCK - len(data) % DES_BLOCK
    tail = bytes([room]) * room if padding is Padding.PKCS5 else b"\x80" + bytes(room - 1)
    return data + tail


def padding_length(data: bytes, padding: Padding) -> int | None:
    """How many octets of padding end the data, 1 to 8, or None where it does not end in padding."""
    if padding is Padding.PKCS5:
        room = data[-1] if data else 0
        right = 1 <= room <= DES_BLOCK and hmac.compare_digest(data[-room:], bytes([room]) * room)
        return room if right else None
    stripped = data[-DES_BLOCK:].rstrip(b"\0")
    return len(data[-DES_BLOCK:]) - len(stripped) + 1 if stripped.endswith(b"\x80") else None


class Suite:
    """The protection of all messages of one connection."""

    def __init__(self, settings: ISCLSettings, secrets: Secrets) -> None:
        self.settings = settings
        self._secrets = secrets
        self._last_blocks: dict[Role | None, bytes] = {}
        self._fixed: contextlib.ExitStack | None = contextlib.ExitStack()
        self._fixed_keys: dict[int, DataKey] = {}

    def protect(self, sender: Role, random: bytes | None) -> Protection:
        """The protection of the next message. `random` is its session random number, where it has one.

        Raises the errors of `tokens.errors`.
        """
        return Protection(self, sender, random)

    def key(self, index: int, random: bytes | None, owned: contextlib.ExitStack) -> DataKey:
        """The fixed key, or the session key that `owned` will destroy."""
        if self._fixed is None:
            raise LocalProtocolError(ErrorCode.NOT_NOW, "The connection is closed; open a new one.")
        if random is not None:
            return owned.enter_context(self._secrets.session_key(index, random))
        if index not in self._fixed_keys:
            self._fixed_keys[index] = self._fixed.enter_context(self._secrets.data_key(index))
        return self._fixed_keys[index]

    def close(self) -> None:
        """Let go of the keys; doing so twice is fine."""
        fixed, self._fixed = self._fixed, None
        if fixed is not None:
            fixed.close()

    def iv(self, sender: Role) -> bytes:
        """The vector with which the next message of this sender begins."""
        return self._last_blocks.get(self._chain(sender), bytes(DES_BLOCK))

    def settle(self, sender: Role, last_block: bytes) -> None:
        """A message of this sender went over the line whole, and its last encryption ended with this block."""
        if self.settings.profile.iv_chain in (IvChain.CONNECTION, IvChain.DIRECTION):
            self._last_blocks[self._chain(sender)] = last_block

    def _chain(self, sender: Role) -> Role | None:
        return sender if self.settings.profile.iv_chain is IvChain.DIRECTION else None


class Protection:
    """The protection of one message: either `seal` and then `code`, or `take` each piece and then `open`; and `settle`.

    A message that was sealed, but did not go out after all, leaves no trace in the chain.
    """

    def __init__(self, suite: Suite, sender: Role, random: bytes | None) -> None:
        self._suite = suite
        self._settings = settings = suite.settings
        self._profile = settings.profile
        self._sender = sender
        self._owned = contextlib.ExitStack()
        self._encrypts = settings.encryption is Encryption.DES_CBC
        with contextlib.ExitStack() as undo:
            undo.callback(self._owned.close)
            wants_key = settings.ciphers or (random is not None and settings.mac is Mac.MD5)
            self._cipher = suite.key(settings.encryption_key, random, self._owned) if wants_key else None
            self._code: _Code
            if settings.mac is Mac.DES_MAC:
                index = settings.encryption_key if settings.mac_key is None else settings.mac_key
                shared = self._cipher is not None and settings.mac_key is None
                key = self._cipher if shared and self._cipher else suite.key(index, random, self._owned)
                self._code = _DesMac(key, self._profile.mac_padding, self._profile.mac_length)
            elif settings.mac is Mac.MD5:
                value = self._cipher.value if random is not None and self._cipher is not None else None
                self._code = _Md5(value, asked=random is not None)
            else:
                self._code = _NoCode()
            undo.pop_all()
        self._iv = suite.iv(sender)
        self._ciphertext: list[bytes] = []
        self._waiting = 0
        self._plaintext = bytearray()

    def settle(self) -> None:
        """The message went over the line: the next one is chained to it."""
        self._suite.settle(self._sender, self._iv)

    def close(self) -> None:
        """Destroy the session key; doing so twice is fine."""
        self._owned.close()

    # -- sending --------------------------------------------------------------------------------------------

    def seal(self, message: bytes) -> Iterator[bytes]:
        """What goes on the wire for a message, in pieces."""
        for start in range(0, len(message), PIECE):
            piece = message[start : start + PIECE]
            self._code.update(piece)
            if not self._encrypts:
                yield piece
                continue
            if start + PIECE >= len(message):
                piece = padded(piece, self._profile.padding)
            ciphertext = self._key.encrypt(piece, self._iv)
            self._iv = ciphertext[-DES_BLOCK:]
            yield ciphertext

    def code(self) -> bytes:
        """The MAC of what was sealed, as it goes on the wire."""
        match self._settings.mac:
            case Mac.DES_MAC:
                return self._sealed_code(self._code.value(), self._encrypts)
            case _ if self._profile.md5_order is Md5Order.DIGEST_AFTER_ENCRYPTED_RANDOM:
                value = self._code.other_value()
                if value is None:
                    raise LocalProtocolError(
                        ErrorCode.METHOD_NOT_ACCEPTABLE,
                        "The MD5 code that begins with the encrypted random number needs the session key in this "
                        "program's memory (host_session_keys); take the other order, or allow that.",
                    )
                return self._sealed_code(value, self._encrypts)
            case _:
                return self._sealed_code(self._code.value(), self._encrypts or self._profile.md5_always_encrypted)

    def _sealed_code(self, code: bytes, encrypt: bool) -> bytes:
        if not encrypt:
            return code
        ciphertext = self._key.encrypt(padded(code, self._profile.padding), self._iv_of_code())
        self._iv = ciphertext[-DES_BLOCK:]
        return ciphertext

    def _iv_of_code(self) -> bytes:
        return bytes(DES_BLOCK) if self._profile.iv_chain is IvChain.NONE else self._iv

    # -- receiving ------------------------------------------------------------------------------------------

    def take(self, octets: bytes) -> None:
        """Take a piece of what came over the wire."""
        if not self._encrypts:
            self._code.update(octets)
            self._plaintext += octets
            return
        self._ciphertext.append(octets)
        self._waiting += len(octets)

    def catch_up(self) -> None:
        """Decrypt what came, while the line is silent; or, where that is little, leave it to the next time."""
        if self._waiting >= LEAST:
            self._decrypt()

    def open(self, code: bytes | None, announced: int) -> bytes:
        """The message that was announced with this length, judged by its MAC (None where messages have none).

        Raises `IntegrityError`: DECRYPTION_FAILED for padding, WRONG_MAC for everything else.
        """
        padding_is_right = True
        if self._encrypts:
            self._decrypt()
            room = padding_length(bytes(self._plaintext[-DES_BLOCK:]), self._profile.padding)
            length = len(self._plaintext) - (room or 0)
            padding_is_right = room is not None and self._profile.announced(length, Encryption.DES_CBC) == announced
            # The code has had all but the last block, which is at least in part padding.
            tail = len(self._plaintext) - DES_BLOCK
            end = length if padding_is_right else len(self._plaintext)
            self._update_code(tail, end)
            del self._plaintext[end:]
        code_is_right = code is None or self._judge(code)
        if not padding_is_right:
            raise IntegrityError(
                ErrorCode.DECRYPTION_FAILED,
                "A message does not end in its padding after decryption: it was changed under way, "
                "or the encryption keys differ.",
            )
        if not code_is_right:
            raise IntegrityError(
                ErrorCode.WRONG_MAC,
                "A message does not match its MAC: it was changed under way, or the keys differ"
                + (
                    "; or the peer begins with the encrypted random number, which cannot be verified while the "
                    "session key stays on its device."
                    if self._code.other_order_is_out_of_reach
                    else "."
                ),
            )
        return bytes(self._plaintext)

    def _decrypt(self) -> None:
        """Decrypt what waits, but for octets that fill no block yet."""
        ciphertext = b"".join(self._ciphertext)
        whole = len(ciphertext) // DES_BLOCK * DES_BLOCK
        self._ciphertext = [ciphertext[whole:]] if whole < len(ciphertext) else []
        self._waiting = len(ciphertext) - whole
        ciphertext = ciphertext[:whole]
        if ciphertext:
            judged = max(len(self._plaintext) - DES_BLOCK, 0)
            self._plaintext += self._key.decrypt(ciphertext, self._iv)
            self._iv = ciphertext[-DES_BLOCK:]
            self._update_code(judged, len(self._plaintext) - DES_BLOCK)

    def _update_code(self, start: int, end: int) -> None:
        with memoryview(self._plaintext) as plaintext:
            self._code.update(plaintext[start:end])

    def _judge(self, code: bytes) -> bool:
        """Whether this is the code. All comparisons are made, each in constant time."""
        if self._settings.mac is Mac.DES_MAC:
            encrypted, clear = ([self._code.value()], []) if self._encrypts else ([], [self._code.value()])
        else:
            other = self._code.other_value()
            others = [] if other is None else [other]
            digest = [self._code.value()]
            if self._encrypts:
                encrypted, clear = digest + others, []
            elif self._profile.md5_always_encrypted:
                encrypted, clear = digest, others
            else:
                encrypted, clear = [], digest + others
        if encrypted and len(code) == len(padded(encrypted[0], self._profile.padding)):
            plain = self._key.decrypt(code, self._iv_of_code())
            self._iv = code[-DES_BLOCK:]
            room = padding_length(plain, self._profile.padding)
            return room is not None and _any_equal(plain[: len(plain) - room], encrypted)
        return _any_equal(code, clear)

    @property
    def _key(self) -> DataKey:
        if self._cipher is None:
            raise LocalProtocolError(ErrorCode.NOT_NOW, "This message is not encrypted.")
        return self._cipher


class _Code:
    """A MAC being made of a message that passes in pieces."""

    other_order_is_out_of_reach = False

    def update(self, data: bytes | memoryview) -> None:
        raise NotImplementedError

    def value(self) -> bytes:
        raise NotImplementedError

    def other_value(self) -> bytes | None:
        """The code in the other order of PS3.15, where it can be made."""
        return None


class _NoCode(_Code):
    """Where messages have no MAC."""

    def update(self, data: bytes | memoryview) -> None:
        pass


class _Md5(_Code):
    """MD5 of the message (Table B.2-1). It is no MAC before it is encrypted."""

    def __init__(self, session_key: bytes | None, asked: bool) -> None:
        self._digest = hashlib.md5(usedforsecurity=False)
        self._other = None if session_key is None else hashlib.md5(session_key, usedforsecurity=False)
        self.other_order_is_out_of_reach = asked and session_key is None

    def update(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        if self._other is not None:
            self._other.update(data)

    def value(self) -> bytes:
        return self._digest.digest()

    def other_value(self) -> bytes | None:
        return None if self._other is None else self._other.digest()


class _DesMac(_Code):
    """ISO/IEC 9797-1 MAC algorithm 1 with DES (FIPS 113), made by the device."""

    def __init__(self, key: DataKey, padding: MacPadding, length: int) -> None:
        self._key = key
        self._padding = padding
        self._length = length
        self._waiting = bytearray()
        self._last = bytes(DES_BLOCK)

    def update(self, data: bytes | memoryview) -> None:
        self._waiting += data
        if len(self._waiting) > PIECE:
            # The last block waits: it may need padding.
            whole = (len(self._waiting) - 1) // DES_BLOCK * DES_BLOCK
            self._last = self._key.mac(bytes(self._waiting[:whole]), self._last)
            del self._waiting[:whole]

    def value(self) -> bytes:
        data = bytes(self._waiting)
        if self._padding is MacPadding.METHOD_2:
            data += b"\x80"
        data += bytes(-len(data) % DES_BLOCK)
        return self._key.mac(data, self._last)[: self._length]


def _any_equal(code: bytes, candidates: list[bytes]) -> bool:
    return any([hmac.compare_digest(code, candidate) for candidate in candidates])  # noqa: C419 - compares all
