"""The record of PINs that a device has not answered: what holds them back, and what settles them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tokens.errors import LoginTimeoutError, PinNotPresentedError, PinSourceError, Reason
from tokens.pins.companions import form_companions
from tokens.pins.device_name import DeviceName
from tokens.pins.leavable import LeavableCall, Progress
from tokens.pins.presentation import Answer, Presentation
from tokens.pins.refusal_record import Refusal, State
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import Pin

pytestmark = pytest.mark.usefixtures("bounded")

DEVICE = DeviceName("4711", reference="4711", uri="pkcs11:serial=4711")
FULL, LOW, FINAL, LOCKED = 3, 2, 1, 0


@pytest.fixture
def memory(state_folder: Path) -> RefusalMemory:
    return RefusalMemory()


def present(
    memory: RefusalMemory, answer: Answer, word: bytes = b"123456", *, retries: int | None = FULL, **options: object
) -> Presentation:
    with memory.present(DEVICE, "user", Pin(word), retries=retries, **options) as presentation:  # type: ignore[arg-type]
        presentation.begin()
        presentation.answer = answer
        return presentation


def leave(memory: RefusalMemory, word: bytes = b"123456", **options: object) -> Presentation:
    """Present a PIN to a device whose answer this process still waits for."""
    with memory.present(DEVICE, "user", Pin(word), retries=FULL, **options) as presentation:  # type: ignore[arg-type]
        presentation.begin()
        presentation.is_awaited = True
    return presentation


def states(memory: RefusalMemory) -> list[State]:
    return [refusal.state for refusal in memory.refusals(DEVICE)]


def is_presented(memory: RefusalMemory, check: Callable[[Refusal], None] | None = None, **options: object) -> bool:
    """Whether the PIN may be presented now; the device does not check it."""
    try:
        with memory.present(DEVICE, "user", Pin(b"123456"), check, **options):  # type: ignore[arg-type]
            return True
    except (PinNotPresentedError, LoginTimeoutError):
        return False


def allow(_: Refusal) -> None:
    """As a device whose flags report no wrong PIN."""


def test_the_state_is_on_disk_before_the_device_is_given_the_pin(memory: RefusalMemory) -> None:
    present(memory, Answer.ACCEPTED)
    with memory.present(DEVICE, "user", Pin(b"123456"), retries=FULL) as presentation:
        presentation.begin()
        record = memory._load(DEVICE.own_file)
        # A process that ends here leaves nothing for the earlier acceptance.
        assert [refusal.state for refusal in record.refusals] == [State.UNANSWERED]
        assert record.accepted is None
        presentation.answer = Answer.ACCEPTED
    assert states(memory) == []


def test_an_unanswered_pin_is_presented_by_a_person_only(memory: RefusalMemory) -> None:
    present(memory, Answer.UNANSWERED)
    assert states(memory) == [State.UNANSWERED]
    with pytest.raises(PinNotPresentedError, match="has not answered this user PIN since") as raised:
        present(memory, Answer.ACCEPTED)
    assert raised.value.facts is not None
    assert (raised.value.facts.reason, raised.value.facts.uri) == (Reason.PIN_UNANSWERED, DEVICE.uri)
    assert not is_presented(memory, allow)
    assert is_presented(memory, attended=True)
    assert states(memory) == [State.UNANSWERED]  # the device did not check it


def test_an_acceptance_allows_one_further_presentation_after_the_process_has_ended(memory: RefusalMemory) -> None:
    present(memory, Answer.ACCEPTED)
    present(memory, Answer.UNANSWERED)
    assert not is_presented(memory)  # nothing was asked about its flags
    present(memory, Answer.UNANSWERED, check_again=allow)
    assert states(memory) == [State.UNANSWERED]
    assert not is_presented(memory, allow)
    assert is_presented(memory, attended=True)


def test_that_presentation_is_spent_even_if_a_person_makes_it(memory: RefusalMemory) -> None:
    present(memory, Answer.ACCEPTED)
    present(memory, Answer.UNANSWERED)
    present(memory, Answer.UNANSWERED, attended=True)
    assert not is_presented(memory, allow)


def test_no_process_presents_it_while_one_waits_for_the_answer(memory: RefusalMemory, state_folder: Path) -> None:
    present(memory, Answer.ACCEPTED)
    left = leave(memory)
    other = """
from tests.tokens.test_unanswered_records import RefusalMemory, allow, is_presented
print(is_presented(RefusalMemory(), allow), is_presented(RefusalMemory(), attended=True))
"""
    run = [sys.executable, "-c", other]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.split() == ["False", "True"]
    with pytest.raises(LoginTimeoutError, match="A process is still waiting for the answer"):
        present(memory, Answer.ACCEPTED, check_again=allow)
    left.stop_waiting()
    assert is_presented(memory, allow)


def test_the_wait_ends_with_the_process(memory: RefusalMemory) -> None:
    present(memory, Answer.ACCEPTED)
    code = """
import os
from tests.tokens.test_unanswered_records import RefusalMemory, leave
leave(RefusalMemory())
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert states(memory) == [State.UNANSWERED]
    assert is_presented(memory, allow)


@pytest.mark.parametrize(
    ("answer", "state", "again"),
    [
        (Answer.ACCEPTED, [], True),
        (Answer.REFUSED, [State.REFUSED], False),
        (Answer.UNCLEAR, [State.UNCLEAR], False),
        (Answer.NOT_CHECKED, [], True),
        (Answer.UNANSWERED, [State.UNANSWERED], False),
    ],
)
def test_a_late_answer_settles_it(memory: RefusalMemory, answer: Answer, state: list[State], again: bool) -> None:
    leave(memory).settle_late(answer)
    assert states(memory) == state
    assert is_presented(memory) is again
    assert not memory.is_held(f"{DEVICE.lock}-waiting")


