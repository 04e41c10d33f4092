"""What an officer does to the secrets on a PKCS#11 token: import, list, delete.

A token cannot generate K‖K, so a secret is made outside and imported, in the one moment in which this process knows
it. Everything here takes the key as a `bytearray`, which its caller wipes; python-pkcs11 copies it once more for the
length of the call, and that copy cannot be wiped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pkcs11 import Attribute, ObjectClass, Session
from pkcs11 import exceptions as p11

from tokens.des_keys import check_value, encrypt_block, require_strong, set_odd_parity
from tokens.errors import CeremonyError, MechanismNotOffered, TokenError
from tokens.pkcs11.connection import Connection
from tokens.pkcs11.des_forms import FORMS, DesForm, EncryptData
from tokens.pkcs11.faults import name as fault_name
from tokens.pkcs11.faults import translated
from tokens.pkcs11.secrets import DEFAULT_PREFIX, SecretInfo, describe, find_secret, label_of, told
from tokens.reporting import ceremony_step
from tokens.secrets import Use

_PROBE = bytes.fromhex("4e6f772069732074")


@dataclass(frozen=True)
class SecretEntry:
    """One secret as `secret list` shows it. `check_value` is None where the token does not tell it."""

    use: Use
    index: int
    info: SecretInfo
    check_value: bytes | None


@dataclass(frozen=True)
class FormTrial:
    """What a token really does with one form, tried out with a key made for the trial."""

    form: DesForm
    ecb: bool
    cbc: bool
    derives: bool

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """Higher is better."""
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
    """Put a DES key (8 bytes; its parity is set) on the token: sensitive, never extractable, in the best form that works.

    An authentication key may be for one direction: without `verifies` it answers challenges only (CKA_ENCRYPT), without
    `answers` it judges responses only (CKA_DECRYPT), so that whoever takes over this process cannot answer for the peer.
    Raises `CeremonyError` for a weak key, an index or a value that is in use, a key that the token holds wrongly, and
    `MechanismNotOffered` where the token runs no form.
    """
    prefix = prefix or DEFAULT_PREFIX
    label = label_of(prefix, use, index)
    token = connection.token
    with ceremony_step(token.serial, token.label, "import", f"secret '{label}'"):
        if index < 1:
            raise CeremonyError("Secrets are numbered from 1.")
        if not (answers or verifies):
            raise CeremonyError("A secret that neither answers nor verifies is of no use.")
        require_strong(key)
        set_odd_parity(key)
        _refuse_taken(connection, prefix, label, use, check_value(key))
        trials = [trial for trial in try_forms(connection) if trial.ecb]
        if not trials:
            raise MechanismNotOffered(
                f"{token.description} runs no form of DES: neither {', nor '.join(f.name for f in FORMS)}. "
                "It may be in FIPS mode; ISCL needs a token that still runs DES or triple DES with equal parts."
            )
        form = max(trials, key=lambda trial: trial.rank).form
        encrypts, decrypts = (answers, verifies) if use is Use.AUTHENTICATION else (True, True)
        template = _template(form, key, encrypts, decrypts, stored=True)
        template[Attribute.LABEL] = label
        template[Attribute.ID] = label.encode("utf-8")
        _create_and_prove(connection, label, template, form, key)
    return next(entry for entry in list_secrets(connection, prefix) if entry.info.label == label)


def list_secrets(connection: Connection, prefix: str | None = None) -> list[SecretEntry]:
    """The secrets under a prefix, by use and index."""
    prefix = prefix or DEFAULT_PREFIX

    def read(session: Session) -> list[SecretEntry]:
        entries = []
        for found in list(session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY})):
            place = _place(prefix, str(told(found, Attribute.LABEL)))
            if place is not None:
                info = describe(found)  # type: ignore[arg-type]
                entries.append(SecretEntry(*place, info, _check_value(found, info)))
        return entries

    entries = connection.run(lambda worker: read(worker.session), "list its secrets")
    return sorted(entries, key=lambda entry: (entry.use, entry.index))


def delete_secret(connection: Connection, use: Use, index: int, *, prefix: str | None = None) -> None:
    """Destroy a secret on the token. Raises `NoSuchKey`."""
    label = label_of(prefix or DEFAULT_PREFIX, use, index)
    token = connection.token
    with ceremony_step(token.serial, token.label, "delete", f"secret '{label}'"), connection.writable() as session:
        try:
            find_secret(session, label, token.description).destroy()
        except p11.PKCS11Error as error:
            raise translated(error, f"delete secret '{label}'") from error


def try_forms(connection: Connection) -> list[FormTrial]:
    """What the token does with each form, with a throw-away key in a session, compared with the host's result."""
    key = bytearray.fromhex("0123456789abcdef")
    with connection.writable() as session:
        return [_try_form(session, form, key) for form in FORMS]


def _try_form(session: Session, form: DesForm, key: bytearray) -> FormTrial:
    expected = encrypt_block(key, _PROBE)
    try:
        made: Any = session.create_object(_template(form, key, True, True, stored=False))
    except (p11.PKCS11Error, ValueError):
        return FormTrial(form, False, False, False)
    try:
        return FormTrial(
            form,
            ecb=_works(lambda: made.encrypt(_PROBE, mechanism=form.ecb) == expected),
            cbc=_works(lambda: made.encrypt(_PROBE, mechanism=form.cbc, mechanism_param=bytes(8)) == expected),
            derives=_works(lambda: _derives(made, form)),
        )
    finally:
        made.destroy()


def _derives(made: Any, form: DesForm) -> bool:
    from tokens.pkcs11.secrets import derive_from

    derived = derive_from(made, form, _PROBE)
    try:
        expected = encrypt_block(bytearray(encrypt_block(bytearray.fromhex("0123456789abcdef"), _PROBE)), _PROBE)
        return bool(derived.encrypt(_PROBE, mechanism=form.ecb) == expected)
    finally:
        derived.destroy()
