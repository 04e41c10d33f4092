"""Objects on a token: found by CKA_LABEL and CKA_ID, read into plain data.

All functions work inside one session, on the thread that holds it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Attribute, KeyType, Object, ObjectClass, Session
from pkcs11 import PrivateKey as PrivateKeyObject
from pkcs11 import exceptions as p11

from tokens.certificates import CertificateUnreadableError, check_readable
from tokens.errors import NoSuchKey, NotAPrivateKey, SeveralKeys, UnsupportedKey
from tokens.keys import CURVES
from tokens.policy import KeyAttributes
from tokens.uri import Pkcs11Uri

log = logging.getLogger(__name__)

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_CURVE_OF_PARAMETERS = {
    bytes.fromhex("06082a8648ce3d030107"): "secp256r1",
    bytes.fromhex("06052b81040022"): "secp384r1",
}
"""DER of the named curve in CKA_EC_PARAMS."""

_KINDS = {
    ObjectClass.PRIVATE_KEY: "private key",
    ObjectClass.PUBLIC_KEY: "public key",
    ObjectClass.CERTIFICATE: "certificate",
    ObjectClass.SECRET_KEY: "secret key",
    ObjectClass.DATA: "data object",
}


@dataclass(frozen=True)
class KeyName:
    """What names one key pair and its certificate on a token: CKA_LABEL and CKA_ID."""

    label: str
    id: bytes

    def __str__(self) -> str:
        return f"'{self.label}'" if self.label else f"with id {self.id.hex()}"


@dataclass(frozen=True)
class KeyEntry:
    """A private key as `key list` shows it."""

    name: KeyName
    attributes: KeyAttributes
    certificates: tuple[x509.Certificate, ...]


def find_private_key(session: Session, wanted: Pkcs11Uri, token_description: str) -> PrivateKeyObject:
    """The one private key that matches object, id and type of the URI.

    Raises `NoSuchKey`, `SeveralKeys` or `NotAPrivateKey`, which say what is there.
    """
    asked = _asked(wanted)
    if wanted.type not in (None, "private"):
        raise NotAPrivateKey(f"A private key is needed, but the URI asks for type={wanted.type}; write type=private.")
    template = _template(wanted)
    found = list(session.get_objects({**template, Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
    if len(found) == 1:
        return found[0]  # type: ignore[return-value]
    if found:
        names = ", ".join(f"{name} (id {name.id.hex()})" for name in map(key_name, found))
        raise SeveralKeys(f"{len(found)} private keys on {token_description} match {asked}: {names}. Name the id too.")
    others = [o for o in session.get_objects(template) if template] if template else []
    if others:
        kind = _KINDS.get(_read(others[0], Attribute.CLASS), "object")
        raise NotAPrivateKey(f"{asked} on {token_description} is a {kind}; a private key is needed.")
    there = [str(key_name(o)) for o in session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})]
    holds = f"It holds: {', '.join(sorted(there))}" if there else "It shows no private key"
    raise NoSuchKey(f"No private key on {token_description} matches {asked}. {holds}.")


def key_name(found: Object) -> KeyName:
    """Label and id of an object; empty where the token has none."""
    return KeyName(_read(found, Attribute.LABEL) or "", bytes(_read(found, Attribute.ID) or b""))


def read_attributes(key: PrivateKeyObject) -> KeyAttributes:
    """What the token says of a private key. Raises `UnsupportedKey`."""
    kind = _read(key, Attribute.KEY_TYPE)
    if kind == KeyType.RSA:
        name, size = "RSA", int.from_bytes(_read(key, Attribute.MODULUS) or b"", "big").bit_length()
    elif kind == KeyType.EC:
        curve = _curve(key)
        name, size = curve.name, curve.key_size
    else:
        raise UnsupportedKey(f"Key {key_name(key)} is neither RSA nor EC; it cannot be used here.")
    return KeyAttributes(
        key_type=name,
        size_bits=size,
        sensitive=_read(key, Attribute.SENSITIVE),
        extractable=_read(key, Attribute.EXTRACTABLE),
        always_sensitive=_read(key, Attribute.ALWAYS_SENSITIVE),
        never_extractable=_read(key, Attribute.NEVER_EXTRACTABLE),
        local=_read(key, Attribute.LOCAL),
        sign=_read(key, Attribute.SIGN),
        decrypt=_read(key, Attribute.DECRYPT),
        unwrap=_read(key, Attribute.UNWRAP),
        always_authenticate=_read(key, Attribute.ALWAYS_AUTHENTICATE),
    )


def public_half(session: Session, key: PrivateKeyObject) -> PublicKey:
    """The public key: from the token's public object, else its certificate, else the private object's modulus.

    Several keys may share an id: what does not fit the private object is passed over. Raises `NoSuchKey` where nothing
    is there (an EC private key alone does not tell its point), `SeveralKeys` where it cannot be told which fits.
    """
    name, own = key_name(key), _public_key(key)
    candidates = [public for _, public in _companions(session, name, ObjectClass.PUBLIC_KEY) if public is not None]
    candidates = candidates or [
        public for _, public in _companions(session, name, ObjectClass.CERTIFICATE) if public is not None
    ]
    if own is not None:
        return own
    distinct = [c for index, c in enumerate(candidates) if c not in candidates[:index]]
    if len(distinct) == 1:
        return distinct[0]
    if distinct:
        raise SeveralKeys(
            f"{len(distinct)} public keys have the id and label of key {name}; give each key an id of its own."
        )
    raise NoSuchKey(
        f"The public half of key {name} is nowhere on the token: neither a public key nor a certificate "
        "with the same id. Import its certificate: hsm-dicom key import-cert"
    )


def tells_public_half(key: PrivateKeyObject) -> bool:
    """Whether the private object alone tells the public key: an RSA key does, an EC key on most tokens does not."""
    return _public_key(key) is not None


def companions(session: Session, key: PrivateKeyObject) -> list[Object]:
    """The public keys and certificates that belong to a private key: those with its public half."""
    public = public_half(session, key)
    kinds = (ObjectClass.CERTIFICATE, ObjectClass.PUBLIC_KEY)
    found = [pair for kind in kinds for pair in _companions(session, key_name(key), kind)]
    return [companion for companion, its in found if its == public]


def certificates(session: Session, key: PrivateKeyObject) -> tuple[x509.Certificate, ...]:
    """The X.509 certificates of a key: those under its id (or label, where it has none) that hold its public half."""
    try:
        public = public_half(session, key)
    except (NoSuchKey, SeveralKeys):
        return ()
    template = {**_named(key_name(key)), Attribute.CLASS: ObjectClass.CERTIFICATE}
    parsed = (_certificate(found) for found in list(session.get_objects(template)))
    own = (c for c in parsed if c is not None and _certified(c) == public)
    return tuple(c for c in own if _is_readable(c, key_name(key)))


def list_keys(session: Session) -> list[KeyEntry]:
    """Every private key that can be served, with its certificates."""
    entries = []
    for key in list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})):
        name = key_name(key)
        try:
            entries.append(KeyEntry(name, read_attributes(key), certificates(session, key)))  # type: ignore[arg-type]
        except UnsupportedKey:
            continue
    return entries


def _template(wanted: Pkcs11Uri) -> dict[Attribute, Any]:
    template: dict[Attribute, Any] = {}
    if wanted.object is not None:
        template[Attribute.LABEL] = wanted.object
    if wanted.id is not None:
        template[Attribute.ID] = wanted.id
    return template


def _named(name: KeyName) -> Mapping[Attribute, Any]:
    return {Attribute.ID: name.id} if name.id else {Attribute.LABEL: name.label}


def _asked(wanted: Pkcs11Uri) -> str:
    parts = []
    if wanted.object is not None:
        parts.append(f"label '{wanted.object}'")
    if wanted.id is not None:
        parts.append(f"id {wanted.id.hex()}")
    return " and ".join(parts) or "the URI (it names no object)"


def _read(found: Object, attribute: Attribute) -> Any:
    try:
        return found[attribute]
    except (p11.AttributeTypeInvalid, p11.AttributeSensitive, p11.FunctionFailed, ValueError):
        return None


def _curve(key: Object) -> ec.EllipticCurve:
    name = _CURVE_OF_PARAMETERS.get(bytes(_read(key, Attribute.EC_PARAMS) or b""))
    if name is None:
        raise UnsupportedKey(f"Key {key_name(key)} is on a curve other than P-256 and P-384.")
    return CURVES[name]()


def _companions(session: Session, name: KeyName, kind: ObjectClass) -> list[tuple[Object, PublicKey | None]]:
    """Objects under a key's id, with their public keys; only those with its label too, where some have."""
    found = list(session.get_objects({**_named(name), Attribute.CLASS: kind}))
    labelled = [companion for companion in found if key_name(companion).label == name.label]
    read = _public_key if kind is ObjectClass.PUBLIC_KEY else _key_of_certificate
    return [(companion, read(companion)) for companion in labelled or found]


