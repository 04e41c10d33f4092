"""The PKCS#11 driver of secret keys: DES keys that encrypt, decrypt and derive inside their token.

| ISO/IEC 7816-4         | PKCS#11                                                                                 |
|------------------------|-----------------------------------------------------------------------------------------|
| GET CHALLENGE          | C_GenerateRandom, 8 bytes                                                               |
| INTERNAL AUTHENTICATE  | C_Encrypt of one block, ECB                                                             |
| EXTERNAL AUTHENTICATE  | C_Decrypt of the response, ECB; this process compares the result with the challenge     |
| MAC                    | C_Sign with CKM_DES(3)_MAC_GENERAL where the token has it, else CBC and its last block  |
| session key            | C_DeriveKey with CKM_DES(3)_ECB_ENCRYPT_DATA                                            |

By decryption, C_Encrypt and C_Decrypt change places. A session key by decryption cannot be derived: C_DeriveKey only
encrypts. C_UnwrapKey would decrypt, but these keys may not unwrap: anyone who may use such a key could unwrap a
readable copy of a session key from recorded traffic.

`objects` describes the key objects. The prefix of their labels is the `object` of the URI.
"""

from __future__ import annotations

import contextlib
import hmac
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from pkcs11 import Attribute, Mechanism, MechanismFlag
from pkcs11 import exceptions as p11

from tokens.errors import (
    AuthenticationFailedError,
    Facts,
    KeyPolicyError,
    MechanismNotOfferedError,
    Reason,
    TokenLostError,
    sentence_case,
)
from tokens.events.reporting import KeyUseReport
from tokens.pkcs11.connection import Connection
from tokens.pkcs11.secret_keys.des_forms import FULL_MAC
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
from tokens.secrets import BLOCK, ZERO_IV, DeviceDataKey, Use

PIECE = 256 * 1024
"""Bytes sent to the token in one call, so that long data does not occupy a session for long."""

_LOOK = 0.05
"""Seconds between looks at the device while another thread uses a session key."""

T = TypeVar("T")


class Pkcs11Secrets:
    """The secret keys with one prefix on one token. Satisfies `tokens.secrets.DeviceSecrets`."""

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

    @contextlib.contextmanager
    def conversation(
        self, index: int, peer_index: int, wait: float, deadline: float, *, by_decryption: bool = False
    ) -> Iterator[Pkcs11Conversation]:
        """Begin an authentication. Reserves nothing, since a token serves any number of them at once."""
        answering = self.secret(Use.AUTHENTICATION, index)
        verifying = self.secret(Use.AUTHENTICATION, peer_index)
        yield Pkcs11Conversation(self, answering, verifying, by_decryption)

    def data_key(self, index: int) -> Pkcs11DataKey:
        """Return a fixed key."""
        return Pkcs11DataKey(self, self.secret(Use.ENCRYPTION, index))

    def session_key(self, index: int, random: bytes, *, by_decryption: bool = False) -> Pkcs11SessionKey:
        """Return a key derived on the token, which ends with its session."""
        secret = self.secret(Use.ENCRYPTION, index)
        if by_decryption:
            raise MechanismNotOfferedError("PKCS#11 derives keys by encryption only (CKM_DES_ECB_ENCRYPT_DATA).")
        return Pkcs11SessionKey(self, secret, random)

    def session_key_to_host(self, index: int, random: bytes, *, by_decryption: bool = False) -> bytes:
        """Return one block of C_Encrypt, or C_Decrypt, which becomes a session key in this process."""
        secret = self.secret(Use.ENCRYPTION, index)
        operation = "derive a session key to the host"
        with self.report_use(secret, operation, secret.form.ecb):
            return self.block(secret, random, operation, decrypting=by_decryption)

    def check_value(self, use: Use, index: int) -> bytes:
        """Return the beginning of an encrypted block of zeros, or CKA_CHECK_VALUE of a key that only verifies."""
        secret = self.secret(use, index)
        if secret.encrypts:
            with self.report_use(secret, "compute a check value", secret.form.ecb):
                return self.block(secret, bytes(BLOCK), "compute a check value", decrypting=False)[:3]

        def job(worker: Worker) -> bytes:
            return self.key(worker, secret.label).read(Attribute.CHECK_VALUE)

        value = self.run(job, f"report the check value of '{secret.label}'")
        if len(value) != 3:
            raise MechanismNotOfferedError(
                f"The token reports no check value of '{secret.label}', which may not encrypt."
            )
        return value

    def close(self) -> None:
        """Release the connection, which ends with its last user."""
        release, self._release = self._release, None
        if release is not None:
            release()

    # -- for the classes below ------------------------------------------------------------------------------

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


