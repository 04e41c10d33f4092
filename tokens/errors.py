"""Everything that can go wrong with a device, one class for each remedy.

Each message is one sentence for the person who reads it: what was asked for, what was found, what to do.
No message ever holds a PIN, a secret or the data that a key was used on.
"""


class TokenError(Exception):
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
