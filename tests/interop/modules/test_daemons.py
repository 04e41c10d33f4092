"""Daemons that go away and come back, or hang and go on, under a key that stays open and before the first one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.interop.modules import behaviours
from tests.interop.modules.devices import tpm
from tests.interop.modules.devices.device import Daemon
from tests.interop.modules.devices.worker import Worker
from tests.interop.modules.steps import class_of
from tests.tokens import scenes

with_daemon = pytest.mark.parametrize("worker", ["p11-kit", "opencryptoki", "tpm"], indirect=True, scope="module")

RECONNECTED = {"outcome": "done", "steps": ["initialised the module and logged in again"], "presented": 1}
UNDISTURBED = {"outcome": "done", "steps": [], "presented": 0}


@pytest.fixture(scope="module")
def label(worker: Worker) -> str:
    """A key on the token that signs."""
    label = "p256" if worker.device.name == "tpm" else "rsa"
    assert "error" not in worker.run(behaviours.generate, label)
    return label


@pytest.fixture
def daemon(worker: Worker, label: str) -> Iterator[Daemon]:
    """The daemon, while the process of the worker holds a key open."""
    assert worker.device.daemon is not None
    worker.run(behaviours.hold_key, label)
    yield worker.device.daemon
    worker.run(behaviours.release_key)


@with_daemon
def test_a_daemon_that_was_killed_and_started_again_is_found_again(worker: Worker, daemon: Daemon) -> None:
    daemon.kill()
    daemon.start()
    # opencryptoki's software token is in the process itself; its daemon only opens the door.
    expected = UNDISTURBED if worker.device.name == "opencryptoki" else RECONNECTED
    assert worker.run(behaviours.use_held_key) == expected
    assert worker.run(behaviours.use_held_key) == UNDISTURBED


@with_daemon
def test_while_the_daemon_is_away_there_is_one_sentence_and_no_pin_is_presented(worker: Worker, daemon: Daemon) -> None:
    daemon.kill()
    for _ in range(2):
        used = worker.run(behaviours.use_held_key)
        if worker.device.name == "opencryptoki":
            assert used == UNDISTURBED
        else:
            assert used["outcome"].startswith("TokenLostError: Token ")
            assert used["outcome"].endswith("it is then used again without a restart.")
            assert used["presented"] == 0
    daemon.start()
    assert worker.run(behaviours.use_held_key)["outcome"] == "done"


@with_daemon
def test_a_new_process_says_what_is_missing(worker: Worker, label: str) -> None:
    daemon = worker.device.daemon
    assert daemon is not None
    worker.close()
    daemon.kill()
    missing = worker.run(behaviours.open_and_close, label)
    daemon.start()
    # p11-kit's client starts without its server, and has no token then.
    assert class_of(missing) == ("NoSuchTokenError" if worker.device.name == "p11-kit" else "ModuleError")
    service = {"p11-kit": "no initialised token", "opencryptoki": "pkcsslotd", "tpm": "resource manager"}
    assert service[worker.device.name] in missing
    assert worker.run(behaviours.open_and_close, label) == "done", "in the same process, once the daemon is there"


@with_daemon
def test_a_key_is_left_at_its_deadline_while_the_daemon_hangs_and_used_again_afterwards(
    worker: Worker, daemon: Daemon
) -> None:
    worker.run(behaviours.hurry)
    daemon.pause()
    try:
        used = [worker.run(behaviours.use_held_key, timeout=10.0) for _ in range(2)]
    finally:
        daemon.resume()
    if worker.device.name == "opencryptoki":
        assert used == [UNDISTURBED, UNDISTURBED]
    else:
        assert used[0]["outcome"].startswith("TokenTimeoutError: Token ")
        assert "did not answer C_Sign" in used[0]["outcome"]
        assert class_of(used[1]["outcome"]) in ("TokenTimeoutError", "ModuleFencedError")
        assert [each["presented"] for each in used] == [0, 0]
    scenes.until(lambda: worker.run(behaviours.use_held_key)["outcome"] == "done")
    assert worker.run(behaviours.use_held_key) == UNDISTURBED


@with_daemon
def test_a_module_whose_initialisation_hangs_is_not_called_again_before_it_has_ended(
    worker: Worker, label: str
) -> None:
    daemon = worker.device.daemon
    assert daemon is not None
    worker.close()
    worker.run(behaviours.hurry)
    daemon.pause()
    try:
        opened = [worker.run(behaviours.open_and_close, label, timeout=10.0) for _ in range(2)]
    finally:
        daemon.resume()
    assert opened[0].startswith("TokenTimeoutError: The token did not answer C_Initialize within 0.5 seconds.")
    assert opened[1].startswith("ModuleFencedError: ")
    assert "C_Initialize has not returned from it" in opened[1]
    scenes.until(lambda: worker.run(behaviours.open_and_close, label) == "done")
    # It is ours again: a child would find out if it were another's.
    assert worker.run(behaviours.sign_in_threads, label, 4, 4) == {"done": 16}


@with_daemon
def test_a_module_in_a_process_of_its_own_serves_threads_and_forked_children(
    worker: Worker, label: str, tmp_path: Path
) -> None:
    place = replace(worker.device.place, isolation="process")
    with contextlib.closing(Worker(replace(worker.device, place=place), tmp_path)) as isolated:
        assert isolated.run(behaviours.sign_in_threads, label, 8, 4) == {"done": 32}
        # Each process has a module of its own, that of a TPM, too.
        assert isolated.run(behaviours.sign_in_a_child, label) == ["done", "0 more logins in the parent"]


def test_a_tpm_that_lost_its_power_signs_again_until_it_locks_itself(tmp_path: Path) -> None:
    # It counts each loss of power without TPM2_Shutdown like a wrong PIN, and swtpm takes three.
    with tpm.device(tmp_path) as worker:
        chip = worker.device.daemon
        assert isinstance(chip, tpm.Chip)
        worker.run(behaviours.generate, "p256")
        worker.run(behaviours.hold_key, "p256")
        for _ in range(2):
            chip.lose_power()
            chip.start()
            assert worker.run(behaviours.use_held_key) == RECONNECTED
        chip.lose_power()
        chip.start()
        assert class_of(worker.run(behaviours.use_held_key)["outcome"]) == "PinLockedError"
