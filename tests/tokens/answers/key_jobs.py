"""The jobs of a node and of an officer: what is done with private keys, certificates, PINs and tokens."""

from __future__ import annotations

import dataclasses
import datetime
import shutil
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

import tokens
from tests.tokens.answers.job import (
    DATA,
    NEW_PIN,
    OAEP,
    PIN,
    PKCS1,
    SHA256,
    SO_PIN,
    Job,
    OpenTokenJob,
    Reported,
    numbers,
    require,
)
from tokens import DeviceManager
from tokens.pkcs11.ceremony import KeyKind, Usage, delete_key, generate_key, read_keys
from tokens.pkcs11.certificates import delete_certificate, import_certificates
from tokens.pkcs11.check import check_token
from tokens.pkcs11.officer import change_pin, initialise_token, set_user_pin
from tokens.pkcs11.search import find_token
from tokens.policy import KeyPolicy
from tokens.uri import Pkcs11Uri


class OpenFirst(Job):
    """Load the module, find the token, present a PIN for the first time, open a key and sign."""

    object = "rsa"

    def run(self) -> None:
        with DeviceManager() as manager, tokens.open_key(self.uri, manager=manager) as key:
            key.public_key().verify(key.sign(DATA, PKCS1, SHA256), DATA, PKCS1, SHA256)


class Open(OpenFirst):
    """Do the same with a PIN that the token has accepted before."""

    def prepare(self) -> None:
        self.run()


class Load(OpenFirst):
    """Do the same with a module that the process has not loaded yet."""

    def run(self) -> None:
        path = self.token.module_path
        assert path is not None
        copy = Path(shutil.copy(path, path.with_name(f"copy-{next(numbers)}.so")))
        uri = dataclasses.replace(self.uri, module_path=copy)
        with DeviceManager() as manager, tokens.open_key(uri, manager=manager) as key:
            key.public_key().verify(key.sign(DATA, PKCS1, SHA256), DATA, PKCS1, SHA256)


class OpenKeyJob(Job):
    """A job with a key that is open already."""

    leaves_no_trace = True

    def prepare(self) -> None:
        self.key = tokens.open_key(self.uri, manager=self.manager)


class SignFirst(OpenKeyJob):
    """Sign for the first time with an RSA key that is open."""

    object = "rsa"
    leaves_no_trace = False

    def run(self) -> None:
        self.key.public_key().verify(self.key.sign(DATA, PKCS1, SHA256), DATA, PKCS1, SHA256)


class SignRsa(SignFirst):
    """Sign with an RSA key that has signed before."""

    leaves_no_trace = True

    def prepare(self) -> None:
        super().prepare()
        self.run()


class SignEc(OpenKeyJob):
    """Sign with an EC key that has signed before."""

    object = "ec"

    def prepare(self) -> None:
        super().prepare()
        self.run()

    def run(self) -> None:
        self.key.public_key().verify(self.key.sign(DATA, ec.ECDSA(SHA256)), DATA, ec.ECDSA(SHA256))


class Decrypt(OpenKeyJob):
    """Decrypt with an RSA key that has decrypted before."""

    object = "decrypt"

    def prepare(self) -> None:
        super().prepare()
        self.ciphertext = self.key.public_key().encrypt(DATA, OAEP)
        self.run()

    def run(self) -> None:
        require(self.key.decrypt(self.ciphertext, OAEP) == DATA)


class ListKeys(OpenTokenJob):
    """List the private keys."""

    leaves_no_trace = True

    def run(self) -> None:
        require({entry.name.label for entry in read_keys(self.connection)} == {"rsa", "ec", "decrypt"})


class GenerateKey(OpenTokenJob):
    """Generate a key pair."""

    def run(self) -> None:
        label = f"new {next(numbers)}"
        made = generate_key(self.connection, label, KeyKind.P_256, Usage.SIGN)
        require((made.name.label, made.attributes.local) == (label, True))

    def settle(self) -> None:
        self.again()
        for entry in read_keys(self.connection):
            if entry.name.label.startswith("new"):
                delete_key(self.connection, Pkcs11Uri(id=entry.name.id))
        super().settle()


class DeleteKey(OpenTokenJob):
    """Delete a key pair."""

    def prepare(self) -> None:
        super().prepare()
        if not self._is_there():
            generate_key(self.connection, "old", KeyKind.P_256, Usage.SIGN)

    def run(self) -> None:
        delete_key(self.connection, Pkcs11Uri(object="old"))

    def verify(self) -> None:
        require(not self._is_there())

    def _is_there(self) -> bool:
        return "old" in {entry.name.label for entry in read_keys(self.connection)}


class ImportCertificate(OpenTokenJob):
    """Store a certificate beside its key."""

    object = "ec"

    def prepare(self) -> None:
        super().prepare()
        with tokens.open_key(self.uri, manager=self.manager) as key:
            name, now = x509.Name([]), datetime.datetime(2030, 1, 1)
            unsigned = x509.CertificateBuilder(name, name, key.public_key(), next(numbers), now, now)
            self.certificate = unsigned.sign(key, SHA256)

    def run(self) -> None:
        import_certificates(self.connection, self.uri, [self.certificate])

    def verify(self) -> None:
        require(self.certificate in self._stored())

    def settle(self) -> None:
        self.again()
        for certificate in self._stored():
            delete_certificate(self.connection, self.uri, certificate)
        super().settle()

    def _stored(self) -> tuple[x509.Certificate, ...]:
        return next(e.certificates for e in read_keys(self.connection) if e.name.label == self.object)


class CheckToken(OpenTokenJob):
    """Test a key with real operations."""

    object = "ec"
    secrets = False

    def run(self) -> None:
        check = check_token(self.connection, self.uri, KeyPolicy(), secrets=self.secrets)
        (key,) = check.keys
        problems = [operation.problem for operation in key.operations if operation.problem]
        if check.secrets is not None:
            problems += [each.problem for form in check.secrets.forms for each in form.operations if each.problem]
        if problems:
            raise Reported(problems[0])


class OfficerJob(Job):
    """A job of the security officer, or of the user at the same place."""

    def prepare(self) -> None:
        self.module = self.manager.tokens.module(self.token.module_path)
        self.info = find_token(self.module, self.token)

    def settle(self) -> None:
        super().settle()
        self.prepare()
        set_user_pin(self.module, self.info, SO_PIN, PIN)
        super().settle()


class ChangePin(OfficerJob):
    """Change the user's PIN."""

    def run(self) -> None:
        change_pin(self.module, self.info, PIN, NEW_PIN)


class SetUserPin(OfficerJob):
    """Set the user's PIN as the security officer."""

    def run(self) -> None:
        set_user_pin(self.module, self.info, SO_PIN, NEW_PIN)


class InitialiseToken(Job):
    """Erase a token and initialise it."""

    label = "spare"

    def prepare(self) -> None:
        self.module = self.manager.tokens.module(self.token.module_path)

    def run(self) -> None:
        made = initialise_token(self.module, "spare", SO_PIN, PIN, erase=Pkcs11Uri(token="spare"))
        require(made.label == "spare")
