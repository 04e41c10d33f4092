"""The breaker of one member, with a clock that the test moves."""

from __future__ import annotations

import pytest

from tokens.errors import PinRefusedError, TokenLostError
from tokens.group.breaker import Breaker, BreakerState

LOST = TokenLostError("It is gone.")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock, probe_seconds=5.0)


def test_a_fault_opens_it_once_and_is_kept_with_its_sentence(breaker: Breaker) -> None:
    assert breaker.record_fault(LOST, breaker.generation)
    assert breaker.state is BreakerState.OPEN
    assert breaker.fault is not None
    assert (breaker.fault.kind, breaker.fault.text) == (TokenLostError, "It is gone.")
    assert not breaker.record_fault(LOST, breaker.generation)


def test_a_probe_begins_when_its_time_has_come_and_only_one(breaker: Breaker, clock: Clock) -> None:
    assert not breaker.begin_probe()
    breaker.record_fault(LOST, breaker.generation)
    assert breaker.due == 105.0
    clock.advance(4.9)
    assert not breaker.begin_probe()
    clock.advance(0.1)
    assert breaker.begin_probe()
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.due is None
    assert not breaker.begin_probe()


def test_a_probe_that_succeeds_closes_it_and_tells_how_long_it_was_open(breaker: Breaker, clock: Clock) -> None:
    breaker.record_fault(LOST, breaker.generation)
    clock.advance(5)
    breaker.begin_probe()
    clock.advance(1)
    assert breaker.record_success(breaker.generation) == 6.0
    assert breaker.state is BreakerState.CLOSED
    assert breaker.record_success(breaker.generation) is None


def test_a_probe_that_fails_opens_it_again_and_the_next_one_waits(breaker: Breaker, clock: Clock) -> None:
    breaker.record_fault(LOST, breaker.generation)
    clock.advance(5)
    breaker.begin_probe()
    assert not breaker.record_fault(LOST, breaker.generation)
    assert breaker.state is BreakerState.OPEN
    assert breaker.due == 110.0
    clock.advance(5)
    breaker.begin_probe()
    assert breaker.record_success(breaker.generation) == 10.0


def test_a_member_that_worked_for_long_is_probed_at_once_and_one_that_fails_often_is_not(
    breaker: Breaker, clock: Clock
) -> None:
    clock.advance(6)
    breaker.record_fault(LOST, breaker.generation)
    assert breaker.begin_probe()
    breaker.record_success(breaker.generation)
    clock.advance(5)
    breaker.record_fault(LOST, breaker.generation)
    assert not breaker.begin_probe()
    clock.advance(5)
    assert breaker.begin_probe()


def test_an_operation_from_before_the_fault_does_not_close_it(breaker: Breaker) -> None:
    began = breaker.generation
    breaker.record_fault(LOST, breaker.generation)
    assert breaker.record_success(began) is None
    assert breaker.state is BreakerState.OPEN


def test_an_operation_from_before_it_was_closed_does_not_open_it_again(breaker: Breaker) -> None:
    breaker.record_fault(LOST, breaker.generation)
    began = breaker.generation
    breaker.record_success(breaker.generation)
    assert not breaker.record_fault(LOST, began)
    assert breaker.state is BreakerState.CLOSED


def test_an_excluded_member_stays_so(breaker: Breaker, clock: Clock) -> None:
    began = breaker.generation
    breaker.record_fault(LOST, breaker.generation)
    assert breaker.record_fault(PinRefusedError("No."), began, excludes=True)
    clock.advance(1000)
    assert not breaker.begin_probe()
    assert breaker.record_success(breaker.generation) is None
    assert not breaker.record_fault(LOST, breaker.generation)
    assert breaker.state is BreakerState.EXCLUDED
    assert breaker.fault is not None
    assert breaker.fault.kind is PinRefusedError
