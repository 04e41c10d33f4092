"""Tables of policies: what the signatures of an object must be, for all objects, or by modality, SOP Class and caller.

    [policies.archive]
    require = ["creator", "timestamp"]
    otherwise = "accept"

    [[policies.archive.rules]]
    when    = { modalities = ["CT", "MR"] }
    issuers = ["CN=Hospital CA,O=Hospital"]

A key of a rule replaces the key of the same name of the policy. Of several rules, the first one whose conditions all
hold applies. The words for algorithms are those of `hsm_dicom.trust.policy`, repeated here so that reading a
configuration need not load the validation of certificates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from hsm_dicom.config.base import Section, Text

CURVES = (
    "secp256r1",
    "secp384r1",
    "secp521r1",
    "brainpoolP256r1",
    "brainpoolP384r1",
    "brainpoolP512r1",
    "ed25519",
    "ed448",
)
STRONG_HASHES = ("sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512")
WEAK_HASHES = ("sha224", "sha1", "md5")

EXTENDED_KEY_USAGES = {
    "documentSigning": "1.3.6.1.5.5.7.3.36",
    "microsoftDocumentSigning": "1.3.6.1.4.1.311.10.3.12",
    "emailProtection": "1.3.6.1.5.5.7.3.4",
    "codeSigning": "1.3.6.1.5.5.7.3.3",
    "clientAuth": "1.3.6.1.5.5.7.3.2",
    "serverAuth": "1.3.6.1.5.5.7.3.1",
}
"""Names that a policy may use instead of the object identifier."""

ANY_VALUE = "*"
"""The value of an attribute of a name that stands for every value."""


class Requirement(StrEnum):
    """What a file must have to meet a policy."""

    ANY = "any"
    """A valid signature over the main Data Set, of whatever profile."""
    CREATOR = "creator"
    """One that meets the Creator RSA profile (PS3.15 C.2)."""
    AUTHORIZATION = "authorization"
    """One that meets the Authorization RSA profile (PS3.15 C.3)."""
    SR = "sr"
    """One that meets the Structured Report RSA profile or its verification (PS3.15 C.4)."""
    TIMESTAMP = "timestamp"
    """A certified time stamp that is valid, on each signature that the other demands are met by."""


class Part(StrEnum):
    """A part of the object that a policy may want covered."""

    PIXEL_DATA = "pixel data"
    """The pixels, where there are any, with all that says how they are read, and what is drawn over them."""
    GEOMETRY = "geometry"
    """What is there of spacing, orientation, position, rescale, VOI and modality LUT."""
    CONTENT = "content"
    """What is there of texts, documents, waveforms, contours, plans and presentations."""
    IDENTITY = "identity"
    """What of patient, study and series is there, and the SOP instance, which must be there."""


def _one_of(name: str, known: Iterable[str]) -> str:
    if name not in known:
        raise PydanticCustomError("choice", "", {"known": ", ".join(sorted(known))})
    return name


def _curve(name: str) -> str:
    return _one_of(name, CURVES)


def _hash(name: str) -> str:
    return _one_of(name, (*STRONG_HASHES, *WEAK_HASHES))


def _usage(text: str) -> str:
    oid = EXTENDED_KEY_USAGES.get(text, text)
    if re.fullmatch(r"[0-2](\.\d{1,20}){1,30}", oid, re.ASCII) is None:
        raise PydanticCustomError("oid", "", {"known": ", ".join(EXTENDED_KEY_USAGES)})
    return oid


def _pin(text: str) -> str:
    pin = text.replace(":", "").lower()
    if re.fullmatch(r"[0-9a-f]{64}", pin) is None:
        raise PydanticCustomError("certificate_pin", "")
    return pin


def _name(text: str) -> str:
    from cryptography.x509 import Name

    try:
        if Name.from_rfc4514_string(text).rdns:
            return text
    except ValueError:
        pass
    raise PydanticCustomError("rfc4514", "")


def _sop_class(text: str) -> str:
    """Return the UID of a SOP Class that is written as a UID or as its keyword."""
    from hsm_dicom.dataset._pydicom import load_registered_uids  # a large table, for policies that name one only

    if re.fullmatch(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)+", text, re.ASCII):
        return text
    registered = load_registered_uids().items()
    found = next((uid for uid, one in registered if one.type == "SOP Class" and one.keyword == text), None)
    if found is None:
        raise PydanticCustomError("sop_class", "")
    return found


MacTerm = Literal["SHA256", "SHA384", "SHA512", "SHA1", "RIPEMD160", "MD5"]
Bits = Annotated[int, Field(ge=512, le=16384, strict=True)]
Name = Annotated[str, AfterValidator(_name)]
AeTitle = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16)]


class DemandsSection(Section):
    """What is asked of the signatures of one object: the keys that a policy and its rules share."""

    require: frozenset[Requirement] = frozenset()
    """What the object must have: a valid signature (any), one that meets a profile, a valid time stamp on each of
    them."""
    cover: frozenset[Part] = frozenset()
    """What the signatures that count must cover."""
    signatures: Annotated[int, Field(ge=1, le=16, strict=True)] = 1
    """The number of signatures that must meet all demands, each by another key. Profiles in `require` are asked of one
    among them."""
    unsigned: Literal["refuse", "accept"] = "refuse"
    """accept: an object without any signature meets the policy, too. One that is signed must still meet it."""
    issuers: frozenset[Name] = frozenset()
    """Names of CAs (RFC 4514), of which one must be in the signer's chain: the issuer, or a CA above it. `*` stands
    for any value: "CN=*,O=Hospital"."""
    subjects: frozenset[Name] = frozenset()
    """Names (RFC 4514), of which one must be the whole subject of the signer's certificate. `*` stands for any value.
    """
    pins: frozenset[Annotated[str, AfterValidator(_pin)]] = frozenset()
    """SHA-256 values of the signer's certificate or of its public key (SubjectPublicKeyInfo), in hexadecimal, of which
    one must match."""
    extended_key_usages: frozenset[Annotated[str, AfterValidator(_usage)]] = frozenset(
        {
            EXTENDED_KEY_USAGES["documentSigning"],
            EXTENDED_KEY_USAGES["microsoftDocumentSigning"],
            EXTENDED_KEY_USAGES["emailProtection"],
        }
    )
    """Of which a signer's certificate must have one, where it has extended key usages at all (names or dotted
    identifiers); by default documentSigning, microsoftDocumentSigning and emailProtection."""
    require_extended_key_usage: bool = False
    """Refuse a signer's certificate without extended key usages, too."""
    mac_algorithms: frozenset[MacTerm] = frozenset({"SHA256", "SHA384", "SHA512"})
    """MAC algorithms that are accepted; by default SHA256, SHA384 and SHA512."""
    weak_mac_algorithms: frozenset[MacTerm] = frozenset({"SHA1", "RIPEMD160", "MD5"})
    """MAC algorithms that are accepted with a warning; by default SHA1, RIPEMD160 and MD5. With any other, a signature
    is invalid."""
    key_types: frozenset[Literal["rsa", "ec"]] = frozenset({"rsa", "ec"})
    """Kinds of keys that a signer may have."""
    minimum_rsa_bits: Bits = 1024
    """RSA keys of signer or CA with fewer bits are refused."""
    advised_rsa_bits: Bits = 2048
    """RSA keys with fewer bits are accepted with a warning."""
    curves: frozenset[Annotated[str, AfterValidator(_curve)]] = frozenset(CURVES)
    """Elliptic curves that keys may be on; by default all that are supported."""
    certificate_hashes: frozenset[Annotated[str, AfterValidator(_hash)]] = frozenset(STRONG_HASHES)
    """Hashes that certificates, CRLs and OCSP responses may be signed with; by default those of SHA-2 and SHA-3 from
    256 bits."""
    weak_certificate_hashes: frozenset[Annotated[str, AfterValidator(_hash)]] = frozenset({"sha224", "sha1"})
    """Those that are accepted there with a warning; by default sha224 and sha1."""
    revocation: Literal["when-given", "required", "if-available"] = "when-given"
    """Whether a signer with unknown revocation status is trusted. required: never. when-given: not if a CRL or OCSP
    response is given, else with a warning. if-available: with a warning."""
    revocation_age_days: Annotated[float | None, Field(gt=0, le=3650, allow_inf_nan=False)] = None
    """Days since the CRL or OCSP response about each certificate of the signer's chain was issued, at the most; 0.5 is
    twelve hours. By default, data that is current is accepted."""
    timestamp_authorities: frozenset[Name] = frozenset()
    """Names (RFC 4514) of time stamping authorities or of CAs above them; a valid time stamp by one of them is then
    required. `*` stands for any value."""
    clock_tolerance: Annotated[int, Field(ge=0, le=86400, strict=True)] = 300
    """Seconds that clocks may differ by, before a claimed time lies in the future or behind its time stamp."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.minimum_rsa_bits > self.advised_rsa_bits and "advised_rsa_bits" in self.model_fields_set:
            raise PydanticCustomError("sizes", "")
        return self


class ConditionsSection(Section):
    """`when` of a rule: for which objects it applies. All conditions must hold, each by one of its values."""

    modalities: Annotated[frozenset[AeTitle] | None, Field(min_length=1)] = None
    """Values of Modality (0008,0060), such as CT."""
    sop_classes: Annotated[frozenset[Annotated[str, AfterValidator(_sop_class)]] | None, Field(min_length=1)] = None
    """UIDs of SOP Classes, or keywords of PS3.6 such as CTImageStorage."""
    calling_ae_titles: Annotated[frozenset[AeTitle] | None, Field(min_length=1)] = None
    """Calling AE titles of who sends the object. A file that is verified from disk has none."""

    @property
    def is_empty(self) -> bool:
        """Whether the rule applies to every object."""
        return self == ConditionsSection()


class RuleSection(DemandsSection):
    """`[[policies.NAME.rules]]`: demands for some objects. Each key of the policy can be set here, too."""

    name: Text | None = None
    """What reports call the rule; by default its number."""
    when: ConditionsSection = ConditionsSection()
    """The objects that it is for; by default all."""


class PolicySection(DemandsSection):
    """`[policies.NAME]`: what `verify`, listeners and routes ask of signatures."""

    rules: tuple[RuleSection, ...] = ()
    """Demands for some objects: the first rule whose conditions hold applies. Without rules, the policy's own keys
    apply to all objects."""
    otherwise: Literal["refuse", "accept"] = "refuse"
    """What happens to an object that no rule matches. accept: nothing is asked of it, but that no signature in it is
    broken."""

    @model_validator(mode="after")
    def _has_rules(self) -> Self:
        if "otherwise" in self.model_fields_set and not self.rules:
            raise PydanticCustomError("otherwise", "")
        return self
