"""A PIN source in use, and what this process knows about its PIN."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from tokens.errors import PinError, PinNotPresentedError
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import Pin, PinSource


class DeviceFailure(IntEnum):
    """The CK_RVs of C_Login that may mean that the device failed, and not that the PIN is wrong (PKCS#11 v2.40, 5.1).

    Some middleware answers a wrong PIN with one of them too.
    """

    CKR_HOST_MEMORY = 0x02
    CKR_GENERAL_ERROR = 0x05
    CKR_FUNCTION_FAILED = 0x06
    CKR_DEVICE_ERROR = 0x30
    CKR_DEVICE_REMOVED = 0x32


CKU_USER = 1
"""The user type of PKCS#11 that every token has."""
_CKU_VENDOR_DEFINED = 0x80000000
"""The first user type that is a maker's own (PKCS#11 v3.1, 3.4)."""


def is_user_type(value: object) -> bool:
    """Return whether this is CKU_USER or a user type of a maker; the officer's logins are not a user's."""
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    return value == CKU_USER or _CKU_VENDOR_DEFINED <= value <= 0xFFFFFFFF


@dataclass
class Credentials:
    """A PIN source for one token, and what this process knows about its PIN.

    A PIN that can be read again (file, environment) is read for each login. A PIN that cannot (typed, descriptor) is
    kept in memory after the token accepted it, so that the process can reconnect, and wiped on closing.

    After an answer among `device_failures` a PIN that was accepted before is presented once more; any other unclear
    answer counts as a refusal.
    """

    source: PinSource
    memory: RefusalMemory
    last_try: bool = False
    device_failures: frozenset[DeviceFailure] = frozenset(DeviceFailure)
    user_type: int = CKU_USER
    """Whose PIN it is (CK_USER_TYPE): CKU_USER, or a number of the token's maker for another role."""
    always_log_in: bool = False
    """Whether to log in to a token that does not report CKF_LOGIN_REQUIRED."""
    _kept: Pin | None = field(default=None, repr=False)
    _is_fresh: bool = field(default=False, repr=False)
    """Whether the kept PIN was read ahead, and not kept after a login."""
    _is_unanswered: bool = field(default=False, repr=False)
    _accepted: bytes = field(default=b"", repr=False)
    _refused: PinError | None = field(default=None, repr=False)
    _is_recorded: Callable[[], bool] | None = field(default=None, repr=False)

    @property
    def origin(self) -> str:
        """Where the PIN comes from, for messages, after "the PIN"."""
        return "that was typed" if self.source.attended else f"from '{self.source}'"

    @property
    def attended(self) -> bool:
        """Whether a person has just given, or will now give, the PIN that `read` returns."""
        return self.source.attended and (self._kept is None or self._is_fresh)

    def read_ahead(self, purpose: str) -> None:
        """Read the PIN now and present it later, so that a person is asked for PINs in a sensible order."""
        self._kept = self.read(purpose)
        self._is_fresh = True

    def read(self, purpose: str) -> Pin | None:
        """Return the PIN, or None for a PIN pad. Raises `PinNotPresentedError` while a refusal is recorded."""
        if self._refused is not None:
            if self._is_recorded is None or self._is_recorded():
                refused = self._refused
                raise PinNotPresentedError(refused.message, remedy=refused.remedy, facts=refused.facts)
            self._refused = None
        return self._kept if self._kept is not None else self.source.read(purpose)

    def record_acceptance(self, pin: Pin | None, *, looked_at: bool = True) -> None:
        """Keep or wipe a PIN that the token accepted; `looked_at` is False if the token did not check it."""
        if pin is None:
            return
        self.record_answer()
        if looked_at:
            self._accepted = _digest(pin)
        self.keep(pin)

    def keep(self, pin: Pin | None) -> None:
        """Keep a PIN that may be presented again and cannot be read again; wipe one that can."""
        self._is_fresh = False
        if pin is None or pin is self._kept:
            return
        if self.source.repeatable:
            pin.wipe()
        else:
            self._kept = pin

    def record_unanswered(self, pin: Pin | None) -> None:
        """Keep a PIN that the token has not answered, to be used after a late answer; wipe one that is read again.

        A person is asked again. Credentials that are given anew replace these meanwhile.
        """
        self._is_unanswered = True
        self._accepted = b""  # so that it is recorded before it is presented
        if pin is None or not self.attended:
            self.keep(pin)
            return
        pin.wipe()
        self._kept = None

    def record_answer(self) -> None:
        """Record that the token has answered a PIN after all."""
        self._is_unanswered = False

    def was_accepted(self, pin: Pin) -> bool:
        """Return whether this is the PIN that the token last accepted from this process."""
        return bool(self._accepted) and hmac.compare_digest(self._accepted, _digest(pin))

    def record_refusal(self, pin: Pin | None, error: PinError, is_recorded: Callable[[], bool]) -> None:
        """Wipe a PIN that the token refused, and present nothing from this source while the refusal is recorded.

        `error` is what `read` raises meanwhile. A PIN that was typed on the device has no record.
        """
        self._refused = error
        self._is_recorded = None if pin is None else is_recorded
        self._accepted = b""
        if pin is not None:
            pin.wipe()
        self._kept = None

    def is_replaced_by(self, newer: Credentials) -> bool:
        """Return whether the newer credentials differ, or this PIN was not accepted."""
        return self._refused is not None or self._is_unanswered or self._read_state() != newer._read_state()

    def forget(self) -> None:
        """Wipe the kept PIN."""
        if self._kept is not None:
            self._kept.wipe()
            self._kept = None

    def _read_state(self) -> tuple[PinSource, bool, frozenset[DeviceFailure], int, bool]:
        return self.source, self.last_try, self.device_failures, self.user_type, self.always_log_in


_OF_THIS_PROCESS = os.urandom(32)


def _digest(pin: Pin) -> bytes:
    # Recognises a PIN in this process only: the key ends with the process.
    return hmac.digest(_OF_THIS_PROCESS, pin.octets(), "sha256")
