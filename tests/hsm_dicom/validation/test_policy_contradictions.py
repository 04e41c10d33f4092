"""Policies that no object can meet, and rules that never apply."""

from __future__ import annotations

from typing import Any

import pytest

from hsm_dicom.trust import Sourced, TrustStore
from hsm_dicom.validation import VerificationPolicy
from hsm_dicom.validation.policies.contradictions import Contradiction, find_contradictions, find_unfulfillable
from hsm_dicom.validation.policies.demands import compute_pins
from tests.hsm_dicom.validation.verdict_cases import CA, SIGNER, TIME_CA
from tests.pki import Authority, new_key

CT, MR = {"modalities": ["CT"]}, {"modalities": ["MR"]}
DEPARTMENT = CA.authority("Department CA", key=new_key("rsa2048", 10))
STORE = TrustStore([CA.certificate], intermediates=[DEPARTMENT.certificate], crls=[Sourced(CA.crl(()), "ca.crl")])
TIME = TrustStore([TIME_CA.certificate])
OTHER = Authority("Other CA", key=new_key("rsa2048", 7))
PIN = sorted(compute_pins(SIGNER.certificate))[0]


@pytest.mark.parametrize(
    ("policy", "path", "words"),
    [
        ({"mac_algorithms": [], "weak_mac_algorithms": []}, ("mac_algorithms",), "it allows no MAC algorithm"),
        ({"certificate_hashes": [], "weak_certificate_hashes": []}, ("certificate_hashes",), "it allows no hash"),
        ({"key_types": []}, ("key_types",), "it allows no key"),
        ({"key_types": ["ec"], "curves": []}, ("curves",), "it allows no key"),
        ({"key_types": ["ec"], "require": ["creator"]}, ("key_types",), "the profile creator is for RSA keys"),
        ({"signatures": 2, "pins": ["00" * 32]}, ("signatures",), "2 signatures by different keys are required, and 1"),
        (
            {"require_extended_key_usage": True, "extended_key_usages": []},
            ("extended_key_usages",),
            "it requires an extended key usage, and lists none",
        ),
        (
            {"require": ["creator"], "rules": [{"when": MR}, {"when": CT, "key_types": ["ec"]}]},
            ("rules", "1", "key_types"),
            "No object can meet rule 2: the profile creator is for RSA keys",
        ),
    ],
)
def test_demands_that_exclude_each_other(policy: dict[str, Any], path: tuple[str, ...], words: str) -> None:
    (found,) = find_contradictions(VerificationPolicy(**policy))
    assert (found.path, found.is_never_met) == (path, True)
    assert words in found.text
    assert found.remedy


@pytest.mark.parametrize(
    ("rules", "unreachable"),
    [
        ([{"when": CT}, {"when": MR}], []),
        ([{"when": CT}, {"when": CT}], ["1"]),
        ([{}, {"when": CT}], ["1"]),
        ([{"when": CT}, {}], []),
        ([{"when": CT | {"calling_ae_titles": ["A"]}}, {"when": CT}], []),
        ([{"when": CT}, {"when": CT | {"calling_ae_titles": ["A"]}}], ["1"]),
        ([{"when": {"modalities": ["CT", "MR"]}}, {"when": MR}, {"when": CT}], ["1", "2"]),
    ],
)
def test_rules_that_never_apply(rules: list[dict[str, Any]], unreachable: list[str]) -> None:
    found = list(find_contradictions(VerificationPolicy(rules=rules)))
    assert [one.path[1] for one in found] == unreachable
    assert not any(one.is_never_met for one in found)


def unfulfillable(**policy: Any) -> list[Contradiction]:
    return list(find_unfulfillable(VerificationPolicy(**policy), STORE, TIME, [SIGNER.certificate]))


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"issuers": ["CN=Hospital CA"]},
        {"issuers": ["CN=Department CA"]},
        {"issuers": ["CN=Other CA", "CN=Hospital*", "CN=*"]},
        {"pins": [PIN], "issuers": ["CN=Hospital CA"]},
        {"pins": [PIN, "00" * 32], "issuers": ["CN=Department CA"]},
        {"pins": ["00" * 32], "subjects": ["CN=Nobody"]},
        {"require": ["timestamp"], "revocation": "required", "revocation_age_days": 1},
    ],
)
def test_what_can_be_met_is_not_reported(policy: dict[str, Any]) -> None:
    assert unfulfillable(**policy) == []


@pytest.mark.parametrize(
    ("policy", "path", "words"),
    [
        (
            {"issuers": ["CN=Other CA"]},
            ("issuers",),
            "no trust anchor leads to 'CN=Other CA'; CAs that one leads to: CN=Hospital CA, CN=Department CA.",
        ),
        ({"minimum_rsa_bits": 4096}, ("minimum_rsa_bits",), "the key of each CA that it allows is refused: CN=Hosp"),
        (
            {"pins": [PIN], "issuers": ["CN=Department CA"]},
            ("pins",),
            "the pinned certificate of CN=CT room, issued by CN=Hospital CA, is excluded by issuers or subjects",
        ),
        ({"pins": [PIN], "subjects": ["CN=MR room"]}, ("pins",), "is excluded by issuers or subjects"),
    ],
)
def test_what_no_trust_anchor_can_fulfil(policy: dict[str, Any], path: tuple[str, ...], words: str) -> None:
    (found,) = unfulfillable(**policy)
    assert found.path == path
    assert words in found.text


def test_an_intermediate_of_somebody_else_leads_nowhere() -> None:
    store = TrustStore([CA.certificate], intermediates=[OTHER.certificate])
    (found,) = find_unfulfillable(VerificationPolicy(issuers=["CN=Other CA"]), store, TIME)
    assert found.path == ("issuers",)


def test_missing_trust_is_reported() -> None:
    policy = VerificationPolicy(require=["timestamp"], revocation_age_days=7)
    found = list(find_unfulfillable(policy, TrustStore([CA.certificate]), TrustStore([])))
    assert [one.path for one in found] == [("require",), ("revocation_age_days",)]
    (nobody,) = find_unfulfillable(policy, TrustStore([]), TIME)
    assert "no CA is trusted" in nobody.text
