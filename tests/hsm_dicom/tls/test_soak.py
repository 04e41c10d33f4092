"""Many handshakes from many threads, over one token: no error, and memory that stays where it is."""

from __future__ import annotations

import os

from benchmarks.tls import soak
from tests.hsm_dicom.tls.fixtures import Hospital

TIMES = int(os.environ.get("HSM_DICOM_SOAK", "1"))


def test_handshakes_from_sixteen_threads_leave_memory_where_it_was(hospital: Hospital) -> None:
    growth, errors, _ = soak(hospital, 500 * TIMES, 16)
    assert errors == 0
    assert growth < 3.0
