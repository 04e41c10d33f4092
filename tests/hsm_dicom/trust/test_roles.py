"""Roles that a certificate cannot fill, and certificates of public CAs, which end clientAuth."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from hsm_dicom.trust.roles import find_unfit_roles, is_from_public_ca, loses_client_auth
from tests.pki import Authority

CA = Authority()
SERVER, CLIENT, EMAIL = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.4"


@pytest.mark.parametrize(
    ("wishes", "unfit"),
    [
        ({}, []),
        ({"extended": [SERVER]}, ["TLS client", "signing"]),
        ({"extended": [CLIENT]}, ["TLS server", "signing"]),
        ({"extended": [SERVER, CLIENT]}, ["signing"]),
        ({"extended": [EMAIL]}, ["TLS client", "TLS server"]),
        ({"usages": ["content_commitment"]}, ["TLS client", "TLS server"]),
        ({"usages": ["key_encipherment"]}, ["TLS client", "TLS server", "signing"]),
    ],
)
def test_the_roles_that_a_certificate_cannot_fill_are_listed(wishes: dict[str, list[str]], unfit: list[str]) -> None:
    found = find_unfit_roles(CA.issue("node", **wishes).certificate)
    assert [one.role for one in found] == unfit
    assert all("does not" in one.text for one in found)


@pytest.mark.parametrize(
    ("policy", "public"), [("2.23.140.1.2.1", True), ("2.23.140.1.1", True), ("1.3.6.1.4.1.99999.1", False)]
)
def test_a_certificate_of_a_public_ca_is_known_by_its_policy(policy: str, public: bool) -> None:
    policies = x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier(policy), None)])
    both = CA.issue("node", extended=[SERVER, CLIENT], extensions=[(policies, False)]).certificate
    assert is_from_public_ca(both) is public
    assert loses_client_auth(both) is public
    assert not loses_client_auth(CA.issue("node", extended=[SERVER], extensions=[(policies, False)]).certificate)
