"""What the verdicts of a run rest on, in words: trust anchors, revocation data, and the policy."""

from __future__ import annotations

from collections.abc import Iterator

from hsm_dicom.config.policy_sections import ConditionsSection, DemandsSection, Requirement
from hsm_dicom.trust import TrustStore
from hsm_dicom.trust.certificates import fingerprint, name_text
from hsm_dicom.validation import PolicyValidator, Validator

_REVOCATION_WORDS = {
    "when-given": "Revocation: checked as soon as there is data; without any, a warning.",
    "required": "Revocation: without data no signature is valid.",
    "if-available": "Revocation: checked where there is data; else a warning.",
}


def list_subjects(store: TrustStore) -> list[str]:
    """Return the names of the trust anchors, each once."""
    return list(dict.fromkeys(name_text(one.subject) for one in store.anchors))


def describe_basis(validator: Validator | PolicyValidator) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return headings, each with lines of text."""
    return (
        ("Trust anchors for signers", _describe_anchors(validator.store)),
        ("Trust anchors for time stamps", _describe_anchors(validator.timestamp_store)),
        ("Revocation data", (_describe_revocation_data(validator.store),)),
        *_describe_policy(validator),
    )


def _describe_policy(validator: Validator | PolicyValidator) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(validator, Validator):
        yield "Policy", tuple(describe_demands(validator.policy))
        return
    rules = validator.policy.effective_rules
    title = f"Policy {validator.name}".rstrip()
    for rule, one in zip(rules, validator.rules, strict=True):
        heading = f"{title}, {rule.name}" if rule.name else title
        conditions = [] if rule.when.is_empty else [f"For {_describe_conditions(rule.when)}."]
        yield heading, (*conditions, *describe_demands(one.policy))
    if not any(rule.when.is_empty for rule in rules):
        verb = "accepted without a demand" if validator.policy.otherwise == "accept" else "refused"
        yield title, (f"Objects for which no rule is: {verb}.",)


def _describe_conditions(when: ConditionsSection) -> str:
    parts = (
        ("modality", when.modalities),
        ("SOP Class", when.sop_classes),
        ("calling AE title", when.calling_ae_titles),
    )
    return ", ".join(f"{name} {' or '.join(sorted(values))}" for name, values in parts if values)


def describe_demands(policy: DemandsSection) -> list[str]:
    """Return demands in sentences."""
    weak = sorted(policy.weak_mac_algorithms - policy.mac_algorithms)
    advised = max(policy.advised_rsa_bits, policy.minimum_rsa_bits)
    return [
        *(_list_demands(policy) or ["Nothing is demanded of a file but that its signatures hold."]),
        f"MAC algorithms: {', '.join(sorted(policy.mac_algorithms)) or 'none'}"
        + (f"; with a warning: {', '.join(weak)}." if weak else "."),
        f"RSA keys from {policy.minimum_rsa_bits} bits, with a warning below {advised}."
        if "rsa" in policy.key_types
        else "No RSA keys.",
        _REVOCATION_WORDS[policy.revocation],
    ]


def _list_demands(policy: DemandsSection) -> list[str]:
    """Return what is asked beyond valid signatures."""
    profiles = sorted(policy.require - {Requirement.TIMESTAMP, Requirement.ANY})
    asked = [f"A signature that meets: {one}." for one in profiles]
    asked += ["A valid signature of the object."] if Requirement.ANY in policy.require and not profiles else []
    asked += ["A time stamp."] if Requirement.TIMESTAMP in policy.require else []
    asked += [f"Covered: {part}." for part in sorted(policy.cover)]
    asked += [f"Certified by: {'; '.join(sorted(policy.issuers))}."] if policy.issuers else []
    asked += [f"Signed by: {'; '.join(sorted(policy.subjects))}."] if policy.subjects else []
    asked += [f"Certificate or key with SHA-256: {'; '.join(sorted(policy.pins))}."] if policy.pins else []
    authorities = "; ".join(sorted(policy.timestamp_authorities))
    asked += [f"A time stamp of: {authorities}."] if authorities else []
    asked += [f"Signatures by different keys: {policy.signatures}."] if policy.signatures > 1 else []
    days = policy.revocation_age_days
    asked += [f"Revocation data of the last {days:g} days."] if days is not None else []
    asked += ["An extended key usage in the certificate."] if policy.require_extended_key_usage else []
    asked += ["A key on an elliptic curve."] if policy.key_types == {"ec"} else []
    return [*asked, *(["Unsigned objects are accepted."] if policy.unsigned == "accept" else [])]


def _describe_anchors(store: TrustStore) -> tuple[str, ...]:
    anchors = [f"{name_text(one.subject)}, SHA-256 {fingerprint(one).hex()}" for one in store.anchors]
    return tuple(anchors) or ("None was given.",)


def _describe_revocation_data(store: TrustStore) -> str:
    crls, responses = len(store.crls), len(store.ocsp_responses)
    if not crls and not responses:
        return "None was given."
    return f"{crls} CRL{'' if crls == 1 else 's'}, {responses} OCSP response{'' if responses == 1 else 's'}."
