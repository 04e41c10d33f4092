"""One suite for the modules of five makers. What differs between them is in `expected`, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interop.modules import behaviours, dicom_behaviours
from tests.interop.modules.conftest import DEVICES
from tests.interop.modules.devices.worker import Worker
from tests.interop.modules.expected import ECDSA, EXPECTED, HANDSHAKES, NOT_OFFERED, Expected
from tests.interop.modules.steps import KEYS, class_of

pytestmark = pytest.mark.parametrize("worker", list(DEVICES), indirect=True, scope="module")

Generated = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def expected(worker: Worker) -> Expected:
    """What this module does."""
    return EXPECTED[worker.device.name]


@pytest.fixture(scope="module")
def generated(worker: Worker) -> Generated:
    """The keys that were generated on the token, or the errors, by label."""
    return {label: worker.run(behaviours.generate, label) for label in KEYS}


def by_class(outcomes: dict[str, str]) -> dict[str, str]:
    return {name: class_of(outcome) for name, outcome in outcomes.items()}


def test_keys_are_generated_inside_and_cannot_leave(generated: Generated, expected: Expected) -> None:
    for label, key in generated.items():
        if label in expected.keys:
            assert key == {"extractable": False, "sensitive": True, "findings": list(expected.findings)}
        else:
            assert key["error"].startswith(f"{NOT_OFFERED}: The token offers no way to generate")
            assert KEYS[label][0] in key["error"]


def test_keys_are_listed(worker: Worker, generated: Generated, expected: Expected) -> None:
    assert sorted(worker.run(behaviours.list_keys)) == list(expected.keys)


def test_rsa_keys_sign(worker: Worker, generated: Generated, expected: Expected) -> None:
    assert by_class(worker.run(behaviours.sign, "rsa")) == expected.rsa


def test_ec_keys_sign(worker: Worker, generated: Generated, expected: Expected) -> None:
    for label in ("p256", "p384"):
        if label in expected.keys:
            assert worker.run(behaviours.sign, label) == ECDSA
        else:
            missing = worker.run(behaviours.open_and_close, label)
            assert missing.startswith("NoSuchKeyError: No private key on token")
            assert "It holds: 'decrypt', 'rsa'." in missing


def test_rsa_keys_decrypt(worker: Worker, generated: Generated, expected: Expected) -> None:
    assert by_class(worker.run(behaviours.decrypt, "decrypt")) == expected.decryption


def test_8_threads_sign_with_one_key(worker: Worker, generated: Generated, expected: Expected) -> None:
    for label in expected.signing:
        assert worker.run(behaviours.sign_in_threads, label, 8, 4) == {"done": 32}


def test_a_forked_child_does_not_disturb_its_parent(worker: Worker, generated: Generated, expected: Expected) -> None:
    outcome = [expected.child, "0 more logins in the parent"]
    assert worker.run(behaviours.sign_in_a_child, "rsa") == outcome


def test_certificates_are_requested(worker: Worker, generated: Generated, expected: Expected) -> None:
    for label in expected.keys:
        assert worker.run(behaviours.request_certificate, label) == "CN=CT 1,O=Radiology"


def test_certificates_are_stored_read_and_deleted(worker: Worker, generated: Generated, expected: Expected) -> None:
    assert worker.run(behaviours.store_certificates, expected.signing[0]) == [["CN=node"], []]


def test_keys_are_deleted(worker: Worker, generated: Generated, expected: Expected) -> None:
    deleted = worker.run(behaviours.delete, expected.signing[0])
    assert deleted.startswith("NoSuchKeyError: No private key on token")
    assert deleted.endswith(f"It holds: {', '.join(map(repr, expected.keys))}.")


def test_a_check_reports_every_operation(worker: Worker, generated: Generated, expected: Expected) -> None:
    refused: list[str] = []
    for label in set(expected.keys) - {expected.checked_elsewhere}:
        operations = worker.run(behaviours.check, label)
        refused += [name for name, outcome in operations.items() if outcome.startswith("not: ")]
        assert len(operations) >= 3
    assert sorted(refused) == sorted(expected.refused_in_check)


def test_a_wrong_pin_is_presented_once(
    worker: Worker, generated: Generated, expected: Expected, tmp_path: Path
) -> None:
    assert worker.run(behaviours.present_a_wrong_pin, str(tmp_path / "refusals")) == list(expected.pins)


def test_tls_connections_are_secured(worker: Worker, generated: Generated, expected: Expected) -> None:
    for label in expected.signing:
        handshakes = expected.rsa_handshakes if label == "rsa" else HANDSHAKES
        assert by_class(worker.run(dicom_behaviours.shake_hands, label)) == handshakes


def test_images_are_signed(worker: Worker, generated: Generated, expected: Expected) -> None:
    for label in expected.signing:
        assert worker.run(dicom_behaviours.sign_an_image, label) == {"valid": True, "signer": "CN=node"}
