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

from hsm_dicom.trust import Purpose, Reason, Sourced, TrustStore, TrustVerdict, Verifier
from tests.pki import DAY, NOW, YEAR, Authority, Revoked

CA = Authority("Test CA")
SIGNER = CA.issue("Signer", begins=NOW - 300 * DAY, ends=NOW + 300 * DAY)
REVOKED = CA.issue("Revoked", begins=NOW - 300 * DAY, ends=NOW + 300 * DAY)
CRLS = [
    Sourced(CA.crl([Revoked(REVOKED, NOW - 100 * DAY)], issued=NOW - n * DAY, until=NOW - (n - 20) * DAY), "a list")
    for n in (200, 50)
]
STORE = TrustStore([CA.certificate], crls=CRLS)
KEPT = Verifier(STORE)


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

    def answer(verifier: Verifier) -> TrustVerdict:
        return verifier.judge(identity.certificate, Purpose.SIGNING, moment=moment, certified=certified)

    assert answer(KEPT) == answer(Verifier(STORE))


def test_a_kept_answer_costs_less_than_a_tenth_of_a_millisecond_or_so() -> None:
    verifier = Verifier(STORE)
    moments = [NOW - timedelta(seconds=n) for n in range(1, 2001)]
    verifier.judge(SIGNER.certificate, Purpose.SIGNING, moment=NOW)
    begun = time.perf_counter()
    for moment in moments:
        assert verifier.judge(SIGNER.certificate, Purpose.SIGNING, moment=moment).moment == moment
    assert (time.perf_counter() - begun) / len(moments) < 0.001


def test_a_moment_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        KEPT.judge(SIGNER.certificate, Purpose.SIGNING, moment=datetime(2020, 1, 1))


def test_what_a_peer_sends_along_belongs_to_the_question() -> None:
    middle = CA.authority("Middle CA")
    signer = middle.issue("Signer").certificate
    verifier = Verifier(TrustStore([CA.certificate]))
    assert verifier.judge(signer, Purpose.SIGNING).reason is Reason.NO_PATH
    assert verifier.judge(signer, Purpose.SIGNING, intermediates=[middle.der]).trusted
    assert verifier.judge(signer, Purpose.SIGNING).reason is Reason.NO_PATH


def test_threads_share_one_verifier() -> None:
    verifier = Verifier(STORE)
    people = [CA.issue(f"Signer {n}").certificate for n in range(8)]
    verdicts: list[TrustVerdict] = []

    def work() -> None:
        for n in range(100):
            moment = NOW - n * YEAR / 200
            verdicts.append(verifier.judge(people[n % 8], Purpose.SIGNING, moment=moment, certified=True))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(verdicts) == 800
    expected = {v.moment: v for v in verdicts[:0]}
    for verdict in verdicts:
        assert expected.setdefault(verdict.moment, verdict) == verdict


def reason_in_another_process(verifier: Verifier, der: bytes) -> Reason:
    return verifier.judge(der, Purpose.SIGNING).reason


def test_a_verifier_travels_to_worker_processes() -> None:
    assert pickle.loads(pickle.dumps(KEPT)).policy == KEPT.policy
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(reason_in_another_process, KEPT, REVOKED.der).result(30) is Reason.REVOKED
