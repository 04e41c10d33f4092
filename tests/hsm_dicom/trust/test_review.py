"""What refuses every peer is found without a peer: dates of anchors and CRLs, CRLs and CAs that prove nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest
from cryptography import x509

from hsm_dicom.trust import (
    CertificatePurpose,
    CertificateValidator,
    Policy,
    RevocationPolicy,
    Sourced,
    TrustRemark,
    TrustStore,
    review_trust,
)
from tests import pki
from tests.pki import DAY, NOW

MONTH = timedelta(days=30)
MARGIN = timedelta(minutes=50)
"""How long a run of all tests may take before days, counted from its start, are one fewer."""
CA = pki.Authority("Hospital CA")
OTHER = pki.Authority("Other CA")
PEER = CA.issue("CT 1", usages=("digital_signature",))


@dataclass(frozen=True)
class Found:
    remarks: list[TrustRemark]
    peer_is_trusted: bool

    @property
    def text(self) -> str:
        return " ".join(remark.text for remark in self.remarks)


def review(
    *crls: bytes,
    anchors: tuple[pki.Authority, ...] = (CA,),
    intermediates: tuple[x509.Certificate, ...] = (),
    revocation: RevocationPolicy = RevocationPolicy.WHEN_GIVEN,
) -> Found:
    store = TrustStore([one.certificate for one in anchors], intermediates, [Sourced(crl, "ca.crl") for crl in crls])
    validator = CertificateValidator(store, Policy(revocation=revocation))
    verdict = validator.validate(PEER.certificate, CertificatePurpose.TLS_CLIENT)
    return Found(review_trust(validator, warning=MONTH), verdict.trusted)


def test_sound_data_give_no_remark() -> None:
    found = review(CA.crl())
    assert not found.remarks
    assert found.peer_is_trusted


REFUSING = {
    "out of date": (CA.crl(issued=NOW - 8 * DAY, until=NOW - DAY), "is out of date since"),
    "of a stranger with the CA's name": (
        pki.Authority("Hospital CA", key=pki.new_key()).crl(),
        "does not verify with the key of the CA",
    ),
    "with an unknown critical extension": (
        CA.crl(extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)]),
        "has a critical extension (1.2.3.4) that is unknown here",
    ),
}


@pytest.mark.parametrize("kind", REFUSING)
def test_a_crl_that_refuses_every_peer_is_found(kind: str) -> None:
    crl, words = REFUSING[kind]
    found = review(crl)
    assert not found.peer_is_trusted
    (remark,) = found.remarks
    assert remark.refuses
    assert remark.key == "crls"
    assert words in remark.text
    assert "no certificate of this CA is accepted" in remark.text
    assert "'CN=Hospital CA'" in remark.text


@pytest.mark.parametrize("kind", REFUSING)
def test_a_crl_that_proves_nothing_refuses_nobody_where_revocation_is_not_demanded(kind: str) -> None:
    found = review(REFUSING[kind][0], revocation=RevocationPolicy.IF_AVAILABLE)
    assert found.peer_is_trusted
    (remark,) = found.remarks
    assert not remark.refuses
    assert "revocations by this CA are not noticed" in remark.text


def test_an_old_crl_beside_a_new_one_is_no_matter() -> None:
    found = review(CA.crl(issued=NOW - 8 * DAY, until=NOW - DAY), CA.crl())
    assert found.peer_is_trusted
    assert not found.remarks


@pytest.mark.parametrize(
    ("issued", "until", "told"),
    [
        (NOW - 6 * DAY, NOW + DAY + MARGIN, "will be out of date in 24 hours"),
        (NOW - 4 * DAY, NOW + 3 * DAY, None),
        (NOW - 300 * DAY, NOW + 20 * DAY + MARGIN, "will be out of date in 20 days"),
        (NOW - 300 * DAY, NOW + 40 * DAY, None),
    ],
)
def test_a_crl_is_remarked_upon_before_its_end(issued: object, until: object, told: str | None) -> None:
    found = review(CA.crl(issued=issued, until=until + timedelta(minutes=5)))  # type: ignore[arg-type, operator]
    assert found.peer_is_trusted
    assert [remark.refuses for remark in found.remarks] == ([False] if told else [])
    assert (told or "") in found.text


def test_a_crl_of_a_ca_that_is_not_there_cannot_be_verified() -> None:
    found = review(OTHER.crl())
    assert not found.peer_is_trusted
    assert "cannot be verified: the certificate of the CA that issued it is neither" in found.text
    assert "There is no CRL of 'CN=Hospital CA'" in found.text


def test_a_ca_without_a_crl_is_found_where_revocation_is_demanded() -> None:
    found = review(revocation=RevocationPolicy.REQUIRED)
    assert not found.peer_is_trusted
    (remark,) = found.remarks
    assert remark.refuses
    assert 'with revocation = "required"' in remark.text
    assert not review(revocation=RevocationPolicy.WHEN_GIVEN).remarks


@pytest.mark.parametrize(
    ("begins", "ends", "words", "refuses"),
    [
        (NOW - 9 * DAY, NOW - DAY, "expired on", True),
        (NOW + DAY, NOW + 9 * DAY, "is not valid before", True),
        (NOW - 9 * DAY, NOW + 9 * DAY + MARGIN, "expires in 9 days", False),
    ],
)
def test_the_dates_of_anchors_are_reported(begins: object, ends: object, words: str, refuses: bool) -> None:
    dated = pki.Authority("Old CA", begins=begins, ends=ends)
    (remark,) = review(anchors=(dated,)).remarks
    assert remark.refuses is refuses
    assert remark.key == "anchors"
    assert words in remark.text
    (beside,) = review(anchors=(dated, CA)).remarks
    assert not beside.refuses


def test_the_dates_of_intermediates_are_reported() -> None:
    old = CA.authority("Issuing CA", begins=NOW - 9 * DAY, ends=NOW - DAY)
    (remark,) = review(intermediates=(old.certificate,)).remarks
    assert (remark.key, remark.refuses) == ("intermediates", False)


@pytest.mark.parametrize("key", ["anchors", "intermediates"])
def test_a_certificate_that_is_none_of_a_ca_is_reported(key: str) -> None:
    leaf = PEER.certificate
    anchors, intermediates = ([CA.certificate, leaf], []) if key == "anchors" else ([CA.certificate], [leaf])
    [remark] = review_trust(CertificateValidator(TrustStore(anchors, intermediates)), warning=MONTH)
    assert (remark.key, remark.refuses) == (key, False)
    assert "'CN=CT 1' is not the certificate of a CA" in remark.text
