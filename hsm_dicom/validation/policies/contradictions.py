"""Policies that no object can meet: demands that exclude each other, and those that the trust anchors cannot fulfil."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509

from hsm_dicom.config.policy_sections import ConditionsSection, DemandsSection, Requirement
from hsm_dicom.trust import TrustStore
from hsm_dicom.trust.algorithms import is_key_allowed
from hsm_dicom.trust.certificates import is_ca, key_text, name_text
from hsm_dicom.validation.policies.demands import compute_pins, join_choices
from hsm_dicom.validation.policies.names import matches_any
from hsm_dicom.validation.policies.policy import EffectiveRule, VerificationPolicy, make_trust_policy


@dataclass(frozen=True)
class Contradiction:
    """Why a policy, or a part of it, is without effect or can never be met, and what to do.

    `path` is the key in the table of the policy, such as ("rules", "0", "issuers"). `is_never_met` is False if only a
    part of the policy is without effect.
    """

    path: tuple[str, ...]
    text: str
    remedy: str
    is_never_met: bool = True


@dataclass(frozen=True)
class _Rule:
    """A rule of a policy, with what is needed to point to a key of it."""

    policy: VerificationPolicy
    number: int
    effective: EffectiveRule

    @property
    def demands(self) -> DemandsSection:
        return self.effective.demands

    @property
    def subject(self) -> str:
        return f"No object can meet {self.effective.name}" if self.effective.name else "No object can meet this policy"

    def never(self, key: str, reason: str, remedy: str) -> Contradiction:
        """Return the contradiction at a key: of the rule if it has the key, else of the policy."""
        rules = self.policy.rules
        is_own = bool(rules) and key in rules[self.number].model_fields_set
        path = ("rules", str(self.number), key) if is_own else (key,)
        return Contradiction(path, f"{self.subject}: {reason}.", remedy)


def find_contradictions(policy: VerificationPolicy) -> Iterator[Contradiction]:
    """Yield what is wrong with a policy by itself, whatever is trusted."""
    for rule in _list_rules(policy):
        yield from _find_in_demands(rule)
    yield from _find_unreachable_rules(policy.effective_rules)


def find_unfulfillable(
    policy: VerificationPolicy,
    store: TrustStore,
    timestamp_store: TrustStore,
    certificates: Iterable[x509.Certificate] = (),
) -> Iterator[Contradiction]:
    """Yield what no signer can fulfil with these trust anchors and revocation data.

    `certificates` are others that are known, such as those of the node's identities: pins are compared with them.
    """
    authorities = _list_reachable_authorities(store)
    known = (*store.anchors, *store.intermediates, *certificates)
    for rule in _list_rules(policy):
        if not store.has_anchors:
            yield rule.never("require", "no CA is trusted", 'Write [trust] with anchors = ["ca.pem"].')
            continue
        yield from _find_unknown_issuers(rule, authorities)
        yield from _find_wrong_pins(rule, known)
        yield from _find_missing_trust(rule, store, timestamp_store)


def _list_rules(policy: VerificationPolicy) -> list[_Rule]:
    return [_Rule(policy, number, effective) for number, effective in enumerate(policy.effective_rules)]


_PROFILES = {Requirement.CREATOR, Requirement.AUTHORIZATION, Requirement.SR}


def _find_in_demands(rule: _Rule) -> Iterator[Contradiction]:
    demands = rule.demands
    if not demands.mac_algorithms | demands.weak_mac_algorithms:
        yield rule.never("mac_algorithms", "it allows no MAC algorithm", 'Write mac_algorithms = ["SHA256"].')
    if not demands.certificate_hashes | demands.weak_certificate_hashes:
        yield rule.never("certificate_hashes", "it allows no hash", 'Write certificate_hashes = ["sha256"].')
    if not demands.key_types or (demands.key_types == {"ec"} and not demands.curves):
        key = "curves" if demands.key_types else "key_types"
        yield rule.never(key, "it allows no key", f"Write what {key} may be, or remove it.")
    profiles = sorted(demands.require & _PROFILES)
    if profiles and demands.key_types == {"ec"}:
        yield rule.never(
            "key_types",
            f"the profile {profiles[0]} is for RSA keys (PS3.15 Annex C), and it allows only elliptic curves",
            'Write key_types = ["rsa"], or require = ["any"].',
        )
    if demands.pins and len(demands.pins) < demands.signatures:
        what = f"{demands.signatures} signatures by different keys are required, and {len(demands.pins)} pinned"
        yield rule.never("signatures", what, "Add pins, or lower signatures.")
    if demands.require_extended_key_usage and not demands.extended_key_usages:
        what = "it requires an extended key usage, and lists none"
        yield rule.never("extended_key_usages", what, 'Write extended_key_usages = ["documentSigning"].')


def _find_unreachable_rules(rules: Sequence[EffectiveRule]) -> Iterator[Contradiction]:
    for later, rule in enumerate(rules):
        earlier = next((one for one in rules[:later] if _includes(one.when, rule.when)), None)
        if earlier is not None:
            yield Contradiction(
                ("rules", str(later), "when"),
                f"{rule.name} never applies, because {earlier.name} comes before it and is for all its objects.",
                "Put it before that rule, or remove it.",
                is_never_met=False,
            )


def _includes(wide: ConditionsSection, narrow: ConditionsSection) -> bool:
    """Return whether every object that the second conditions are for is one that the first are for."""
    pairs = ((getattr(wide, key), getattr(narrow, key)) for key in ConditionsSection.model_fields)
    return all(more is None or (less is not None and less <= more) for more, less in pairs)


def _list_reachable_authorities(store: TrustStore) -> list[x509.Certificate]:
    """Return the CAs from which a chain leads to a trust anchor, the anchors among them."""
    reachable = list(store.anchors)
    left = [one for one in store.intermediates if is_ca(one)]
    while found := [one for one in left if any(_is_issued_by(one, issuer) for issuer in reachable)]:
        reachable += found
        left = [one for one in left if one not in found]
    return reachable


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # of any kind: names or keys differ, or the algorithm is unknown
        return False
    return True


def _find_unknown_issuers(rule: _Rule, authorities: Sequence[x509.Certificate]) -> Iterator[Contradiction]:
    demands = rule.demands
    chosen = [one for one in authorities if _is_listed(one.subject, demands.issuers)]
    if not chosen:
        names = ", ".join(dict.fromkeys(name_text(one.subject) for one in authorities))
        yield rule.never(
            "issuers",
            f"no trust anchor leads to {join_choices(demands.issuers)}; CAs that one leads to: {names}",
            "Add the CA's certificate to anchors or intermediates of [trust], or correct the name.",
        )
        return
    algorithms = make_trust_policy(demands).algorithms
    if not any(is_key_allowed(one.public_key(), algorithms) for one in chosen):
        keys = ", ".join(dict.fromkeys(f"{name_text(one.subject)} ({key_text(one)})" for one in chosen))
        yield rule.never(
            "minimum_rsa_bits" if "rsa" in demands.key_types else "curves",
            f"the key of each CA that it allows is refused: {keys}",
            "Lower minimum_rsa_bits, or add to curves; or have the CA's key replaced.",
        )


def _is_listed(name: x509.Name, wanted: frozenset[str]) -> bool:
    return not wanted or matches_any(name_text(name), wanted)


def _find_wrong_pins(rule: _Rule, known: Iterable[x509.Certificate]) -> Iterator[Contradiction]:
    """Yield the pins of known certificates that issuers or subjects exclude, unless another pin is left."""
    demands = rule.demands
    excluded: dict[str, x509.Certificate] = {}
    for certificate in known:
        matching = demands.pins & compute_pins(certificate)
        fits = _is_listed(certificate.subject, demands.subjects) and _may_be_below(certificate, demands, known)
        if not fits:
            excluded |= dict.fromkeys(matching, certificate)
    if excluded and len(excluded) == len(demands.pins):
        one = next(iter(excluded.values()))
        yield rule.never(
            "pins",
            f"the pinned certificate of {name_text(one.subject)}, issued by {name_text(one.issuer)}, is excluded by "
            "issuers or subjects",
            "Correct pins, issuers or subjects.",
        )


def _may_be_below(certificate: x509.Certificate, demands: DemandsSection, known: Iterable[x509.Certificate]) -> bool:
    """Return whether one of the issuers is in the chain of a certificate, as far as it is known."""
    name, seen = certificate.issuer, set[x509.Name]()
    while name not in seen:
        if _is_listed(name, demands.issuers):
            return True
        seen.add(name)
        above = next((one for one in known if one.subject == name), None)
        if above is None:
            return True  # the rest of the chain is not known
        name = above.issuer
    return False


def _find_missing_trust(rule: _Rule, store: TrustStore, timestamp_store: TrustStore) -> Iterator[Contradiction]:
    demands = rule.demands
    asks_for_time = Requirement.TIMESTAMP in demands.require or demands.timestamp_authorities
    if asks_for_time and not timestamp_store.has_anchors:
        key = "timestamp_authorities" if demands.timestamp_authorities else "require"
        remedy = 'Write timestamp_anchors = ["tsa-ca.pem"] into [trust].'
        yield rule.never(key, "it requires a time stamp, and no time stamping authority is trusted", remedy)
    if not store.has_revocation_data and (demands.revocation_age_days or demands.revocation == "required"):
        key = "revocation_age_days" if demands.revocation_age_days else "revocation"
        remedy = "Write crls = or ocsp_responses = into [trust]. Otherwise only an online check can meet it."
        yield rule.never(key, "it requires revocation data, and [trust] has none", remedy)
