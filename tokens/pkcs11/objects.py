"""Objects on a token, found by CKA_LABEL and CKA_ID and read into plain data.

All functions work in one session, on the thread that holds it, and read only the attributes that they need.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asn1crypto.core import OctetString  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Attribute, KeyType, ObjectClass

from tokens.certificates import CertificateUnreadableError, check_readable
from tokens.errors import (
    Facts,
    NoSuchKeyError,
    NotAPrivateKeyError,
    Reason,
    SeveralKeysError,
    UnsupportedKeyError,
    fresh_copy,
)
from tokens.keys import CURVES, compute_spki_sha256
from tokens.pkcs11.attributes import Attributes, pack
from tokens.pkcs11.calls.queries import Queries
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

_FLAGS = {
    "sensitive": Attribute.SENSITIVE,
    "extractable": Attribute.EXTRACTABLE,
    "always_sensitive": Attribute.ALWAYS_SENSITIVE,
    "never_extractable": Attribute.NEVER_EXTRACTABLE,
    "local": Attribute.LOCAL,
    "sign": Attribute.SIGN,
    "decrypt": Attribute.DECRYPT,
    "unwrap": Attribute.UNWRAP,
    "always_authenticate": Attribute.ALWAYS_AUTHENTICATE,
}
"""The fields of `KeyAttributes` that are a CK_BBOOL of a private key."""

_NAME = (Attribute.LABEL, Attribute.ID)
_PUBLIC_PARTS: dict[int, tuple[Attribute, ...]] = {
    KeyType.RSA: (Attribute.MODULUS, Attribute.PUBLIC_EXPONENT),
    KeyType.EC: (Attribute.EC_PARAMS, Attribute.EC_POINT),
}


@dataclass(frozen=True)
class KeyName:
    """The name of a key pair and its certificate on a token: CKA_LABEL and CKA_ID."""

    label: str
    id: bytes

    def __str__(self) -> str:
        return f"'{self.label}'" if self.label else f"with id {self.id.hex()}"


@dataclass(frozen=True)
class KeyEntry:
    """A private key in a list. `public_key` is None if the token does not tell it."""

    name: KeyName
    attributes: KeyAttributes
    certificates: tuple[x509.Certificate, ...]
    public_key: PublicKey | None = None

    @property
    def spki_sha256(self) -> str:
        """The fingerprint of the key; empty if its public half is not known."""
        return "" if self.public_key is None else compute_spki_sha256(self.public_key)


@dataclass(frozen=True)
class FoundKey:
    """A private key object in one session. Without a public half `public_key` is None, and `without` is the reason."""

    handle: int
    name: KeyName
    attributes: KeyAttributes
    public_key: PublicKey | None
    tells_public_half: bool
    """Whether the private key object itself has the public key, as RSA keys do and EC keys on most tokens do not."""
    without: NoSuchKeyError | SeveralKeysError | None = field(default=None, compare=False)

    def require_public_key(self) -> PublicKey:
        """Return the public key. Raises `NoSuchKeyError` or `SeveralKeysError`."""
        if self.public_key is None:
            if self.without is not None:
                raise fresh_copy(self.without)
            raise NoSuchKeyError(f"Key {self.name} has no public half.")
        return self.public_key


class Objects:
    """The objects that one session can see."""

    def __init__(self, queries: Queries, session: int) -> None:
        self._queries = queries
        self._session = session

    def find(self, template: Mapping[Attribute, Any]) -> list[int]:
        """Return the handles of all objects that have these attributes."""
        return self._queries.find_objects(self._session, {kind: pack(value) for kind, value in template.items()})

    def read(self, handle: int, kinds: Sequence[Attribute]) -> Attributes:
        """Return attributes of one object."""
        return Attributes(self._queries.attributes(self._session, handle, kinds))

    def name(self, handle: int) -> KeyName:
        """Return label and id of an object; empty if the token has none."""
        reported = self.read(handle, _NAME)
        return KeyName(reported.text(Attribute.LABEL), reported.octets(Attribute.ID))

    def create(self, template: Mapping[Attribute, Any]) -> int:
        """Create an object (C_CreateObject)."""
        return self._queries.create_object(self._session, {kind: pack(value) for kind, value in template.items()})

    def destroy(self, handle: int) -> None:
        """Delete an object (C_DestroyObject)."""
        self._queries.destroy_object(self._session, handle)


def find_private_key(objects: Objects, wanted: Pkcs11Uri, token_description: str) -> int:
    """Return the handle of the one private key that matches object, id and type of the URI.

    Raises `NoSuchKeyError`, `SeveralKeysError` or `NotAPrivateKeyError`, which list the keys.
    """
    asked = _describe_wanted(wanted)
    if wanted.type not in (None, "private"):
        raise NotAPrivateKeyError(
            f"A private key is needed, but the URI has type={wanted.type}.", remedy="Write type=private."
        )
    template = _template(wanted)
    found = objects.find({**template, Attribute.CLASS: ObjectClass.PRIVATE_KEY})
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{name} (id {name.id.hex()})" for name in map(objects.name, found))
        raise SeveralKeysError(
            f"{len(found)} private keys on {token_description} match {asked}: {names}.",
            remedy="Add the id to the URI.",
        )
    others = objects.find(template) if template else []
    if others:
        number = objects.read(others[0], [Attribute.CLASS]).number(Attribute.CLASS)
        kind = next((words for known, words in _KINDS.items() if known == number), "object")
        raise NotAPrivateKeyError(f"{asked} on {token_description} is a {kind}, and a private key is needed.")
    there = [str(objects.name(o)) for o in objects.find({Attribute.CLASS: ObjectClass.PRIVATE_KEY})]
    holds = (
        f"It holds: {', '.join(sorted(there))}."
        if there
        else "It holds no private key that can be seen. If it held keys before, it was initialised again, or it is "
        "another token of the same name."
    )
    raise NoSuchKeyError(f"No private key on {token_description} matches {asked}. {holds}")


def describe_key(objects: Objects, handle: int) -> FoundKey:
    """Return the attributes of a private key, and its public half. Raises `UnsupportedKeyError`."""
    reported = objects.read(handle, (*_NAME, Attribute.KEY_TYPE, *_FLAGS.values()))
    name = KeyName(reported.text(Attribute.LABEL), reported.octets(Attribute.ID))
    kind = reported.number(Attribute.KEY_TYPE)
    if kind is None and not reported.odd:
        named = f"key {name}" if name.label or name.id else "a key"
        raise UnsupportedKeyError(f"The token does not report the type of {named} (CKA_KEY_TYPE), so it is not used.")
    if kind is None or kind not in _PUBLIC_PARTS:
        odd = f" ({reported.odd[0]})" if reported.odd else ""
        raise UnsupportedKeyError(f"Key {name} is neither RSA nor EC{odd}, so it is not supported.")
    own = objects.read(handle, _PUBLIC_PARTS[kind])
    curve = _curve(own, name) if kind == KeyType.EC else None
    public, without = None, None
    try:
        public = _public_half(objects, name, kind, own)
    except (NoSuchKeyError, SeveralKeysError) as error:
        without = error
    size = public.key_size if public is not None else curve.key_size if curve is not None else 0
    flags = {field: reported.flag(attribute) for field, attribute in _FLAGS.items()}
    attributes = KeyAttributes(
        key_type="RSA" if curve is None else curve.name, size_bits=size, odd=reported.odd, **flags
    )
    return FoundKey(handle, name, attributes, public, _public_key(own, kind) is not None, without)


def has_public_key(objects: Objects, handle: int, name: KeyName, public: PublicKey) -> bool:
    """Return whether a private key has the given public half."""
    kind = KeyType.RSA if isinstance(public, rsa.RSAPublicKey) else KeyType.EC
    return _public_half(objects, name, kind, objects.read(handle, _PUBLIC_PARTS[kind])) == public


def companions(objects: Objects, key: FoundKey) -> list[int]:
    """Return the public keys and certificates that contain the public half of a private key."""
    public = key.require_public_key()
    kinds = (ObjectClass.CERTIFICATE, ObjectClass.PUBLIC_KEY)
    found = [pair for kind in kinds for pair in _companions(objects, key.name, kind, _kind_of(public))]
    return [companion for companion, its in found if its == public]


def certificates(objects: Objects, key: FoundKey) -> tuple[x509.Certificate, ...]:
    """Return the X.509 certificates with a key's id (or label, if it has no id) that contain its public half."""
    if key.public_key is None:
        return ()
    return read_certificates(objects, key.name, key.public_key)


