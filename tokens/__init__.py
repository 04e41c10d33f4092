"""Keys on devices: PKCS#11 tokens and smart cards behind ordinary `cryptography` key objects.

A key is opened by its URI, `pkcs11:` (RFC 7512) or `card:` (see `tokens.card_uri`), and used like any other:

    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    import tokens

    uri = "pkcs11:token=CT%20room;object=node?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/pin"
    with tokens.open_key(uri) as key:
        signature = key.sign(b"data", padding.PKCS1v15(), hashes.SHA256())
        key.public_key().verify(signature, b"data", padding.PKCS1v15(), hashes.SHA256())

One key of which several tokens hold a copy is opened by `open_key_group`; see `tokens.group`.

Secret keys that authenticate, encrypt and compute codes on their device are opened by `open_secrets`; see
`tokens.secrets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokens.deadlines import CallDeadlines
from tokens.errors import (
    CeremonyError,
    Error,
    KeyPolicyError,
    MechanismNotOfferedError,
    ModuleError,
    NoSuchKeyError,
    NoSuchTokenError,
    OperationFailedError,
    PinError,
    PinLockedError,
    PinNotPresentedError,
    PinRefusedError,
    PinSourceError,
    TokenBusyError,
    TokenError,
    TokenLostError,
    UriError,
)

if TYPE_CHECKING:
    from tokens.group.opening import open_key_group
    from tokens.manager import DeviceManager, default_manager
    from tokens.opening import open_key, open_secrets, open_token

__all__ = [
    "CallDeadlines",
    "CeremonyError",
    "DeviceManager",
    "Error",
    "KeyPolicyError",
    "MechanismNotOfferedError",
    "ModuleError",
    "NoSuchKeyError",
    "NoSuchTokenError",
    "OperationFailedError",
    "PinError",
    "PinLockedError",
    "PinNotPresentedError",
    "PinRefusedError",
    "PinSourceError",
    "TokenBusyError",
    "TokenError",
    "TokenLostError",
    "UriError",
    "default_manager",
    "open_key",
    "open_key_group",
    "open_secrets",
    "open_token",
]


def __getattr__(name: str) -> object:
    """Import the drivers when one of the other names is first used, so that importing the errors stays cheap."""
    if name == "open_key_group":
        from tokens.group.opening import open_key_group

        return open_key_group
    if name in __all__:
        from tokens import opening

        return getattr(opening, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
