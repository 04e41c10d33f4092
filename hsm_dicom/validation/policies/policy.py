"""A verification policy: one frozen model, from the configuration, from a TOML file of its own, or made in Python.

    policy = load_policy(Path("policy.toml")).with_requirements([Requirement.CREATOR])

Without a file the defaults hold: old signatures with weak hashes or short keys count, with a warning, and nothing is
asked of a file but that its signatures hold. A stricter policy, with all keys but its rules:

    require                    = ["creator", "timestamp"]
    cover                      = ["pixel data", "geometry", "identity", "content"]
    signatures                 = 1
    unsigned                   = "refuse"
    issuers                    = ["CN=Hospital CA"]
    subjects                   = ["CN=*"]
    pins                       = []
    extended_key_usages        = ["documentSigning"]
    require_extended_key_usage = false
    mac_algorithms             = ["SHA256", "SHA384", "SHA512"]
    weak_mac_algorithms        = []
    key_types                  = ["rsa"]
    minimum_rsa_bits           = 2048
    advised_rsa_bits           = 3072
    curves                     = ["secp256r1", "secp384r1", "secp521r1"]
    certificate_hashes         = ["sha256", "sha384", "sha512"]
    weak_certificate_hashes    = []
    revocation                 = "required"
    revocation_age_days        = 7
    timestamp_authorities      = ["CN=Time unit"]
    clock_tolerance            = 60

Unknown keys are refused, so that a misspelt demand is not taken for none. `hsm_dicom.config.policy_sections` explains
each key, and has those of rules.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import ValidationError

from hsm_dicom.arguments import choose
from hsm_dicom.config.lines import find_line, index_lines
from hsm_dicom.config.mistakes import describe_mistake
from hsm_dicom.config.policy_sections import (
    ConditionsSection,
    DemandsSection,
    Part,
    PolicySection,
    Requirement,
    RuleSection,
)
from hsm_dicom.config.toml_text import TomlTextError, decode_toml, parse_toml
from hsm_dicom.dataset.values import ObjectIdentity
from hsm_dicom.errors import DicomError
from hsm_dicom.trust import AlgorithmPolicy, RevocationPolicy
from hsm_dicom.trust import Policy as TrustPolicy

__all__ = [
    "ConditionsSection",
    "DemandsSection",
    "EffectiveRule",
    "Part",
    "PolicyError",
    "Requirement",
    "RuleSection",
    "VerificationPolicy",
    "load_policy",
    "make_trust_policy",
]

_LARGEST_FILE = 1 << 20


class PolicyError(DicomError):
    """The policy cannot be used. The sentence names file, line, key and remedy."""


class EffectiveRule(NamedTuple):
    """A rule of a policy with all its demands: its own, and those of the policy for the keys that it does not have.

    `name` is empty for a policy without rules.
    """

    name: str
    when: ConditionsSection
    demands: DemandsSection


class VerificationPolicy(PolicySection):
    """The requirements of a verdict. Each field is a key of the file, under its name.

        Policy(require={"creator", "timestamp"}, cover={"pixel data"})
        Policy(rules=[{"when": {"modalities": ["CT"]}, "issuers": ["CN=Hospital CA"]}])

    Raises `pydantic.ValidationError`, a ValueError, for an unknown field or value.
    """

    @classmethod
    def from_section(cls, section: PolicySection) -> Self:
        """Return the policy of a table of the configuration, with the same keys set."""
        own = {name: getattr(section, name) for name in section.model_fields_set}
        return cls.model_construct(section.model_fields_set, **own)

    def with_requirements(self, requirements: Iterable[Requirement | str]) -> Self:
        """Return the same policy with more required, in each of its rules: members of `Requirement`, or their values.

        Raises TypeError for one text instead of a list, and ValueError for a requirement that does not exist.
        """
        if isinstance(requirements, str):
            raise TypeError("requirements must be a list of requirements, such as ['creator'], not str.")
        more = frozenset(choose(Requirement, requirement, "A requirement") for requirement in requirements)
        rules = tuple(
            rule.model_copy(update={"require": rule.require | more}) if "require" in rule.model_fields_set else rule
            for rule in self.rules
        )
        return self.model_copy(update={"require": self.require | more, "rules": rules})

    @property
    def trust(self) -> TrustPolicy:
        """What the policy's own keys ask of certificates."""
        return make_trust_policy(self)

    @cached_property
    def effective_rules(self) -> tuple[EffectiveRule, ...]:
        """Its rules in their order, each with all its demands; one for all objects if it has no rules."""
        own = {name: getattr(self, name) for name in DemandsSection.model_fields}
        if not self.rules:
            return (EffectiveRule("", ConditionsSection(), DemandsSection.model_construct(**own)),)
        return tuple(
            EffectiveRule(
                rule.name or f"rule {number}",
                rule.when,
                DemandsSection.model_construct(
                    **own | {name: getattr(rule, name) for name in rule.model_fields_set & own.keys()}
                ),
            )
            for number, rule in enumerate(self.rules, start=1)
        )

    def choose_rule(self, identity: ObjectIdentity, calling_ae_title: str = "") -> int | None:
        """Return the number, from 0, of the first effective rule for an object; None if none matches."""
        numbered = enumerate(self.effective_rules)
        return next((number for number, rule in numbered if _applies(rule.when, identity, calling_ae_title)), None)


def _applies(when: ConditionsSection, identity: ObjectIdentity, calling_ae_title: str) -> bool:
    conditions = (
        (when.modalities, identity.modality),
        (when.sop_classes, identity.sop_class_uid),
        (when.calling_ae_titles, calling_ae_title),
    )
    return all(wanted is None or value.strip() in wanted for wanted, value in conditions)


def make_trust_policy(demands: DemandsSection) -> TrustPolicy:
    """Return what the demands ask of certificates, for a `hsm_dicom.trust.CertificateValidator`."""
    return TrustPolicy(
        algorithms=AlgorithmPolicy(
            minimum_rsa_bits=demands.minimum_rsa_bits,
            advised_rsa_bits=max(demands.advised_rsa_bits, demands.minimum_rsa_bits),
            curves=demands.curves,
            hashes=demands.certificate_hashes,
            tolerated_hashes=demands.weak_certificate_hashes - demands.certificate_hashes,
        ),
        revocation=RevocationPolicy(demands.revocation),
        signing_extended_key_usages=demands.extended_key_usages,
    )


def load_policy(file: str | os.PathLike[str]) -> VerificationPolicy:
    """Read a policy from a TOML file. Raises PolicyError for the first mistake, with the number of further ones."""
    file = Path(file)
    try:
        text = decode_toml(_read_content(file))
        return VerificationPolicy.model_validate(parse_toml(text))
    except TomlTextError as error:
        raise PolicyError(error.at(file)) from None
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
    path = tuple(map(str, first["loc"]))
    line = find_line(index_lines(text), path)
    place = str(file) if line is None else f"{file}:{line}"
    words = " ".join(describe_mistake(first, VerificationPolicy))
    more = f" (And {len(others)} more.)" if others else ""
    raise PolicyError(f"{place}: {'.'.join(path)}: {words}{more}" if path else f"{place}: {words}{more}")


def _read_content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise PolicyError(f"{file}: the policy cannot be read ({error.strerror}). Check its path.") from error
    if len(content) > _LARGEST_FILE:
        raise PolicyError(f"{file}: is larger than {_LARGEST_FILE >> 20} MiB, which no policy is.")
    return content
