"""Secret DES keys on a device, in the terms of ISO/IEC 7816-4: the interface on which a secure channel is built.

Two parties prove to each other that they share a key, without sending it. Each party draws a challenge (GET CHALLENGE),
the other answers it (INTERNAL AUTHENTICATE), and the first verifies the answer (EXTERNAL AUTHENTICATE). The device, a
PKCS#11 token or a smart card, carries out all three. A card verifies only the answer to its last challenge, and only in
the next command. Therefore an authentication reserves the device for a conversation, which has a deadline:

    with tokens.open_secrets(uri) as secrets:
        with secrets.authentication(1, timeout=30.0) as a:    # the party that answers first
            answer = a.internal_authenticate(theirs)
            send(answer, a.challenge)                         # draws the challenge
            a.external_authenticate(receive())                # raises AuthenticationFailedError

        with secrets.authentication(1, timeout=30.0) as a:    # the party that asks first
            send(a.challenge)
            answer, theirs = receive()
            a.external_authenticate(answer)
            send(a.internal_authenticate(theirs))

Keys for data are fixed keys, by index, and session keys derived from them:

    with secrets.data_key(1) as key:
        code = key.mac(message)                               # 8 bytes
        ciphertext = key.encrypt(message, iv)
        iv = ciphertext[-8:]                                  # to chain the next message to this one

A driver provides `DeviceSecrets`; applications use `Secrets`. A card verifies a response itself. A PKCS#11 token
decrypts the response, and this process compares the result with the challenge in constant time.

A response is the encrypted challenge, and a session key the encrypted random number: one block of DES. With
`by_decryption`, for protocols that need it, DES decryption takes the place of encryption.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self, TypeVar, final

from tokens.algorithms.des_keys import CHECK_VALUE_LENGTH
from tokens.errors import (
    AuthenticationExpiredError,
    MechanismNotOfferedError,
    OutOfSequenceError,
    ReflectedChallengeError,
)
from tokens.host_session_key import HostSessionKey

T = TypeVar("T")

BLOCK = 8
"""Bytes in a block of DES, and so in a challenge, a response, an IV and a MAC."""

ZERO_IV = bytes(BLOCK)
"""The IV of a MAC, and of a channel's first message unless another one was agreed."""

WAIT = 10.0
"""Default number of seconds to wait for a device that is busy with another authentication."""

TIMEOUT = 30.0
"""Default number of seconds from the start of an authentication to its end."""


class Use(StrEnum):
    """Uses of a secret key. Keys of the two uses are numbered separately, and must differ in value."""

    AUTHENTICATION = "authentication"
    ENCRYPTION = "encryption"


class DeviceConversation(Protocol):
    """Interface of a driver for one authentication. `Secrets` calls it in the order of the commands, on one thread."""

    def internal_authenticate(self, challenge: bytes) -> bytes:
        """Return the 8 bytes that answer the other party's 8 bytes."""

    def get_challenge(self) -> bytes:
        """Return 8 random bytes that the device draws."""

    def external_authenticate(self, response: bytes) -> None:
        """Verify the answer to the last challenge. Raises `AuthenticationFailedError`."""


class DeviceDataKey(Protocol):
    """Interface of a driver for one data key. `DataKey` has checked lengths and IVs; data is never empty."""

    @property
    def on_device(self) -> bool:
        """Whether this process does not have the key's value."""

    @property
    def value(self) -> bytes | None:
        """The 8 bytes of a session key that is in this process's memory; None for every other key."""

    def mac(self, data: bytes, iv: bytes) -> bytes:
        """Return the last block of the CBC encryption."""

    def encrypt(self, data: bytes, iv: bytes) -> bytes:
        """Encrypt with CBC without padding."""

    def decrypt(self, data: bytes, iv: bytes) -> bytes:
        """Decrypt with CBC without padding."""

    def carry_out(self, operations: Callable[[DeviceDataKey], T]) -> T:
        """Carry out several operations with the device reserved once, if it can; see `DataKey.carry_out`."""

    def close(self) -> None:
        """Destroy a session key; release a fixed one."""


class DeviceSecrets(Protocol):
    """Interface of a driver: the secret keys of one device, for any thread."""

    @property
    def description(self) -> str:
        """The secret keys and their device, for messages."""

    def conversation(
        self, index: int, peer_index: int, wait: float, deadline: float, *, by_decryption: bool = False
    ) -> AbstractContextManager[DeviceConversation]:
        """Reserve the device until the block ends or `time.monotonic()` reaches `deadline`, whichever is first.

        Raises `TokenBusyError` after waiting `wait` seconds, `NoSuchKeyError`, and `MechanismNotOfferedError` if the
        device cannot answer `by_decryption`.
        """

    def data_key(self, index: int) -> DeviceDataKey:
        """Return the fixed key. Raises `NoSuchKeyError`."""

    def session_key(self, index: int, random: bytes, *, by_decryption: bool = False) -> DeviceDataKey:
        """Derive a key that stays on the device. Raises `MechanismNotOfferedError` if the device cannot do this."""

    def session_key_to_host(self, index: int, random: bytes, *, by_decryption: bool = False) -> bytes:
        """Return the 8 bytes of a session key that the device cannot keep."""

    def check_value(self, use: Use, index: int) -> bytes:
        """Return the first 3 bytes of a block of zeros encrypted under the key. Raises `NoSuchKeyError`."""

    def close(self) -> None:
        """Release the device."""


