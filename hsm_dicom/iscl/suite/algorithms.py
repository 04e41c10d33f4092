"""Protection of messages: MAC and DES-CBC with keys on the device, and the chain of initialisation vectors.

PS3.15-2008 B.2: integrity by MD5 encrypted with DES or by DES-MAC (ISO 8730), privacy by DES. The device does
every operation with a key; this module pads, chains and compares. A message is processed in pieces, so that one end
encrypts while the other already decrypts.

The MAC is made before encryption, so a receiver has to decrypt before it can verify. It verifies the MAC even if the
padding is already known to be wrong, over as many octets as were announced; and the peer sees the same in either case:
the end of the connection.
"""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Iterator

from hsm_dicom.iscl.errors import ErrorCode, IntegrityError, LocalProtocolError
from hsm_dicom.iscl.settings import ISCLSettings
from hsm_dicom.iscl.suite.codes import LEAST, MD5_LENGTH, Code, DesMac, Md5, NoCode
from hsm_dicom.iscl.wire.blocks import Fragmentation, compute_padded_length, pad, padding_length
from hsm_dicom.iscl.wire.messages import MAX_BLOCK_DATA, Encryption, Mac
from hsm_dicom.iscl.wire.profile import DES_BLOCK, AnnouncedLength, IvChain, Md5Order, Role, SessionKeyDerivation
from tokens.secrets import DataKey, Secrets

PIECE = 256 * 1024
"""Octets that go to the device at once: enough to be efficient, few enough for both ends to work at the same time."""


class Suite:
    """The protection of all messages of one connection."""

    def __init__(self, settings: ISCLSettings, secrets: Secrets) -> None:
        self.settings = settings
        self._secrets = secrets
        self._last_blocks: dict[Role | None, bytes] = {}
        self._fixed: contextlib.ExitStack | None = contextlib.ExitStack()
        self._fixed_keys: dict[int, DataKey] = {}
        self._fragmentation: Fragmentation | None = None

    def protect(self, sender: Role, random: bytes | None, block_data: int = MAX_BLOCK_DATA) -> Protection:
        """Return the protection of the next message. `random` is its session random number, if it has one.

        `block_data` is how many octets of data a block has, as negotiated. Raises the errors of `tokens.errors`.
        """
        fragmentation = self._fragmentation
        if fragmentation is None or fragmentation.block_data != block_data:
            fragmentation = Fragmentation(self.settings.profile, self.settings.encryption, block_data)
            self._fragmentation = fragmentation
        return Protection(self, sender, random, fragmentation)

    def key(self, index: int, random: bytes | None, owned: contextlib.ExitStack) -> DataKey:
        """Return the fixed key, or the session key that `owned` will destroy."""
        if self._fixed is None:
            raise LocalProtocolError(ErrorCode.NOT_NOW, "The connection is closed; open a new one.")
        if random is not None:
            by_decryption = self.settings.profile.session_key is SessionKeyDerivation.DECRYPTED_RANDOM_NUMBER
            return owned.enter_context(self._secrets.session_key(index, random, by_decryption=by_decryption))
        if index not in self._fixed_keys:
            self._fixed_keys[index] = self._fixed.enter_context(self._secrets.data_key(index))
        return self._fixed_keys[index]

    def close(self) -> None:
        """Let go of the keys; doing so twice is fine."""
        fixed, self._fixed = self._fixed, None
        if fixed is not None:
            fixed.close()

    def iv(self, sender: Role) -> bytes:
        """Return the initialisation vector of this sender's next message."""
        return self._last_blocks.get(self._chain(sender), bytes(DES_BLOCK))

    def settle(self, sender: Role, last_block: bytes) -> None:
        """Record that a whole message of this sender was transferred, whose last encryption ended with this block."""
        if self.settings.profile.iv_chain in (IvChain.CONNECTION, IvChain.DIRECTION):
            self._last_blocks[self._chain(sender)] = last_block

    def _chain(self, sender: Role) -> Role | None:
        return sender if self.settings.profile.iv_chain is IvChain.DIRECTION else None


