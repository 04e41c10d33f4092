"""What an officer does to a token: initialise it, generate, import, delete, change a PIN.

Every step is an event, ended well or not. A key is generated inside the token, sensitive and never extractable, for one
named use; there is no way to import a private key.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from pkcs11 import Attribute, KeyType, Object, PrivateKey, Session
from pkcs11 import exceptions as p11
from pkcs11.constants import DEFAULT

from tokens.credentials import Credentials
from tokens.errors import CeremonyError, NoSuchKey, OperationFailed, SeveralKeys, TokenError
from tokens.events import CeremonyStep, Outcome, emit
from tokens.pin import Pin, PinSource
from tokens.pkcs11 import cryptoki
from tokens.pkcs11.connection import Connection
from tokens.pkcs11.cryptoki import Role
from tokens.pkcs11.faults import name as fault_name
from tokens.pkcs11.faults import translated
from tokens.pkcs11.login import INCORRECT_PIN, check_flags, present_pin, purpose
from tokens.pkcs11.module import Module
from tokens.pkcs11.objects import (
    KeyEntry,
    KeyName,
    companions,
    find_private_key,
    key_name,
    list_keys,
)
from tokens.pkcs11.search import FoundToken, TokenInfo, find_token, present_tokens
from tokens.pkcs11.sessions import Worker, session_handle
from tokens.refusals import RefusalMemory
from tokens.uri import Pkcs11Uri


class Usage(StrEnum):
    """What a key is for. One key, one use."""

    SIGN = "sign"
    """DICOM digital signatures."""
    TLS = "tls"
    """TLS handshakes that sign: TLS 1.3, and TLS 1.2 with (EC)DHE."""
    DECRYPT = "decrypt"
    """TLS handshakes with RSA key exchange, and decryption. RSA only."""


class KeyKind(StrEnum):
    """What can be generated."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    P_256 = "p256"
    P_384 = "p384"


_CURVE_PARAMETERS = {
    KeyKind.P_256: bytes.fromhex("06082a8648ce3d030107"),
    KeyKind.P_384: bytes.fromhex("06052b81040022"),
}


def initialise_token(
    module: Module,
    label: str,
    so_pin: PinSource,
    user_pin: PinSource,
    *,
    memory: RefusalMemory | None = None,
    erase: Pkcs11Uri | None = None,
) -> TokenInfo:
    """C_InitToken and C_InitPIN: give a token its label, the officer's PIN and the user's PIN.

    Takes the first uninitialised token; with `erase` the one that matches, with all that is on it. The label is at
    most 32 bytes of UTF-8. Raises `CeremonyError` where no token is free or the label is taken.
    """
    if not label.strip() or len(label.encode("utf-8")) > 32:
        raise CeremonyError("A token's label has 1 to 32 bytes (UTF-8); choose another.")
    memory = memory or RefusalMemory()
    # One officer at a time: two could be given the same empty slot.
    with memory.locked("initialise"):
        found = _slot_for(module, label, erase)
        credentials = Credentials(so_pin, memory)
        with report_step("initialise", label, found.info):
            check_flags(found.info, credentials, Role.SO)  # before anybody types
            new_user_pin: Pin | None = None
            try:
                credentials.read_ahead(purpose(found.info, Role.SO))
                new_user_pin = user_pin.read("new user PIN")
                present_pin(
                    module,
                    found.info,
                    credentials,
                    Role.SO,
                    lambda pin: module.cryptoki.init_token(found.info.slot_id, pin, label),
                    wrong=INCORRECT_PIN,
                )
                made = find_token(module, _new_token(module, label, found.info))
                _set_user_pin(module, made, credentials, new_user_pin)
            finally:
                credentials.forget()
                if new_user_pin is not None:
                    new_user_pin.wipe()
        return find_token(module, Pkcs11Uri(token=label, serial=made.info.serial)).info


