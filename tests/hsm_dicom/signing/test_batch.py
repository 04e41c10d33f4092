"""Many files on an executor of threads or processes: all are done, one broken file stops none, keys stay here."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

import tokens
from hsm_dicom.dataset import DicomFileError
from hsm_dicom.signatures import KeyMismatchError, SigningRequest, check_files
from hsm_dicom.signing import SigningJob, sign_jobs
from hsm_dicom.timestamps.protocol import TimestampError
from tests.hsm_dicom.dataset.samples import KINDS, sample
from tests.pki import Authority, Identity, new_key
from tests.softhsm import TestToken


@pytest.fixture(scope="module", params=["threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "threads":
        with ThreadPoolExecutor(2) as threads:
            yield threads
    else:
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
            yield processes


@pytest.fixture
def jobs(tmp_path: Path) -> list[SigningJob]:
    """Twenty good files of all kinds, three broken ones and one that is not there."""
    (tmp_path / "out").mkdir()
    for number in range(20):
        (tmp_path / f"{number}.dcm").write_bytes(sample(KINDS[number % len(KINDS)]))
    for name, data in (("empty", b""), ("text", b"no DICOM" * 99), ("cut", sample()[:-300])):
        (tmp_path / f"{name}.dcm").write_bytes(data)
    names = [str(number) for number in range(20)]
    names[5:5] = ["empty", "text", "absent", "cut"]
    return [SigningJob(str(tmp_path / f"{name}.dcm"), str(tmp_path / "out" / f"{name}.dcm")) for name in names]


def test_every_file_is_signed_and_every_broken_one_has_its_reason(
    executor: Executor, jobs: list[SigningJob], node: TestToken, authority: Authority
) -> None:
    with tokens.open_key(node.uri("rsa")) as key:
        request = SigningRequest(authority.issue("node", key=key).der)
        outcomes = list(sign_jobs(jobs, key, request, executor=executor, sessions=3))
    assert {outcome.job for outcome in outcomes} == set(jobs)
    failed = {Path(outcome.job.source).stem: outcome.error for outcome in outcomes if outcome.error}
    assert set(failed) == {"empty", "text", "absent", "cut"}
    assert all(isinstance(error, DicomFileError) and Path(error.name).stem == name for name, error in failed.items())

    results = list(check_files([str(job.target) for job in jobs], executor=executor))
    assert len(results) == len(jobs)
    for result in results:
        assert (result.error is not None) is (Path(result.path).stem in failed)
        assert result.error or (result.result is not None and result.result.signatures[0].intact)


def test_as_many_signatures_are_under_way_as_there_are_sessions(
    jobs: list[SigningJob], signer: Identity, base: SigningRequest
) -> None:
    """A slow time stamp stands in the same place as a slow token: at the barrier, two must meet.

    What they bring is no time stamp over the signature, so that nothing is written.
    """
    barrier = threading.Barrier(2, timeout=30)

    def meet(_: bytes) -> bytes:
        barrier.wait()
        return b"\x30\x00"

    good = [job for job in jobs if Path(job.source).stem.isdigit()]
    with ThreadPoolExecutor(1) as executor:
        outcomes = list(sign_jobs(good, signer.key, base, executor=executor, sessions=2, timestamp=meet))
    assert [type(outcome.error) for outcome in outcomes] == [TimestampError] * len(good)
    assert not any(Path(str(job.target)).exists() for job in good)


def test_a_key_without_its_certificate_is_refused_before_any_file_is_read(
    jobs: list[SigningJob], base: SigningRequest
) -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(KeyMismatchError):
        next(sign_jobs(jobs, new_key("rsa2048", 1), base, executor=executor))


def test_an_executor_that_dies_gives_outcomes_too(
    jobs: list[SigningJob], signer: Identity, base: SigningRequest
) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    outcomes = list(sign_jobs(jobs, signer.key, base, executor=executor))
    assert len(outcomes) == len(jobs)
    assert all(isinstance(outcome.error, RuntimeError) for outcome in outcomes)