class Pkcs11Conversation:
    """One authentication. Satisfies `tokens.secrets.DeviceConversation`."""

    def __init__(
        self, secrets: Pkcs11Secrets, answering: SecretInfo, verifying: SecretInfo, by_decryption: bool
    ) -> None:
        self._secrets = secrets
        self._answering = answering
        self._verifying = verifying
        self._by_decryption = by_decryption
        self._challenge = b""

    def internal_authenticate(self, challenge: bytes) -> bytes:
        """Answer a challenge: C_Encrypt of one block, by decryption C_Decrypt."""
        secrets, secret = self._secrets, self._answering
        with secrets.report_use(secret, "internal authenticate", secret.form.ecb):
            return secrets.block(secret, challenge, "answer a challenge", decrypting=self._by_decryption)

    def get_challenge(self) -> bytes:
        """Return a new challenge (C_GenerateRandom)."""

        def job(worker: Worker) -> bytes:
            return self._secrets.connection.module.queries.random(worker.session, BLOCK)

        self._challenge = self._secrets.whole(self._secrets.run(job, "draw a challenge"), BLOCK)
        return self._challenge

    def external_authenticate(self, response: bytes) -> None:
        """Verify a response: C_Decrypt of one block, by decryption C_Encrypt, and a comparison in constant time."""
        secrets, secret = self._secrets, self._verifying
        with secrets.report_use(secret, "external authenticate", secret.form.ecb):
            answered = secrets.block(secret, response, "verify a response", decrypting=not self._by_decryption)
            if not hmac.compare_digest(answered, self._challenge):
                raise AuthenticationFailedError(
                    f"The other party's response does not match '{secret.label}': it holds another key, or none.",
                    remedy="Compare the check values and key indexes of both sides.",
                )


class _CbcKey:
    """CBC and MAC, which fixed keys and session keys share. `_run` provides the key."""

    on_device = True
    value = None

    def __init__(self, secrets: Pkcs11Secrets, secret: SecretInfo) -> None:
        self._secrets = secrets
        self._secret = secret

    def mac(self, data: bytes, iv: bytes) -> bytes:
        """Return a MAC: CKM_DES(3)_MAC_GENERAL if the token has it, else the last block of a CBC encryption."""
        form = self._secret.form
        if iv != ZERO_IV or not self._computes_macs:
            return self._cbc("mac", data, iv)[-BLOCK:]
        with self._report_use("mac", form.mac):
            code = self._run(
                lambda key: key.mac(form.mac, data, FULL_MAC),
                f"compute a MAC with '{self._secret.label}'",
            )
            return self._secrets.whole(code, BLOCK)

    def encrypt(self, data: bytes, iv: bytes) -> bytes:
        """Encrypt with CKM_DES(3)_CBC, piece by piece."""
        return self._cbc("encrypt", data, iv)

    def decrypt(self, data: bytes, iv: bytes) -> bytes:
        """Decrypt with CKM_DES(3)_CBC, piece by piece."""
        return self._cbc("decrypt", data, iv)

    def carry_out(self, operations: Callable[[DeviceDataKey], T]) -> T:
        """Carry out several operations in one job and one session."""
        reports: list[KeyUseReport] = []
        computes_macs = self._computes_macs  # known before the job, which must not ask for it in another session

        def job(key: SecretKey) -> T:
            reports.clear()  # of an attempt before a reconnection
            return operations(_HeldKey(self._secrets, self._secret, key, computes_macs, reports))

        failure: BaseException | None = None
        try:
            return self._run(job, f"carry out operations with '{self._secret.label}'")
        except BaseException as error:
            failure = error
            raise
        finally:
            for report in reports:
                report.__exit__(None if failure is None else type(failure), failure, None)
            del failure  # its traceback holds this frame

    _signs: bool

    @property
    def _computes_macs(self) -> bool:
        """Whether the token has a mechanism for MACs that the key may use."""
        mechanism = self._secret.form.mac
        return self._signs and self._secrets.connection.capabilities().serves(mechanism, MechanismFlag.SIGN)

    def _report_use(self, operation: str, mechanism: Mechanism) -> contextlib.AbstractContextManager[None]:
        return self._secrets.report_use(self._secret, operation, mechanism)

    def _run(self, use: Callable[[SecretKey], T], doing: str) -> T:
        raise NotImplementedError

    def _cbc(self, operation: str, data: bytes, iv: bytes) -> bytes:
        mechanism = self._secret.form.cbc
        decrypting = operation == "decrypt"

        def crypt(piece: bytes, iv: bytes) -> bytes:
            def use(key: SecretKey) -> bytes:
                return (key.decrypt if decrypting else key.encrypt)(mechanism, piece, iv)

            return self._secrets.whole(self._run(use, f"{operation} with '{self._secret.label}'"), len(piece))

        with self._report_use(operation, mechanism):
            self._secrets.require(self._secret, decrypting=decrypting)
            done: list[bytes] = []
            for start in range(0, len(data), PIECE):
                piece = data[start : start + PIECE]
                done.append(crypt(piece, iv))
                iv = (piece if decrypting else done[-1])[-BLOCK:]
        return b"".join(done)