def test_a_late_acceptance_is_an_acceptance(memory: RefusalMemory) -> None:
    leave(memory).settle_late(Answer.ACCEPTED)
    present(memory, Answer.UNANSWERED)
    assert is_presented(memory, allow)


def test_an_answer_that_comes_while_the_caller_leaves_is_recorded(memory: RefusalMemory) -> None:
    with memory.present(DEVICE, "user", Pin(b"123456"), retries=FULL) as presentation:
        presentation.begin()
        presentation.is_awaited = True
        settling = threading.Thread(target=presentation.settle_late, args=(Answer.REFUSED,))
        settling.start()
        settling.join(0.1)
        assert settling.is_alive()  # it waits for the lock
    settling.join(5)
    assert states(memory) == [State.REFUSED]
    assert not memory.is_held(f"{DEVICE.lock}-waiting")


def test_a_late_answer_does_not_undo_what_was_recorded_since(memory: RefusalMemory) -> None:
    left = leave(memory)
    present(memory, Answer.REFUSED, attended=True)
    left.settle_late(Answer.ACCEPTED)
    assert states(memory) == [State.REFUSED]


def test_a_late_refusal_holds_the_pin_back_from_the_companions(memory: RefusalMemory) -> None:
    other = DeviceName("4712")
    group = form_companions()
    for device in (DEVICE, other):
        group.add(device.companion, device.serial, None, lambda _: False)
    try:
        left = leave(memory)
        left.settle_late(Answer.REFUSED)
        with (
            pytest.raises(PinNotPresentedError, match="was refused by 4711"),
            memory.present(other, "user", Pin(b"123456")),
        ):
            pass
    finally:
        group.close()


def test_a_late_refusal_is_recorded_even_if_the_record_was_cleared(memory: RefusalMemory) -> None:
    left = leave(memory)
    assert memory.clear(DEVICE) == 1
    left.settle_late(Answer.REFUSED)
    assert states(memory) == [State.REFUSED]
    assert not is_presented(memory)


@pytest.mark.parametrize(
    ("before", "now", "state"),
    [
        (FULL, LOW, State.REFUSED),
        (FULL, FINAL, State.REFUSED),
        (FULL, LOCKED, State.REFUSED),
        (LOW, FINAL, State.REFUSED),
        (LOW, LOW, State.UNANSWERED),
        (LOW, FULL, State.UNANSWERED),
        (FULL, FULL, State.UNANSWERED),
        (None, LOW, State.UNANSWERED),
        (FULL, None, State.UNANSWERED),
    ],
)
def test_flags_that_report_a_wrong_pin_settle_it(
    memory: RefusalMemory, before: int | None, now: int | None, state: State
) -> None:
    present(memory, Answer.UNANSWERED, retries=before)
    (entry,) = memory.settle_by_retries(DEVICE, "user", now)
    assert entry.state is state
    assert states(memory) == [state]
    assert memory.settle_by_retries(DEVICE, "so", now) == []


def test_a_pin_that_was_accepted_settles_all_others(memory: RefusalMemory) -> None:
    present(memory, Answer.UNANSWERED)
    present(memory, Answer.ACCEPTED, b"654321")
    assert states(memory) == [State.REFUSED]


def test_a_query_that_fails_before_the_pin_is_presented_leaves_no_entry(memory: RefusalMemory) -> None:
    with pytest.raises(RuntimeError), memory.present(DEVICE, "user", Pin(b"123456")):
        raise RuntimeError("the flags could not be read")
    assert states(memory) == []


def test_an_accepted_pin_is_struck_out_of_the_record_that_devices_share(memory: RefusalMemory) -> None:
    present(memory, Answer.UNANSWERED)
    one = DeviceName("4711", "one", shared=True)
    with memory.present(one, "user", Pin(b"123456"), attended=True) as presentation:
        presentation.answer = Answer.ACCEPTED
    assert memory.refusals(one) == []


def test_records_of_earlier_releases_are_read(memory: RefusalMemory, state_folder: Path) -> None:
    state_folder.mkdir(mode=0o700, exist_ok=True)
    entry = {"role": "user", "when": "2026-11-26T22:46:00+00:00", "digest": "00"}
    old = {"salt": "00" * 16, "refused": [entry, {**entry, "digest": "01", "unclear": True}]}
    (state_folder / DEVICE.own_file).write_text(json.dumps(old))
    assert states(memory) == [State.REFUSED, State.UNCLEAR]
    old["refused"] = [{**entry, "state": "of a later release"}]
    (state_folder / DEVICE.own_file).write_text(json.dumps(old))
    with pytest.raises(PinSourceError, match="cannot be understood"):
        states(memory)


def test_a_call_that_nobody_waits_for_is_not_begun() -> None:
    made: list[str] = []
    call = LeavableCall(lambda: made.append("made") or 0, [Pin(b"1234")], lambda _: None)
    assert call.leave() is Progress.NOT_BEGUN
    with pytest.raises(Exception, match="was not presented"):
        call()
    assert made == []


def test_a_pin_that_is_wiped_during_a_late_call_reaches_the_device_whole() -> None:
    pin, begun, go, read = Pin(b"1234"), threading.Event(), threading.Event(), []

    def late() -> int:
        begun.set()
        go.wait(10)
        read.append(bytes(pin.octets()))
        return 0

    settled: list[int | BaseException] = []
    call = LeavableCall(late, [pin], settled.append)
    thread = threading.Thread(target=call)
    thread.start()
    assert begun.wait(5)
    assert call.leave() is Progress.UNDER_WAY
    pin.wipe()
    go.set()
    thread.join(5)
    assert (read, settled) == ([b"1234"], [0])
    assert pin.octets() == b""