def generate_key(
    connection: Connection,
    label: str,
    kind: KeyKind,
    usage: Usage,
    *,
    key_id: bytes | None = None,
    always_authenticate: bool = False,
) -> KeyEntry:
    """Make a key pair inside the token; the private half never leaves it.

    `key_id` (CKA_ID) is drawn at random unless given. Raises `CeremonyError` where the label or id is in use.
    """
    if usage is Usage.DECRYPT and kind in _CURVE_PARAMETERS:
        raise CeremonyError("An EC key does not decrypt; choose rsa-2048, rsa-3072 or rsa-4096 for --usage decrypt.")
    key_id = key_id or os.urandom(8)
    _refuse_taken(connection, label, key_id)
    with (
        report_step("generate", f"{kind} key '{label}' for {usage}", connection.token),
        connection.writable() as session,
    ):
        private_template: dict[Any, Any] = {
            Attribute.TOKEN: True,
            Attribute.PRIVATE: True,
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.SIGN: usage is not Usage.DECRYPT,
            Attribute.DECRYPT: usage is Usage.DECRYPT,
            Attribute.UNWRAP: usage is Usage.DECRYPT,
            # python-pkcs11 would ask for what this key is not for.
            Attribute.DERIVE: DEFAULT,
            Attribute.SIGN_RECOVER: DEFAULT,
        }
        if always_authenticate:
            private_template[Attribute.ALWAYS_AUTHENTICATE] = True
        public_template: dict[Any, Any] = {
            Attribute.TOKEN: True,
            Attribute.VERIFY: usage is not Usage.DECRYPT,
            Attribute.ENCRYPT: usage is Usage.DECRYPT,
            Attribute.WRAP: usage is Usage.DECRYPT,
            Attribute.DERIVE: DEFAULT,
            Attribute.VERIFY_RECOVER: DEFAULT,
        }
        _generate(session, kind, label, key_id, public_template, private_template)
    return _entry(connection, KeyName(label, key_id))


