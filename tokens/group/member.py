"""One member of a key group: a token, the key on it once it is open, and what is known about both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pkcs11 import Mechanism

from tokens.errors import (
    MemberUnfitError,
    ModuleError,
    NoSuchKeyError,
    NoSuchTokenError,
    NotAPrivateKeyError,
    PinError,
    PinLockedError,
    PinNotPresentedError,
    PinRefusedError,
    Reason,
    TokenBusyError,
    TokenError,
    TokenLostError,
)
from tokens.group.breaker import Breaker, BreakerState
from tokens.keys import DeviceKey, PrivateKey
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import PinSource
from tokens.pkcs11.search import TokenInfo
from tokens.process.forking import LockAcrossForks

_EXCLUDING = (PinRefusedError, PinLockedError, MemberUnfitError)

FAULTS = (
    TokenLostError,
    TokenBusyError,
    NoSuchTokenError,
    NoSuchKeyError,
    NotAPrivateKeyError,
    ModuleError,
    PinError,
    *_EXCLUDING,
)
"""Errors that are about the member. Others may be about the request, and count if another member carries it out."""


class MemberAccess(Protocol):
    """What opens a member. Nothing is opened before `find_token` or `open_key` is called."""

    @property
    def name(self) -> str:
        """The name of the token, for messages and events."""

    @property
    def pin(self) -> PinSource | None:
        """The source of its PIN."""

    @property
    def memory(self) -> RefusalMemory:
        """The record of refused PINs."""

    def find_token(self) -> TokenInfo:
        """Return the token. Presents no PIN."""

    def open_key(self) -> PrivateKey:
        """Log in and open the key."""


class Member:
    """A member. Its breaker and its counts are changed under the lock of its pool."""

    def __init__(self, access: MemberAccess, clock: Callable[[], float], probe_seconds: float) -> None:
        self.access = access
        self.breaker = Breaker(clock, probe_seconds)
        self.token: TokenInfo | None = None
        """The token, as it was found when the member was opened."""
        self.key: PrivateKey | None = None
        """The key, once it was opened. Afterwards the driver reconnects by itself."""
        self.outstanding = 0
        """The number of operations in progress."""
        self.opening = LockAcrossForks()
        """Held while the key is opened, so that it is opened once."""
        self.known_mechanisms: dict[Mechanism, bool] = {}
        """Whether the token offers a mechanism, as far as it was asked."""

    @property
    def name(self) -> str:
        """The name of the token."""
        return self.access.name

    @property
    def device(self) -> DeviceKey | None:
        """The key's driver, once the key was opened."""
        return None if self.key is None else self.key.device

    @property
    def state(self) -> BreakerState:
        """The state of the breaker."""
        return self.breaker.state

    @property
    def is_working(self) -> bool:
        """Whether the member is used now."""
        return self.breaker.state is BreakerState.CLOSED

    @property
    def is_excluded(self) -> bool:
        """Whether the member is not used until the group is opened again."""
        return self.breaker.state is BreakerState.EXCLUDED

    def identify(self) -> tuple[str, str]:
        """Return serial number and label of the token, for events; its name for a token that was never found."""
        return ("", self.name) if self.token is None else (self.token.serial, self.token.label)

    def offers(self, mechanism: Mechanism) -> bool | None:
        """Return whether the token offers a mechanism for the key's usage; None if it was not asked and does not work.

        A token that does not work is not asked, since it may not answer. Raises a `TokenError` if it fails now.
        """
        known = self.known_mechanisms.get(mechanism)
        if known is None and self.device is not None and self.is_working:
            known = self.known_mechanisms[mechanism] = mechanism in self.device.offered
        return known


def is_fault(error: TokenError) -> bool:
    """Return whether an error is about the member, and not about the request."""
    return isinstance(error, FAULTS)


def is_excluding(error: TokenError) -> bool:
    """Return whether the member is not used any more after an error: it refused its PIN, or is not one of the group.

    A PIN without an answer is no refusal: it is not presented until that is settled, and then the member is used again.
    Nor is it one that another process has been logging in for long.
    """
    if isinstance(error, PinNotPresentedError):
        return error.facts is not None and error.facts.reason is not Reason.PIN_UNANSWERED
    return isinstance(error, _EXCLUDING)
