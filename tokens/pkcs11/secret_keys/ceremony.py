"""Management of the secret keys on a PKCS#11 token: import, list, delete, and test which form the token supports.

A token cannot generate K‖K, so a secret key is made outside the token and imported. This process knows the key only
during the import. The functions take it as a `bytearray`, which the caller wipes; the memory that C_CreateObject
reads is wiped too, while a copy that Python made in between cannot be.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pkcs11 import Attribute, ObjectClass
from pkcs11 import exceptions as p11

from tokens.algorithms.des_keys import CHECK_VALUE_LENGTH, check_value, encrypt_block, require_strong, set_odd_parity
from tokens.errors import CeremonyError, MechanismNotOfferedError, OperationFailedError, TokenError, sentence_case
from tokens.events.reporting import report_ceremony_step
from tokens.pkcs11.calls.faults import is_loss, translate_error
from tokens.pkcs11.calls.faults import name as fault_name
from tokens.pkcs11.calls.queries import Queries
from tokens.pkcs11.connection import Connection
from tokens.pkcs11.search import TokenInfo
from tokens.pkcs11.secret_keys.des_forms import FORMS, DesForm
from tokens.pkcs11.secret_keys.objects import (
    DEFAULT_PREFIX,
    SecretInfo,
    SecretKey,
    create_secret,
    describe,
    find_secret,
    label_of,
)
from tokens.pkcs11.sessions import Worker
from tokens.secrets import BLOCK, ZERO_IV, Use

_TRIAL_KEY = bytearray.fromhex("0123456789abcdef")
_TRIAL_BLOCK = bytes.fromhex("4e6f772069732074")


@dataclass(frozen=True)
class SecretEntry:
    """A secret key in a list. `check_value` is None if the token does not report it."""

    use: Use
    index: int
    info: SecretInfo
    check_value: bytes | None


@dataclass(frozen=True)
class FormTrial:
    """The result of testing one form on a token with a temporary key."""

    form: DesForm
    ecb: bool
    cbc: bool
    derives: bool
    failure: p11.PKCS11Error | None = None
    """The token's answer, if it did not import the key or did not encrypt a block with it."""

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """The order of preference: a higher rank is preferred."""
        return (self.ecb, self.cbc, self.derives)


def import_secret(
    connection: Connection,
    use: Use,
    index: int,
    key: bytearray,
    *,
    prefix: str | None = None,
    answers: bool = True,
    verifies: bool = True,
) -> SecretEntry:
    """Import a DES key (8 bytes; sets its parity), never extractable, in the best form that the token supports.

    An authentication key may be for one direction: without `verifies` it only answers challenges (CKA_ENCRYPT),
    without `answers` it only verifies responses (CKA_DECRYPT), so that an attacker in this process cannot answer
    for the peer. Raises `CeremonyError` for a weak key, for an index or a value that is in use, and if the token
    computes wrong results with the key; `MechanismNotOfferedError` if the token supports no form.
    """
    prefix = prefix or DEFAULT_PREFIX
    label = label_of(prefix, use, index)
    token = connection.token
    with report_ceremony_step(token.serial, token.label, "import", f"secret key '{label}'"):
        if index < 1:
            raise CeremonyError("Secret keys are numbered from 1.")
        if not (answers or verifies):
            raise CeremonyError("A secret key that neither answers nor verifies cannot be used.")
        require_strong(key)
        set_odd_parity(key)
        _refuse_taken(connection, prefix, label, use, check_value(key))
        trials = try_forms(connection)
        form = form_to_take(trials)
        if form is None:
            raise _explain_no_form(token, trials)
        encrypts, decrypts = (answers, verifies) if use is Use.AUTHENTICATION else (True, True)
        template = _template(form, key, label, encrypts=encrypts, decrypts=decrypts, stored=True)
        _create_and_prove(connection, label, template, form, key)
    imported = next((entry for entry in list_secrets(connection, prefix) if entry.info.label == label), None)
    if imported is None:
        raise CeremonyError(
            f"{sentence_case(token.description)} imported secret key '{label}' but does not list it.",
            remedy="Test the token, and delete the key there before you import it again.",
        )
    return imported