def read_certificates(objects: Objects, name: KeyName, public: PublicKey) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a key whose public half is known."""
    template = {**_select_name(name), Attribute.CLASS: ObjectClass.CERTIFICATE}
    parsed = (_certificate(objects.read(found, [Attribute.VALUE])) for found in objects.find(template))
    own = (c for c in parsed if c is not None and _read_certified(c) == public)
    return tuple(c for c in own if _is_readable(c, name))


def read_certificate(objects: Objects, handle: int) -> x509.Certificate | None:
    """Return the certificate of one object; None if its value is not an X.509 certificate."""
    return _certificate(objects.read(handle, [Attribute.VALUE]))


def read_public_key(objects: Objects, handle: int) -> PublicKey | None:
    """Return the key of one public key object; None if it is neither RSA nor on P-256 or P-384."""
    kind = objects.read(handle, [Attribute.KEY_TYPE]).number(Attribute.KEY_TYPE)
    if kind is None or kind not in _PUBLIC_PARTS:
        return None
    return _public_key(objects.read(handle, _PUBLIC_PARTS[kind]), kind)


def list_keys(objects: Objects) -> list[KeyEntry]:
    """Return every private key of a supported kind, with its certificates.

    Raises `UnsupportedKeyError` if the token reports of no key what kind it is: no key would be a wrong answer.
    """
    entries = []
    unreadable = None
    for handle in objects.find({Attribute.CLASS: ObjectClass.PRIVATE_KEY}):
        try:
            key = describe_key(objects, handle)
        except UnsupportedKeyError as error:
            if objects.read(handle, [Attribute.KEY_TYPE]).number(Attribute.KEY_TYPE) is None:
                unreadable = error
            continue
        entries.append(KeyEntry(key.name, key.attributes, certificates(objects, key), key.public_key))
    if unreadable is not None and not entries:
        raise unreadable
    return entries


def list_names_in_use(objects: Objects, name: KeyName) -> list[KeyName]:
    """Return the names of the private keys that have this label or this id."""
    private = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    taken = [
        *objects.find({**private, Attribute.LABEL: name.label}),
        *objects.find({**private, Attribute.ID: name.id}),
    ]
    return [objects.name(handle) for handle in taken]


def _public_half(objects: Objects, name: KeyName, kind: int, own: Attributes) -> PublicKey:
    """Return the public key: from the private key object itself, else from the public key object or the certificate.

    Several keys may share an id. Raises `NoSuchKeyError` if there is none (an EC private key object has no point), and
    `SeveralKeysError` if several match.
    """
    public = _public_key(own, kind)
    if public is not None:
        return public
    candidates: list[PublicKey] = []
    for companion in (ObjectClass.PUBLIC_KEY, ObjectClass.CERTIFICATE):
        if not candidates:
            found = [its for _, its in _companions(objects, name, companion, kind) if its is not None]
            candidates = [its for its in found if _kind_of(its) == kind]
    distinct = [c for index, c in enumerate(candidates) if c not in candidates[:index]]
    if len(distinct) == 1:
        return distinct[0]
    if distinct:
        raise SeveralKeysError(
            f"{len(distinct)} public keys have the id and label of key {name}.",
            remedy="Give each key an id of its own.",
        )
    raise NoSuchKeyError(
        f"The public half of key {name} is not on the token: neither a public key nor a certificate has the same id.",
        remedy="Import its certificate.",
        facts=Facts(reason=Reason.PUBLIC_KEY_MISSING),
    )


def _template(wanted: Pkcs11Uri) -> dict[Attribute, Any]:
    template: dict[Attribute, Any] = {}
    if wanted.object is not None:
        template[Attribute.LABEL] = wanted.object
    if wanted.id is not None:
        template[Attribute.ID] = wanted.id
    return template


def _select_name(name: KeyName) -> Mapping[Attribute, Any]:
    return {Attribute.ID: name.id} if name.id else {Attribute.LABEL: name.label}


def describe_request(wanted: Pkcs11Uri) -> str:
    """Return the name that a URI gives to a key, for the report of a step."""
    return str(KeyName(wanted.object or "", wanted.id or b""))


def _describe_wanted(wanted: Pkcs11Uri) -> str:
    parts = []
    if wanted.object is not None:
        parts.append(f"label '{wanted.object}'")
    if wanted.id is not None:
        parts.append(f"id {wanted.id.hex()}")
    return " and ".join(parts) or "the URI (which has no attribute of an object)"


def _kind_of(public: PublicKey) -> KeyType:
    return KeyType.RSA if isinstance(public, rsa.RSAPublicKey) else KeyType.EC


def _curve(reported: Attributes, name: KeyName) -> ec.EllipticCurve:
    curve = _CURVE_OF_PARAMETERS.get(reported.octets(Attribute.EC_PARAMS))
    if curve is None:
        raise UnsupportedKeyError(f"Key {name} is on a curve other than P-256 and P-384.")
    return CURVES[curve]()


def _companions(
    objects: Objects, name: KeyName, companion: ObjectClass, kind: int
) -> list[tuple[int, PublicKey | None]]:
    """Return the objects with a key's id and their public keys; only those with its label, if there are any."""
    wanted = _PUBLIC_PARTS[kind] if companion is ObjectClass.PUBLIC_KEY else (Attribute.VALUE,)
    found = [
        (handle, objects.read(handle, (Attribute.LABEL, *wanted)))
        for handle in objects.find({**_select_name(name), Attribute.CLASS: companion})
    ]
    labelled = [pair for pair in found if pair[1].text(Attribute.LABEL) == name.label]
    return [
        (handle, _public_key(reported, kind) if companion is ObjectClass.PUBLIC_KEY else _key_of_certificate(reported))
        for handle, reported in labelled or found
    ]


