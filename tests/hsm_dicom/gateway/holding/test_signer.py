"""The signer of a route, for objects that come at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hsm_dicom.gateway.holding import signer as module
from hsm_dicom.gateway.holding.records import open_records
from hsm_dicom.gateway.holding.settings import SigningSettings
from hsm_dicom.gateway.holding.signer import ConflictError, ObjectSigner
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.tls.fixtures import Hospital

pytestmark = pytest.mark.softhsm


def test_of_two_contents_under_one_uid_at_the_same_time_one_is_refused(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_sign = threading.Barrier(2, timeout=10)

    def sign_insertion(*arguments: Any) -> Any:
        both_sign.wait()
        return sign_really(*arguments)

    sign_really = module.sign_insertion
    monkeypatch.setattr(module, "sign_insertion", sign_insertion)
    records = open_records(tmp_path / "signatures.sqlite", 24.0)
    signer = ObjectSigner("to-pacs", SigningSettings(identity="node"), hospital.rsa, records)
    paths = [ct_image(tmp_path, f"{value}.dcm", uid="1.2.3.4", value=value) for value in (1, 2)]
    with ThreadPoolExecutor(2) as threads:
        signings = [threads.submit(signer.sign, path, "1.2.3.4", path.name.encode()) for path in paths]
    failures = [one.exception() for one in signings]
    assert sorted(type(one) for one in failures if one is not None) == [ConflictError]
    assert len(records.find("to-pacs", "1.2.3.4")) == 1