def list_secrets(connection: Connection, prefix: str | None = None) -> list[SecretEntry]:
    """Return the secret keys whose labels begin with the prefix, sorted by use and index.

    Raises `OperationFailedError` if the token has secret keys and reports the label of none.
    """
    prefix = prefix or DEFAULT_PREFIX

    def read(worker: Worker) -> list[SecretEntry]:
        connection.check_login(worker)
        entries = []
        objects = connection.objects(worker.session)
        reported = {
            found: objects.read(found, (Attribute.LABEL,))
            for found in objects.find({Attribute.CLASS: ObjectClass.SECRET_KEY})
        }
        if reported and not any(one.has(Attribute.LABEL) for one in reported.values()):
            raise OperationFailedError(
                f"{sentence_case(connection.token.description)} does not report the labels of its secret keys "
                "(CKA_LABEL)."
            )
        for found, attributes in reported.items():
            place = _place(prefix, attributes.text(Attribute.LABEL))
            if place is not None:
                info = describe(objects, found)
                secret = SecretKey(connection.module.queries, worker.session, found)
                entries.append(SecretEntry(*place, info, _check_value(secret, info)))
        return entries

    entries = connection.run(read, "list its secret keys")
    return sorted(entries, key=lambda entry: (entry.use, entry.index))


def delete_secret(connection: Connection, use: Use, index: int, *, prefix: str | None = None) -> None:
    """Delete a secret key on the token. Raises `NoSuchKeyError`."""
    label = label_of(prefix or DEFAULT_PREFIX, use, index)
    token = connection.token
    with report_ceremony_step(token.serial, token.label, "delete", f"secret key '{label}'"):
        try:
            with connection.writable() as session:
                find_secret(connection.module.queries, session, label, token.description).destroy()
        except p11.PKCS11Error as error:
            raise translate_error(error, f"delete secret key '{label}'") from error


@contextlib.contextmanager
def temporary_secrets(
    connection: Connection, form: DesForm, keys: Mapping[tuple[Use, int], bytearray]
) -> Iterator[str]:
    """Provide secret keys during the block (session objects), in this form and with the attributes of an import.

    For a self-test. Yields the prefix of their labels, which no other secret key has.
    """
    prefix = f"check-{secrets.token_hex(4)}"
    with contextlib.ExitStack() as kept:
        doing = "open a read-write session"
        try:
            session = kept.enter_context(connection.writable())
            doing = f"import a secret key as {form.name}"
            for (use, index), key in keys.items():
                template = _template(
                    form, key, label_of(prefix, use, index), encrypts=True, decrypts=True, stored=False
                )
                create_secret(connection.module.queries, session, template)
        except p11.PKCS11Error as error:
            raise translate_error(error, doing) from error
        yield prefix


def form_to_take(trials: Iterable[FormTrial]) -> DesForm | None:
    """Return the form in which a secret key is imported, or None if the token supports none."""
    able = [trial for trial in trials if trial.ecb]
    return max(able, key=lambda trial: trial.rank).form if able else None


def try_forms(connection: Connection) -> list[FormTrial]:
    """Test each form with a temporary key, and compare the token's results with the host's."""
    try:
        with connection.writable() as session:
            queries = connection.module.queries
            return [connection.module.run(partial(_try_form, queries, session, form)) for form in FORMS]
    except p11.PKCS11Error as error:
        raise translate_error(error, "test which form of DES it supports") from error


def _try_form(queries: Queries, session: int, form: DesForm) -> FormTrial:
    template = _template(form, _TRIAL_KEY, "", encrypts=True, decrypts=True, stored=False)
    try:
        made = create_secret(queries, session, template)
    except p11.PKCS11Error as error:
        return FormTrial(form, ecb=False, cbc=False, derives=False, failure=error)
    failures: list[p11.PKCS11Error] = []
    expected = encrypt_block(_TRIAL_KEY, _TRIAL_BLOCK)
    try:
        return FormTrial(
            form,
            ecb=_works(lambda: made.encrypt(form.ecb, _TRIAL_BLOCK), expected, failures),
            cbc=_works(lambda: made.encrypt(form.cbc, _TRIAL_BLOCK, ZERO_IV), expected),
            derives=_works(lambda: _use_derived(made, form), encrypt_block(bytearray(expected), _TRIAL_BLOCK)),
            failure=failures[0] if failures else None,
        )
    finally:
        _end(made)


def _works(call: Callable[[], bytes], expected: bytes, failures: list[p11.PKCS11Error] | None = None) -> bool:
    """Return whether a call has the expected result. Appends the token's error to `failures`."""
    try:
        return call() == expected
    except MechanismNotOfferedError:
        return False
    except p11.PKCS11Error as error:
        if failures is not None:
            failures.append(error)
        return False