@contextlib.contextmanager
def generate_temporary_key(connection: Connection, kind: KeyKind) -> Iterator[KeyName]:
    """A key pair that lives as long as the block (session objects), to try a token out with."""
    name = KeyName(f"temporary {kind}", os.urandom(8))
    sign_only = {Attribute.TOKEN: False, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
    with connection.session_kept_open() as session:
        with connection.module.gate:
            _generate(session, kind, name.label, name.id, {Attribute.TOKEN: False}, sign_only)
        yield name


def delete_key(connection: Connection, wanted: Pkcs11Uri) -> KeyName:
    """Destroy a private key with its public key and certificates. There is no way back."""
    with (
        report_step("delete", f"key {wanted.object or wanted.id!r}", connection.token),
        connection.writable() as session,
    ):
        key = find_private_key(session, wanted, connection.token.description)
        name = key_name(key)
        for companion in _companions_of(session, key):
            companion.destroy()
        key.destroy()
    return name


def change_pin(
    module: Module, token: TokenInfo, old: PinSource, new: PinSource, memory: RefusalMemory | None = None
) -> None:
    """C_SetPIN for the user: presents the old PIN once, under the rules of a login."""
    credentials = Credentials(old, memory or RefusalMemory())
    with report_step("change-pin", "user PIN", token):
        found = find_token(module, token.uri)
        new_pin = new.read(f"new user PIN of {token.description}")
        with module.gate:
            session = found.handle.open(rw=True)
        try:
            handle = session_handle(session)
            present_pin(
                module,
                found.info,
                credentials,
                Role.USER,
                lambda pin: module.cryptoki.set_pin(handle, pin, new_pin),
                INCORRECT_PIN,
            )
        finally:
            credentials.forget()
            if new_pin is not None:
                new_pin.wipe()
            with module.gate, contextlib.suppress(p11.PKCS11Error):
                session.close()


def keys_of(connection: Connection) -> list[KeyEntry]:
    """Every private key on the token, with what the token says of it and its certificates."""

    def read(worker: Worker) -> list[KeyEntry]:
        connection.check_login(worker)
        return list_keys(worker.session)

    return connection.run(read, "list its keys")


def _companions_of(session: Session, key: PrivateKey) -> list[Object]:
    with contextlib.suppress(NoSuchKey, SeveralKeys):
        return companions(session, key)
    return []  # without a public half nothing tells what belongs to it, so nothing else is destroyed


def _slot_for(module: Module, label: str, erase: Pkcs11Uri | None) -> FoundToken:
    present = present_tokens(module)
    erased = None if erase is None else find_token(module, erase)
    others = [token for token in present if erased is None or token.info.slot_id != erased.info.slot_id]
    if any(token.info.initialised and token.info.label == label for token in others):
        raise CeremonyError(f"A token '{label}' exists in {module.path} already; choose another label.")
    if erased is not None:
        return erased
    for token in present:
        if not token.info.initialised:
            return token
    raise CeremonyError(
        f"{module.path} has no uninitialised token. To erase one with all its keys, name it: --erase 'pkcs11:token=…'"
    )


def _new_token(module: Module, label: str, before: TokenInfo) -> Pkcs11Uri:
    # SoftHSM gives a token a new slot and a serial number when it is initialised; others keep both.
    same_slot = [t for t in present_tokens(module) if t.info.slot_id == before.slot_id and t.info.label == label]
    return Pkcs11Uri(token=label, slot_id=before.slot_id) if same_slot else Pkcs11Uri(token=label)


def _set_user_pin(module: Module, token: FoundToken, officer: Credentials, user_pin: Pin | None) -> None:
    # The officer's PIN was set a moment ago, by this process: it cannot be a wrong one.
    so_pin = officer.read("SO PIN")
    with module.gate:
        session = token.handle.open(rw=True)
        handle = session_handle(session)
        try:
            rv = module.cryptoki.login(handle, Role.SO, so_pin)
            if rv == cryptoki.OK:
                rv = module.cryptoki.init_pin(handle, user_pin)
                module.cryptoki.logout(handle)
        finally:
            with contextlib.suppress(p11.PKCS11Error):
                session.close()
    if rv != cryptoki.OK:
        raise OperationFailed(
            f"{token.info.description} was initialised, but its user PIN was not accepted (CK_RV 0x{rv:x}); "
            "see the token's rules on length and characters, then initialise it again with --erase."
        )


def _refuse_taken(connection: Connection, label: str, key_id: bytes) -> None:
    for entry in keys_of(connection):
        if entry.name.label == label or entry.name.id == key_id:
            raise CeremonyError(
                f"Key {entry.name} (id {entry.name.id.hex()}) exists on {connection.token.description}; "
                "choose another label and id, or delete it first."
            )


def _generate(
    session: Session,
    kind: KeyKind,
    label: str,
    key_id: bytes,
    public: dict[Any, Any],
    private: dict[Any, Any],
) -> None:
    common: dict[str, Any] = {
        "id": key_id,
        "label": label,
        "public_template": public,
        "private_template": private,
    }
    if kind in _CURVE_PARAMETERS:
        parameters = session.create_domain_parameters(
            KeyType.EC, {Attribute.EC_PARAMS: _CURVE_PARAMETERS[kind]}, local=True
        )
        parameters.generate_keypair(**common)
    else:
        session.generate_keypair(KeyType.RSA, int(kind.value.removeprefix("rsa-")), **common)


def _entry(connection: Connection, wanted: KeyName) -> KeyEntry:
    for entry in keys_of(connection):
        if entry.name == wanted:
            return entry
    raise NoSuchKey(f"Key {wanted} was generated but is not shown by {connection.token.description}.")


@contextlib.contextmanager
def report_step(step: str, subject: str, token: TokenInfo) -> Iterator[None]:
    """Make an event of one step, and our errors of PKCS#11's."""
    started = time.perf_counter()
    outcome, reason = Outcome.FAILED, ""
    try:
        yield
        outcome = Outcome.DONE
    except p11.PKCS11Error as error:
        reason = fault_name(error)
        raise translated(error, f"{step} {subject}") from error
    except TokenError as error:
        outcome, reason = Outcome.REFUSED, str(error)
        raise
    finally:
        emit(
            CeremonyStep(
                token_serial=token.serial,
                token_label=token.label,
                outcome=outcome,
                duration=time.perf_counter() - started,
                reason=reason,
                step=step,
                subject=subject,
            )
        )
