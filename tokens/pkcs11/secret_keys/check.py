"""Self-test of a token's secret keys with real operations: each form of DES, through the production driver.

The test makes temporary secret keys (session objects, which end with the test) with the attributes of an import, opens
them as `tokens.open_secrets` does, and compares every result with the host's own DES.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from pkcs11 import Attribute
from pkcs11 import exceptions as p11

from tokens.algorithms.des_keys import encrypt_block
from tokens.errors import AuthenticationFailedError, KeyPolicyError, NoSuchKeyError, TokenLostError, sentence_case
from tokens.host_session_key import HostSessionKey
from tokens.pkcs11.connection import Connection
from tokens.pkcs11.secret_keys.ceremony import form_to_take, temporary_secrets, try_forms
from tokens.pkcs11.secret_keys.des_forms import FORMS, DesForm
from tokens.pkcs11.secret_keys.driver import Pkcs11Secrets
from tokens.pkcs11.secret_keys.objects import find_secret, label_of
from tokens.pkcs11.sessions import Worker
from tokens.policy import KeyPolicy
from tokens.secrets import ZERO_IV, Secrets, Use
from tokens.trials import OperationCheck, Trial, measure_rate, require_verified, run_trial

_AUTHENTICATION_KEY = bytearray.fromhex("133457799bbcdff1")
_ENCRYPTION_KEY = bytearray.fromhex("0123456789abcdef")
_ON_HOST = HostSessionKey(bytes(_ENCRYPTION_KEY))
_KEYS = {(Use.AUTHENTICATION, 1): _AUTHENTICATION_KEY, (Use.ENCRYPTION, 1): _ENCRYPTION_KEY}

_RANDOM = bytes.fromhex("1122334455667788")
_IV = bytes.fromhex("1234567890abcdef")
_DATA = bytes(range(256))

_RATE_BYTES = 16 * 1024
"""Bytes in each encryption that measures the rate. A slow token needs a second or two for them."""


class SecretOperation(StrEnum):
    """The operations tested with each form. Names in capitals are those of ISO/IEC 7816-4."""

    IMPORT = "import, never extractable"
    GET_CHALLENGE = "GET CHALLENGE"
    INTERNAL_AUTHENTICATE = "INTERNAL AUTHENTICATE"
    EXTERNAL_AUTHENTICATE = "EXTERNAL AUTHENTICATE"
    CBC_ENCRYPTION = "DES-CBC encryption"
    CBC_DECRYPTION = "DES-CBC decryption"
    MAC = "DES-MAC"
    SESSION_KEY = "session key kept on token"


@dataclass(frozen=True)
class FormCheck:
    """The result for one form. Rates are DES-CBC in bytes per second, and 0 if they were not measured.

    If the import failed, `operations` contains nothing else.
    """

    form: DesForm
    operations: tuple[OperationCheck, ...]
    rate_with_1_session: float = 0.0
    rate_with_4_sessions: float = 0.0

    def works(self, *operations: SecretOperation) -> bool:
        """Return whether all these operations work."""
        return set(operations) <= {o.operation for o in self.operations if o.works}


@dataclass(frozen=True)
class SecretCheck:
    """The results for all forms. `taken` is the form of an import on this token, whose rates were measured."""

    forms: tuple[FormCheck, ...]
    taken: FormCheck | None


def check_secrets(
    connection: Connection, policy: KeyPolicy, progress: Callable[[str], None] = lambda _: None
) -> SecretCheck:
    """Test every form. Raises `TokenLostError` if the token is lost meanwhile, which says nothing about the forms.

    `progress` is called with a description of each next test. Takes about two seconds.
    """
    progress("which forms of DES the token supports")
    form = _form_to_take(connection)
    checks = {each: _check_form(connection, each, policy, progress, measured=each is form) for each in FORMS}
    return SecretCheck(tuple(checks.values()), checks[form] if form is not None else None)


def _form_to_take(connection: Connection) -> DesForm | None:
    try:
        return form_to_take(try_forms(connection))
    except p11.PKCS11Error:
        return None  # the token cannot be written to, as the import of each form will report


def _check_form(
    connection: Connection, form: DesForm, policy: KeyPolicy, progress: Callable[[str], None], *, measured: bool
) -> FormCheck:
    progress(f"secret keys as {form.name}")
    with contextlib.ExitStack() as kept:
        opened: list[Pkcs11Secrets] = []
        importing = Trial(
            SecretOperation.IMPORT,
            lambda: opened.append(kept.enter_context(_import(connection, form, policy))),
            mechanism="C_CreateObject",
        )
        imported = run_trial(importing)
        if not opened:
            connection.run(lambda worker: connection.module.queries.check_alive(worker.session), "be tested")
            return FormCheck(form, (imported,))
        [device] = opened
        secrets = Secrets(device)
        operations = [imported]
        for trial in _trials(secrets, device):
            operations.append(run_trial(trial))
            if not operations[-1].works:
                _check_nothing_was_lost(device)
        check = FormCheck(form, tuple(operations))
        if not (measured and check.works(SecretOperation.CBC_ENCRYPTION)):
            return check
        progress(f"secret keys as {form.name}: rate")
        with secrets.data_key(1) as key:
            job = partial(key.encrypt, bytes(_RATE_BYTES), ZERO_IV)
            return FormCheck(
                form, check.operations, _RATE_BYTES * measure_rate(job, 1), _RATE_BYTES * measure_rate(job, 4)
            )


@contextlib.contextmanager
def _import(connection: Connection, form: DesForm, policy: KeyPolicy) -> Iterator[Pkcs11Secrets]:
    with (
        temporary_secrets(connection, form, _KEYS) as prefix,
        contextlib.closing(Pkcs11Secrets(connection, prefix, policy, release=lambda: None)) as device,
    ):
        for use, index in _KEYS:
            device.secret(use, index)  # checks the key policy, as the driver does
            if connection.run(
                partial(_reveals_value, connection, label_of(prefix, use, index)),
                "be asked for the value of a secret key",
            ):
                raise KeyPolicyError("The token revealed the value of a sensitive key.")
        yield device


def _reveals_value(connection: Connection, label: str, worker: Worker) -> bool:
    secret = find_secret(connection.module.queries, worker.session, label, "the token")
    return bool(secret.read(Attribute.VALUE))


def _check_nothing_was_lost(device: Pkcs11Secrets) -> None:
    """Raise `TokenLostError` if the token lost its temporary keys: then a failed operation says nothing about it."""
    connection = device.connection
    label = label_of(device.prefix, Use.ENCRYPTION, 1)
    try:
        queries = connection.module.queries
        connection.run(
            lambda worker: find_secret(queries, worker.session, label, ""), "find a temporary secret key again"
        )
    except NoSuchKeyError as error:
        raise TokenLostError(
            f"{sentence_case(connection.token.description)} lost its temporary secret keys during the test: it was "
            "removed, or its module was initialised again.",
            remedy="Repeat the test.",
        ) from error


def _trials(secrets: Secrets, device: Pkcs11Secrets) -> Iterator[Trial]:
    yield Trial(SecretOperation.GET_CHALLENGE, partial(_challenges, secrets), mechanism="C_GenerateRandom")
    yield Trial(SecretOperation.INTERNAL_AUTHENTICATE, partial(_answers, secrets))
    yield Trial(SecretOperation.EXTERNAL_AUTHENTICATE, partial(_verifies, secrets))
    yield Trial(SecretOperation.CBC_ENCRYPTION, partial(_encrypts, secrets))
    yield Trial(SecretOperation.CBC_DECRYPTION, partial(_decrypts, secrets))
    yield Trial(SecretOperation.MAC, partial(_makes_macs, secrets))
    yield Trial(SecretOperation.SESSION_KEY, partial(_derives, device), told_as="derive a session key")


def _challenges(secrets: Secrets) -> None:
    with secrets.authentication(1) as first, secrets.authentication(1) as second:
        require_verified(first.challenge != second.challenge)


def _answers(secrets: Secrets) -> None:
    with secrets.authentication(1) as held:
        require_verified(held.internal_authenticate(_RANDOM) == encrypt_block(_AUTHENTICATION_KEY, _RANDOM))


def _verifies(secrets: Secrets) -> None:
    with secrets.authentication(1) as held:
        response = encrypt_block(_AUTHENTICATION_KEY, held.challenge)
        try:
            held.external_authenticate(response)
        except AuthenticationFailedError:
            require_verified(False)  # the response is correct, so the token's decryption is wrong


def _encrypts(secrets: Secrets) -> None:
    with secrets.data_key(1) as key:
        require_verified(key.encrypt(_DATA, _IV) == _ON_HOST.encrypt(_DATA, _IV))


def _decrypts(secrets: Secrets) -> None:
    with secrets.data_key(1) as key:
        require_verified(key.decrypt(_DATA, _IV) == _ON_HOST.decrypt(_DATA, _IV))


def _makes_macs(secrets: Secrets) -> None:
    with secrets.data_key(1) as key:
        require_verified(key.mac(_DATA) == _ON_HOST.mac(_DATA, ZERO_IV))


def _derives(device: Pkcs11Secrets) -> None:
    # Uses the driver directly, since `Secrets` may derive on the host instead.
    expected = HostSessionKey(encrypt_block(_ENCRYPTION_KEY, _RANDOM))
    with contextlib.closing(device.session_key(1, _RANDOM)) as key:
        require_verified(key.on_device)
        require_verified(key.encrypt(_DATA, _IV) == expected.encrypt(_DATA, _IV))
        require_verified(key.decrypt(_DATA, _IV) == expected.decrypt(_DATA, _IV))
        require_verified(key.mac(_DATA, ZERO_IV) == expected.mac(_DATA, ZERO_IV))
