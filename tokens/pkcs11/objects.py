"""Objects on a token: found by CKA_LABEL and CKA_ID, read into plain data.

All functions work inside one session, on the thread that holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Attribute, KeyType, Object, ObjectClass, Session
from pkcs11 import PrivateKey as PrivateKeyObject
from pkcs11 import exceptions as p11

from tokens.errors import NoSuchKey, NotAPrivateKey, SeveralKeys, UnsupportedKey
from tokens.keys import CURVES
from tokens.policy import KeyAttributes
from tokens.uri import Pkcs11Uri

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

    Raises `NoSuchKey` where none of them is there (an EC private key alone does not tell its point).
    """
    name = key_name(key)
    for found in session.get_objects({**_named(name), Attribute.CLASS: ObjectClass.PUBLIC_KEY}):
        public = _public_key(found)
        if public is not None:
            return public
    for certificate in certificates(session, name):
        candidate = certificate.public_key()
        if isinstance(candidate, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            return candidate
    public = _public_key(key)
    if public is None:
        raise NoSuchKey(
            f"The public half of key {name} is nowhere on the token: neither a public key nor a certificate "
            "with the same id. Import its certificate: hsm-dicom key import-cert"
        )
    return public


def certificates(session: Session, name: KeyName) -> tuple[x509.Certificate, ...]:
    """The X.509 certificates stored under a key's id (or label, where the id is empty)."""
    template = {**_named(name), Attribute.CLASS: ObjectClass.CERTIFICATE}
    return tuple(_parsed(session.get_objects(template)))


def list_keys(session: Session) -> list[KeyEntry]:
    """Every private key that can be served, with its certificates."""
    entries = []
    for key in list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})):
        name = key_name(key)
        try:
            entries.append(KeyEntry(name, read_attributes(key), certificates(session, name)))  # type: ignore[arg-type]
        except UnsupportedKey:
            continue
    return entries


def same_public_key(one: PublicKey, other: PublicKey) -> bool:
    """Whether two public keys are the same number, whatever object they came from."""
    return one == other


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


def _public_key(found: Object) -> PublicKey | None:
    if _read(found, Attribute.KEY_TYPE) == KeyType.RSA:
        modulus, exponent = _read(found, Attribute.MODULUS), _read(found, Attribute.PUBLIC_EXPONENT)
        if not modulus or not exponent:
            return None
        return rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()
    point = bytes(_read(found, Attribute.EC_POINT) or b"")
    if not point:
        return None
    # PKCS#11 wraps the point in an OCTET STRING; some tokens do not.
    wrapped = point[0] == 0x04 and len(point) > 2 and point[1] == len(point) - 2
    return ec.EllipticCurvePublicKey.from_encoded_point(_curve(found), point[2:] if wrapped else point)


def _parsed(found: Iterable[Object]) -> Iterable[x509.Certificate]:
    for certificate in list(found):
        value = _read(certificate, Attribute.VALUE)
        if value:
            try:
                yield x509.load_der_x509_certificate(bytes(value))
            except ValueError:
                continue