def _public_key(reported: Attributes, kind: int) -> PublicKey | None:
    if kind == KeyType.RSA:
        modulus, exponent = reported.octets(Attribute.MODULUS), reported.octets(Attribute.PUBLIC_EXPONENT)
        try:
            numbers = rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big"))
            return numbers.public_key()
        except ValueError:  # one of them is missing, or not of an RSA key
            return None
    point, curve = reported.octets(Attribute.EC_POINT), _CURVE_OF_PARAMETERS.get(reported.octets(Attribute.EC_PARAMS))
    if not point or curve is None:
        return None
    # PKCS#11 wraps the point in an OCTET STRING; some tokens do not. Only the length distinguishes them.
    raw = 1 + 2 * ((CURVES[curve]().key_size + 7) // 8)
    try:
        point = point if len(point) == raw else OctetString.load(point, strict=True).native
        return ec.EllipticCurvePublicKey.from_encoded_point(CURVES[curve](), point)
    except ValueError:
        return None


def _key_of_certificate(reported: Attributes) -> PublicKey | None:
    certificate = _certificate(reported)
    return None if certificate is None else _read_certified(certificate)


def _read_certified(certificate: x509.Certificate) -> PublicKey | None:
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


def _certificate(reported: Attributes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(reported.octets(Attribute.VALUE))
    except ValueError:
        return None
