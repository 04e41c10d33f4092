"""For tests: certificates for keys on test tokens, and a configuration that names the token."""

from __future__ import annotations

from typing import Any

from cryptography import x509

from tests.pki import Authority
from tests.softhsm import MODULE, TestToken
from tokens import open_key, open_token
from tokens.pkcs11.certificates import import_certificates
from tokens.policy import KeyPolicy, Weakness


class _PublicHalf:
    """What `Authority.issue` needs of a subject's key."""

    def __init__(self, public_key: Any) -> None:
        self._public_key = public_key

    def public_key(self) -> Any:
        return self._public_key


def certify(
    token: TestToken, label: str, ca: Authority, *, store: bool = True, anything: bool = False, **wishes: Any
) -> x509.Certificate:
    """A certificate for a key on the token ("Signer LABEL"), by default stored there with it."""
    policy = KeyPolicy(allow=frozenset(Weakness) if anything else frozenset())
    with open_key(token.uri(label), policy=policy) as key:
        public = _PublicHalf(key.public_key())
    certificate = ca.issue(f"Signer {label}", key=public, **wishes).certificate
    if store:
        with open_token(token.uri()) as connection:
            import_certificates(connection, token.uri(label), [certificate])
    return certificate


def configuration_text(token: TestToken, name: str = "test") -> str:
    """A `[tokens.NAME]` for the token, its PIN in the environment."""
    return f'[tokens.{name}]\nmodule = "{MODULE}"\nserial = "{token.serial}"\npin = "{token.pin}"\n\n'
