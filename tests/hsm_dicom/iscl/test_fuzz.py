"""The fuzz target in small: a second of it with a fixed seed, and whatever hypothesis thinks of."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hsm_dicom.iscl.fuzz import fuzz_one, run


def test_a_second_of_fuzzing_finds_nothing() -> None:
    assert run(1.0, seed=2761) > 100


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_octets_do_no_harm(data: bytes) -> None:
    fuzz_one(data)