def _use_derived(base: SecretKey, form: DesForm) -> bytes:
    derived = base.derive(form, _TRIAL_BLOCK)
    try:
        return derived.encrypt(form.ecb, _TRIAL_BLOCK)
    finally:
        _end(derived)


def _end(temporary: SecretKey) -> None:
    """Delete a session object, which otherwise ends with its session."""
    with contextlib.suppress(p11.PKCS11Error):
        temporary.destroy()


def _explain_no_form(token: TokenInfo, trials: Iterable[FormTrial]) -> TokenError:
    """Return the error for a token with which no form worked: it failed, or it supports none."""
    answers = [(trial.form.name, trial.failure) for trial in trials]
    for _, failure in answers:
        if failure is not None and (is_loss(failure) or isinstance(failure, p11.HostMemory | p11.DeviceMemory)):
            return translate_error(failure, "test which form of DES it supports")
    named = (f"{form} ({'wrong result' if failure is None else fault_name(failure)})" for form, failure in answers)
    return MechanismNotOfferedError(
        f"{sentence_case(token.description)} supports no form of DES: neither {', nor '.join(named)}. It may be in "
        "FIPS mode.",
        remedy="Use a token that supports DES, or triple DES with equal parts.",
    )


def _template(
    form: DesForm, key: bytearray, label: str, *, encrypts: bool, decrypts: bool, stored: bool
) -> dict[Attribute, Any]:
    return {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: form.key_type,
        Attribute.TOKEN: stored,
        Attribute.LABEL: label,
        Attribute.ID: label.encode("utf-8"),
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.ENCRYPT: encrypts,
        Attribute.DECRYPT: decrypts,
        Attribute.SIGN: encrypts and decrypts,
        Attribute.DERIVE: encrypts and decrypts,
        Attribute.VALUE: bytes(form.value(key)),
    }


def _create_and_prove(
    connection: Connection, label: str, template: dict[Attribute, Any], form: DesForm, key: bytearray
) -> None:
    expected = encrypt_block(key, _TRIAL_BLOCK)
    doing = f"import secret key '{label}'"
    failures: list[p11.PKCS11Error] = []
    try:
        with connection.writable() as session:
            made = create_secret(connection.module.queries, session, template)
            if template[Attribute.ENCRYPT]:
                proven = _works(lambda: made.encrypt(form.ecb, _TRIAL_BLOCK), expected, failures)
            else:
                proven = _works(lambda: made.decrypt(form.ecb, expected), _TRIAL_BLOCK, failures)
            if not proven:
                doing = f"delete secret key '{label}', which it imported but cannot use"
                made.destroy()
    except p11.PKCS11Error as error:
        raise translate_error(error, doing) from error
    if not proven:
        why = f"cannot use it ({fault_name(failures[0])})" if failures else "computes wrong results with it"
        raise CeremonyError(
            f"{sentence_case(connection.token.description)} imported secret key '{label}' but {why}, so the key was "
            "deleted again."
        )


def _refuse_taken(connection: Connection, prefix: str, label: str, use: Use, value: bytes) -> None:
    for entry in list_secrets(connection, prefix):
        if entry.info.label == label:
            raise CeremonyError(
                f"Secret key '{label}' exists already.", remedy="Delete it first, or use another index."
            )
        if entry.use is not use and entry.check_value == value:
            raise CeremonyError(
                f"This is the key of '{entry.info.label}'. A key for encryption must not authenticate too: an "
                "attacker could replay a recorded session as a challenge.",
                remedy="Use another key.",
            )


def _place(prefix: str, label: str) -> tuple[Use, int] | None:
    for use in Use:
        start = label_of(prefix, use, 0).removesuffix("0")
        number = label.removeprefix(start)
        if label.startswith(start) and number.isascii() and number.isdigit():
            return use, int(number)
    return None


def _check_value(found: SecretKey, info: SecretInfo) -> bytes | None:
    if info.encrypts:
        try:
            return found.encrypt(info.form.ecb, bytes(BLOCK))[:CHECK_VALUE_LENGTH]
        except p11.PKCS11Error:
            return None
    value = found.read(Attribute.CHECK_VALUE)
    return value if len(value) == CHECK_VALUE_LENGTH else None
