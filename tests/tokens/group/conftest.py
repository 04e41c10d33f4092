"""One key on two tokens, for the tests of key groups."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.softhsm import TestToken, new_token
from tokens.uri import Pkcs11Uri


@dataclass(frozen=True)
class Copies:
    """The tokens, the key in memory, and the URIs of the key `node` on each token."""

    tokens: tuple[TestToken, ...]
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    uris: tuple[Pkcs11Uri, ...]


def new_copies(
    *labels: str | None,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
    usage: str = "sign",
    pin: str | None = None,
) -> Copies:
    """Make new tokens, each with a copy of one new key; with one PIN source for all, if it is given."""
    key = key or rsa.generate_private_key(65537, 2048)
    made = tuple(new_token(label, pin=pin) for label in labels)
    return Copies(made, key, tuple(token.import_key("node", key, usage) for token in made))


@pytest.fixture(scope="session")
def shared_copies(softhsm: object) -> Copies:
    """Two tokens for tests that change nothing on them."""
    return new_copies(None, None)


@pytest.fixture
def copies(softhsm: object) -> Copies:
    """Two tokens for one test."""
    return new_copies(None, None)
