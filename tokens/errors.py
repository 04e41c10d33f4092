"""Exceptions for everything that can go wrong with a device, in one tree.

`Error` is the root of every exception that this package, and a package built on it, raises for something that a user,
a device or a peer can cause. Its text states what failed, on which thing and why; `Error.remedy` states what to do.
No text holds a PIN, a secret key or the data that a key was used on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

RemedyTable = Callable[["Error"], str | None]
"""Returns an application's remedy for an error, or None to keep the error's own."""

_tables: list[RemedyTable] = []

_OS_FIELDS = ("errno", "strerror", "filename", "filename2")


class Error(Exception):
    """Root of every error that a user, a device or a peer can cause.

    `str(error)` is `message` followed by `remedy`, ready to be shown.
    """

    default_remedy: ClassVar[str | None] = None
    """The remedy of the class, for errors that are raised without one of their own."""

    def __init__(self, message: str = "", *, remedy: str | None = None) -> None:
        """Both arguments are whole sentences; `remedy` replaces `default_remedy`."""
        super().__init__(message)
        self._remedy = remedy

    @property
    def message(self) -> str:
        """What failed, on which thing, and why, without the remedy."""
        return str(self.args[0]) if self.args else ""

    @property
    def remedy(self) -> str | None:
        """What to do about it, as a sentence; None if the message says everything.

        An application replaces these sentences by its own with `use_remedies`.
        """
        remedies = (table(self) for table in _tables)
        return next((remedy for remedy in remedies if remedy), None) or self._remedy or self.default_remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy or ''}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the constructor, whose parameters are the class's own: errors cross processes unchanged."""
        fields = {name: getattr(self, name, None) for name in _OS_FIELDS if getattr(self, name, None) is not None}
        return _rebuild, (type(self), self.args), {**self.__dict__, **fields}


def _rebuild(kind: type[Error], args: tuple[object, ...]) -> Error:
    error = kind.__new__(kind, *args)
    error.args = args
    return error


def use_remedies(table: RemedyTable) -> None:
    """Use an application's remedies for every `Error` of this process, before those of the errors themselves."""
    if table not in _tables:
        _tables.append(table)


