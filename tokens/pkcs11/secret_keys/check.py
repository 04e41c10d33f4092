"""What a token can really do with secrets: each form of DES, tried through the driver that serves in earnest.

Temporary secrets (session objects, which vanish with the test) are made as an import makes them, opened as
`tokens.open_secrets` opens them, and every result is compared with the host's own DES.
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
from tokens.pkcs11.secret_keys.objects import find_secret, label_of, read_attribute
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
"""Bytes encrypted at a time to measure the rate: many to a fast token, yet a slow one is done in a second or two."""


class SecretOperation(StrEnum):
    """What is tried with each form. The first four are authentication; the names in capitals are ISO/IEC 7816-4's."""

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
    """One form, tried. Rates are DES-CBC in bytes per second, and 0 where they were not measured.

    Where the import failed, `operations` has nothing else.
    """

    form: DesForm
    operations: tuple[OperationCheck, ...]
    rate_with_1_session: float = 0.0
    rate_with_4_sessions: float = 0.0

    def works(self, *operations: SecretOperation) -> bool:
        """Whether all of these do."""
        return set(operations) <= {o.operation for o in self.operations if o.works}


@dataclass(frozen=True)
class SecretCheck:
    """All forms, tried. `taken` is the one in which an import puts keys on this token, and is measured."""

    forms: tuple[FormCheck, ...]
    taken: FormCheck | None


def check_secrets(
    connection: Connection, policy: KeyPolicy, progress: Callable[[str], None] = lambda _: None
) -> SecretCheck:
    """Try every form. Raises `TokenLostError` if the token goes away meanwhile: that is no verdict on what it can do.

    `progress` is called with a description of each next test. Takes about two seconds.
    """
    progress("which form of DES it runs")
    form = _form_to_take(connection)
    checks = {each: _check_form(connection, each, policy, progress, measured=each is form) for each in FORMS}
    return SecretCheck(tuple(checks.values()), checks[form] if form is not None else None)


def _form_to_take(connection: Connection) -> DesForm | None:
    try:
        return form_to_take(try_forms(connection))
    except p11.PKCS11Error:
        return None  # a token that cannot be written to; each form's import says so


def _check_form(
    connection: Connection, form: DesForm, policy: KeyPolicy, progress: Callable[[str], None], *, measured: bool
) -> FormCheck:
    progress(f"secrets as {form.name}")
    with contextlib.ExitStack() as kept:
        opened: list[Pkcs11Secrets] = []
        importing = Trial(
            SecretOperation.IMPORT,
            lambda: opened.append(kept.enter_context(_imported(connection, form, policy))),
            mechanism="C_CreateObject",
        )
        imported = run_trial(importing)
        if not opened:
            connection.run(_is_there, "be tried")
            return FormCheck(form, (imported,))
        [device] = opened
        secrets = Secrets(device)
        operations = [imported]
        for trial in _trials(secrets, device):
            operations.append(run_trial(trial))
            if not operations[-1].works:
                _demand_that_nothing_was_lost(device)
        check = FormCheck(form, tuple(operations))
        if not (measured and check.works(SecretOperation.CBC_ENCRYPTION)):
            return check
        progress(f"secrets as {form.name}: how fast it is")
        with secrets.data_key(1) as key:
            job = partial(key.encrypt, bytes(_RATE_BYTES), ZERO_IV)
            return FormCheck(
                form, check.operations, _RATE_BYTES * measure_rate(job, 1), _RATE_BYTES * measure_rate(job, 4)
            )


@contextlib.contextmanager
def _imported(connection: Connection, form: DesForm, policy: KeyPolicy) -> Iterator[Pkcs11Secrets]:
    with (
        temporary_secrets(connection, form, _KEYS) as prefix,
        contextlib.closing(Pkcs11Secrets(connection, prefix, policy, release=lambda: None)) as device,
    ):
        for use, index in _KEYS:
            device.secret(use, index)  # the driver's own policy judges what was made
            if connection.run(partial(_gives_away_value, label_of(prefix, use, index)), "keep a secret to itself"):
                raise KeyPolicyError("The token gave away the value of a key that it was to keep.")
        yield device


def _gives_away_value(label: str, worker: Worker) -> bool:
    return bool(read_attribute(find_secret(worker.session, label, "the token"), Attribute.VALUE))


def _is_there(worker: Worker) -> None:
    worker.session.token.slot.get_mechanisms()


def _demand_that_nothing_was_lost(device: Pkcs11Secrets) -> None:
    """A trial that fails since the token was pulled, and with it lost the temporary keys, says nothing."""
    connection = device.connection
    label = label_of(device.prefix, Use.ENCRYPTION, 1)
    try:
        connection.run(lambda worker: find_secret(worker.session, label, ""), "find a temporary secret again")
    except NoSuchKeyError as error:
        raise TokenLostError(
            f"{sentence_case(connection.token.description)} lost its temporary secrets while they were tried: it was "
            "removed, or its module was initialised again.",
            remedy="Test it again.",
        ) from error


def _trials(secrets: Secrets, device: Pkcs11Secrets) -> Iterator[Trial]:
    yield Trial(SecretOperation.GET_CHALLENGE, partial(_challenges, secrets), mechanism="C_GenerateRandom")
    yield Trial(SecretOperation.INTERNAL_AUTHENTICATE, partial(_answers, secrets))
    yield Trial(SecretOperation.EXTERNAL_AUTHENTICATE, partial(_judges, secrets))
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


def _judges(secrets: Secrets) -> None:
    with secrets.authentication(1) as held:
        response = encrypt_block(_AUTHENTICATION_KEY, held.challenge)
        try:
            held.external_authenticate(response)
        except AuthenticationFailedError:
            require_verified(False)  # what fails is the token's decryption: the response is right


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
    # Of the driver itself, since `Secrets` may turn to the host, and explains at length when it may not.
    expected = HostSessionKey(encrypt_block(_ENCRYPTION_KEY, _RANDOM))
    with contextlib.closing(device.session_key(1, _RANDOM)) as key:
        require_verified(key.on_device)
        require_verified(key.encrypt(_DATA, _IV) == expected.encrypt(_DATA, _IV))
        require_verified(key.decrypt(_DATA, _IV) == expected.decrypt(_DATA, _IV))
        require_verified(key.mac(_DATA, ZERO_IV) == expected.mac(_DATA, ZERO_IV))
