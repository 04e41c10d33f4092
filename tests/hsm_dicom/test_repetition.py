"""Remarks that hold for every association are logged once an hour, with a count; events are never left out."""

from __future__ import annotations

import logging

import pytest

from hsm_dicom import events
from hsm_dicom.iscl.hooks import IsclReady
from hsm_dicom.transport.events import AssociationAborted, LegacyProfileUsed
from tokens.events.log import EventLog
from tokens.events.repetition import MAXIMUM_KEYS, Repetition


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_is_written_once_in_a_period_with_a_count() -> None:
    clock = Clock()
    repetition = Repetition(period=60.0, clock=clock)
    assert [repetition.count("a") for _ in range(3)] == [0, None, None]
    assert repetition.count("b") == 0
    clock.now = 60.0
    assert [repetition.count("a"), repetition.count("a")] == [2, None]
    clock.now = 120.0
    assert repetition.count("a") == 1


def test_keys_without_end_cost_no_memory_without_end() -> None:
    repetition = Repetition(clock=Clock())
    for number in range(MAXIMUM_KEYS + 1):
        assert repetition.count(number) == 0
    assert repetition.count(MAXIMUM_KEYS) is None
    assert repetition.count(0) == 0


def retired(address: str) -> LegacyProfileUsed:
    return LegacyProfileUsed(
        name="film", address=address, text="retired", profile="basic-tls", reason="old", until="2030-01-01"
    )


def ready(peer: str, name: str) -> IsclReady:
    return IsclReady(
        peer=peer, role="server", peer_authentication_data=name, encryption="NONE", mac="MD5", unique_keys=False
    )


@pytest.mark.parametrize(
    ("repeated", "other"),
    [
        ((retired("10.0.0.9:1"), retired("10.0.0.9:2"), retired("10.0.0.9:3")), retired("10.0.0.8:1")),
        ((ready("10.0.0.9:1", "CT"), ready("10.0.0.9:2", "CT"), ready("10.0.0.9:3", "CT")), ready("10.0.0.9:4", "MR")),
    ],
)
def test_a_standing_remark_is_logged_once_for_a_peer_and_every_sink_gets_each(
    repeated: tuple[events.DicomEvent, ...],
    other: events.DicomEvent,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    logged, *_ = events.subscriptions()
    monkeypatch.setattr(logged, "handler", EventLog(Repetition(clock=clock)))
    received: list[events.Event] = []
    with caplog.at_level(logging.WARNING), events.subscribe(received.append):
        for event in (*repeated, other):
            events.emit(event)
        assert len(caplog.messages) == 2
        clock.now = 3600.0
        events.emit(repeated[0])
    assert caplog.messages[-1].endswith(" (And 2 more times since this was last logged.)")
    assert received == [*repeated, other, repeated[0]]


def test_what_happened_is_logged_each_time(caplog: pytest.LogCaptureFixture) -> None:
    lost = AssociationAborted(name="main", address="10.0.0.9:1", text="lost", subject="")
    with caplog.at_level(logging.WARNING):
        events.emit(lost)
        events.emit(lost)
    assert caplog.messages == ["lost", "lost"]
