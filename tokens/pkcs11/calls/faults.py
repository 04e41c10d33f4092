"""The exceptions of python-pkcs11, grouped by what to do about them, and translated into `tokens.errors`."""

from __future__ import annotations

from pkcs11 import exceptions as p11

from tokens.errors import (
    Facts,
    LoginUnclearError,
    MechanismNotOfferedError,
    ModuleEndedError,
    NoSuchTokenError,
    OperationFailedError,
    PinLockedError,
    Reason,
    TokenError,
    TokenLostError,
)
from tokens.pkcs11.calls.return_values import VENDOR_DEFINED, name_of, value_of

HANDLE_LOST = (p11.KeyHandleInvalid, p11.ObjectHandleInvalid)
"""The object was deleted, or has another handle."""

SESSION_LOST = (
    p11.SessionHandleInvalid,
    p11.SessionClosed,
    p11.UserNotLoggedIn,
    *HANDLE_LOST,
    p11.OperationNotInitialized,
    p11.OperationActive,
)
"""A new session and a new login are enough."""

TOKEN_LOST = (
    p11.DeviceRemoved,
    p11.DeviceError,
    p11.TokenNotPresent,
    p11.TokenNotRecognised,
    p11.SlotIDInvalid,
    p11.GeneralError,
    p11.FunctionFailed,
)
"""The token must be found again, if necessary after the module was initialised again.

OpenSC 0.23 answers GENERAL_ERROR when a card is removed during an operation, other modules FUNCTION_FAILED.
"""

CIPHERTEXT_REJECTED = (
    p11.EncryptedDataInvalid,
    p11.EncryptedDataLenRange,
    p11.DataInvalid,
    p11.DataLenRange,
    p11.FunctionFailed,
    p11.GeneralError,
)
"""Answers of tokens to wrong padding; SoftHSM 2.6.1 answers GENERAL_ERROR."""

_MECHANISM_REFUSED = (
    0x54,  # FUNCTION_NOT_SUPPORTED
    0x62,  # KEY_SIZE_RANGE
    0x63,  # KEY_TYPE_INCONSISTENT
    0x68,  # KEY_FUNCTION_NOT_PERMITTED
    0x70,  # MECHANISM_INVALID
    0x71,  # MECHANISM_PARAM_INVALID
    0x1B,  # ACTION_PROHIBITED
)
"""CK_RVs of a token that refuses this mechanism, though it may accept another one."""

UNCLEAR_REFUSAL = (p11.GeneralError, p11.FunctionFailed)
"""CK_RVs that may mean the same: tpm2-pkcs11 1.9.0 returns them for CKM_RSA_PKCS with a key that only signs."""


class _StaleSessionError(Exception):
    """The module was initialised again after this session was acquired; another session is needed."""


_GONE = (
    p11.DeviceRemoved,
    p11.DeviceError,
    p11.TokenNotPresent,
    p11.TokenNotRecognised,
    p11.SlotIDInvalid,
    p11.SessionHandleInvalid,
    p11.SessionClosed,
    p11.UserNotLoggedIn,
)
"""The token, its session or its login is gone, and no other reason is possible."""

_BROKEN_MODULE = (0x190, 0x1A0, 0x1A1)
"""CKR_CRYPTOKI_NOT_INITIALIZED, CKR_MUTEX_BAD and CKR_MUTEX_NOT_LOCKED, for which python-pkcs11 has no class."""


def is_recoverable(error: Exception) -> bool:
    """Return whether a reconnection may help."""
    if isinstance(
        error,
        (_StaleSessionError, NoSuchTokenError, LoginUnclearError, ModuleEndedError, *SESSION_LOST, *TOKEN_LOST),
    ):
        return True
    return value_of(error) in _BROKEN_MODULE or is_vendor_defined(error)


def is_mechanism_refused(error: Exception) -> bool:
    """Return whether the token refuses this mechanism, or this mechanism with this key."""
    return value_of(error) in _MECHANISM_REFUSED


def is_loss(error: Exception) -> bool:
    """Return whether the device, the module or the session is gone, and not only an operation failed."""
    if isinstance(error, p11.GeneralError | p11.FunctionFailed) or is_vendor_defined(error):
        return False
    return is_recoverable(error)


def is_vendor_defined(error: Exception) -> bool:
    """Return whether the maker of the module defined the CK_RV. It may mean a loss, so one reconnection is tried."""
    value = value_of(error)
    return value is not None and value >= VENDOR_DEFINED


def name(error: Exception) -> str:
    """Return the name of the CK_RV, such as CKR_DEVICE_REMOVED for DeviceRemoved."""
    value = value_of(error)
    return type(error).__name__ if value is None else name_of(value)


def translate_error(error: p11.PKCS11Error, doing: str) -> TokenError:
    """Return the error for a failure that a reconnection cannot end.

    `doing` is a phrase like "sign with key 'x' on token 'y'".
    """
    if is_mechanism_refused(error):
        return MechanismNotOfferedError(f"The token offers no way to {doing} ({name(error)}).")
    if isinstance(error, p11.PinLocked):
        return PinLockedError(
            f"The PIN is locked, so the token does not {doing}.", remedy="The security officer must unlock it."
        )
    if isinstance(error, p11.DeviceMemory):
        return OperationFailedError(f"The token has no memory left to {doing} ({name(error)}).")
    if isinstance(error, p11.HostMemory):
        return OperationFailedError(f"The token's module has no memory left on this host to {doing} ({name(error)}).")
    if isinstance(error, p11.SessionCount):
        return OperationFailedError(
            f"The token has no session free to {doing} ({name(error)}).",
            remedy="Open it with fewer sessions.",
            facts=Facts(reason=Reason.NO_FREE_SESSION),
        )
    if isinstance(error, _GONE) or value_of(error) in _BROKEN_MODULE:
        return TokenLostError(
            f"The token or its session was lost: it could not {doing} ({name(error)}).",
            remedy="Put the token back or restore the connection, then try again.",
        )
    return OperationFailedError(f"The token could not {doing} ({name(error)}).")
