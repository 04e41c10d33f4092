"""SoftHSM for tests, provisioned by the project's own script in one folder for each process."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asn1crypto.core import OctetString
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from tokens.pins.sources import FromEnvironment
from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key
from tokens.pkcs11.module import load_module
from tokens.pkcs11.officer import initialise_token
from tokens.uri import Pkcs11Uri

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PROVISION = Path(__file__).parent.parent / "softhsm-config" / "provision"

_numbers = itertools.count(1)
_made: list[TestToken] = []
"""The tokens of the test that runs."""


@dataclass(frozen=True)
class TestToken:
    """A token whose PINs are in environment variables of this process."""

    __test__ = False  # a helper, not a test class

    label: str
    serial: str
    pin: str = field(repr=False)
    so_pin: str = field(repr=False)

    def uri(self, object: str | None = None, *, pin: bool = True) -> Pkcs11Uri:
        """The URI of the token, or of a key on it."""
        return Pkcs11Uri(
            token=self.label,
            serial=self.serial,
            object=object,
            module_path=MODULE,
            pin_source=self.pin if pin else None,
        )

    def remove(self) -> None:
        """Delete its files. This process keeps the slot; others have never had it."""
        folder = Path(os.environ["SOFTHSM2_CONF"]).parent / "tokens"
        for place in folder.glob(f"*-{self.serial[:4]}-{self.serial[4:]}"):
            shutil.rmtree(place, ignore_errors=True)

    def generate(self, label: str, kind: str = "rsa-2048", usage: str = "sign", **options: object) -> Pkcs11Uri:
        """Generate a key on the token and return the key's URI."""
        from tokens import open_token

        with open_token(self.uri()) as connection:
            generate_key(connection, label, KeyKind(kind), Usage(usage), **options)
        return self.uri(label)

    def import_key(self, label: str, key: RSAPrivateKey | EllipticCurvePrivateKey, usage: str = "sign") -> Pkcs11Uri:
        """Put a copy of a key from memory on the token, with the id 01, and return the key's URI."""
        from tokens import open_token

        names = {Attribute.TOKEN: True, Attribute.LABEL: label, Attribute.ID: b"\1"}
        uses = {Attribute.SIGN: usage == "sign", Attribute.DECRYPT: usage == "decrypt", Attribute.UNWRAP: False}
        secrecy = {Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
        public, private = _key_attributes(key)
        with open_token(self.uri()) as connection, connection.writable() as session:
            objects = connection.objects(session)
            objects.create({Attribute.CLASS: ObjectClass.PUBLIC_KEY} | names | public)
            objects.create({Attribute.CLASS: ObjectClass.PRIVATE_KEY} | names | uses | secrecy | private)
        return self.uri(label)


def _key_attributes(key: RSAPrivateKey | EllipticCurvePrivateKey) -> tuple[dict[Attribute, Any], dict[Attribute, Any]]:
    """The attributes of the public and of the private half (PKCS#11 v3.1, 6.1.2 and 6.3.3)."""
    if isinstance(key, RSAPrivateKey):
        values = key.private_numbers()
        shared = {
            Attribute.KEY_TYPE: KeyType.RSA,
            Attribute.MODULUS: _octets(values.public_numbers.n),
            Attribute.PUBLIC_EXPONENT: _octets(values.public_numbers.e),
        }
        return shared, shared | {
            Attribute.PRIVATE_EXPONENT: _octets(values.d),
            Attribute.PRIME_1: _octets(values.p),
            Attribute.PRIME_2: _octets(values.q),
            Attribute.EXPONENT_1: _octets(values.dmp1),
            Attribute.EXPONENT_2: _octets(values.dmq1),
            Attribute.COEFFICIENT: _octets(values.iqmp),
        }
    shared = {Attribute.KEY_TYPE: KeyType.EC, Attribute.EC_PARAMS: encode_named_curve_parameters(key.curve.name)}
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return (
        shared | {Attribute.EC_POINT: OctetString(point).dump()},
        shared | {Attribute.VALUE: _octets(key.private_numbers().private_value)},
    )


def _octets(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def provision(folder: Path) -> None:
    """Run the provisioning script; this process and its children use its SoftHSM from now on."""
    os.environ |= provision_environment(folder)


def provision_environment(folder: Path) -> dict[str, str]:
    """Run the provisioning script in a folder and return the environment variable that selects its SoftHSM."""
    printed = subprocess.run([PROVISION, folder], check=True, capture_output=True, text=True).stdout
    _, assignment = shlex.split(printed)
    name, _, value = assignment.partition("=")
    return {name: value}


def set_pin(value: str) -> str:
    """Put a PIN into a new environment variable and return its PIN source."""
    name = f"TEST_PIN_{next(_numbers)}"
    os.environ[name] = value
    return f"env:{name}"


def new_token(label: str | None = None, *, pin: str | None = None) -> TestToken:
    """Initialise an empty token with random PINs, or with the user PIN of a source that `set_pin` returned."""
    assert "SOFTHSM2_CONF" in os.environ, "Add the fixture `softhsm` to this test: it initialises a token."
    label = label or f"test {next(_numbers)}"
    pin, so_pin = pin or set_pin(secrets.token_hex(4)), set_pin(secrets.token_hex(8))
    made = initialise_token(
        load_module(MODULE),
        label,
        FromEnvironment(so_pin.removeprefix("env:")),
        FromEnvironment(pin.removeprefix("env:")),
    )
    token = TestToken(label, made.serial, pin, so_pin)
    _made.append(token)
    return token


def remember(label: str, serial: str) -> None:
    """Have a token that a command made removed after the test, too."""
    _made.append(TestToken(label, serial, "", ""))


@contextlib.contextmanager
def removing_tokens() -> Iterator[None]:
    """Remove the tokens that are made meanwhile, or each process that is started later would look at all of them."""
    kept = len(_made)
    yield
    for token in _made[kept:]:
        token.remove()
    del _made[kept:]
