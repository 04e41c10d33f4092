"""The smart card driver of secret keys, with the commands of ISO/IEC 7816-4 on which `tokens.secrets` is modelled.

The profile's table maps a key index to a key reference. A card verifies only the response to its last challenge, and
only in the next command, so an authentication reserves the card until it ends or its deadline passes.

MACs and encryption are for short data (see `SecretsProfile.longest`). A card returns what it computes, so it cannot
keep a derived session key. The card itself determines whether it encrypts or decrypts a challenge: no command requests
an answer by decryption.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self, TypeVar

from tokens.errors import (
    AuthenticationExpiredError,
    AuthenticationFailedError,
    CardLostError,
    KeyPolicyError,
    MechanismNotOfferedError,
    NoSuchKeyError,
    TokenError,
    TokenLostError,
    sentence_case,
)
from tokens.events.reporting import KeyUseReport
from tokens.secrets import BLOCK, ZERO_IV, Use
from tokens.smartcard.apdu import tlv
from tokens.smartcard.apdu.commands import (
    Template,
    compute_cryptographic_checksum,
    decipher,
    encipher,
    external_authenticate,
    get_challenge,
    internal_authenticate,
    manage_security_environment,
)
from tokens.smartcard.apdu.encoding import Command
from tokens.smartcard.apdu.status import BLOCKED, NOT_AUTHORISED, NOT_FOUND, NOT_SUPPORTED, StatusError
from tokens.smartcard.card import LOSSES, CardApplication
from tokens.smartcard.profiles import SecretsProfile
from tokens.smartcard.readers.channel import Channel
from tokens.smartcard.readers.deadlines import Alarm
from tokens.smartcard.session import CardSession

_KEY_REFERENCE, _INITIAL_BLOCK = 0x83, 0x87

T = TypeVar("T")


class SmartCardSecrets:
    """The secret keys of one application on one card. Satisfies `tokens.secrets.DeviceSecrets`."""

    def __init__(self, application: CardApplication, release: Callable[[], None]) -> None:
        self.application = application
        self._release: Callable[[], None] | None = release
        if application.profile.secrets is None:
            raise NoSuchKeyError(
                f"The profile {application.profile.name} has no secret keys for authentication.",
                remedy="Give another profile.",
            )
        self.profile: SecretsProfile = application.profile.secrets

    @property
    def description(self) -> str:
        """The card, for messages."""
        return f"the secret keys of {self.application.description}"

    @contextlib.contextmanager
    def conversation(
        self, index: int, peer_index: int, wait: float, deadline: float, *, by_decryption: bool = False
    ) -> Iterator[SmartCardConversation]:
        """Reserve the card until the block ends or the deadline passes."""
        self.require_open()
        if by_decryption:
            raise MechanismNotOfferedError(
                f"{sentence_case(self.application.description)} answers as its INTERNAL AUTHENTICATE does, not by "
                "decryption.",
                remedy="Keep these authentication keys on a PKCS#11 token.",
            )
        answering = self.reference(Use.AUTHENTICATION, index)
        verifying = self.reference(Use.AUTHENTICATION, peer_index)
        # If the card was lost since its last use, reconnect now, before anything is sent to the other party.
        hold = self.application.reconnect_and_retry(lambda: _Hold(self, wait, deadline), "begin an authentication")
        try:
            yield SmartCardConversation(self, hold, (index, answering), (peer_index, verifying))
        finally:
            hold.end()

    def data_key(self, index: int) -> SmartCardDataKey:
        """Return a key with which the card computes MACs and encrypts."""
        return SmartCardDataKey(self, index, self.reference(Use.ENCRYPTION, index))

    def session_key(self, index: int, random: bytes, *, by_decryption: bool = False) -> SmartCardDataKey:
        """Always raises `MechanismNotOfferedError`."""
        raise MechanismNotOfferedError("A card returns what it computes, so a key that it derives does not stay on it.")

    def session_key_to_host(self, index: int, random: bytes, *, by_decryption: bool = False) -> bytes:
        """Return one block of ENCIPHER, or DECIPHER, which becomes a session key in this process."""
        key = self.data_key(index)
        command = decipher(random, BLOCK) if by_decryption else encipher(random)
        with self.report_use(Use.ENCRYPTION, index, "derive a session key to the host", command.name):
            return key.operate(Template.CONFIDENTIALITY, command, ZERO_IV)

    def check_value(self, use: Use, index: int) -> bytes:
        """Return the beginning of a block of zeros, encrypted by the command that belongs to the key's use."""
        reference = self.reference(use, index)
        if use is Use.ENCRYPTION:
            return self.data_key(index).encrypt(bytes(BLOCK), ZERO_IV)[:3]
        command = internal_authenticate(reference, bytes(BLOCK), self.profile.algorithm, BLOCK)
        with self.report_use(use, index, "compute a check value", command.name):
            return self.run(lambda session: self.exchange(session, use, index, command), "compute a check value")[:3]

    def cancel(self) -> None:
        """Cancel the current command, which raises `CardCancelledError`. May be called from any thread."""
        self.application.cancel()

    def close(self) -> None:
        """Release the card, which is disconnected with its last user."""
        release, self._release = self._release, None
        if release is not None:
            release()

    # -- for the classes below ------------------------------------------------------------------------------

    def require_open(self) -> None:
        """Raise `TokenLostError` after `close`."""
        if self._release is None:
            raise TokenLostError(f"{sentence_case(self.description)} were closed.")

    def reference(self, use: Use, index: int) -> int:
        """Return the key reference. Raises `NoSuchKeyError` for an index that the profile does not have."""
        self.require_open()
        table = self.profile.authentication if use is Use.AUTHENTICATION else self.profile.encryption
        if index not in table:
            known = ", ".join(map(str, table)) or "none"
            raise NoSuchKeyError(
                f"The profile {self.application.profile.name} has no {use} key {index}. It has: {known}."
            )
        return table[index]

    def run(self, job: Callable[[CardSession], T], doing: str) -> T:
        """Run a job after presenting the PIN; repeat it once after a reconnection."""
        self.require_open()

        def run_authorised(session: CardSession) -> T:
            self.authorise(session)
            return job(session)

        return self.application.run(run_authorised, doing)

    def exchange(self, session: CardSession, use: Use, index: int, command: Command) -> bytes:
        """Carry out a command with a key. Raises the errors of `tokens.secrets` for its status words."""
        try:
            return session.exchange(command)
        except StatusError as error:
            raise self._translate(error, use, index) from error

    def report_use(
        self, use: Use, index: int, operation: str, mechanism: str
    ) -> contextlib.AbstractContextManager[None]:
        """Report the block as a use of the secret key."""
        application = self.application
        return KeyUseReport(application.serial, application.label, f"{use}-{index}", operation, mechanism)

    def authorise(self, session: CardSession) -> None:
        """Present the PIN, if the profile has one."""
        if self.profile.pin is not None:
            self.application.verify(session, self.profile.pin)

    def _translate(self, error: StatusError, use: Use, index: int) -> TokenError:
        where = f"{use} key {index} of {self.application.description}"
        if error.status in NOT_FOUND:
            return NoSuchKeyError(f"There is no {where} ({error.status:04X}).")
        if error.status in NOT_SUPPORTED:
            return MechanismNotOfferedError(f"The card cannot do {error.command} with {where} ({error.status:04X}).")
        if error.status == NOT_AUTHORISED:
            return KeyPolicyError(
                f"The card does not allow {error.command} with {where}: it requires a PIN or another condition."
            )
        return error


