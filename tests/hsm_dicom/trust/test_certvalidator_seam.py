"""pyhanko-certvalidator still behaves as `hsm_dicom/trust/_certvalidator.py` expects; read that module if not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from importlib.metadata import version

import pytest

from hsm_dicom.trust._certvalidator import InvalidPathError, run_to_end, validate_path
from tests.pki import DAY, NOW, Authority

CHANGED = (
    f"pyhanko-certvalidator {version('pyhanko-certvalidator')} differs from the version for which "
    "hsm_dicom/trust/_certvalidator.py was written"
)


def test_the_library_validates_a_path_without_waiting() -> None:
    ca = Authority("CA")
    issued = ca.issue("Signer")
    try:
        validate_path([issued.der, ca.der], NOW)
    except Exception as error:
        pytest.fail(f"{CHANGED}: a good path gives {error!r}. Nothing may be fetched or awaited.")


def test_inside_an_event_loop_the_same_holds() -> None:
    async def inside() -> None:
        ca = Authority("CA")
        validate_path([ca.issue("Signer").der, ca.der], NOW)

    asyncio.run(inside())


def test_the_library_refuses_with_a_reason() -> None:
    ca = Authority("CA")
    issued = ca.issue("Signer", ends=NOW - DAY)
    try:
        with pytest.raises(InvalidPathError) as refused:
            validate_path([issued.der, ca.der], NOW)
    except Exception as error:
        pytest.fail(f"{CHANGED}: an expired certificate gives {error!r}.")
    assert "expired" in str(refused.value), f"{CHANGED}: the reason is no longer in the error."
    assert not str(refused.value).endswith(".")


def test_the_library_tolerates_no_difference_of_clocks() -> None:
    ca = Authority("CA")
    issued = ca.issue("Signer", ends=NOW)
    validate_path([issued.der, ca.der], NOW)
    with pytest.raises(InvalidPathError):
        validate_path([issued.der, ca.der], NOW + timedelta(seconds=1))


def test_a_validation_that_waits_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="waited"):
        run_to_end(asyncio.sleep(0))
