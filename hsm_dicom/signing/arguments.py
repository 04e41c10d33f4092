"""Checks of the arguments for signing: signer, profile, tags. Each error states which values are accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hsm_dicom.arguments import choose, kind_of, require_bool
from hsm_dicom.dataset.tags import ItemPath, TagError, parse_path, parse_tag
from hsm_dicom.identity import Identity, PrivateKey
from hsm_dicom.signatures.algorithms import MAC_ALGORITHMS
from hsm_dicom.signatures.creation.create import Timestamper
from hsm_dicom.signatures.creation.request import SigningRequest
from hsm_dicom.signatures.profiles.purposes import PURPOSES
from hsm_dicom.signatures.profiles.rules import Profile
from hsm_dicom.signing.checks import add_check

Signer: TypeAlias = Identity | tuple[PrivateKey, x509.Certificate]
"""Signer: an identity, or a private key and its certificate."""

Tag: TypeAlias = int | str
"""Tag, as 0x00100010, "0010,0010" or "PatientName"."""

_SIGNER = "an Identity (hsm_dicom.load_identity), or a pair of a private key and its x509.Certificate"


def resolve_signer(signer: object) -> Identity:
    """Return the identity of a signer.

    Raises TypeError if it is not a signer, and CertificateMismatchError if key and certificate do not match.
    """
    if isinstance(signer, Identity):
        return signer
    if not isinstance(signer, tuple | list) or len(signer) != 2:
        raise TypeError(f"The signer must be {_SIGNER}, not {kind_of(signer)}.")
    key, certificate = signer
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise TypeError(f"The signer must be {_SIGNER}; its key must be an RSA or EC private key, not {kind_of(key)}.")
    if not isinstance(certificate, x509.Certificate):
        raise TypeError(
            f"The signer must be {_SIGNER}; its certificate must be an x509.Certificate, not {kind_of(certificate)}."
        )
    return Identity("", key, certificate)


def build_request(
    identity: Identity,
    profile: Profile | str,
    *,
    mac: str = "sha256",
    tags: Iterable[Tag] | None = None,
    item: str | ItemPath | None = None,
    purpose: int | None = None,
    **flags: bool,
) -> SigningRequest:
    """Build the request for a signature. Raises TypeError or ValueError for an invalid argument."""
    for name, value in flags.items():
        require_bool(name, value)
    return SigningRequest(
        certificate=identity.certificate,
        profile=choose(Profile, profile, "profile"),
        mac=_mac(mac),
        tags=None if tags is None else _tags(tags),
        item=_item(item),
        purpose=_purpose(purpose),
        **flags,
    )


def resolve_timestamper(timestamp: object) -> Timestamper | None:
    """Return the source of time stamps: None, a URL of an authority (RFC 3161), or a function."""
    if timestamp is None:
        return None
    if isinstance(timestamp, str):
        if not timestamp.startswith(("http://", "https://")):
            raise ValueError(f"timestamp must be a URL that begins with http:// or https://, not {timestamp!r}.")
        from hsm_dicom.timestamps.client import TimestampAuthority

        return add_check(TimestampAuthority(timestamp))
    if callable(timestamp):
        return add_check(timestamp)
    raise TypeError(
        "timestamp must be the URL of a time stamping authority, or a function that returns the TimeStampToken (DER) "
        f"over the bytes that it is given, not {kind_of(timestamp)}."
    )


def _mac(mac: object) -> str:
    choices = ", ".join(repr(term.lower()) for term in MAC_ALGORITHMS)
    if not isinstance(mac, str):
        raise TypeError(f"mac must be one of {choices}, not {kind_of(mac)}.")
    if mac.upper() not in MAC_ALGORITHMS:
        raise ValueError(f"mac must be one of {choices}, not {mac!r}.")
    return mac.upper()


def _tags(tags: object) -> tuple[int, ...]:
    if isinstance(tags, str | bytes | int) or not isinstance(tags, Iterable):
        raise TypeError(f"tags must be a list of tags, such as ['PatientName', 0x00100020], not {kind_of(tags)}.")
    return tuple(sorted({_tag(tag) for tag in tags}))


def _tag(tag: Any) -> int:
    if isinstance(tag, str):
        return _parse(parse_tag, tag, "tags")
    if isinstance(tag, bool) or not isinstance(tag, int):
        raise TypeError(f"A tag must be a number or a text, such as 0x00100010 or 'PatientName', not {kind_of(tag)}.")
    if not 0 <= tag <= 0xFFFFFFFF:
        raise ValueError(f"A tag must be a number from 0 to 0xFFFFFFFF, not {tag}.")
    return int(tag)


def _item(item: object) -> ItemPath:
    if item is None:
        return ()
    if isinstance(item, str):
        return _parse(parse_path, item, "item")
    if isinstance(item, tuple) and all(
        isinstance(step, tuple) and list(map(type, step)) == [int, int] for step in item
    ):
        return item
    raise TypeError(f"item must be the place of an Item, such as 'ReferencedImageSequence[0]', not {kind_of(item)}.")


def _purpose(purpose: object) -> int | None:
    if purpose is None:
        return None
    wanted = f"a number from 1 to {max(PURPOSES)} (CID 7007, hsm_dicom.signatures.PURPOSES)"
    if isinstance(purpose, bool) or not isinstance(purpose, int):
        raise TypeError(f"purpose must be {wanted}, not {kind_of(purpose)}.")
    if purpose not in PURPOSES:
        raise ValueError(f"purpose must be {wanted}, not {purpose}.")
    return purpose


T = TypeVar("T")


def _parse(parse: Callable[[str], T], text: str, name: str) -> T:
    try:
        return parse(text)
    except TagError as error:
        raise ValueError(f"{name}: {error}") from None