def _public_key(found: Object) -> PublicKey | None:
    if _read(found, Attribute.KEY_TYPE) == KeyType.RSA:
        modulus, exponent = _read(found, Attribute.MODULUS), _read(found, Attribute.PUBLIC_EXPONENT)
        if not modulus or not exponent:
            return None
        return rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()
    point = bytes(_read(found, Attribute.EC_POINT) or b"")
    if not point:
        return None
    curve = _curve(found)
    # PKCS#11 wraps the point in an OCTET STRING; some tokens do not. Only the length tells for sure.
    raw = 1 + 2 * ((curve.key_size + 7) // 8)
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, point if len(point) == raw else point[2:])
    except ValueError:
        return None


def _key_of_certificate(found: Object) -> PublicKey | None:
    certificate = _certificate(found)
    return None if certificate is None else _certified(certificate)


def _certified(certificate: x509.Certificate) -> PublicKey | None:
    try:
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return public if isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) else None


def _is_readable(certificate: x509.Certificate, name: KeyName) -> bool:
    try:
        check_readable(certificate)
    except CertificateUnreadableError as error:
        log.warning("The certificate stored with key %s is not used: it %s.", name, error)
        return False
    return True


def _certificate(found: Object) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(bytes(_read(found, Attribute.VALUE) or b""))
    except ValueError:
        return None