@final
class Secrets:
    """The secret keys of one device. May be shared between threads; a context manager.

    Every method raises the classes of `tokens.errors`: `NoSuchKeyError` for an index without a key (a card reports it
    only when the key is used), `KeyPolicyError` for a key that could leave its device, `TokenBusyError`,
    `TokenLostError`, `MechanismNotOfferedError`.
    """

    def __init__(self, device: DeviceSecrets, *, host_session_keys: bool = False) -> None:
        self.device = device
        self._host_session_keys = host_session_keys
        self._outstanding: Counter[tuple[int, bytes]] = Counter()
        self._counting = threading.Lock()

    @property
    def description(self) -> str:
        """The secret keys and their device, for messages."""
        return self.device.description

    @contextmanager
    def authentication(
        self,
        index: int,
        peer_index: int | None = None,
        *,
        by_decryption: bool = False,
        wait: float = WAIT,
        timeout: float = TIMEOUT,
    ) -> Iterator[Authentication]:
        """Begin a conversation in which both parties prove that they have a key; see `Authentication`.

        `index` (from 1) is the authentication key with which this party answers, `peer_index` that of the other
        party: the same unless keys are directional. With `by_decryption`, both parties answer with the decrypted
        challenge; a card supports only its own commands and raises `MechanismNotOfferedError`. Waits up to `wait`
        seconds for a busy device, then raises `TokenBusyError`; a card serves one conversation at a time. `timeout` is
        the number of seconds from the start to the end of the block. Afterwards the device is free for others, even if
        the block continues, and every call raises `AuthenticationExpiredError`.
        """
        theirs = index if peer_index is None else peer_index
        expires = time.monotonic() + timeout
        reserved = self.device.conversation(index, theirs, min(wait, timeout), expires, by_decryption=by_decryption)
        with reserved as conversation:
            held = Authentication(self, conversation, index, theirs, expires)
            try:
                yield held
            finally:
                held._end()

    def data_key(self, index: int) -> DataKey:
        """Return the fixed encryption key with this index (from 1), a context manager."""
        return DataKey(self.device.data_key(index), f"encryption key {index} of {self.description}")

    def session_key(self, index: int, random: bytes, *, by_decryption: bool = False) -> DataKey:
        """Return the session key: 8 random bytes encrypted under the fixed encryption key `index`; a context manager.

        It is derived and kept on the device (C_DeriveKey) and destroyed on closing. If the device cannot do that and
        `host_session_keys=True` was given, the key is kept in this process's memory, which an event reports each time;
        otherwise raises `MechanismNotOfferedError`. No device keeps a session key that is made `by_decryption`. Parity
        is not adjusted, since DES ignores it.
        """
        _require_block(random, "random number")
        name = f"session key under encryption key {index} of {self.description}"
        try:
            return DataKey(self.device.session_key(index, random, by_decryption=by_decryption), name)
        except MechanismNotOfferedError as error:
            if not self._host_session_keys:
                raise MechanismNotOfferedError(
                    f"{self.description} cannot keep a session key on the device ({error}) Allow session keys "
                    "in this program's memory (host_session_keys), or use the fixed keys."
                ) from error
        value = self.device.session_key_to_host(index, random, by_decryption=by_decryption)
        return DataKey(HostSessionKey(value), name)

    def check_value(self, use: Use, index: int) -> bytes:
        """Return the first 3 bytes of a block of zeros encrypted under a key: equal keys have equal check values."""
        return self.device.check_value(use, index)[:CHECK_VALUE_LENGTH]

    def close(self) -> None:
        """Release the device. Closing twice is allowed."""
        self.device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.description}>"

    def _wait_for_answer(self, challenge: tuple[int, bytes]) -> None:
        with self._counting:
            self._outstanding[challenge] += 1

    def _no_longer_wait(self, challenge: tuple[int, bytes]) -> None:
        with self._counting:
            self._outstanding[challenge] -= 1
            if not self._outstanding[challenge]:
                del self._outstanding[challenge]

    def _waits_for_answer(self, challenge: tuple[int, bytes]) -> bool:
        with self._counting:
            return challenge in self._outstanding