class SmartCardConversation:
    """One authentication, on a reserved card. Satisfies `tokens.secrets.DeviceConversation`."""

    def __init__(
        self, secrets: SmartCardSecrets, hold: _Hold, answering: tuple[int, int], verifying: tuple[int, int]
    ) -> None:
        self._secrets = secrets
        self._hold = hold
        self._answering = answering
        self._verifying = verifying

    def internal_authenticate(self, challenge: bytes) -> bytes:
        """Answer a challenge (INTERNAL AUTHENTICATE)."""
        index, reference = self._answering
        command = internal_authenticate(reference, challenge, self._secrets.profile.algorithm, BLOCK)
        with self._secrets.report_use(Use.AUTHENTICATION, index, "internal authenticate", command.name):
            return self._hold.exchange(Use.AUTHENTICATION, index, command)

    def get_challenge(self) -> bytes:
        """Return a new challenge (GET CHALLENGE)."""
        return self._hold.exchange(Use.AUTHENTICATION, self._verifying[0], get_challenge(BLOCK))

    def external_authenticate(self, response: bytes) -> None:
        """Verify a response (EXTERNAL AUTHENTICATE). Raises `AuthenticationFailedError` if the card refuses it."""
        index, reference = self._verifying
        command = external_authenticate(reference, response, self._secrets.profile.algorithm)
        with self._secrets.report_use(Use.AUTHENTICATION, index, "external authenticate", command.name):
            try:
                self._hold.exchange(Use.AUTHENTICATION, index, command)
            except StatusError as error:
                if error.status >> 8 != 0x63 and error.status != BLOCKED:
                    raise
                left = error.retries_left
                retries = "" if left is None else f" The card locks this key after {left} more wrong responses."
                raise AuthenticationFailedError(
                    f"The card refused the other party's response ({error.status:04X}): it holds another key than "
                    f"authentication key {index}, or none.{retries}"
                ) from error


