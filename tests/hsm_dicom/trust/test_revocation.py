"""Whoever is revoked is refused; what is not known is said to be not known."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from hsm_dicom.trust import (
    Caution,
    CertificatePurpose,
    CertificateValidator,
    Policy,
    Reason,
    Revocation,
    RevocationPolicy,
    Sourced,
    Trust,
    TrustStore,
    TrustVerdict,
)
from tests.pki import DAY, NOW, YEAR, Authority, Identity, Revoked

CA = Authority("Test CA")
SIGNER = CA.issue("Signer")
OTHER = CA.issue("Other")
COMPROMISED = x509.ReasonFlags.key_compromise
OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"


def validate(
    identity: Identity = SIGNER,
    *,
    crls: tuple[bytes, ...] = (),
    answers: tuple[bytes, ...] = (),
    policy: Policy | None = None,
    validation_time: datetime | None = None,
    time_proven: bool = False,
    purpose: CertificatePurpose = CertificatePurpose.SIGNING,
    intermediates: tuple[x509.Certificate, ...] = (),
) -> TrustVerdict:
    """Judge under the test CA with the CRLs and OCSP responses at hand."""
    store = TrustStore(
        [CA.certificate],
        crls=[Sourced(crl, f"number {n}") for n, crl in enumerate(crls, 1)],
        ocsp_responses=[Sourced(answer, f"number {n}") for n, answer in enumerate(answers, 1)],
    )
    validator = CertificateValidator(store, policy)
    return validator.validate(
        identity.certificate,
        purpose,
        validation_time=validation_time,
        time_proven=time_proven,
        intermediates=intermediates,
    )


def test_a_crl_that_does_not_list_the_certificate_makes_it_good() -> None:
    verdict = validate(crls=(CA.crl([OTHER]),))
    assert verdict.trusted
    assert verdict.warnings == ()
    status = verdict.path[0].revocation
    assert status.state is Revocation.GOOD
    assert status.source == "the CRL number 1"


def test_a_revoked_certificate_is_refused_with_date_and_reason() -> None:
    verdict = validate(crls=(CA.crl([Revoked(SIGNER, NOW - DAY, COMPROMISED)]),))
    assert (verdict.trust, verdict.reason) == (Trust.UNTRUSTED, Reason.REVOKED)
    status = verdict.path[0].revocation
    assert (status.revoked_at, status.reason) == (NOW - DAY, "keyCompromise")
    assert "keyCompromise" in verdict.text


def test_a_revoked_certificate_without_distribution_points_is_refused_all_the_same() -> None:
    for policy in RevocationPolicy:
        verdict = validate(crls=(CA.crl([SIGNER]),), policy=Policy(revocation=policy))
        assert verdict.reason is Reason.REVOKED


def test_a_revoked_intermediate_takes_everything_below_along() -> None:
    middle = CA.authority("Middle CA")
    signer = middle.issue("Signer")
    verdict = validate(signer, crls=(CA.crl([middle]), middle.crl()), intermediates=(middle.certificate,))
    assert verdict.reason is Reason.REVOKED
    assert "CN=Middle CA" in verdict.text


def test_every_certificate_below_the_anchor_needs_an_answer() -> None:
    middle = CA.authority("Middle CA")
    signer = middle.issue("Signer")
    verdict = validate(signer, crls=(middle.crl(),), intermediates=(middle.certificate,))
    assert (verdict.trust, verdict.reason) == (Trust.INDETERMINATE, Reason.REVOCATION_UNKNOWN)
    assert "CN=Middle CA" in verdict.text
    assert validate(signer, crls=(middle.crl(), CA.crl()), intermediates=(middle.certificate,)).trusted


def test_missing_data_is_indeterminate_where_the_policy_requires_it() -> None:
    verdict = validate(policy=Policy(revocation=RevocationPolicy.REQUIRED))
    assert (verdict.trust, verdict.reason) == (Trust.INDETERMINATE, Reason.REVOCATION_UNKNOWN)


def test_a_stale_crl_is_indeterminate_and_a_warning_only_where_the_policy_says_so() -> None:
    stale = CA.crl(issued=NOW - 10 * DAY, until=NOW - DAY)
    verdict = validate(crls=(stale,))
    assert verdict.reason is Reason.REVOCATION_UNKNOWN
    assert "out of date" in verdict.text
    lenient = validate(crls=(stale,), policy=Policy(revocation=RevocationPolicy.IF_AVAILABLE))
    assert lenient.trusted
    assert {w.caution for w in lenient.warnings} == {Caution.REVOCATION_NOT_CHECKED}


def test_a_stale_crl_that_lists_the_certificate_still_refuses_it() -> None:
    stale = CA.crl([Revoked(SIGNER, NOW - 20 * DAY)], issued=NOW - 10 * DAY, until=NOW - DAY)
    assert validate(crls=(stale,)).reason is Reason.REVOKED


def test_a_crl_of_another_issuer_says_nothing() -> None:
    stranger = Authority("Other CA")
    verdict = validate(crls=(stranger.crl([SIGNER]),))
    assert verdict.reason is Reason.REVOCATION_UNKNOWN
    assert "no CRL or OCSP response of its issuer" in verdict.text


def test_a_crl_in_the_name_of_the_ca_but_by_another_key_proves_nothing() -> None:
    impostor = Authority("Test CA")
    for forged in (impostor.crl(), impostor.crl([SIGNER])):
        verdict = validate(crls=(forged,))
        assert verdict.reason is Reason.REVOCATION_UNKNOWN
        assert "does not verify" in verdict.text


def test_a_ca_that_may_not_sign_crls_is_not_believed() -> None:
    middle = CA.authority("Middle CA", usages=("key_cert_sign",))
    verdict = validate(middle.issue("Signer"), crls=(CA.crl(), middle.crl()), intermediates=(middle.certificate,))
    assert verdict.reason is Reason.REVOCATION_UNKNOWN
    assert "cRLSign" in verdict.text


class TestAPastMoment:
    then = NOW - 100 * DAY

    def test_revoked_before_it_is_revoked(self) -> None:
        crl = CA.crl([Revoked(SIGNER, self.then - DAY)])
        for time_proven in (False, True):
            assert validate(crls=(crl,), validation_time=self.then, time_proven=time_proven).reason is Reason.REVOKED

    def test_revoked_after_a_certified_time_is_trusted_and_told(self) -> None:
        crl = CA.crl([Revoked(SIGNER, self.then + DAY, COMPROMISED)])
        verdict = validate(crls=(crl,), validation_time=self.then, time_proven=True)
        assert verdict.trusted
        assert {w.caution for w in verdict.warnings} == {Caution.REVOKED_SINCE}
        assert "later revoked" in verdict.text

    def test_revoked_after_a_time_that_is_only_claimed_is_refused(self) -> None:
        crl = CA.crl([Revoked(SIGNER, self.then + DAY)])
        verdict = validate(crls=(crl,), validation_time=self.then)
        assert verdict.reason is Reason.REVOKED
        assert "only claimed" in verdict.text

    def test_an_invalidity_date_counts_before_the_revocation_date(self) -> None:
        entry = Revoked(SIGNER, self.then + DAY, COMPROMISED, invalid_since=self.then - DAY)
        verdict = validate(crls=(CA.crl([entry]),), validation_time=self.then, time_proven=True)
        assert verdict.reason is Reason.REVOKED
        assert verdict.path[0].revocation.revoked_at == self.then - DAY

    def test_a_crl_issued_since_proves_good(self) -> None:
        assert validate(crls=(CA.crl(),), validation_time=self.then).trusted

    def test_a_crl_issued_after_the_certificate_expired_proves_nothing(self) -> None:
        expired = CA.issue("Signer", ends=NOW - 50 * DAY)
        verdict = validate(expired, crls=(CA.crl(),), validation_time=self.then)
        assert verdict.reason is Reason.REVOCATION_UNKNOWN
        assert "may no longer list it" in verdict.text

    def test_a_crl_that_keeps_expired_certificates_does(self) -> None:
        expired = CA.issue("Signer", ends=NOW - 50 * DAY)
        since = (NOW - YEAR).strftime("%Y%m%d%H%M%SZ").encode()
        kept = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.60"), b"\x18\x0f" + since)
        assert validate(expired, crls=(CA.crl(extensions=[(kept, False)]),), validation_time=self.then).trusted

    @pytest.mark.parametrize("reason", [None, COMPROMISED, x509.ReasonFlags.ca_compromise])
    def test_a_time_stamper_revoked_later_vouches_for_nothing(self, reason: x509.ReasonFlags | None) -> None:
        assert self.time_stamper_revoked_for(reason).reason is Reason.REVOKED

    @pytest.mark.parametrize("reason", [x509.ReasonFlags.superseded, x509.ReasonFlags.cessation_of_operation])
    def test_unless_the_ca_says_that_nothing_was_compromised(self, reason: x509.ReasonFlags) -> None:
        assert self.time_stamper_revoked_for(reason).trusted

    def time_stamper_revoked_for(self, reason: x509.ReasonFlags | None) -> TrustVerdict:
        stamper = CA.issue("Time stamper", extended=["1.3.6.1.5.5.7.3.8"], extended_critical=True)
        crl = CA.crl([Revoked(stamper, self.then + DAY, reason)])
        return validate(
            stamper, crls=(crl,), validation_time=self.then, time_proven=True, purpose=CertificatePurpose.TIME_STAMPING
        )


class TestAHold:
    entry = Revoked(SIGNER, NOW - 20 * DAY, x509.ReasonFlags.certificate_hold)
    held = CA.crl([entry], issued=NOW - 19 * DAY, until=NOW - 12 * DAY)

    def test_refuses_while_nothing_fresher_is_known(self) -> None:
        assert validate(crls=(self.held,)).reason is Reason.REVOKED

    def test_is_lifted_by_a_fresher_crl_from_then_on(self) -> None:
        fresher = CA.crl(issued=NOW - 10 * DAY)
        assert validate(crls=(self.held, fresher)).trusted
        during = validate(crls=(self.held, fresher), validation_time=NOW - 15 * DAY, time_proven=True)
        assert during.reason is Reason.REVOKED


class TestTheScopeOfACrl:
    @staticmethod
    def scoped(**wishes: object) -> x509.IssuingDistributionPoint:
        empty = dict.fromkeys(("full_name", "relative_name", "only_some_reasons"))
        flags = dict.fromkeys(
            (
                "only_contains_user_certs",
                "only_contains_ca_certs",
                "indirect_crl",
                "only_contains_attribute_certs",
            ),
            False,
        )
        return x509.IssuingDistributionPoint(**{**empty, **flags, **wishes})  # type: ignore[arg-type]

    def crl(self, revoked: tuple[Identity, ...] = (), **wishes: object) -> bytes:
        return CA.crl(revoked, extensions=[(self.scoped(**wishes), True)])

    def test_a_crl_of_ca_certificates_says_nothing_about_a_signer(self) -> None:
        assert validate(crls=(self.crl(only_contains_ca_certs=True),)).reason is Reason.REVOCATION_UNKNOWN
        assert validate(crls=(self.crl(only_contains_user_certs=True),)).trusted

    def test_a_crl_of_some_reasons_can_only_condemn(self) -> None:
        some = frozenset({COMPROMISED})
        verdict = validate(crls=(self.crl(only_some_reasons=some),))
        assert verdict.reason is Reason.REVOCATION_UNKNOWN
        assert "every reason" in verdict.text
        assert validate(crls=(self.crl((SIGNER,), only_some_reasons=some),)).reason is Reason.REVOKED

    def test_a_delta_crl_can_only_condemn(self) -> None:
        delta = [(x509.DeltaCRLIndicator(1), True)]
        assert validate(crls=(CA.crl(extensions=delta),)).reason is Reason.REVOCATION_UNKNOWN
        assert validate(crls=(CA.crl(), CA.crl([SIGNER], extensions=delta))).reason is Reason.REVOKED

    def test_one_part_of_a_partitioned_crl_counts_only_for_those_who_name_it(self) -> None:
        part = [x509.UniformResourceIdentifier("http://127.0.0.1/part-1.crl")]
        point = x509.CRLDistributionPoints([x509.DistributionPoint(part, None, None, None)])
        named = CA.issue("Signer", extensions=[(point, False)])
        crl = self.crl(full_name=part)
        assert validate(named, crls=(crl,)).trusted
        assert validate(crls=(crl,)).reason is Reason.REVOCATION_UNKNOWN

    def test_an_indirect_crl_and_an_unknown_critical_extension_are_not_used(self) -> None:
        odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
        for crl in (self.crl(indirect_crl=True), CA.crl(extensions=[(odd, True)])):
            verdict = validate(crls=(crl,))
            assert verdict.reason is Reason.REVOCATION_UNKNOWN


class TestOcsp:
    def test_a_good_answer_of_the_ca_makes_it_good(self) -> None:
        verdict = validate(answers=(CA.ocsp(SIGNER),))
        assert verdict.trusted
        assert verdict.path[0].revocation.source == "the OCSP response number 1"

    def test_a_revoked_answer_refuses(self) -> None:
        verdict = validate(answers=(CA.ocsp(SIGNER, revoked_at=NOW - DAY, reason=COMPROMISED),))
        assert verdict.reason is Reason.REVOKED
        assert verdict.path[0].revocation.reason == "keyCompromise"

    def test_one_revoked_answer_outweighs_any_number_of_good_ones(self) -> None:
        bad = CA.ocsp(SIGNER, revoked_at=NOW - DAY)
        for answers, crls in (((CA.ocsp(SIGNER), bad), ()), ((bad,), (CA.crl(),))):
            assert validate(answers=answers, crls=crls).reason is Reason.REVOKED

    def test_an_answer_about_someone_else_says_nothing(self) -> None:
        assert validate(answers=(CA.ocsp(OTHER),)).reason is Reason.REVOCATION_UNKNOWN

    def test_a_responder_that_does_not_know_proves_nothing(self) -> None:
        verdict = validate(answers=(CA.ocsp(SIGNER, status=ocsp.OCSPCertStatus.UNKNOWN),))
        assert verdict.reason is Reason.REVOCATION_UNKNOWN
        assert "does not know" in verdict.text

    def test_a_stale_answer_is_indeterminate(self) -> None:
        stale = CA.ocsp(SIGNER, issued=NOW - 3 * DAY, until=NOW - DAY)
        assert validate(answers=(stale,)).reason is Reason.REVOCATION_UNKNOWN
        assert validate(answers=(stale,), validation_time=NOW - 2 * DAY).trusted

    def test_an_answer_without_an_end_speaks_for_half_an_hour(self) -> None:
        fresh = CA.ocsp(SIGNER, issued=NOW - timedelta(minutes=10), until=None)
        old = CA.ocsp(SIGNER, issued=NOW - timedelta(hours=2), until=None)
        assert validate(answers=(fresh,)).trusted
        assert validate(answers=(old,)).reason is Reason.REVOCATION_UNKNOWN

    def test_a_responder_appointed_by_the_ca_is_believed(self) -> None:
        responder = CA.issue("Responder", extended=[OCSP_SIGNING], usages=("digital_signature",))
        assert validate(answers=(CA.ocsp(SIGNER, responder=responder),)).trusted

    @pytest.mark.parametrize(
        "responder",
        [
            pytest.param(CA.issue("Responder", usages=("digital_signature",)), id="for nothing in particular"),
            pytest.param(CA.issue("Responder", extended=["1.3.6.1.5.5.7.3.2"]), id="for something else"),
            pytest.param(CA.issue("Responder", extended=[OCSP_SIGNING], ends=NOW - DAY), id="expired"),
            pytest.param(Authority("Test CA").issue("Responder", extended=[OCSP_SIGNING]), id="of another CA"),
            pytest.param(
                CA.issue("Responder", extended=[OCSP_SIGNING], usages=("key_encipherment",)),
                id="whose key may not sign",
            ),
        ],
    )
    def test_a_responder_that_the_ca_did_not_appoint_is_not_believed(self, responder: Identity) -> None:
        for revoked_at in (None, NOW - DAY):
            answer = CA.ocsp(SIGNER, responder=responder, revoked_at=revoked_at)
            assert validate(answers=(answer,)).reason is Reason.REVOCATION_UNKNOWN

    def test_a_revoked_responder_is_not_believed(self) -> None:
        nocheck = [(x509.OCSPNoCheck(), False)]
        responder = CA.issue("Responder", extended=[OCSP_SIGNING], extensions=nocheck)
        answer = CA.ocsp(SIGNER, responder=responder)
        assert validate(answers=(answer,)).trusted
        stale = {"issued": NOW - 10 * DAY, "until": NOW - 5 * DAY}
        verdict = validate(answers=(answer,), crls=(CA.crl([Revoked(responder, NOW - 20 * DAY)], **stale),))  # type: ignore[arg-type]
        assert verdict.reason is Reason.REVOCATION_UNKNOWN

    def test_a_responder_that_can_be_checked_must_be(self) -> None:
        place = [x509.UniformResourceIdentifier("http://127.0.0.1/ca.crl")]
        points = x509.CRLDistributionPoints([x509.DistributionPoint(place, None, None, None)])
        responder = CA.issue("Responder", extended=[OCSP_SIGNING], extensions=[(points, False)])
        answer = CA.ocsp(SIGNER, responder=responder)
        verdict = validate(answers=(answer,))
        assert verdict.reason is Reason.REVOCATION_UNKNOWN
        assert "no CRL at hand says whether it was revoked" in verdict.text

    def test_an_altered_answer_proves_nothing(self) -> None:
        answer = bytearray(CA.ocsp(SIGNER))
        answer[-3] ^= 1
        assert validate(answers=(bytes(answer),)).reason is Reason.REVOCATION_UNKNOWN


def test_a_certificate_trusted_by_name_is_refused_once_its_ca_revokes_it() -> None:
    for crl, expected in ((CA.crl(), Reason.TRUSTED), (CA.crl([SIGNER]), Reason.REVOKED)):
        store = TrustStore([SIGNER.certificate, CA.certificate], crls=[Sourced(crl, "a list")])
        assert CertificateValidator(store).validate(SIGNER.certificate, CertificatePurpose.SIGNING).reason is expected
    alone = CertificateValidator(TrustStore([SIGNER.certificate])).validate(
        SIGNER.certificate, CertificatePurpose.SIGNING
    )
    assert alone.trusted
