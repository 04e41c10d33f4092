"""Key management on a token: generate, list and delete keys.

Every step is reported as an event, whether it succeeds or fails. Keys are generated inside the token, sensitive and
never extractable, for one use. Private keys cannot be imported.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from cryptography import x509
from pkcs11 import Attribute
from pkcs11 import exceptions as p11

from tokens.errors import (
    CeremonyError,
    NoSuchKeyError,
    SeveralKeysError,
    TokenError,
    UnsupportedKeyError,
    sentence_case,
)
from tokens.events import OperationOutcome
from tokens.events.reporting import Report, report_ceremony_step
from tokens.keys import compute_spki_sha256
from tokens.pins.refusals import RefusalMemory
from tokens.pkcs11.calls.faults import name as fault_name
from tokens.pkcs11.calls.faults import translate_error
from tokens.pkcs11.connection import Connection
from tokens.pkcs11.key_pairs import KeyKind as KeyKind
from tokens.pkcs11.key_pairs import generate_pair
from tokens.pkcs11.objects import (
    FoundKey,
    KeyEntry,
    KeyName,
    Objects,
    certificates,
    companions,
    describe_key,
    describe_request,
    find_private_key,
    list_keys,
    list_names_in_use,
)
from tokens.pkcs11.search import TokenInfo
from tokens.pkcs11.sessions import Worker
from tokens.pkcs11.unfinished import Attempt, Review, Step, UnfinishedStep, UnfinishedSteps
from tokens.uri import Pkcs11Uri

log = logging.getLogger(__name__)


class Usage(StrEnum):
    """The use of a key, which has one use only."""

    SIGN = "sign"
    """Signatures on documents and images."""
    TLS = "tls"
    """TLS handshakes that sign: TLS 1.3, and TLS 1.2 with (EC)DHE."""
    DECRYPT = "decrypt"
    """TLS handshakes with RSA key exchange, and decryption. RSA only."""


def generate_key(
    connection: Connection,
    label: str,
    kind: KeyKind,
    usage: Usage,
    *,
    key_id: bytes | None = None,
    always_authenticate: bool = False,
    private_attributes: Iterable[tuple[int, bytes]] = (),
    public_attributes: Iterable[tuple[int, bytes]] = (),
) -> KeyEntry:
    """Generate a key pair inside the token, which the private key never leaves.

    `key_id` (CKA_ID) is random by default. `private_attributes` and `public_attributes` are further ones that the token
    wants; see `tokens.pkcs11.key_pairs.pack_attribute`. Raises `CeremonyError` if the label or id is in use, or if the
    token answered an error and made the key pair all the same; and `CeremonyTimeoutError` if the token does not answer:
    the key pair may still appear. `review_unfinished` finds both.
    """
    if usage is Usage.DECRYPT and not kind.is_rsa:
        raise CeremonyError(
            f"A {kind} key cannot be used to decrypt.", remedy="Choose rsa-2048, rsa-3072 or rsa-4096 for this usage."
        )
    key_id = key_id or os.urandom(8)
    unfinished = unfinished_steps(connection)
    _refuse_taken(connection, label, key_id, unfinished)
    begun = UnfinishedStep(
        step=Step.GENERATE,
        serial=connection.token.serial,
        module=str(connection.module.path),
        label=label,
        id=key_id,
        when=datetime.now(UTC),
    )
    with (
        report_step("generate", f"{kind} key '{label}' for {usage}", connection.token) as reported,
        connection.writable() as session,
        Attempt(unfinished, begun, connection.token) as attempt,
    ):
        name: dict[int, Any] = {Attribute.LABEL: label, Attribute.ID: key_id, Attribute.TOKEN: True}
        decrypts = usage is Usage.DECRYPT
        private: dict[int, Any] = {
            **dict(private_attributes),
            **name,
            Attribute.PRIVATE: True,
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.SIGN: not decrypts,
            Attribute.DECRYPT: decrypts,
            Attribute.UNWRAP: decrypts,
        }
        if always_authenticate:
            private[Attribute.ALWAYS_AUTHENTICATE] = True
        public: dict[int, Any] = {
            **dict(public_attributes),
            **name,
            Attribute.VERIFY: not decrypts,
            Attribute.ENCRYPT: decrypts,
            Attribute.WRAP: decrypts,
        }
        queries = connection.module.queries
        try:
            connection.module.run(lambda: attempt.run(lambda: generate_pair(queries, session, kind, public, private)))
        except p11.PKCS11Error as error:
            wanted = {int(Attribute.ID): key_id}
            if not attempt.keep_if_made(fault_name(error), lambda: bool(queries.find_objects(session, wanted))):
                raise
            raise CeremonyError(
                f"{sentence_case(connection.token.description)} answered {fault_name(error)} when it was asked to "
                f"generate {begun.name}, but it is there now.",
                remedy="Delete it, and generate another when the token works.",
            ) from error
        _find_fingerprint(connection.objects(session), Pkcs11Uri(object=label, id=key_id), reported)
    return _entry(connection, KeyName(label, key_id))


@contextlib.contextmanager
def generate_temporary_key(connection: Connection, kind: KeyKind) -> Iterator[KeyName]:
    """Provide a key pair during the block (session objects), for a self-test."""
    name = KeyName(f"temporary {kind}", os.urandom(8))
    public: dict[int, Any] = {Attribute.LABEL: name.label, Attribute.ID: name.id, Attribute.TOKEN: False}
    uses = (Attribute.SIGN, Attribute.DECRYPT) if kind.is_rsa else (Attribute.SIGN,)
    private: dict[int, Any] = {
        **public,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        **dict.fromkeys(uses, True),
    }
    with connection.writable() as session:
        generate_pair(connection.module.queries, session, kind, public, private)
        yield name


def delete_key(connection: Connection, wanted: Pkcs11Uri) -> KeyName:
    """Delete a private key with its public key and certificates. This cannot be undone."""
    with (
        report_step("delete", f"key {describe_request(wanted)}", connection.token) as reported,
        connection.writable() as session,
    ):
        objects = connection.objects(session)
        handle = find_private_key(objects, wanted, connection.token.description)
        name = objects.name(handle)
        _find_fingerprint(objects, wanted, reported)
        for companion in _companions_of(objects, handle):
            objects.destroy(companion)
        objects.destroy(handle)
    return name


def read_key_name(connection: Connection, wanted: Pkcs11Uri) -> KeyName:
    """Return label and id of the one private key that a URI names.

    Raises `NoSuchKeyError`, `SeveralKeysError` or `NotAPrivateKeyError`.
    """

    def read(worker: Worker) -> KeyName:
        objects = connection.objects(worker.session)
        return objects.name(find_private_key(objects, wanted, connection.token.description))

    return connection.run(read, "find a key")


def read_keys(connection: Connection) -> list[KeyEntry]:
    """Return every private key on the token, with its attributes and certificates."""

    def read(worker: Worker) -> list[KeyEntry]:
        connection.check_login(worker)
        return list_keys(connection.objects(worker.session))

    return connection.run(read, "list its keys")


def _companions_of(objects: Objects, handle: int) -> list[int]:
    with contextlib.suppress(NoSuchKeyError, SeveralKeysError, UnsupportedKeyError):
        return companions(objects, describe_key(objects, handle))
    return []  # without a public key it is unknown which objects belong to the key, so nothing else is deleted


def unfinished_steps(connection: Connection) -> UnfinishedSteps:
    """Return the records of the state folder that the connection uses."""
    credentials = connection.credentials
    return UnfinishedSteps(RefusalMemory() if credentials is None else credentials.memory)


def review_unfinished(connection: Connection, keys: Iterable[KeyEntry]) -> list[Review]:
    """Return the key pairs whose generation was left without an answer, and whether they are among the token's keys.

    Each one that is found, or that is no longer expected, is returned once.
    """
    return unfinished_steps(connection).review_keys(connection.token.serial, [key.name for key in keys])


def _refuse_taken(connection: Connection, label: str, key_id: bytes, unfinished: UnfinishedSteps) -> None:
    def find_taken(worker: Worker) -> list[KeyName]:
        connection.check_login(worker)
        return list_names_in_use(connection.objects(worker.session), KeyName(label, key_id))

    taken = connection.run(find_taken, "list its keys")
    reviews = [one for one in unfinished.review_keys(connection.token.serial, taken) if one.step.label == label]
    for name in taken:
        late = " ".join(one.text for one in reviews if one.found)
        raise CeremonyError(
            f"Key {name} (id {name.id.hex()}) exists on {connection.token.description} already. {late}".strip(),
            remedy="Choose another label and id, or delete it first.",
        )
    for review in reviews:
        log.warning("%s", review.text)


def _entry(connection: Connection, made: KeyName) -> KeyEntry:
    wanted = Pkcs11Uri(object=made.label, id=made.id)

    def read(worker: Worker) -> KeyEntry:
        objects = connection.objects(worker.session)
        key = describe_key(objects, find_private_key(objects, wanted, connection.token.description))
        return KeyEntry(key.name, key.attributes, (), key.public_key)

    return connection.run(read, "read the key that it generated")


def _find_fingerprint(objects: Objects, wanted: Pkcs11Uri, reported: Report) -> None:
    """Set the fingerprint of a key in the event of a step, which does not fail if the token does not tell it."""
    with contextlib.suppress(TokenError, p11.PKCS11Error):
        key = describe_key(objects, find_private_key(objects, wanted, ""))
        identify_key(reported, key, certificates(objects, key))


def identify_key(reported: Report, key: FoundKey, own: Iterable[x509.Certificate] = ()) -> None:
    """Set the fingerprint of a key, and the serial number of its newest certificate, in the event of a step."""
    if key.public_key is not None:
        reported.set(spki_sha256=compute_spki_sha256(key.public_key))
    newest = max(own, key=lambda one: one.not_valid_before_utc, default=None)
    if newest is not None:
        reported.set(certificate_serial=f"{newest.serial_number:x}")


_VERBS = {
    "generate": "generate the",
    "import": "import the",
    "set-pin": "set the",
    "change-pin": "change the",
    "initialise": "initialise the token",
}
"""The steps whose name does not continue a sentence."""


@contextlib.contextmanager
def report_step(step: str, subject: str, token: TokenInfo) -> Iterator[Report]:
    """Report one step as an event, and translate PKCS#11's errors."""
    with report_ceremony_step(token.serial, token.label, step, subject) as reported:
        try:
            yield reported
        except p11.PKCS11Error as error:
            reported.end(OperationOutcome.FAILED, fault_name(error))
            raise translate_error(error, f"{_VERBS.get(step, step)} {subject}") from error