class _HeldKey(_CbcKey):
    """A key in the session of a job of `carry_out`, which reports the uses when the job has ended."""

    def __init__(
        self,
        secrets: Pkcs11Secrets,
        secret: SecretInfo,
        key: SecretKey,
        computes_macs: bool,
        reports: list[KeyUseReport],
    ) -> None:
        super().__init__(secrets, secret)
        self._key = key
        self._signs = computes_macs
        self._reports = reports

    def carry_out(self, operations: Callable[[DeviceDataKey], T]) -> T:
        """Carry out the operations in the job."""
        return operations(self)

    def close(self) -> None:
        """Do nothing: the key belongs to the job."""

    @property
    def _computes_macs(self) -> bool:
        return self._signs

    @contextlib.contextmanager
    def _report_use(self, operation: str, mechanism: Mechanism) -> Iterator[None]:
        report = self._secrets.report_use(self._secret, operation, mechanism)
        report.__enter__()
        self._reports.append(report)
        yield
        report.stop()

    def _run(self, use: Callable[[SecretKey], T], doing: str) -> T:
        return use(self._key)


class Pkcs11DataKey(_CbcKey):
    """A fixed key. Satisfies `tokens.secrets.DeviceDataKey`."""

    def __init__(self, secrets: Pkcs11Secrets, secret: SecretInfo) -> None:
        super().__init__(secrets, secret)
        self._signs = secret.signs

    def close(self) -> None:
        """Do nothing: the key belongs to the token."""

    def _run(self, use: Callable[[SecretKey], T], doing: str) -> T:
        return self._secrets.run(lambda worker: use(self._secrets.key(worker, self._secret.label)), doing)


class Pkcs11SessionKey(_CbcKey):
    """A key derived on the token, in a session of its own. Satisfies `DeviceDataKey`.

    If its session is lost, the driver derives it again from the same random number.
    """

    _signs = True

    def __init__(self, secrets: Pkcs11Secrets, secret: SecretInfo, random: bytes) -> None:
        super().__init__(secrets, secret)
        self._random = random
        self._using = threading.Lock()
        self._key: SecretKey | None = None
        self._epoch = -1
        self._closed = False
        derivation = secret.form.derive
        with secrets.report_use(secret, "derive a session key", derivation):
            if not secret.derives:
                raise MechanismNotOfferedError(f"Secret key '{secret.label}' may not derive (CKA_DERIVE is false).")
            self._run(lambda key: b"", f"derive a session key with '{secret.label}'")

    def close(self) -> None:
        """End the session, and with it the key. A use of the key that has not ended ends both when it does."""
        self._closed = True
        self._end_if_unused()

    @contextlib.contextmanager
    def _hold(self) -> Iterator[None]:
        """Use the key alone. Raises `TokenTimeoutError` or `ModuleFencedError` if an earlier use of it hangs."""
        connection = self._secrets.connection
        while not self._using.acquire(timeout=_LOOK):
            connection.module.check_answers(connection.token.slot_id)
        try:
            yield
        finally:
            self._using.release()
            if self._closed:
                self._end_if_unused()

    def _end_if_unused(self) -> None:
        if self._using.acquire(blocking=False):
            try:
                self._end_session()
            finally:
                self._using.release()

    def _run(self, use: Callable[[SecretKey], T], doing: str) -> T:
        def job(worker: Worker) -> T:
            with self._hold():
                try:
                    return use(self._derive(worker))
                except p11.PKCS11Error:
                    self._end_session()
                    raise

        return self._secrets.run(job, doing)

    def _derive(self, worker: Worker) -> SecretKey:
        if self._closed:
            raise TokenLostError("This session key was closed.")
        if self._key is None or self._epoch != worker.epoch:
            session = self._secrets.connection.open_session()
            try:
                self._key = self._secrets.find(session, self._secret.label).derive(self._secret.form, self._random)
            except BaseException:
                self._secrets.connection.module.close_session(session, worker.epoch)
                raise
            self._epoch = worker.epoch
        return self._key

    def _end_session(self) -> None:
        key, self._key = self._key, None
        if key is not None:
            self._secrets.connection.module.close_session(key.session, self._epoch)
