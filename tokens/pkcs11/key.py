"""The PKCS#11 driver of a private key, which carries out the candidates of `tokens.mechanisms`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Set
from typing import Protocol, TypeVar

from cryptography import x509
from pkcs11 import Mechanism, MechanismFlag
from pkcs11 import exceptions as p11

from tokens.errors import (
    Facts,
    KeyPolicyError,
    MechanismNotOfferedError,
    MechanismUnclearError,
    NoSuchKeyError,
    Reason,
    TokenBusyError,
    TokenLostError,
)
from tokens.events.reporting import KeyUseReport
from tokens.keys import CiphertextRejectedError, compute_spki_sha256
from tokens.mechanisms import Candidate
from tokens.pkcs11.calls.capabilities import Offered
from tokens.pkcs11.calls.faults import CIPHERTEXT_REJECTED, UNCLEAR_REFUSAL, name
from tokens.pkcs11.connection import Connection
from tokens.pkcs11.login.key_use import KeyLogin
from tokens.pkcs11.objects import FoundKey, PublicKey, describe_key, find_private_key, has_public_key, read_certificates
from tokens.pkcs11.sessions import BUSY_TIMEOUT, Worker
from tokens.pkcs11.start_failures import suggest_init_string
from tokens.policy import Finding, KeyPolicy, enforce
from tokens.uri import Pkcs11Uri

T = TypeVar("T")
R = TypeVar("R", covariant=True)

Authenticate = Callable[[], None]
"""Presents the PIN for one use of a key, between C_SignInit and C_Sign."""


class _Job(Protocol[R]):
    """A use of a key in a session; with `authenticate`, of one that requires its PIN for each use."""

    def __call__(self, worker: Worker, authenticate: Authenticate | None = None) -> R: ...


class Pkcs11Key:
    """One private key on a PKCS#11 token, for any number of threads. Satisfies `tokens.keys.DeviceKey`."""

    def __init__(
        self,
        connection: Connection,
        wanted: Pkcs11Uri,
        policy: KeyPolicy,
        release: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._queries = connection.module.queries
        self._release: Callable[[], None] | None = release
        opened = connection.run(lambda worker: self._look_up(worker, wanted), "open a key")
        self.name = opened.name
        self._text = str(opened.name)
        self.attributes = opened.attributes
        self.public_key: PublicKey = opened.require_public_key()
        self._fingerprint = compute_spki_sha256(self.public_key)
        self.certificate_serial = ""
        self.findings: tuple[Finding, ...] = enforce(f"Key {self.description}", opened.attributes, policy)
        uses = MechanismFlag.SIGN if opened.attributes.sign is not False else MechanismFlag(0)
        if opened.attributes.decrypt:
            uses |= MechanismFlag.DECRYPT
        self.offered: Set[Mechanism] = Offered(connection.capabilities, uses)
        self._proven: set[Mechanism] = set()
        self._unclear: dict[tuple[Mechanism, int], int] = {}

    @property
    def description(self) -> str:
        """The key and its token, for messages."""
        return f"{self.name} on {self._connection.token.description}"

    @property
    def uri(self) -> Pkcs11Uri:
        """The URI that opens this key again."""
        token = self._connection.token
        return Pkcs11Uri(
            token=token.label,
            serial=token.serial,
            object=self.name.label or None,
            id=self.name.id or None,
            type="private",
            module_path=token.module_path,
        )

    def check_answers(self) -> None:
        """Raise `TokenLostError` while a call has not returned from the token."""
        self._connection.check_answers()

    def sign(self, candidate: Candidate, data: bytes) -> bytes:
        """Sign with the candidate's mechanism (C_Sign)."""
        if self.attributes.sign is False:
            raise KeyPolicyError(
                f"Key {self.description} may not sign (CKA_SIGN is false).",
                remedy="Use a key that was generated to sign.",
                facts=Facts(reason=Reason.KEY_NOT_FOR_SIGNING),
            )

        # Several threads may meet the first refusal at once: each counts its own.
        refusal = candidate.mechanism, threading.get_ident()

        def job(worker: Worker, authenticate: Authenticate | None = None) -> bytes:
            session, key = worker.session, self._handle(worker)
            try:
                if authenticate is None:
                    signature = self._queries.sign(session, key, candidate.mechanism, candidate.parameter, data)
                else:
                    self._queries.begin_signature(session, key, candidate.mechanism, candidate.parameter)
                    authenticate()
                    signature = self._queries.finish_signature(session, data)
            except p11.ArgumentsBad as error:
                if candidate.parameter is None:
                    raise
                # SoftHSM 2.6.1 answers so to an MGF1 hash other than that of the message.
                raise MechanismNotOfferedError(
                    f"The token does not do {candidate.name} with these parameters."
                ) from error
            except UNCLEAR_REFUSAL as error:
                # If the mechanism has worked before, the device failed. A presented PIN has rules of its own.
                if candidate.mechanism in self._proven or authenticate is not None:
                    raise
                # A second time in the same session, treat it as a loss; the answer after reconnecting decides.
                if self._unclear.get(refusal) == worker.generation:
                    raise
                self._unclear[refusal] = worker.generation
                self._connection.check_login(worker)
                raise MechanismUnclearError(
                    f"The token refuses {candidate.name} with key {self.description} ({name(error)})."
                ) from error
            self._proven.add(candidate.mechanism)
            return signature

        return self._use("sign", candidate, job)

    def decrypt(self, candidate: Candidate, ciphertext: bytes) -> bytes:
        """Decrypt with the candidate's mechanism (C_Decrypt).

        Raises `CiphertextRejectedError` for every answer of the token about the ciphertext.
        """
        if not self.attributes.decrypt:
            raise KeyPolicyError(
                f"Key {self.description} may not decrypt (CKA_DECRYPT is false).",
                remedy="Use a key that was generated to decrypt.",
                facts=Facts(reason=Reason.KEY_NOT_FOR_DECRYPTION),
            )

        def job(worker: Worker, authenticate: Authenticate | None = None) -> bytes | None:
            session, key = worker.session, self._handle(worker)
            plaintext: bytes | None = None
            try:
                # The token has not seen the ciphertext yet, so no answer here is about it.
                self._queries.begin_decryption(session, key, candidate.mechanism, candidate.parameter)
                if authenticate is not None:
                    authenticate()
                with contextlib.suppress(*CIPHERTEXT_REJECTED):
                    plaintext = self._queries.finish_decryption(session, ciphertext)
            except p11.ArgumentsBad as error:
                # With PKCS#1 v1.5 it is about the ciphertext; with OAEP about a hash that SoftHSM does not support.
                if candidate.mechanism is Mechanism.RSA_PKCS_OAEP:
                    raise MechanismNotOfferedError(
                        f"Key {self.description} cannot decrypt OAEP with this hash ({name(error)}). It may support "
                        "only SHA-1."
                    ) from None
            # A lost token can look like a rejected ciphertext. Checked in both cases, because the time is observable.
            self._queries.check_alive(session)
            return plaintext

        result = self._use("decrypt", candidate, job)
        if result is None:
            raise CiphertextRejectedError
        return result

    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Return the certificates on the token that contain the key's public half."""

        def read(worker: Worker) -> tuple[x509.Certificate, ...]:
            return read_certificates(self._connection.objects(worker.session), self.name, self.public_key)

        return self._connection.run(read, f"read the certificates of key {self.name}")

    def invalidate(self) -> None:
        """Discard every session and handle: one of them led to another key."""
        self._connection.invalidate()

    def close(self) -> None:
        """Release the connection, which ends with its last user."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def _use(self, operation: str, candidate: Candidate, job: _Job[T]) -> T:
        token = self._connection.token
        # The duration of a decryption could tell a good ciphertext from a bad one.
        timed = operation != "decrypt"
        names = token.serial, token.label, self.name.label, operation, candidate.name
        known = {"spki_sha256": self._fingerprint, "certificate_serial": self.certificate_serial}
        with KeyUseReport(*names, **known, timed=timed):
            if self._release is None:
                raise TokenLostError(f"Key {self.description} was closed.")
            doing = f"{operation} with key {self._text}"
            if self.attributes.always_authenticate:
                return self._authenticate(job, doing)
            return self._connection.run(job, doing)

    def _authenticate(self, job: _Job[T], doing: str) -> T:
        """Run the job with the context-specific login that CKA_ALWAYS_AUTHENTICATE requires (PKCS#11 v3.1, 4.9)."""
        lock = self._connection.authenticating
        if not lock.acquire(timeout=BUSY_TIMEOUT):
            raise TokenBusyError(f"Key {self.description} has been in use for {BUSY_TIMEOUT:.0f} seconds.")
        try:
            return self._run_with_pin(job, doing)
        finally:
            lock.release()

    def _run_with_pin(self, job: _Job[T], doing: str) -> T:
        credentials, token = self._connection.credentials, self._connection.token
        if credentials is None:
            raise KeyPolicyError(f"Key {self.description} requires its PIN for each use.", remedy="Add a PIN source.")
        self._connection.connect()  # so that the rules of a login apply to an outdated PIN
        pin = credentials.read(f"user PIN of {token.description}, for key {self.name}")
        if pin is None:
            raise KeyPolicyError(
                f"Key {self.description} requires its PIN for each use, which a PIN pad cannot give.",
                remedy="Use another PIN source, or a key without CKA_ALWAYS_AUTHENTICATE.",
            )

        login = KeyLogin(self._connection.module, token, credentials, pin, self.description)

        def attempt(worker: Worker) -> T:
            with login.watch(doing):
                return job(worker, lambda: login.present(worker.session))

        with login.use():
            return self._connection.run(attempt, doing)

    def _look_up(self, worker: Worker, wanted: Pkcs11Uri) -> FoundKey:
        objects = self._connection.objects(worker.session)
        try:
            handle = find_private_key(objects, wanted, self._connection.token.description)
        except NoSuchKeyError as error:
            module = self._connection.module
            remedy = suggest_init_string(module.path, module.init_string) or error.remedy
            raise NoSuchKeyError(error.message, remedy=remedy) from None
        key = describe_key(objects, handle)
        worker.keys[self] = key.handle
        return key

    def _handle(self, worker: Worker) -> int:
        handle: int | None = worker.keys.get(self)
        if handle is None:
            objects = self._connection.objects(worker.session)
            wanted = Pkcs11Uri(object=self.name.label or None, id=self.name.id or None)
            handle = find_private_key(objects, wanted, self._connection.token.description)
            if not has_public_key(objects, handle, self.name, self.public_key):
                raise TokenLostError(f"Key {self.description} is not the key that was opened.", remedy="Open it again.")
            worker.keys[self] = handle
        return handle