class Reason(StrEnum):
    """Why an error was raised, where its class has several remedies. The values are for programs and do not change."""

    CARD_PACKAGE_MISSING = "card-package-missing"
    """The Python package for PC/SC is not installed."""
    CREDENTIAL_OUTSIDE_UNIT = "credential-outside-unit"
    """The PIN is a systemd credential (`Facts.setting`), and this process does not run in a unit that has any."""
    DEVICE_UNTRUSTWORTHY = "device-untrustworthy"
    """The device returned a result that the host could not verify."""
    KEY_NOT_FOR_DECRYPTION = "key-not-for-decryption"
    KEY_NOT_FOR_SIGNING = "key-not-for-signing"
    KEY_PAIR_UNANSWERED = "key-pair-unanswered"
    """The generation of a key pair was left without an answer (`Facts.uri` is the token)."""
    KEY_REFUSED = "key-refused"
    """A private key has weaknesses (`Facts.weaknesses`) that the policy does not allow."""
    MODULE_NOT_FOUND = "module-not-found"
    MODULE_NOT_GIVEN = "module-not-given"
    NO_ANSWER = "no-answer"
    """The device did not answer within a deadline; `Facts.setting` is the field of `CallDeadlines`."""
    NOT_CALLED = "not-called"
    """The device was not called, because it has not answered an earlier call."""
    NO_APPLICATION = "no-application"
    """The card does not have the application that was asked for."""
    NO_EMPTY_TOKEN = "no-empty-token"
    """Every token is in use; one may be erased (`Facts.uri`)."""
    NO_FREE_SESSION = "no-free-session"
    NO_TERMINAL = "no-terminal"
    """A PIN should be typed and there is no terminal; `Facts.setting` is where another source would be given."""
    PIN_COUNTER_LOW = "pin-counter-low"
    """A wrong PIN was presented since the last login, so no PIN is presented unattended."""
    PIN_EXPIRED = "pin-expired"
    PIN_FILE_SHARED = "pin-file-shared"
    """Others than the owner may read the file with the PIN (`Facts.path`)."""
    PIN_LAST_RETRY = "pin-last-retry"
    """One more wrong PIN locks the device."""
    PIN_LOCKED = "pin-locked"
    PIN_NOT_SET = "pin-not-set"
    PIN_RECORDED = "pin-recorded"
    """This PIN is recorded as refused (`Facts.reference` names the device)."""
    PIN_REFUSED_BY_COMPANION = "pin-refused-by-companion"
    """Another token of the same key refused this PIN (see `tokens.pins.companions`)."""
    PIN_SOURCE_MISSING = "pin-source-missing"
    PIN_UNANSWERED = "pin-unanswered"
    """The device has not answered this PIN, so it is not presented unattended (`Facts.reference` names the device)."""
    PIN_UNCLEAR = "pin-unclear"
    """The device did not say whether the PIN is correct, so it is recorded as refused (`Facts.reference`)."""
    PIN_WRONG = "pin-wrong"
    PUBLIC_KEY_MISSING = "public-key-missing"
    SECRET_KEY_MISSING = "secret-key-missing"
    SECRET_KEY_NOT_FOR_THIS = "secret-key-not-for-this"
    """A secret key may encrypt but not decrypt, or the reverse."""
    SECRET_KEY_REFUSED = "secret-key-refused"
    STATE_FOLDER_NOT_PRIVATE = "state-folder-not-private"
    TOKEN_UNANSWERED = "token-unanswered"
    """The initialisation of a token was left without an answer."""
    STATE_FOLDER_UNUSABLE = "state-folder-unusable"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts of an error, for programs and for applications with their own remedies."""

    reason: Reason
    uri: str = ""
    """The `pkcs11:` or `card:` URI of the device."""
    reference: str = ""
    """What identifies the device in the record of refused PINs: its serial number or its URI."""
    role: str = "user"
    """Whose PIN it is: user or so."""
    attended: bool = False
    """Whether a person enters the PIN."""
    pin_source: str = "prompt"
    """How a person enters the PIN: prompt or pinpad."""
    setting: str = ""
    """The name that the caller gave to the setting, such as that of a PIN source."""
    path: str = ""
    """The file or folder."""
    weaknesses: tuple[str, ...] = ()
    """The values of `tokens.policy.Weakness` that are not allowed."""


class TokenError(Error):
    """Base of every error that a device, its module, its PIN or its keys can cause."""

    def __init__(self, message: str = "", *, remedy: str | None = None, facts: Facts | None = None) -> None:
        """`facts` are given where one class has several remedies."""
        super().__init__(message, remedy=remedy)
        self.facts = facts


class UriError(TokenError):
    """A `pkcs11:` URI (RFC 7512) that cannot be read or may not be used."""


class ModuleError(TokenError):
    """The PKCS#11 module (a shared library) cannot be loaded or initialised."""


class NoSuchTokenError(TokenError):
    """No token matches."""


class SeveralTokensError(TokenError):
    """More than one token or card matches: choosing one would be a guess."""


class NoSuchKeyError(TokenError):
    """No object on the token matches."""


class SeveralKeysError(TokenError):
    """More than one object on the token matches: choosing one would be a guess."""


class NotAPrivateKeyError(TokenError):
    """The object is a public key, a certificate or a secret key, and a private key is needed."""


class UnsupportedKeyError(TokenError):
    """The key is of an unsupported kind, such as DSA or a curve other than P-256 and P-384."""


class MechanismNotOfferedError(TokenError):
    """The token has no mechanism for the operation."""


class MechanismUnclearError(MechanismNotOfferedError):
    """The token refused a mechanism that never worked with the key, or the device failed: its answer may mean both."""


class HashNotOfferedError(TokenError):
    """Python's OpenSSL does not have the hash, as in FIPS mode."""

    default_remedy = "Use SHA-256, or an OpenSSL that is not in FIPS mode."


class KeyPolicyError(TokenError):
    """The key's attributes do not satisfy the policy (see `tokens.policy`)."""


class MemberUnfitError(TokenError):
    """A token cannot be used in a key group: what it holds does not fit the others."""


