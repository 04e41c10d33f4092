"""Certificates with encodings that RFC 5280 does not allow and that some CAs write, signed as they stand."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.pki import Authority, Identity

UTF8, PRINTABLE, T61, UTC_TIME = 0x0C, 0x13, 0x14, 0x17
PLAIN = "Koeln"
"""The common name to issue a certificate with: the text types put an umlaut in its place."""


def with_text(issued: Identity, issuer: Authority, tag: int) -> bytes:
    """DER of the certificate with the common name as a T61String or a PrintableString in Latin-1: K\\xf6ln."""
    return _changed(issued, issuer, _tlv(UTF8, PLAIN.encode()), _tlv(tag, "Köln".encode("latin-1")))


def with_offset(issued: Identity, issuer: Authority) -> bytes:
    """DER of the certificate whose notBefore is a UTCTime with an offset."""
    text = issued.certificate.not_valid_before_utc.strftime("%y%m%d%H%M%S")
    return _changed(issued, issuer, _tlv(UTC_TIME, f"{text}Z".encode()), _tlv(UTC_TIME, f"{text}+0000".encode()))


def _changed(issued: Identity, issuer: Authority, old: bytes, new: bytes) -> bytes:
    certificate = issued.certificate
    body = certificate.tbs_certificate_bytes
    assert old in body
    changed = _replace(body, old, new)
    algorithm = certificate.public_bytes(Encoding.DER)[_head(certificate.public_bytes(Encoding.DER)) + len(body) :]
    algorithm = algorithm[: _head(algorithm) + _length(algorithm)]
    if isinstance(issuer.key, rsa.RSAPrivateKey):
        signature = issuer.key.sign(changed, padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = issuer.key.sign(changed, ec.ECDSA(hashes.SHA256()))
    return _tlv(0x30, changed + algorithm + _tlv(0x03, b"\0" + signature))


def _replace(data: bytes, old: bytes, new: bytes) -> bytes:
    """Put one element in the place of another, and mend the lengths of all that hold it."""
    if data == old:
        return new
    if not data[0] & 0x20:
        return data
    parts, place = [], _head(data)
    while place < len(data):
        end = place + _head(data[place:]) + _length(data[place:])
        parts.append(_replace(data[place:end], old, new))
        place = end
    return _tlv(data[0], b"".join(parts))


def _head(data: bytes) -> int:
    return 2 + (data[1] & 0x7F if data[1] & 0x80 else 0)


def _length(data: bytes) -> int:
    return int.from_bytes(data[2 : _head(data)], "big") if data[1] & 0x80 else data[1]


def _tlv(tag: int, content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def pem(der: bytes) -> bytes:
    """A certificate as PEM, whatever is in it."""
    lines = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + lines + b"-----END CERTIFICATE-----\n"
