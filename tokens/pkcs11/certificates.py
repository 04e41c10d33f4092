"""Store certificates beside the keys on a token after proving that they match, and delete them one by one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from pkcs11 import Attribute, CertificateType, Mechanism, ObjectClass

from tokens.errors import CeremonyError, NoSuchKeyError
from tokens.pkcs11.ceremony import identify_key, report_step
from tokens.pkcs11.connection import Connection
from tokens.pkcs11.objects import (
    FoundKey,
    KeyName,
    Objects,
    companions,
    describe_key,
    describe_request,
    find_private_key,
)
from tokens.uri import Pkcs11Uri


def import_certificates(connection: Connection, wanted: Pkcs11Uri, certificates: Sequence[x509.Certificate]) -> KeyName:
    """Store a key's certificate, and its issuers' certificates behind it, under the key's label and id.

    The first certificate must be the key's own: anything else raises `CeremonyError`, and nothing is stored. Where
    nothing on the token tells the public half of an EC key, the key signs, and the certificate must verify that.
    """
    if not certificates:
        raise CeremonyError("There is no certificate to import.")
    with (
        report_step("import", f"certificate for key {describe_request(wanted)}", connection.token) as reported,
        connection.writable() as session,
    ):
        objects = connection.objects(session)
        key = describe_key(objects, find_private_key(objects, wanted, connection.token.description))
        name = key.name
        identify_key(reported, key, certificates[:1])
        try:
            public = certificates[0].public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise CeremonyError("The key in the certificate is of a kind that is unknown here.") from error
        if not _belongs_to(connection, session, key, public):
            raise CeremonyError(
                f"The certificate of '{certificates[0].subject.rfc4514_string()}' is not for key {name}: "
                "their public keys differ. Nothing was stored."
            )
        for index, certificate in enumerate(certificates):
            own = index == 0
            _store(objects, certificate, name.label if own else "", name.id if own else b"")
    return name


def delete_certificate(connection: Connection, wanted: Pkcs11Uri, certificate: x509.Certificate) -> None:
    """Delete one certificate of a key, as `certificates` of `tokens.pkcs11.objects` lists it.

    Raises `CeremonyError` if it is not there, or if nothing else on the token would tell the key's public half.
    """
    der = certificate.public_bytes(Encoding.DER)
    subject = f"certificate {certificate.serial_number:x} of key {describe_request(wanted)}"
    with report_step("delete", subject, connection.token) as reported, connection.writable() as session:
        objects = connection.objects(session)
        key = describe_key(objects, find_private_key(objects, wanted, connection.token.description))
        identify_key(reported, key, [certificate])
        theirs = [] if key.public_key is None else companions(objects, key)
        own = [each for each in theirs if _is_certificate(objects, each, der)]
        if not own:
            raise CeremonyError(f"Key {key.name} has no such certificate, so nothing was deleted.")
        if len(own) == len(theirs) and not key.tells_public_half:
            raise CeremonyError(
                f"Nothing else on the token has the public half of key {key.name}, without which the key cannot be "
                "used, so the certificate was not deleted.",
                remedy="Import another certificate for this key first.",
            )
        for each in own:
            objects.destroy(each)


def _is_certificate(objects: Objects, handle: int, der: bytes) -> bool:
    reported = objects.read(handle, (Attribute.CLASS, Attribute.VALUE))
    return reported.number(Attribute.CLASS) == ObjectClass.CERTIFICATE and reported.octets(Attribute.VALUE) == der


def _belongs_to(connection: Connection, session: int, key: FoundKey, public: Any) -> bool:
    try:
        return bool(public == key.require_public_key())
    except NoSuchKeyError:
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise
    if key.attributes.always_authenticate:
        raise CeremonyError(
            f"The token has no public half of key {key.name}, and the key requires its PIN for each use, so it cannot "
            "be tested whether the certificate belongs to it.",
            remedy="Store the public key, or the certificate, with the tools of the token's maker.",
        )
    digest = os.urandom(32)
    queries = connection.module.queries
    raw = queries.sign(session, key.handle, Mechanism.ECDSA, None, digest)
    half = len(raw) // 2
    signature = encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
    try:
        public.verify(signature, digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    except InvalidSignature:
        return False
    return True


def _store(objects: Objects, certificate: x509.Certificate, label: str, key_id: bytes) -> None:
    der = certificate.public_bytes(Encoding.DER)
    same_id = {Attribute.ID: key_id} if key_id else {}
    for stored in objects.find({Attribute.CLASS: ObjectClass.CERTIFICATE, **same_id}):
        if objects.read(stored, [Attribute.VALUE]).octets(Attribute.VALUE) == der:
            return
    objects.create(
        {
            Attribute.CLASS: ObjectClass.CERTIFICATE,
            Attribute.CERTIFICATE_TYPE: CertificateType.X_509,
            Attribute.TOKEN: True,
            Attribute.PRIVATE: False,
            Attribute.LABEL: label or certificate.subject.rfc4514_string(),
            Attribute.ID: key_id,
            Attribute.SUBJECT: certificate.subject.public_bytes(),
            Attribute.ISSUER: certificate.issuer.public_bytes(),
            Attribute.SERIAL_NUMBER: _der_integer(certificate.serial_number),
            Attribute.VALUE: der,
        }
    )


def _der_integer(number: int) -> bytes:
    content = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes([len(content)]) + content
