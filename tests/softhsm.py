"""SoftHSM for tests, provisioned by the project's own script in one folder for each process."""

from __future__ import annotations

import itertools
import os
import secrets
import shlex
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tokens.pins.sources import FromEnvironment
from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key
from tokens.pkcs11.module import load_module
from tokens.pkcs11.officer import initialise_token
from tokens.uri import Pkcs11Uri

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PROVISION = Path(__file__).parent.parent / "softhsm-config" / "provision"

_numbers = itertools.count(1)


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

    def generate(self, label: str, kind: str = "rsa-2048", usage: str = "sign", **options: object) -> Pkcs11Uri:
        """Generate a key on the token and return the key's URI."""
        from tokens import open_token

        with open_token(self.uri()) as connection:
            generate_key(connection, label, KeyKind(kind), Usage(usage), **options)
        return self.uri(label)

    def import_key(self, label: str, key: RSAPrivateKey | EllipticCurvePrivateKey, usage: str = "sign") -> Pkcs11Uri:
        """Put a copy of a key from memory on the token, with the id 01, and return the key's URI."""
        private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for kind, content, uses in (("privkey", private, [f"--usage-{usage}", "--sensitive"]), ("pubkey", public, [])):
            with tempfile.NamedTemporaryFile() as file:
                file.write(content)
                file.flush()
                command = ["pkcs11-tool", "--module", MODULE, "--token-label", self.label, "--login", "--pin", self.pin]
                command += ["--write-object", file.name, "--type", kind, "--label", label, "--id", "01", *uses]
                subprocess.run(command, check=True, capture_output=True)
        return self.uri(label)


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
    return TestToken(label, made.serial, pin, so_pin)