class _Hold:
    """A card reserved for one conversation: released at its end, or by another thread at its deadline.

    A card that is lost before the first answer is reconnected, since nothing was sent to the other party yet. A later
    loss ends the conversation, since the card has forgotten its challenge.
    """

    def __init__(self, secrets: SmartCardSecrets, wait: float, deadline: float) -> None:
        self._secrets = secrets
        self._application = secrets.application
        self._connection = secrets.application.connection
        self._deadline = deadline
        self._begun = False
        self._session: CardSession | None = None
        self._using = threading.Lock()
        channel = self._connection.acquire(max(min(wait, deadline - time.monotonic()), 0.0))
        self._held = True
        try:
            self._session = self._prepare(channel)
        except BaseException:
            self._connection.invalidate()
            self._connection.release()
            raise
        # `end` may wait for the current command, for which the thread of the deadlines must not wait.
        deadlines = self._connection.deadlines
        self._alarm = Alarm(deadlines, lambda: deadlines.run_in_thread(self.end))
        self._alarm.arm(max(deadline - time.monotonic(), 0.0))

    def exchange(self, use: Use, index: int, command: Command) -> bytes:
        """Carry out one command while the card is still reserved."""
        with self._using:
            if self._begun:
                return self._exchange(use, index, command)
            answer = self._application.reconnect_and_retry(lambda: self._exchange(use, index, command), command.name)
            self._begun = True
            return answer

    def end(self) -> None:
        """Release the card. Ending twice is allowed."""
        with self._using:
            if not self._held:
                return
            self._held = False
            self._alarm.discard()
            self._connection.release()

    def _exchange(self, use: Use, index: int, command: Command) -> bytes:
        left = self._deadline - time.monotonic()
        if not self._held or left <= 0:
            raise AuthenticationExpiredError(
                f"The authentication with {self._secrets.description} was not finished in time.",
                remedy="Begin a new one.",
            )
        try:
            if self._session is None:
                if self._begun:
                    raise CardLostError("The card was lost during this authentication.", remedy="Begin a new one.")
                self._session = self._prepare(self._connection.reconnect(left))
            self._session.ends = self._deadline
            return self._secrets.exchange(self._session, use, index, command)
        except LOSSES:
            self._connection.invalidate()
            self._session = None
            raise

    def _prepare(self, channel: Channel) -> CardSession:
        session = self._application.select(channel)
        self._secrets.authorise(session)
        return session


class SmartCardDataKey:
    """A fixed key on the card. Satisfies `tokens.secrets.DeviceDataKey`."""

    on_device = True
    value = None

    def __init__(self, secrets: SmartCardSecrets, index: int, reference: int) -> None:
        self._secrets = secrets
        self._index = index
        self._reference = reference

    def mac(self, data: bytes, iv: bytes) -> bytes:
        """Return a MAC (COMPUTE CRYPTOGRAPHIC CHECKSUM)."""
        self._require_short(data)
        with self._secrets.report_use(Use.ENCRYPTION, self._index, "mac", "COMPUTE CRYPTOGRAPHIC CHECKSUM"):
            return self.operate(Template.CHECKSUM, compute_cryptographic_checksum(data, BLOCK), iv)

    def encrypt(self, data: bytes, iv: bytes) -> bytes:
        """Encrypt (ENCIPHER)."""
        self._require_short(data)
        with self._secrets.report_use(Use.ENCRYPTION, self._index, "encrypt", "ENCIPHER"):
            return self.operate(Template.CONFIDENTIALITY, encipher(data), iv)

    def decrypt(self, data: bytes, iv: bytes) -> bytes:
        """Decrypt (DECIPHER)."""
        self._require_short(data)
        with self._secrets.report_use(Use.ENCRYPTION, self._index, "decrypt", "DECIPHER"):
            return self.operate(Template.CONFIDENTIALITY, decipher(data, len(data)), iv)

    def carry_out(self, operations: Callable[[Self], T]) -> T:
        """Carry out the operations one by one."""
        return operations(self)

    def close(self) -> None:
        """Do nothing: the key belongs to the card."""

    def operate(self, template: Template, operation: Command, iv: bytes) -> bytes:
        """Carry out MANAGE SECURITY ENVIRONMENT for this key, and then the operation."""
        references = tlv.encode(_KEY_REFERENCE, bytes([self._reference]))
        if iv != ZERO_IV:
            references += tlv.encode(_INITIAL_BLOCK, iv)
        environment = manage_security_environment(template, references)

        def job(session: CardSession) -> bytes:
            self._secrets.exchange(session, Use.ENCRYPTION, self._index, environment)
            return self._secrets.exchange(session, Use.ENCRYPTION, self._index, operation)

        return self._secrets.run(job, operation.name)

    def _require_short(self, data: bytes) -> None:
        longest = self._secrets.profile.longest
        if len(data) > longest:
            raise MechanismNotOfferedError(
                f"{len(data)} bytes are too many for a card, to which at most {longest} are sent.",
                remedy="Use a PKCS#11 token, or session keys, for bulk data.",
            )
