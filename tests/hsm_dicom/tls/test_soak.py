"""Many handshakes from many threads, over one token: no error, and memory that stays where it is."""

from __future__ import annotations

from benchmarks.tls import soak
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.soak import RUNS


def test_handshakes_from_sixteen_threads_leave_memory_where_it_was(hospital: Hospital) -> None:
    growth, errors, _ = soak(hospital, 100 * RUNS, 16)
    assert errors == 0
    assert growth < 3.0
