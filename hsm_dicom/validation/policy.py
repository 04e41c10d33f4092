"""What is asked of signatures before they are called good: one frozen model, read from a TOML file.

    policy = load_policy(Path("policy.toml")).with_requirements([Requirement.CREATOR])
    validator = Validator.from_stores(store, policy=policy)

Without a file the defaults hold: old signatures with weak hashes or short keys count, with a warning, and nothing is
asked of a file but that its signatures hold. A stricter policy, with all its keys:

    require                  = ["creator", "timestamp"]
    cover                    = ["pixel data", "geometry", "identity", "content"]
    mac_algorithms           = ["SHA256", "SHA384", "SHA512"]
    weak_mac_algorithms      = []
    minimum_rsa_bits         = 2048
    advised_rsa_bits         = 3072
    curves                   = ["secp256r1", "secp384r1", "secp521r1"]
    certificate_hashes       = ["sha256", "sha384", "sha512"]
    weak_certificate_hashes  = []
    extended_key_usages      = ["1.3.6.1.5.5.7.3.36"]
    revocation               = "required"
    clock_tolerance          = 60

Unknown keys are refused, so that a misspelt demand is not taken for none.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from hsm_dicom.arguments import choose
from hsm_dicom.config.lines import find_line, index_lines
from hsm_dicom.config.toml_text import TomlTextError, decode_toml, parse_toml
from hsm_dicom.errors import DicomError
from hsm_dicom.signatures.profiles.rules import Profile
from hsm_dicom.trust import ARCHIVE, AlgorithmPolicy, RevocationPolicy
from hsm_dicom.trust import Policy as TrustPolicy
from hsm_dicom.trust.policy import CURVES, SHA2_AND_3

_LARGEST_FILE = 1 << 20
_CERTIFICATE_HASHES = SHA2_AND_3 | {"sha224", "sha1", "md5"}


class PolicyError(DicomError):
    """The policy cannot be used. The sentence names file, line, key and remedy."""


class Requirement(StrEnum):
    """What a file must have to meet a policy: see `result.Verdict.unmet` for how it is counted."""

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

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The profiles of which one meets this; none where the profile does not matter."""
        return _PROFILES.get(self, ())


_PROFILES = {
    Requirement.CREATOR: (Profile.CREATOR,),
    Requirement.AUTHORIZATION: (Profile.AUTHORIZATION,),
    Requirement.SR: (Profile.SR, Profile.SR_VERIFICATION),
}


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


def _curve(name: str) -> str:
    return _one_of(name, CURVES)


def _hash(name: str) -> str:
    return _one_of(name, _CERTIFICATE_HASHES)


def _oid(text: str) -> str:
    if re.fullmatch(r"[0-2](\.\d{1,20}){1,30}", text, re.ASCII) is None:
        raise PydanticCustomError("oid", "")
    return text


def _one_of(name: str, known: Iterable[str]) -> str:
    if name not in known:
        raise PydanticCustomError("choice", "", {"known": ", ".join(sorted(known))})
    return name


MacTerm = Literal["SHA256", "SHA384", "SHA512", "SHA1", "RIPEMD160", "MD5"]
Bits = Annotated[int, Field(ge=512, le=16384, strict=True)]