@final
class Authentication:
    """One conversation with a reserved device, for one thread at a time. Get it from `Secrets.authentication`.

    Each of the three commands is carried out at most once. After the challenge was drawn, the next command must be
    `external_authenticate`. Therefore the party that answers first calls `internal_authenticate` before it reads
    `challenge`. Any other order raises `OutOfSequenceError`, on every kind of device.
    """

    def __init__(
        self, secrets: Secrets, conversation: DeviceConversation, index: int, peer_index: int, expires: float
    ) -> None:
        self._secrets = secrets
        self._conversation = conversation
        self._index = index
        self._peer_index = peer_index
        self._expires = expires
        self._answered = False
        self._challenge: bytes | None = None
        self._verified = False
        self._ended = False

    def internal_authenticate(self, challenge: bytes) -> bytes:
        """Answer the other party's challenge: 8 bytes for 8 bytes (INTERNAL AUTHENTICATE).

        Raises `ReflectedChallengeError` if these secrets drew this challenge themselves and still wait for its answer,
        in this conversation or another one.
        """
        _require_block(challenge, "challenge")
        self._in_time()
        if self._answered:
            raise OutOfSequenceError("A conversation answers one challenge.")
        if self._challenge is not None and not self._verified:
            raise OutOfSequenceError(
                "The response to a challenge that was drawn is not verified yet.",
                remedy="Verify it before any other command.",
            )
        challenge = bytes(challenge)
        if challenge == self._challenge or self._secrets._waits_for_answer((self._index, challenge)):
            raise ReflectedChallengeError(
                "The other party sent back a challenge of this program: it may be trying to get it answered."
            )
        self._answered = True
        return self._conversation.internal_authenticate(challenge)

    @property
    def challenge(self) -> bytes:
        """The 8 random bytes for the other party to answer, drawn on first use (GET CHALLENGE)."""
        if self._challenge is None:
            self._in_time()
            self._challenge = self._conversation.get_challenge()
            self._secrets._wait_for_answer((self._peer_index, self._challenge))
        return self._challenge

    def external_authenticate(self, response: bytes) -> None:
        """Verify the other party's 8 bytes (EXTERNAL AUTHENTICATE). Raises `AuthenticationFailedError`.

        The challenge cannot be used again, whatever the result.
        """
        self._in_time()
        if self._challenge is None:
            raise OutOfSequenceError("No challenge was drawn that this could be the response to.")
        if self._verified:
            raise OutOfSequenceError("A challenge is valid for one response.")
        self._spend()
        _require_block(response, "response")
        self._conversation.external_authenticate(bytes(response))

    def _in_time(self) -> None:
        if self._ended or time.monotonic() > self._expires:
            raise AuthenticationExpiredError(
                f"The authentication with {self._secrets.description} was not finished in time. Begin a new one."
            )

    def _spend(self) -> None:
        if self._challenge is not None and not self._verified:
            self._verified = True
            self._secrets._no_longer_wait((self._peer_index, self._challenge))

    def _end(self) -> None:
        self._ended = True
        self._spend()


@final
class DataKey:
    """A key for data: MAC and CBC, on the device if `on_device` is True. May be shared between threads.

    All data is whole blocks of 8 bytes; the protocol defines the padding. The number of blocks is not limited: long
    data goes to the device in pieces, with the IV chained from one to the next.
    """

    def __init__(self, device: DeviceDataKey, description: str) -> None:
        self.device = device
        self.description = description

    @property
    def on_device(self) -> bool:
        """Whether this process does not have the key's value."""
        return self.device.on_device

    @property
    def value(self) -> bytes | None:
        """The 8 bytes of a session key that is in this process's memory; None for every key on its device."""
        return self.device.value

    def mac(self, data: bytes, iv: bytes = ZERO_IV) -> bytes:
        """Return the 8-byte MAC of whole blocks: ISO/IEC 9797-1 MAC algorithm 1 with DES (FIPS 113), not truncated.

        `iv` is zero, except for a message in parts, where it is the MAC of the previous part.
        """
        _require_blocks(data, iv)
        return self.device.mac(bytes(data), bytes(iv))

    def encrypt(self, data: bytes, iv: bytes) -> bytes:
        """Encrypt whole blocks with DES-CBC, without padding. The next IV is the result's last block."""
        _require_blocks(data, iv)
        return self.device.encrypt(bytes(data), bytes(iv))

    def decrypt(self, data: bytes, iv: bytes) -> bytes:
        """Decrypt whole blocks with DES-CBC, without padding. The next IV is the data's last block."""
        _require_blocks(data, iv)
        return self.device.decrypt(bytes(data), bytes(iv))

    def carry_out(self, operations: Callable[[DataKey], T]) -> T:
        """Carry out several operations, such as a MAC and an encryption, faster than one by one; return their result.

        `operations` receives the key to use instead of this one, which is valid until it returns. It uses nothing else
        of the device. If the device was lost and is there again, it is called once more from its beginning.
        """
        return self.device.carry_out(lambda held: operations(DataKey(held, self.description)))

    def close(self) -> None:
        """Destroy a session key; release a fixed one. Closing twice is allowed."""
        self.device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.description}>"


def _require_block(data: bytes, what: str) -> None:
    if len(data) != BLOCK:
        raise ValueError(f"A {what} is {BLOCK} bytes, not {len(data)}.")


def _require_blocks(data: bytes, iv: bytes) -> None:
    _require_block(iv, "initialisation vector")
    if not data or len(data) % BLOCK:
        raise ValueError(f"Data is one or more whole blocks of {BLOCK} bytes. Pad these {len(data)} bytes.")
