"""The certificates that a token shows without a login: its keys', and those of the CAs above them."""

from __future__ import annotations

from cryptography import x509
from pkcs11 import Attribute, ObjectClass
from pkcs11 import exceptions as p11

from tokens.pkcs11.module import Module
from tokens.pkcs11.objects import Objects
from tokens.pkcs11.search import TokenInfo


def read_public_certificates(module: Module, token: TokenInfo) -> tuple[x509.Certificate, ...]:
    """Return every X.509 certificate that the token shows without a PIN; none if it shows nothing.

    Raises the errors of `tokens.errors` for a token that does not answer.
    """
    try:
        session, epoch = module.queries.open_session(token.slot_id), module.epoch
    except p11.PKCS11Error:
        return ()
    try:
        objects = Objects(module.queries, session)
        handles = objects.find({Attribute.CLASS: ObjectClass.CERTIFICATE})
        values = [objects.read(handle, [Attribute.VALUE]).octets(Attribute.VALUE) for handle in handles]
    except p11.PKCS11Error:
        return ()
    finally:
        module.close_session(session, epoch)
    return tuple(certificate for value in values if (certificate := _parse(value)) is not None)


def _parse(value: bytes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(value)
    except ValueError:
        return None
