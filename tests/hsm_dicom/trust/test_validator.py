"""The judge that keeps its answers: right at every moment, quick, shared between threads and processes."""

from __future__ import annotations

import pickle
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from multiprocessing import get_context

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm_dicom.trust import CertificatePurpose, CertificateValidator, Reason, Sourced, TrustStore, TrustVerdict
from tests.pki import DAY, NOW, YEAR, Authority, Revoked

CA = Authority("Test CA")
SIGNER = CA.issue("Signer", begins=NOW - 300 * DAY, ends=NOW + 300 * DAY)
REVOKED = CA.issue("Revoked", begins=NOW - 300 * DAY, ends=NOW + 300 * DAY)
CRLS = [
    Sourced(CA.crl([Revoked(REVOKED, NOW - 100 * DAY)], issued=NOW - n * DAY, until=NOW - (n - 20) * DAY), "a list")
    for n in (200, 50)
]
STORE = TrustStore([CA.certificate], crls=CRLS)
KEPT = CertificateValidator(STORE)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.sampled_from([SIGNER, REVOKED]),
    st.integers(-400, 400),
    st.sampled_from([timedelta(0), timedelta(microseconds=1), -timedelta(microseconds=1)]),
    st.booleans(),
)
def test_a_kept_answer_is_the_answer_of_a_fresh_validator(
    identity: Authority, days: int, beside: timedelta, certified: bool
) -> None:
    moment = NOW + days * DAY + beside

    def answer(validator: CertificateValidator) -> TrustVerdict:
        return validator.validate(
            identity.certificate, CertificatePurpose.SIGNING, validation_time=moment, time_proven=certified
        )

    assert answer(KEPT) == answer(CertificateValidator(STORE))


def test_a_kept_answer_costs_less_than_a_tenth_of_a_millisecond_or_so() -> None:
    validator = CertificateValidator(STORE)
    moments = [NOW - timedelta(seconds=n) for n in range(1, 2001)]
    validator.validate(SIGNER.certificate, CertificatePurpose.SIGNING, validation_time=NOW)
    begun = time.perf_counter()
    for moment in moments:
        assert (
            validator.validate(SIGNER.certificate, CertificatePurpose.SIGNING, validation_time=moment).validation_time
            == moment
        )
    assert (time.perf_counter() - begun) / len(moments) < 0.001


def test_a_moment_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        KEPT.validate(SIGNER.certificate, CertificatePurpose.SIGNING, validation_time=datetime(2020, 1, 1))


def test_what_a_peer_sends_along_belongs_to_the_question() -> None:
    middle = CA.authority("Middle CA")
    signer = middle.issue("Signer").certificate
    validator = CertificateValidator(TrustStore([CA.certificate]))
    assert validator.validate(signer, CertificatePurpose.SIGNING).reason is Reason.NO_PATH
    assert validator.validate(signer, CertificatePurpose.SIGNING, intermediates=[middle.der]).trusted
    assert validator.validate(signer, CertificatePurpose.SIGNING).reason is Reason.NO_PATH


def test_threads_share_one_verifier() -> None:
    validator = CertificateValidator(STORE)
    people = [CA.issue(f"Signer {n}").certificate for n in range(8)]
    verdicts: list[TrustVerdict] = []

    def work() -> None:
        for n in range(100):
            moment = NOW - n * YEAR / 200
            verdicts.append(
                validator.validate(people[n % 8], CertificatePurpose.SIGNING, validation_time=moment, time_proven=True)
            )

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(verdicts) == 800
    expected = {v.validation_time: v for v in verdicts[:0]}
    for verdict in verdicts:
        assert expected.setdefault(verdict.validation_time, verdict) == verdict


def reason_in_another_process(validator: CertificateValidator, der: bytes) -> Reason:
    return validator.validate(der, CertificatePurpose.SIGNING).reason


def test_a_verifier_travels_to_worker_processes() -> None:
    assert pickle.loads(pickle.dumps(KEPT)).policy == KEPT.policy
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(reason_in_another_process, KEPT, REVOKED.der).result(30) is Reason.REVOKED


def test_an_indeterminate_answer_has_its_sub_indication_and_no_other_has_one() -> None:
    """The names of ETSI EN 319 102-1, 5.1.3."""
    ca = Authority("CA")
    certificate = ca.issue("node").certificate
    for anchors, expected in (
        ([], "NO_CERTIFICATE_CHAIN_FOUND"),
        ([Authority("Another CA").certificate], "NO_CERTIFICATE_CHAIN_FOUND"),
        ([ca.certificate], None),
    ):
        verdict = CertificateValidator(TrustStore(anchors)).validate(certificate, CertificatePurpose.SIGNING)
        assert verdict.sub_indication == expected
