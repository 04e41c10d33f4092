"""The PKCS#11 driver of a private key: carries out the rungs that `tokens.mechanisms` ranks."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pkcs11 import Mechanism
from pkcs11 import PrivateKey as PrivateKeyObject
from pkcs11 import exceptions as p11

from tokens.errors import KeyPolicyRefused, MechanismNotOffered, PinRefused, TokenError, TokenLost
from tokens.events import KeyUse, Outcome, emit
from tokens.keys import CiphertextRejected
from tokens.mechanisms import Rung
from tokens.pkcs11.connection import Connection, Worker
from tokens.pkcs11.faults import CIPHERTEXT_REJECTED
from tokens.pkcs11.objects import (
    KeyName,
    PublicKey,
    find_private_key,
    key_name,
    public_half,
    read_attributes,
    same_public_key,
)
from tokens.policy import Finding, KeyAttributes, KeyPolicy, enforce
from tokens.uri import Pkcs11Uri


@dataclass(frozen=True)
class _Opened:
    name: KeyName
    attributes: KeyAttributes
    public_key: PublicKey


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
        self._release: Callable[[], None] | None = release
        opened = connection.run(lambda worker: self._look_up(worker, wanted), "open a key")
        self.name = opened.name
        self.attributes = opened.attributes
        self.public_key = opened.public_key
        self.findings: tuple[Finding, ...] = enforce(f"Key {self.description}", opened.attributes, policy)
        capabilities = connection.capabilities()
        signs = opened.attributes.sign is not False
        decrypts = bool(opened.attributes.decrypt)
        self.offered: frozenset[Mechanism] = frozenset(
            (capabilities.sign if signs else frozenset()) | (capabilities.decrypt if decrypts else frozenset())
        )
        # One context-specific login at a time, so that a PIN that went stale is refused once, not once a thread.
        self._authenticating = threading.Lock() if opened.attributes.always_authenticate else None

    @property
    def description(self) -> str:
        """For messages."""
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

    def sign(self, rung: Rung, data: bytes) -> bytes:
        """C_Sign with the rung's mechanism."""
        if self.attributes.sign is False:
            raise KeyPolicyRefused(
                f"Key {self.description} may not sign (CKA_SIGN is false); use a key made with --usage sign or tls."
            )

        def job(worker: Worker, pin: str | None) -> bytes:
            key: Any = self._handle(worker)  # python-pkcs11 adds sign and decrypt as the key's usage allows
            signature: bytes = key.sign(data, mechanism=rung.mechanism, mechanism_param=rung.parameter, pin=pin)
            return signature

        return self._use("sign", rung, job)

    def decrypt(self, rung: Rung, ciphertext: bytes) -> bytes:
        """C_Decrypt with the rung's mechanism. Whatever the token says of the ciphertext is `CiphertextRejected`."""
        if not self.attributes.decrypt:
            raise KeyPolicyRefused(
                f"Key {self.description} may not decrypt (CKA_DECRYPT is false); use a key made with --usage decrypt."
            )

        def job(worker: Worker, pin: str | None) -> bytes:
            key: Any = self._handle(worker)  # python-pkcs11 adds sign and decrypt as the key's usage allows
            try:
                plaintext: bytes = key.decrypt(
                    ciphertext, mechanism=rung.mechanism, mechanism_param=rung.parameter, pin=pin
                )
            except p11.ArgumentsBad:
                # Of PKCS#1 v1.5 it speaks of the ciphertext; of OAEP, of a hash that the token does not do (SoftHSM).
                if rung.mechanism is Mechanism.RSA_PKCS_OAEP:
                    raise MechanismNotOffered(
                        f"Key {self.description} cannot decrypt OAEP with this hash; SHA-1 may be all it does."
                    ) from None
                raise CiphertextRejected from None
            except CIPHERTEXT_REJECTED:
                raise CiphertextRejected from None
            return plaintext

        return self._use("decrypt", rung, job)

    def close(self) -> None:
        """Let go of the connection; it ends with its last user."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def _use(self, operation: str, rung: Rung, job: Callable[[Worker, str | None], bytes]) -> bytes:
        started = time.perf_counter()
        outcome, reason = Outcome.FAILED, ""
        try:
            if self._release is None:
                raise TokenLost(f"Key {self.description} was closed.")
            with self._authenticating or contextlib.nullcontext():
                result = self._run(operation, job)
            outcome = Outcome.DONE
        except CiphertextRejected:
            # Said nowhere, so that no log becomes the oracle that the caller must not have.
            outcome = Outcome.DONE
            raise
        except TokenError as error:
            reason = str(error)
            raise
        finally:
            token = self._connection.token
            emit(
                KeyUse(
                    token_serial=token.serial,
                    token_label=token.label,
                    outcome=outcome,
                    duration=time.perf_counter() - started,
                    reason=reason,
                    key_label=self.name.label,
                    operation=operation,
                    mechanism=rung.name,
                )
            )
        return result

    def _run(self, operation: str, job: Callable[[Worker, str | None], bytes]) -> bytes:
        doing = f"{operation} with key {self.name}"
        if self._authenticating is None:
            return self._connection.run(lambda worker: job(worker, None), doing)
        return self._authenticated(job, doing)

    def _authenticated(self, job: Callable[[Worker, str | None], bytes], doing: str) -> bytes:
        """The job with the context-specific login that CKA_ALWAYS_AUTHENTICATE asks for (PKCS#11 v3.1, 4.9)."""
        credentials, token = self._connection.credentials, self._connection.token
        if credentials is None:
            raise KeyPolicyRefused(f"Key {self.description} wants its PIN for each use; name a PIN source.")
        pin = credentials.read(f"user PIN of {token.description}, for key {self.name}")
        if pin is None:
            raise KeyPolicyRefused(
                f"Key {self.description} wants its PIN for each use; a pin pad is not served for that."
            )
        text = pin.octets().decode("utf-8")

        def attempt(worker: Worker) -> bytes:
            try:
                return job(worker, text)
            except (p11.PinIncorrect, p11.PinInvalid, p11.PinLenRange) as error:
                sentence = f"The PIN from '{credentials.source}' was refused for key {self.description}."
                with credentials.memory.presenting(token.serial, "user", pin) as presented:
                    presented.was_refused()
                credentials.refused(pin, sentence)
                raise PinRefused(f"{sentence} It will not be presented again.") from error

        result = self._connection.run(attempt, doing)
        credentials.accepted(pin)
        return result

    def _look_up(self, worker: Worker, wanted: Pkcs11Uri) -> _Opened:
        key = find_private_key(worker.session, wanted, self._connection.token.description)
        opened = _Opened(key_name(key), read_attributes(key), public_half(worker.session, key))
        worker.keys[self] = key
        return opened

    def _handle(self, worker: Worker) -> PrivateKeyObject:
        key = worker.keys.get(self)
        if key is None:
            wanted = Pkcs11Uri(object=self.name.label or None, id=self.name.id or None)
            key = find_private_key(worker.session, wanted, self._connection.token.description)
            if not same_public_key(public_half(worker.session, key), self.public_key):
                raise TokenLost(f"Key {self.description} is not the key that was opened; open it anew.")
            worker.keys[self] = key
        return key
