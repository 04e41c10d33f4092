"""Keys that encrypt, decrypt and compute MACs of data on a token: fixed ones, and session keys derived there."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from pkcs11 import Mechanism, MechanismFlag
from pkcs11 import exceptions as p11

from tokens.errors import MechanismNotOfferedError, TokenLostError
from tokens.events.reporting import KeyUseReport
from tokens.pkcs11.secret_keys.des_forms import FULL_MAC
from tokens.pkcs11.secret_keys.known_keys import KnownKeys
from tokens.pkcs11.secret_keys.objects import SecretInfo, SecretKey
from tokens.pkcs11.sessions import Worker
from tokens.secrets import BLOCK, ZERO_IV, DeviceDataKey

PIECE = 256 * 1024
"""Bytes sent to the token in one call, so that long data does not occupy a session for long."""

_LOOK = 0.05
"""Seconds between looks at the device while another thread uses a session key."""

T = TypeVar("T")


class _CbcKey:
    """CBC and MAC, which fixed keys and session keys share. `_run` provides the key."""

    on_device = True
    value = None

    def __init__(self, secrets: KnownKeys, secret: SecretInfo) -> None:
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
        secrets: KnownKeys,
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

    def __init__(self, secrets: KnownKeys, secret: SecretInfo) -> None:
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

    def __init__(self, secrets: KnownKeys, secret: SecretInfo, random: bytes) -> None:
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
