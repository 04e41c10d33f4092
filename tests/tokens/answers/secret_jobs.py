"""The jobs of an ISCL peer: what is done with secret keys."""

from __future__ import annotations

import tokens
from tests.tokens.answers.job import (
    ANSWER,
    CHALLENGE,
    DES_KEY,
    OTHER_DES_KEY,
    Job,
    OpenTokenJob,
    require,
)
from tokens.algorithms.des_keys import encrypt_block
from tokens.pkcs11.secret_keys.ceremony import delete_secret, import_secret, list_secrets
from tokens.secrets import Use


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
