"""Everything that can go wrong with a device: one tree of exceptions.

`Error` is the root of every exception that this package, and a package built on it, raises for something that a user,
a device or a peer can cause. Its text states what failed, on which thing and why; `Error.remedy` states what to do.
No text holds a PIN, a secret key or the data that a key was used on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

RemedyTable = Callable[["Error"], str | None]
"""Returns the remedy for an error in the words of an application, or None to keep the error's own."""

_tables: list[RemedyTable] = []


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


def use_remedies(table: RemedyTable) -> None:
    """Let an application word the remedies of every `Error` of this process. A table that is there already stays."""
    if table not in _tables:
        _tables.append(table)


class TokenError(Error):
    """Base of every error that a device, its module, its PIN or its keys can cause."""


class UriError(TokenError):
    """A `pkcs11:` URI (RFC 7512) that cannot be read or may not be used."""


class ModuleError(TokenError):
    """The PKCS#11 module (a shared library) cannot be loaded or initialised."""


class NoSuchTokenError(TokenError):
    """No token matches."""


class SeveralTokensError(TokenError):
    """More than one token matches: choosing one would be a guess."""


class NoSuchKeyError(TokenError):
    """No object on the token matches."""


class SeveralKeysError(TokenError):
    """More than one object on the token matches: choosing one would be a guess."""


class NotAPrivateKeyError(TokenError):
    """What matches is a public key, a certificate or a secret key where a private key is needed."""


class UnsupportedKeyError(TokenError):
    """A private key of a kind that is not served, such as DSA or a curve other than P-256 and P-384."""


class MechanismNotOfferedError(TokenError):
    """The token has no mechanism with which the operation could be done."""


class MechanismUnclearError(MechanismNotOfferedError):
    """The token refused a mechanism that never worked with the key, with an error that may speak of the device too."""


class KeyPolicyError(TokenError):
    """The key's attributes are not what the policy asks for (see `tokens.policy`)."""


class KeyNotExportableError(TokenError):
    """Somebody asked for the private part of a key that stays on its device."""


class PinError(TokenError):
    """Base of everything about PINs. A service must not be restarted on most of them: see `REFUSED_EXIT_CODE`."""


class PinSourceError(PinError):
    """The PIN could not be read from where it was said to be. Nothing was presented, and a later try may do better."""


class PinRefusedError(PinError):
    """The token refused the PIN. It will not be presented again until the refusal is cleared."""


class PinNotPresentedError(PinError):
    """The PIN was held back: it was refused before, or a further try could lock the token."""


class PinLockedError(PinError):
    """The token has locked this PIN. Only the security officer can unlock it."""


class TokenLostError(TokenError):
    """The token, its session or its module went away and could not be found again."""


class LoginUnansweredError(TokenLostError):
    """The token answered a PIN, which it had accepted before, with an error of its own: it is presented once more."""


class TokenBusyError(TokenError):
    """No session became free within the time allowed."""


class OperationFailedError(TokenError):
    """The token answered with an error that has no class of its own here."""


class CardServiceError(ModuleError):
    """The smart card service (PC/SC, pcscd) or its Python package cannot be used."""


class NoSuchReaderError(NoSuchTokenError):
    """No smart card reader matches."""


class NoSuchCardError(NoSuchTokenError):
    """There is no card in the readers that match, or none with the application that was asked for."""


class SeveralCardsError(SeveralTokensError):
    """More than one card matches: choosing one would be a guess."""


class CardLostError(TokenLostError):
    """The card left its reader, was reset or answered nonsense, and could not be used again."""


class WrongCardError(CardLostError):
    """There is a card, but not the one that was opened."""


class CardTimeoutError(CardLostError):
    """The card, or whoever holds it, did not answer within the deadline."""


class CardCancelledError(CardLostError):
    """The caller gave a command up while the card was working on it."""


class AuthenticationFailedError(TokenError):
    """The other party's response does not answer our challenge: it does not hold the key."""


class ReflectedChallengeError(AuthenticationFailedError):
    """The other party sent back a challenge that we are waiting to have answered, for us to answer it."""


class AuthenticationExpiredError(TokenError):
    """An authentication was not finished within its time, and the device serves others again."""


class OutOfSequenceError(TokenError):
    """A command in an order in which a device does not carry it out. Our caller's mistake, not the peer's."""


class CeremonyError(TokenError):
    """A ceremony step (initialise, generate, import, delete, change PIN) that cannot be done as asked."""


REFUSED_EXIT_CODE = 77
"""Exit status of a process that ended on a `PinRefusedError`, `PinNotPresentedError` or `PinLockedError` (EX_NOPERM of
sysexits.h).

A service manager must not restart on it: `RestartPreventExitStatus=77` in a systemd unit.
"""


def sentence_case(description: str) -> str:
    """A description that begins a sentence: "token 'x'" becomes "Token 'x'"."""
    return description[:1].upper() + description[1:]