class VerificationPolicy(BaseModel):
    """The requirements of a verdict. Each field is a key of the file, under its name.

        Policy(require={"creator", "timestamp"}, cover={"pixel data"})

    Raises `pydantic.ValidationError`, a ValueError, for an unknown field or value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    require: frozenset[Requirement] = frozenset()
    """What the file must have."""
    cover: frozenset[Part] = frozenset()
    """What the signatures that meet `require` must cover."""
    mac_algorithms: frozenset[MacTerm] = frozenset({"SHA256", "SHA384", "SHA512"})
    """MAC algorithms that are accepted."""
    weak_mac_algorithms: frozenset[MacTerm] = frozenset({"SHA1", "RIPEMD160", "MD5"})
    """MAC algorithms that are accepted with a warning. With any other, a signature is invalid."""
    minimum_rsa_bits: Bits = ARCHIVE.minimum_rsa_bits
    """RSA keys of signer or CA with fewer bits are refused."""
    advised_rsa_bits: Bits = ARCHIVE.advised_rsa_bits
    """RSA keys with fewer bits are accepted with a warning."""
    curves: frozenset[Annotated[str, AfterValidator(_curve)]] = ARCHIVE.curves
    """Elliptic curves that keys may be on."""
    certificate_hashes: frozenset[Annotated[str, AfterValidator(_hash)]] = ARCHIVE.hashes
    """Hashes that certificates, CRLs and OCSP responses may be signed with."""
    weak_certificate_hashes: frozenset[Annotated[str, AfterValidator(_hash)]] = ARCHIVE.tolerated_hashes
    """Those that are accepted there with a warning."""
    extended_key_usages: frozenset[Annotated[str, AfterValidator(_oid)]] = TrustPolicy().signing_extended_key_usages
    """Of which a signer's certificate must have one, where it has extended key usages at all (dotted identifiers)."""
    revocation: RevocationPolicy = RevocationPolicy.WHEN_GIVEN
    """When a certificate counts although nobody knows whether it was revoked."""
    clock_tolerance: Annotated[int, Field(ge=0, le=86400, strict=True)] = 300
    """Seconds that clocks may differ by, before a claimed time lies in the future or behind its time stamp."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> VerificationPolicy:
        if self.minimum_rsa_bits > self.advised_rsa_bits and "advised_rsa_bits" in self.model_fields_set:
            raise PydanticCustomError("sizes", "")
        return self

    def with_requirements(self, requirements: Iterable[Requirement | str]) -> VerificationPolicy:
        """Return the same policy with more required: members of `Requirement`, or their values.

        Raises TypeError for one text instead of a list, and ValueError for a requirement that does not exist.
        """
        if isinstance(requirements, str):
            raise TypeError("requirements must be a list of requirements, such as ['creator'], not str.")
        more = {choose(Requirement, requirement, "A requirement") for requirement in requirements}
        return self.model_copy(update={"require": self.require | more})

    @property
    def trust(self) -> TrustPolicy:
        """What it asks of certificates."""
        return TrustPolicy(
            algorithms=AlgorithmPolicy(
                minimum_rsa_bits=self.minimum_rsa_bits,
                advised_rsa_bits=max(self.advised_rsa_bits, self.minimum_rsa_bits),
                curves=self.curves,
                hashes=self.certificate_hashes,
                tolerated_hashes=self.weak_certificate_hashes - self.certificate_hashes,
            ),
            revocation=self.revocation,
            signing_extended_key_usages=self.extended_key_usages,
        )


def load_policy(file: str | os.PathLike[str]) -> VerificationPolicy:
    """Read a policy from a TOML file. Raises PolicyError for the first mistake, with the number of further ones."""
    file = Path(file)
    try:
        text = decode_toml(_content(file))
        return VerificationPolicy.model_validate(parse_toml(text))
    except TomlTextError as error:
        raise PolicyError(error.at(file)) from None
    except ValidationError as error:
        first, *others = error.errors(include_url=False, include_input=False)
    line = find_line(index_lines(text), tuple(map(str, first["loc"])))
    place = str(file) if line is None else f"{file}:{line}"
    more = f" (And {len(others)} more.)" if others else ""
    raise PolicyError(f"{place}: {_in_words(first)}{more}")


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise PolicyError(f"{file}: is larger than {_LARGEST_FILE >> 20} MiB, which no policy is.")
        return content
    except OSError as error:
        raise PolicyError(f"{file}: the policy cannot be read ({error.strerror}). Check its path.") from error


def _in_words(error: ErrorDetails) -> str:
    key = str(error["loc"][0]) if error["loc"] else ""
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            known = sorted(VerificationPolicy.model_fields)
            near = difflib.get_close_matches(key, known, n=1)
            guess = f"Did you mean '{near[0]}'? " if near else ""
            return f"the key '{key}' is not known. {guess}Known keys: {', '.join(known)}."
        case "enum" | "literal_error":
            return f"a value of '{key}' is not known. It may be one of: {context['expected']}."
        case "choice":
            return f"a value of '{key}' is not known. It may be one of: {context['known']}."
        case "oid":
            return f"a value of '{key}' is no object identifier. Write it dotted, like \"1.3.6.1.5.5.7.3.36\"."
        case "sizes":
            return "'advised_rsa_bits' is below 'minimum_rsa_bits'. Raise it, or leave it out."
        case "greater_than_equal" | "less_than_equal":
            bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
            return f"the number '{key}' must be {bound}."
        case "int_type":
            return f"the value of '{key}' must be a whole number, without quotation marks."
        case "frozen_set_type":
            return f'the value of \'{key}\' must be a list, like ["one", "two"].'
        case _:
            return f"the value of '{key}' is not of the form that is wanted there. See docs/explanation/verdicts.md."
