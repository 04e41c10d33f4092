"""The secret keys with one prefix on one token: found, judged by the key policy, and used for one block.

`driver` offers them as `tokens.secrets` does; `conversation` and `data_keys` use them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pkcs11 import Mechanism

from tokens.errors import Facts, KeyPolicyError, Reason, TokenLostError, sentence_case
from tokens.events.reporting import KeyUseReport
from tokens.pkcs11.connection import Connection
from tokens.pkcs11.secret_keys.des_forms import name as mechanism_name
from tokens.pkcs11.secret_keys.objects import (
    DEFAULT_PREFIX,
    SecretInfo,
    SecretKey,
    describe,
    find_secret,
    label_of,
)
from tokens.pkcs11.sessions import Worker
from tokens.policy import KeyPolicy, assess_key
from tokens.secrets import BLOCK, Use

T = TypeVar("T")


class KnownKeys:
    """The secret keys that were looked up. `release` is called when they are closed."""

    def __init__(
        self, connection: Connection, prefix: str | None, policy: KeyPolicy, release: Callable[[], None]
    ) -> None:
        self.connection = connection
        self.prefix = prefix or DEFAULT_PREFIX
        self._policy = policy
        self._release: Callable[[], None] | None = release
        self._known: dict[str, SecretInfo] = {}
        connection.connect()

    @property
    def description(self) -> str:
        """The prefix and the token, for messages."""
        return f"the secret keys '{self.prefix}' on {self.connection.token.description}"

    def check_answers(self) -> None:
        """Raise `TokenLostError` while a call has not returned from the token."""
        self.connection.check_answers()

    def close(self) -> None:
        """Release the connection, which ends with its last user."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def secret(self, use: Use, index: int) -> SecretInfo:
        """Return what the token reports about a secret key that the policy allows. Raises `KeyPolicyError`."""
        label = label_of(self.prefix, use, index)
        known = self._known.get(label)
        if known is None:

            def look(worker: Worker) -> SecretInfo:
                return describe(self.connection.objects(worker.session), self.key(worker, label).handle)

            known = self.run(look, f"open secret key '{label}'")
            self._enforce(known)
            self._known[label] = known
        return known

    def run(self, job: Callable[[Worker], T], doing: str) -> T:
        """Call `Connection.run`. Raises `TokenLostError` after `close`."""
        if self._release is None:
            raise TokenLostError(f"{sentence_case(self.description)} were closed.")
        return self.connection.run(job, doing)

    def key(self, worker: Worker, label: str) -> SecretKey:
        """Return the key in this worker's session."""
        known: dict[str, SecretKey] = worker.keys.setdefault(self, {})
        if label not in known:
            known[label] = self.find(worker.session, label)
        return known[label]

    def find(self, session: int, label: str) -> SecretKey:
        """Return the key in a session. Raises as `find_secret` does."""
        return find_secret(self.connection.module.queries, session, label, self.connection.token.description)

    def report_use(self, secret: SecretInfo, operation: str, mechanism: Mechanism) -> KeyUseReport:
        """Report the block as a use of the secret key."""
        token = self.connection.token
        return KeyUseReport(token.serial, token.label, secret.label, operation, mechanism_name(mechanism))

    def block(self, secret: SecretInfo, block: bytes, operation: str, *, decrypting: bool) -> bytes:
        """Encrypt or decrypt one block (ECB). The caller reports the use."""
        self.require(secret, decrypting=decrypting)

        def job(worker: Worker) -> bytes:
            key = self.key(worker, secret.label)
            return (key.decrypt if decrypting else key.encrypt)(secret.form.ecb, block)

        return self.whole(self.run(job, f"{operation} with '{secret.label}'"), BLOCK)

    def require(self, secret: SecretInfo, *, decrypting: bool) -> None:
        """Raise `KeyPolicyError` unless the key's usage allows to decrypt, or to encrypt."""
        allowed, attribute = (secret.decrypts, "CKA_DECRYPT") if decrypting else (secret.encrypts, "CKA_ENCRYPT")
        if not allowed:
            raise KeyPolicyError(
                f"Secret key '{secret.label}' on {self.connection.token.description} is not for this operation "
                f"({attribute} is false).",
                remedy="Import it for the other direction, or for both.",
                facts=Facts(reason=Reason.SECRET_KEY_NOT_FOR_THIS),
            )

    def whole(self, result: bytes, length: int) -> bytes:
        """Return the token's output. Raises `TokenLostError` unless it has this length, in bytes."""
        if len(result) != length:
            raise TokenLostError(
                f"The token answered {len(result)} bytes instead of {length}, so its answer is not used.",
                remedy="Check the device and its connection.",
            )
        return result

    def _enforce(self, secret: SecretInfo) -> None:
        refusals = [finding for finding in assess_key(secret.attributes, self._policy) if finding.refusal]
        if refusals:
            reasons = "; ".join(finding.text for finding in refusals)
            raise KeyPolicyError(
                f"Secret key '{secret.label}' on {self.connection.token.description} is not used: {reasons}.",
                remedy="Import it again, or allow its weaknesses in the key policy.",
                facts=Facts(
                    reason=Reason.SECRET_KEY_REFUSED,
                    weaknesses=tuple(finding.weakness for finding in refusals),
                ),
            )