class Protection:
    """The protection of one message: either `seal` and then `code`, or `take` each piece and then `open`; and `settle`.

    A message that was sealed but not sent does not change the chain.
    """

    def __init__(self, suite: Suite, sender: Role, random: bytes | None, fragmentation: Fragmentation) -> None:
        self.fragmentation = fragmentation
        self._suite = suite
        self._settings = settings = suite.settings
        self._profile = settings.profile
        self._sender = sender
        self._owned = contextlib.ExitStack()
        self._encrypts = settings.encryption is Encryption.DES_CBC
        try:
            wants_key = settings.ciphers or (random is not None and settings.mac is Mac.MD5)
            self._cipher = suite.key(settings.encryption_key, random, self._owned) if wants_key else None
            self._code: Code
            if settings.mac is Mac.DES_MAC:
                index = settings.encryption_key if settings.mac_key is None else settings.mac_key
                shared = self._cipher is not None and settings.mac_key is None
                key = self._cipher if shared and self._cipher else suite.key(index, random, self._owned)
                self._code = DesMac(key, self._profile.mac_padding, self._profile.mac_length)
            elif settings.mac is Mac.MD5:
                value = self._cipher.value if random is not None and self._cipher is not None else None
                self._code = Md5(value, asked=random is not None)
            else:
                self._code = NoCode()
        except BaseException:
            self._owned.close()
            raise
        self._vector: bytes | None = None
        self._encrypted_code: bytes | None = None
        self._ciphertext: list[bytes] = []
        self._waiting = 0
        self._message: list[bytes] = []
        self._judged = 0
        self._paddings_are_right = True

    @property
    def _iv(self) -> bytes:
        """The next vector. The first is asked for when it is needed: by then the message before is settled."""
        return self._suite.iv(self._sender) if self._vector is None else self._vector

    def settle(self) -> None:
        """Record that the message was transferred: the next one is chained to it."""
        self._suite.settle(self._sender, self._iv)

    def close(self) -> None:
        """Destroy the session key; doing so twice is fine."""
        self._owned.close()

    # -- sending --------------------------------------------------------------------------------------------

    def seal(self, message: bytes) -> Iterator[bytes]:
        """Yield what a message is on the wire, in pieces that fill whole blocks, except the last.

        The first and the last pieces are shorter, so that the other end begins and is done soon after this one.
        """
        start = 0
        while start < len(message):
            end = start + _piece_length(start, len(message) - start, self.fragmentation.unit)
            piece = message[start:end]
            self._code.update(piece)
            yield self._seal_piece(piece, is_last=end >= len(message)) if self._encrypts else piece
            start = end

    def _seal_piece(self, piece: bytes, is_last: bool) -> bytes:
        """Return the ciphertext of a piece; the last one has the encrypted code too, if that saves a device call."""
        profile = self._profile
        if self.fragmentation.seals_each_block:
            blocks = [pad(fragment, profile.padding) for fragment in self.fragmentation.fragments(piece)]
        else:
            blocks = [pad(piece, profile.padding) if is_last else piece]
        if profile.iv_chain is IvChain.NONE:
            return b"".join(
                map(self._encrypt_from_start if self.fragmentation.seals_each_block else self._encrypt, blocks)
            )
        end = sum(map(len, blocks))
        if not is_last or self._settings.mac is Mac.NONE:
            ciphertext = self._encrypt(b"".join(blocks))
        elif (code := self._code_of_cipher) is not None:
            ciphertext = self._encrypt_with_code(b"".join(blocks), code)
        else:
            ciphertext = self._encrypt(b"".join((*blocks, pad(self._own_code(), profile.padding))))
        self._encrypted_code = ciphertext[end:]
        return ciphertext[:end]

    def _encrypt(self, data: bytes) -> bytes:
        ciphertext = self._key.encrypt(data, self._iv)
        self._vector = ciphertext[-DES_BLOCK:]
        return ciphertext

    def _encrypt_with_code(self, data: bytes, code: DesMac) -> bytes:
        """Make the code and encrypt the data and the code, with the device reserved once."""
        iv, padding = self._iv, self._profile.padding
        ciphertext = self._key.carry_out(lambda key: key.encrypt(data + pad(code.finish(key), padding), iv))
        self._vector = ciphertext[-DES_BLOCK:]
        return ciphertext

    @property
    def _code_of_cipher(self) -> DesMac | None:
        """The code, if it is made with the key that encrypts, so that one job of the device can do both."""
        return self._code if isinstance(self._code, DesMac) and self._code.key is self._cipher else None

    def _encrypt_from_start(self, data: bytes) -> bytes:
        self._begin_encryption()
        return self._encrypt(data)

    def _begin_encryption(self) -> None:
        """Begin a separate encryption, not a further piece of the same one."""
        if self._profile.iv_chain is IvChain.NONE:
            self._vector = bytes(DES_BLOCK)

    def code(self) -> bytes:
        """Return the MAC of what was sealed, as it is on the wire."""
        if self._encrypted_code:
            return self._encrypted_code
        code = self._own_code()
        return self._encrypt_from_start(pad(code, self._profile.padding)) if self._encrypts_code else code

    @property
    def _encrypts_code(self) -> bool:
        """Whether the code that we send is encrypted."""
        if self._encrypts or self._settings.mac is Mac.DES_MAC:
            return self._encrypts
        return self._profile.md5_order is Md5Order.ENCRYPT_DIGEST and self._profile.md5_always_encrypted

    def _own_code(self) -> bytes:
        """Return the MAC that we send, before it is encrypted."""
        if self._settings.mac is Mac.DES_MAC or self._profile.md5_order is Md5Order.ENCRYPT_DIGEST:
            return self._code.value()
        value = self._code.other_value()
        if value is None:
            raise LocalProtocolError(
                ErrorCode.METHOD_NOT_ACCEPTABLE,
                "The MD5 code that begins with the encrypted random number needs the session key in this "
                "program's memory (host_session_keys); use the other order, or enable host_session_keys.",
            )
        return value

    # -- receiving ------------------------------------------------------------------------------------------

    def take(self, octets: bytes) -> None:
        """Take a piece of what came over the wire."""
        if self._encrypts:
            self._ciphertext.append(octets)
            self._waiting += len(octets)
        else:
            self._append(octets, held_back=0)

    def catch_up(self) -> None:
        """Decrypt what came, while the connection is silent; or, where that is little, leave it to the next time."""
        if self._waiting >= LEAST:
            self._decrypt(self._key, self.fragmentation.full if self.fragmentation.seals_each_block else DES_BLOCK)

    def open(self, code: bytes | None, announced: int) -> bytes:
        """Return the message that was announced with this length, verified by its MAC (None if messages have none).

        Raises `IntegrityError`: DECRYPTION_FAILED for padding, WRONG_MAC for everything else.
        """
        plain_code = b""
        if self._encrypts:
            plain_code = self._decrypt_rest(code or b"", announced)
        else:
            self._make_code(held_back=0)
        code_is_right = code is None or self._judge(code, plain_code)
        if not self._paddings_are_right:
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
        return b"".join(self._message)

    def _decrypt_rest(self, code: bytes, announced: int) -> bytes:
        """Decrypt the end of the message, and strip its padding; returns what `_decrypt` does."""
        made = self._code_of_cipher
        # Only what is too short for a call of its own is added to the code without the device.
        if made is None or self._profile.iv_chain is IvChain.NONE or self._waiting + made.waiting >= LEAST:
            return self._decrypt_and_strip(self._key, code, announced)
        decrypted: list[bytes] = []

        def operations(key: DataKey) -> None:
            if not decrypted:  # the device may be lost between the two operations
                decrypted.append(self._decrypt_and_strip(key, code, announced))
            made.finish(key)

        self._key.carry_out(operations)
        return decrypted[0]

    def _decrypt_and_strip(self, key: DataKey, code: bytes, announced: int) -> bytes:
        plain_code = self._decrypt(key, DES_BLOCK, code)
        self._strip_padding(self._padding_due(announced))
        self._make_code(held_back=0)
        return plain_code

    def _decrypt(self, key: DataKey, unit: int, code: bytes = b"") -> bytes:
        """Decrypt what waits, in whole units; and with it the MAC, which is returned, where the two are chained."""
        ciphertext = b"".join(self._ciphertext)
        whole = len(ciphertext) // unit * unit
        full = self.fragmentation.full if self.fragmentation.seals_each_block else max(whole, 1)
        if self._profile.iv_chain is not IvChain.NONE:
            joined = code if len(code) == self._encrypted_code_length else b""
            plaintext = self._decrypt_chained(key, ciphertext[:whole] + joined) if whole or joined else b""
            parts = [plaintext[start : min(start + full, whole)] for start in range(0, whole, full)]
        else:
            decrypt = self._decrypt_from_start if self.fragmentation.seals_each_block else self._decrypt_chained
            plaintext = b""
            parts = [decrypt(key, ciphertext[start : min(start + full, whole)]) for start in range(0, whole, full)]
        self._ciphertext = [ciphertext[whole:]] if whole < len(ciphertext) else []
        self._waiting = len(ciphertext) - whole
        for part in parts:
            if self.fragmentation.seals_each_block and self._message:
                self._strip_padding(1)  # of the block before, which has turned out not to be the last
            self._append(part, held_back=DES_BLOCK)
        return plaintext[whole:]

    def _decrypt_chained(self, key: DataKey, ciphertext: bytes) -> bytes:
        plaintext = key.decrypt(ciphertext, self._iv)
        self._vector = ciphertext[-DES_BLOCK:]
        return plaintext

    def _decrypt_from_start(self, key: DataKey, ciphertext: bytes) -> bytes:
        self._begin_encryption()
        return self._decrypt_chained(key, ciphertext)

    def _append(self, part: bytes, held_back: int) -> None:
        self._make_code(held_back=0)
        self._message.append(part)
        self._judged = 0
        self._make_code(held_back)

    def _make_code(self, held_back: int) -> None:
        """Make the code of the message as far as it arrived, except the last octets, which may be padding."""
        if self._message:
            last = self._message[-1]
            end = max(self._judged, len(last) - held_back)
            self._code.update(memoryview(last)[self._judged : end])
            self._judged = end

    def _padding_due(self, announced: int) -> int | None:
        """Return how many octets of padding must end the message; None if only the padding gives its length."""
        if self._profile.announced_length is AnnouncedLength.CIPHERTEXT:
            return None
        return sum(map(len, self._message)) - announced

    def _strip_padding(self, due: int | None) -> None:
        """Take away the padding that is due, whether or not it is there: what follows takes the same time then."""
        last = self._message.pop() if self._message else b""
        room = padding_length(last[-DES_BLOCK:], self._profile.padding)
        due = room if due is None else due
        self._paddings_are_right = self._paddings_are_right and room is not None and room == due
        self._message.append(last[: len(last) - (due or 0)])

    def _judge(self, code: bytes, decrypted: bytes) -> bool:
        """Whether this is the code, which may be decrypted already. All comparisons are made, in constant time."""
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
        if encrypted and len(code) == self._encrypted_code_length:
            plain = decrypted or self._decrypt_from_start(self._key, code)
            room = padding_length(plain, self._profile.padding)
            return room is not None and _any_equal(plain[: len(plain) - room], encrypted)
        return _any_equal(code, clear)

    @property
    def _encrypted_code_length(self) -> int:
        return compute_padded_length(self._profile.mac_length if self._settings.mac is Mac.DES_MAC else MD5_LENGTH)

    @property
    def _key(self) -> DataKey:
        if self._cipher is None:
            raise LocalProtocolError(ErrorCode.NOT_NOW, "This message is not encrypted.")
        return self._cipher


def _piece_length(done: int, left: int, unit: int) -> int:
    """Return how much of the rest of a message to seal next, given the octets that fill whole blocks."""
    least = max(1, LEAST // unit) * unit
    if left <= 2 * least:
        return left
    return max(least, min(PIECE, done, left // 2) // unit * unit)


def _any_equal(code: bytes, candidates: list[bytes]) -> bool:
    return any([hmac.compare_digest(code, candidate) for candidate in candidates])  # noqa: C419 - compares all
