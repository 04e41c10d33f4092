"""What passes through the process with the key: digests; everything else of a plan stays packed."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from benchmarks.signatures import Slow
from hsm_dicom.dataset import DicomFileError
from hsm_dicom.signatures import SigningRequest, check_integrity, prepare
from hsm_dicom.signing import SigningJob, sign_jobs
from hsm_dicom.signing.prepared import PreparedFiles, SignedBefore
from tests.hsm_dicom.dataset.samples import sample
from tests.pki import Identity
from tokens.errors import MechanismNotOfferedError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.dcm"
    path.write_bytes(sample())
    return path


def test_results_pass_unread_through_a_process_and_come_out_as_they_went_in(source: Path, base: SigningRequest) -> None:
    plan = prepare(source, base)
    error = DicomFileError("x.dcm", "is a directory, not a DICOM file.")
    sent = PreparedFiles([plan, error, SignedBefore("1.2.3")])
    passing = pickle.loads(pickle.dumps(sent))
    assert passing.digests == [plan.digest, None, None]
    assert str(source).encode() not in pickle.dumps(passing.digests)
    received = pickle.loads(pickle.dumps(passing))
    assert passing._results is None
    assert received.unpack()[0] == plan == passing.plan(0)
    assert str(received.unpack()[1]) == str(error)
    assert received.unpack()[2] == SignedBefore("1.2.3")


class ElsewhereExecutor(ThreadPoolExecutor):
    """An executor whose tasks are pickled on their way there and back, as between processes."""

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        sent = pickle.dumps((task, args, kwargs))

        def run() -> bytes:
            function, arguments, options = pickle.loads(sent)
            return pickle.dumps(function(*arguments, **options))

        return _Unpickled(super().submit(run))


class _Unpickled(Future):  # type: ignore[type-arg]
    def __init__(self, inner: Future[bytes]) -> None:
        super().__init__()
        self._inner = inner

    def result(self, timeout: float | None = None) -> Any:
        return pickle.loads(self._inner.result(timeout))


class HashesItself(Slow):
    """A key whose device signs no digests, only octets that it hashes itself."""

    def sign(self, data: Any, padding: Any, algorithm: Any) -> bytes:
        if isinstance(algorithm, Prehashed):
            raise MechanismNotOfferedError("no raw RSA")
        return self._key.sign(data, padding, algorithm)


def test_a_device_that_hashes_itself_receives_the_octets_of_a_plan_made_elsewhere(
    source: Path, signer: Identity, base: SigningRequest, tmp_path: Path
) -> None:
    assert isinstance(signer.key, rsa.RSAPrivateKey)
    jobs = [SigningJob(str(source), str(tmp_path / f"{number}.signed")) for number in range(3)]
    with ElsewhereExecutor(2) as executor:
        outcomes = list(sign_jobs(jobs, HashesItself(signer.key), base, executor=executor))
    assert [outcome.error for outcome in outcomes] == [None] * 3
    for job in jobs:
        assert check_integrity(str(job.target)).signatures[0].intact
