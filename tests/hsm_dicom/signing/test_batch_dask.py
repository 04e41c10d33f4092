"""An archive larger than one machine: hashing and writing on a Dask cluster, the key in this process alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import cast

import distributed
import pytest

import tokens
from hsm_dicom.signatures import SigningRequest, check_files
from hsm_dicom.signing import SigningJob, sign_jobs
from tests.hsm_dicom.dataset.samples import KINDS, sample
from tests.pki import Authority
from tests.softhsm import TestToken


@pytest.fixture
def cluster() -> Iterator[Executor]:
    """Two worker processes behind a scheduler on the loopback interface."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as machines,
        distributed.Client(machines) as client,
    ):
        yield cast(Executor, client.get_executor())


@pytest.mark.filterwarnings("default")
def test_a_dask_cluster_hashes_and_writes_while_the_token_signs_here(
    cluster: Executor, node: TestToken, authority: Authority, tmp_path: Path
) -> None:
    jobs = []
    for number in range(30):
        source = tmp_path / f"{number}.dcm"
        source.write_bytes(sample(KINDS[number % len(KINDS)]))
        jobs.append(SigningJob(str(source), str(tmp_path / f"{number}.signed.dcm")))
    jobs.append(SigningJob(str(tmp_path / "absent.dcm")))
    with tokens.open_key(node.uri("rsa")) as key:
        request = SigningRequest(authority.issue("node", key=key).der)
        outcomes = list(sign_jobs(jobs, key, request, executor=cluster))
    assert [outcome.job.source for outcome in outcomes if outcome.error] == [jobs[-1].source]
    results = list(check_files([str(job.target) for job in jobs[:-1]], executor=cluster))
    assert len(results) == 30
    assert all(result.result is not None and result.result.signatures[0].intact for result in results)
