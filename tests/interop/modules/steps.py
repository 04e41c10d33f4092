"""What the behaviours are made of: keys, schemes, events that were collected, errors as text."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from tokens.errors import TokenError
from tokens.events import KeyUse, subscribe
from tokens.keys import PrivateKey
from tokens.pins.sources import Pin
from tokens.pkcs11.ceremony import KeyKind, Usage

E = TypeVar("E")

SHA256, SHA384, SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()

KEYS = {
    "rsa": (KeyKind.RSA_2048, Usage.SIGN),
    "decrypt": (KeyKind.RSA_2048, Usage.DECRYPT),
    "p256": (KeyKind.P_256, Usage.SIGN),
    "p384": (KeyKind.P_384, Usage.SIGN),
}

RSA_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "PKCS1, SHA256": (padding.PKCS1v15(), SHA256),
    "PKCS1, SHA384": (padding.PKCS1v15(), SHA384),
    "PKCS1, SHA512": (padding.PKCS1v15(), SHA512),
    "PSS, SHA256": (padding.PSS(padding.MGF1(SHA256), 32), SHA256),
    "PSS, SHA384": (padding.PSS(padding.MGF1(SHA384), 48), SHA384),
}

EC_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "ECDSA, SHA256": (ec.ECDSA(SHA256),),
    "ECDSA, SHA384": (ec.ECDSA(SHA384),),
}

DECRYPTIONS: dict[str, padding.AsymmetricPadding] = {
    "PKCS1": padding.PKCS1v15(),
    "OAEP, SHA1": padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
    "OAEP, SHA256": padding.OAEP(padding.MGF1(SHA256), SHA256, None),
}


@dataclass(frozen=True)
class Typed:
    """A PIN that a person types."""

    value: str
    attended = True
    repeatable = False

    def read(self, purpose: str) -> Pin | None:
        return Pin(self.value.encode())


@contextlib.contextmanager
def collected(kind: type[E]) -> Iterator[list[E]]:
    """Collect the events of one class."""
    heard: list[E] = []
    with subscribe(heard.append, kind):
        yield heard


def describe(error: BaseException) -> str:
    """The class of an error and its sentence."""
    return f"{type(error).__name__}: {error}"


def attempt(action: Callable[[], object]) -> str:
    """Do it: "done", or the error."""
    try:
        action()
    except TokenError as error:
        return describe(error)
    return "done"


def used(action: Callable[[], object]) -> str:
    """Do it; returns the mechanism that the key was used with, or the error."""
    with collected(KeyUse) as uses:
        outcome = attempt(action)
    return uses[-1].mechanism if outcome == "done" else outcome


def class_of(outcome: str) -> str:
    """The outcome of `attempt` without the sentence."""
    return outcome.partition(":")[0]


def schemes_of(key: PrivateKey) -> dict[str, tuple[Any, ...]]:
    """The signature schemes of a key of this kind."""
    return EC_SIGNATURES if isinstance(key, ec.EllipticCurvePrivateKey) else RSA_SIGNATURES


def sign_and_verify(key: PrivateKey, scheme: tuple[Any, ...] | None = None) -> None:
    """Sign, and verify on the host; by default with the first scheme of the key."""
    scheme = scheme or next(iter(schemes_of(key).values()))
    key.public_key().verify(key.sign(b"data", *scheme), b"data", *scheme)