class KeyMismatchError(MemberUnfitError):
    """A token of a key group holds another key than the group's, so it is not used."""

    default_remedy = "Put a copy of the group's key on it, or take the token out of the group."


class MemberTwiceError(MemberUnfitError):
    """A token is in a key group twice, under two names."""

    default_remedy = "Name each token once."


class KeyNotExportableError(TokenError):
    """A key that stays on its device cannot be exported."""


class PinError(TokenError):
    """Base of everything about PINs. Except after a `PinSourceError`, a service must not be restarted automatically."""


class PinSourceError(PinError):
    """The PIN could not be read from its source. No PIN was presented, and a later attempt may succeed."""


class PinRefusedError(PinError):
    """The token refused the PIN. It is not presented again until the refusal is cleared."""


class PinNotPresentedError(PinError):
    """The PIN was not presented: it was refused before, or another wrong PIN could lock the token."""


class PinLockedError(PinError):
    """The token has locked this PIN. Only the security officer can unlock it."""


class TokenLostError(TokenError):
    """The token, its session or its module was lost, and reconnecting failed."""


class LoginUnclearError(TokenLostError):
    """The token answered a PIN that it had accepted before with a device error. The PIN is presented once more."""


class TokenTimeoutError(TokenLostError):
    """The token did not answer a call within its deadline. The call may still be running."""


class LoginTimeoutError(TokenTimeoutError):
    """The token did not answer a PIN within the deadline. Until that is settled, it is not presented unattended.

    A service may be restarted after it: the state of the PIN is recorded, and is settled by the late answer, by the
    token's retry counter, or by a person who logs in.
    """


class CeremonyTimeoutError(TokenTimeoutError):
    """The token did not answer a step within the deadline. The key pair or token that it makes may still appear."""


class ModuleFencedError(TokenLostError):
    """A call has not returned from the module, so no other call of it is made until that one returns."""


class ModuleEndedError(TokenLostError):
    """The process in which an isolated module runs has ended. Another one is started for the next job."""


class TokenBusyError(TokenError):
    """No session became free within the time allowed."""


class OperationFailedError(TokenError):
    """The token answered with another error."""


class CardServiceError(ModuleError):
    """The smart card service (PC/SC, pcscd) or its Python package cannot be used."""


class NoSuchReaderError(NoSuchTokenError):
    """No smart card reader matches."""


class NoSuchCardError(NoSuchTokenError):
    """The matching readers have no card, or none with the requested application."""


class CardLostError(TokenLostError):
    """The card was removed or reset, or gave malformed answers, and reconnecting failed."""


class WrongCardError(CardLostError):
    """The reader has another card than the one that was opened."""


class CardTimeoutError(CardLostError, TokenTimeoutError):
    """The card did not answer within the deadline."""


class CardCancelledError(CardLostError):
    """The caller cancelled a command during its execution."""


class AuthenticationFailedError(TokenError):
    """The other party's response does not answer our challenge: it does not hold the key."""


class ReflectedChallengeError(AuthenticationFailedError):
    """The other party sent our own challenge back as its challenge."""


class AuthenticationExpiredError(TokenError):
    """An authentication was not finished in time, and the device is free for others again."""


class OutOfSequenceError(TokenError):
    """The caller used commands in the wrong order; this is not the peer's mistake."""


class CeremonyError(TokenError):
    """A ceremony step (initialise, generate, import, delete, change PIN) cannot be carried out."""


E = TypeVar("E", bound=BaseException)


def fresh_copy(error: E) -> E:
    """Return a copy of an exception that was kept, to be raised; the original becomes its `__cause__`.

    An exception that is raised twice collects tracebacks and contexts, and two threads that raise it at the same time
    overwrite each other's. So whatever keeps an exception raises a copy each time.
    """
    kind = type(error)
    copy = kind.__new__(kind, *error.args)
    copy.args = error.args
    copy.__dict__.update(error.__dict__)
    if isinstance(error, OSError):
        for name in _OS_FIELDS:
            if getattr(error, name) is not None:
                setattr(copy, name, getattr(error, name))
    copy.__cause__ = error
    return copy


def sentence_case(description: str) -> str:
    """Return a description with a capital letter: "token 'x'" becomes "Token 'x'"."""
    return description[:1].upper() + description[1:]
