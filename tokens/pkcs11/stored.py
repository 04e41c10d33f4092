"""Every key and certificate that a token stores, read into plain data, with or without a login.

Without a login a token shows its public objects only: usually certificates and public keys, and no private key.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from pkcs11 import Attribute, ObjectClass
from pkcs11 import exceptions as p11

from tokens.errors import UnsupportedKeyError
from tokens.pkcs11.calls.faults import translate_error
from tokens.pkcs11.connection import Connection
from tokens.pkcs11.module_interface import Module
from tokens.pkcs11.objects import (
    KeyName,
    Objects,
    PublicKey,
    describe_key,
    read_certificate,
    read_public_key,
)
from tokens.pkcs11.search import TokenInfo
from tokens.pkcs11.sessions import Worker


@dataclass(frozen=True, kw_only=True)
class StoredKey:
    """A key pair, or the visible half of one.

    `size_bits` is 0 if the token does not report it. `local` is CKA_LOCAL, and `never_extractable`
    CKA_NEVER_EXTRACTABLE; None if the token does not report it. `is_private_seen` tells whether the private half was
    seen. `problem` is the reason why the key is not supported.
    """

    name: KeyName
    key_type: str = ""
    size_bits: int = 0
    local: bool | None = None
    never_extractable: bool | None = None
    is_private_seen: bool = False
    public_key: PublicKey | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class StoredSecretKey:
    """A secret key. `size_bits` is 0 if the token does not report its length."""

    name: KeyName
    size_bits: int = 0
    local: bool | None = None
    never_extractable: bool | None = None


@dataclass(frozen=True, kw_only=True)
class StoredCertificate:
    """A certificate object. `certificate` is None if its value cannot be read as X.509."""

    name: KeyName
    certificate: x509.Certificate | None


@dataclass(frozen=True, kw_only=True)
class StoredObjects:
    """What a token stores, as far as it was seen."""

    keys: tuple[StoredKey, ...] = ()
    secret_keys: tuple[StoredSecretKey, ...] = ()
    certificates: tuple[StoredCertificate, ...] = ()


def read_stored(connection: Connection) -> StoredObjects:
    """Log in, and return everything that the token stores."""

    def read(worker: Worker) -> StoredObjects:
        connection.check_login(worker)
        return _read_all(connection.objects(worker.session))

    return connection.run(read, "list its objects")


def read_public(module: Module, token: TokenInfo) -> StoredObjects:
    """Return what the token shows without a login. Presents no PIN. Raises the errors of `tokens.errors`."""
    try:
        session = module.queries.open_session(token.slot_id)
        try:
            return _read_all(Objects(module.queries, session))
        finally:
            module.queries.close_session(session)
    except p11.PKCS11Error as error:
        raise translate_error(error, f"list the public objects of {token.description}") from error


def _read_all(objects: Objects) -> StoredObjects:
    private = [_describe_private(objects, handle) for handle in objects.find(_of(ObjectClass.PRIVATE_KEY))]
    public = [_describe_public(objects, handle) for handle in objects.find(_of(ObjectClass.PUBLIC_KEY))]
    halves = {key.name for key in private}
    return StoredObjects(
        keys=(*private, *(key for key in public if key.name not in halves)),
        secret_keys=tuple(_describe_secret(objects, handle) for handle in objects.find(_of(ObjectClass.SECRET_KEY))),
        certificates=tuple(
            StoredCertificate(name=objects.name(handle), certificate=read_certificate(objects, handle))
            for handle in objects.find(_of(ObjectClass.CERTIFICATE))
        ),
    )


def _of(kind: ObjectClass) -> dict[Attribute, ObjectClass | bool]:
    return {Attribute.CLASS: kind, Attribute.TOKEN: True}


def _describe_private(objects: Objects, handle: int) -> StoredKey:
    try:
        key = describe_key(objects, handle)
    except UnsupportedKeyError as error:
        return StoredKey(name=objects.name(handle), is_private_seen=True, problem=error.message)
    return StoredKey(
        name=key.name,
        key_type=key.attributes.key_type,
        size_bits=key.attributes.size_bits,
        local=key.attributes.local,
        never_extractable=key.attributes.never_extractable,
        is_private_seen=True,
        public_key=key.public_key,
    )


def _describe_public(objects: Objects, handle: int) -> StoredKey:
    """Describe a public key whose private half was not seen. Its CKA_LOCAL is that of the pair."""
    public = read_public_key(objects, handle)
    return StoredKey(
        name=objects.name(handle),
        key_type="" if public is None else getattr(getattr(public, "curve", None), "name", "RSA"),
        size_bits=0 if public is None else public.key_size,
        local=objects.read(handle, [Attribute.LOCAL]).flag(Attribute.LOCAL),
        public_key=public,
    )


def _describe_secret(objects: Objects, handle: int) -> StoredSecretKey:
    kinds = [Attribute.VALUE_LEN, Attribute.LOCAL, Attribute.NEVER_EXTRACTABLE]
    reported = objects.read(handle, kinds)
    return StoredSecretKey(
        name=objects.name(handle),
        size_bits=8 * (reported.number(Attribute.VALUE_LEN) or 0),
        local=reported.flag(Attribute.LOCAL),
        never_extractable=reported.flag(Attribute.NEVER_EXTRACTABLE),
    )
