"""The jobs that meet the answers: what a node, an officer and an ISCL peer do with a token.

A job is carried out by `run`, which raises what our code raises, and `Wrong` if the result is wrong. `prepare` and
`settle` are called before and after it while the token answers well; they leave the token as they found it.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import shutil
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

import tokens
from tokens import DeviceManager
from tokens.algorithms.des_keys import encrypt_block
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import FromEnvironment
from tokens.pkcs11.ceremony import KeyKind, Usage, delete_key, generate_key, read_keys
from tokens.pkcs11.certificates import delete_certificate, import_certificates
from tokens.pkcs11.check import check_token
from tokens.pkcs11.officer import change_pin, initialise_token, set_user_pin
from tokens.pkcs11.search import find_token
from tokens.pkcs11.secret_keys.ceremony import delete_secret, import_secret, list_secrets
from tokens.policy import KeyPolicy
from tokens.secrets import Use
from tokens.uri import Pkcs11Uri

SHA256, PKCS1, DATA = hashes.SHA256(), padding.PKCS1v15(), b"data"
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
DES_KEY, OTHER_DES_KEY = "133457799bbcdff1", "0123456789abcdef"
CHALLENGE, ANSWER = bytes.fromhex("0123456789abcdef"), bytes.fromhex("85e813540f0ab405")
"""The well-known worked example of DES with `DES_KEY`."""

PIN, NEW_PIN, SO_PIN = (FromEnvironment(f"ANSWERS_{name}") for name in ("PIN", "NEW_PIN", "SO_PIN"))

_numbers = itertools.count(1)


class Reported(Exception):
    """The job ended with a report of what does not work. Its text is the first sentence."""


class Wrong(Exception):
    """The job ended without an error, and its result is wrong."""


def require(right: bool) -> None:
    """Raise `Wrong` unless a result is right."""
    if not right:
        raise Wrong


class Job:
    """A job on the token `answers`, which has the keys `rsa`, `ec` and `decrypt`, and two secret keys."""

    label = "answers"
    object: str | None = None
    leaves_no_trace = False
    """Whether the job changes nothing on the token, so that the next answer may meet the same connection."""

    def __init__(self, token: Pkcs11Uri) -> None:
        self.token = token
        self.uri = dataclasses.replace(token, object=self.object)
        self.manager = DeviceManager()
        self.is_ready = False
        """Whether `prepare` was called, and the connection is as it left it."""

    def prepare(self) -> None:
        """Do what comes before the job."""

    def run(self) -> None:
        """Do the job."""
        raise NotImplementedError

    def verify(self) -> None:
        """Raise `Wrong` unless the token shows that the job was done. Called while the token answers well again."""

    def settle(self) -> None:
        """Undo the job as far as it was done, and forget every connection and every refused PIN."""
        self.manager.close()
        self.manager = DeviceManager()
        for record in RefusalMemory().folder.glob("refused-*.json"):
            record.unlink()


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
        copy = Path(shutil.copy(path, path.with_name(f"copy-{next(_numbers)}.so")))
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


class OpenTokenJob(Job):
    """A job with a connection that is logged in already."""

    def prepare(self) -> None:
        self.connection = tokens.open_token(self.token, manager=self.manager).connection
        self.connection.connect()

    def again(self) -> None:
        """Connect without a fault, to undo the job."""
        super().settle()
        OpenTokenJob.prepare(self)


class ListKeys(OpenTokenJob):
    """List the private keys."""

    leaves_no_trace = True

    def run(self) -> None:
        require({entry.name.label for entry in read_keys(self.connection)} == {"rsa", "ec", "decrypt"})


class GenerateKey(OpenTokenJob):
    """Generate a key pair."""

    def run(self) -> None:
        label = f"new {next(_numbers)}"
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
            unsigned = x509.CertificateBuilder(name, name, key.public_key(), next(_numbers), now, now)
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


class OpenSecretsJob(Job):
    """A job with secret keys that are open already."""

    leaves_no_trace = True

    def prepare(self) -> None:
        self.secrets = tokens.open_secrets(self.token, manager=self.manager)


class Authenticate(OpenSecretsJob):
    """Answer a challenge and verify a response with a secret key."""

    def run(self) -> None:
        with self.secrets.authentication(1) as held:
            require(held.internal_authenticate(CHALLENGE) == ANSWER)
            held.external_authenticate(encrypt_block(bytearray.fromhex(DES_KEY), held.challenge))


class Mac(OpenSecretsJob):
    """Make a MAC with a fixed encryption key."""

    def run(self) -> None:
        with self.secrets.data_key(1) as key:
            require(key.mac(CHALLENGE) == encrypt_block(bytearray.fromhex(OTHER_DES_KEY), CHALLENGE))


class DeriveKey(OpenSecretsJob):
    """Derive a session key on the token and encrypt with it."""

    def run(self) -> None:
        session = bytearray(encrypt_block(bytearray.fromhex(OTHER_DES_KEY), CHALLENGE))
        with self.secrets.session_key(1, CHALLENGE) as key:
            require(key.encrypt(ANSWER, bytes(8)) == encrypt_block(session, ANSWER))


class ListSecrets(OpenTokenJob):
    """List the secret keys."""

    leaves_no_trace = True

    def run(self) -> None:
        require({entry.index for entry in list_secrets(self.connection)} == {1})


class ImportSecret(OpenTokenJob):
    """Import a secret key."""

    def run(self) -> None:
        entry = import_secret(self.connection, Use.AUTHENTICATION, 2, bytearray.fromhex("7ca110454a1a6e57"))
        require((entry.use, entry.index) == (Use.AUTHENTICATION, 2))

    def settle(self) -> None:
        self.again()
        for entry in list_secrets(self.connection):
            if entry.index == 2:
                delete_secret(self.connection, entry.use, 2)
        super().settle()


class DeleteSecret(ImportSecret):
    """Delete a secret key."""

    def prepare(self) -> None:
        super().prepare()
        ImportSecret.run(self)

    def run(self) -> None:
        delete_secret(self.connection, Use.AUTHENTICATION, 2)

    def verify(self) -> None:
        require({entry.index for entry in list_secrets(self.connection)} == {1})


JOBS: dict[str, type[Job]] = {
    "open a key for the first time": OpenFirst,
    "sign for the first time": SignFirst,
    "sign with RSA": SignRsa,
    "sign with EC": SignEc,
    "decrypt": Decrypt,
    "list keys": ListKeys,
    "generate a key pair": GenerateKey,
    "delete a key pair": DeleteKey,
    "import a certificate": ImportCertificate,
    "test the token": CheckToken,
    "load a module and sign": Load,
    "open a key and sign": Open,
    "change the PIN": ChangePin,
    "set the user PIN": SetUserPin,
    "initialise a token": InitialiseToken,
    "authenticate": Authenticate,
    "make a MAC": Mac,
    "derive a session key": DeriveKey,
    "list secret keys": ListSecrets,
    "import a secret key": ImportSecret,
    "delete a secret key": DeleteSecret,
}


OWN_FUNCTIONS: dict[str, str] = {
    "open a key for the first time": "C_Login",
    "load a module and sign": "C_GetInfo",
    "open a key and sign": (
        "C_Initialize C_Finalize C_GetSlotList C_GetSlotInfo C_GetTokenInfo C_GetMechanismList "
        "C_GetMechanismInfo C_OpenSession C_CloseSession C_Login C_FindObjectsInit C_FindObjects C_FindObjectsFinal "
        "C_GetAttributeValue"
    ),
    "sign for the first time": "C_SignInit C_Sign",
    "sign with RSA": "C_SignInit C_Sign",
    "decrypt": "C_DecryptInit C_Decrypt C_GenerateRandom",
    "list keys": "C_GetSessionInfo",
    "generate a key pair": "C_GenerateKeyPair",
    "delete a key pair": "C_DestroyObject",
    "import a certificate": "C_CreateObject",
    "change the PIN": "C_SetPIN",
    "set the user PIN": "C_Login C_InitPIN C_Logout",
    "initialise a token": "C_InitToken",
    "authenticate": "C_EncryptInit C_Encrypt C_DecryptInit C_Decrypt C_GenerateRandom",
    "make a MAC": "C_EncryptInit C_Encrypt",
    "derive a session key": "C_DeriveKey",
    "import a secret key": "C_CreateObject",
}
"""The functions that are each job's purpose. They return every CK_RV there, and a few in the other jobs."""


def fill(module: Path) -> Pkcs11Uri:
    """Initialise the two tokens of the jobs and return the URI of the one with keys."""
    with DeviceManager() as manager:
        for label in ("spare", "answers"):
            info = initialise_token(manager.tokens.module(module), label, SO_PIN, PIN)
        uri = dataclasses.replace(info.uri, pin_source="env:ANSWERS_PIN")
        _make_keys(uri, manager)
    return uri


def _make_keys(uri: Pkcs11Uri, manager: DeviceManager) -> None:
    with tokens.open_token(uri, manager=manager) as connection:
        generate_key(connection, "rsa", KeyKind.RSA_2048, Usage.SIGN)
        generate_key(connection, "decrypt", KeyKind.RSA_2048, Usage.DECRYPT)
        generate_key(connection, "ec", KeyKind.P_256, Usage.SIGN)
        import_secret(connection, Use.AUTHENTICATION, 1, bytearray.fromhex(DES_KEY))
        import_secret(connection, Use.ENCRYPTION, 1, bytearray.fromhex(OTHER_DES_KEY))
