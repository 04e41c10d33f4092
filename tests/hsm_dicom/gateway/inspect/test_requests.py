"""Requests other than C-STORE, several at once, and responses that fit none."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pynetdicom import dimse_primitives

from hsm_dicom.gateway.inspect.exchanges import MOST_OUTSTANDING
from hsm_dicom.gateway.tap import AcceptedContext, Direction
from tests.hsm_dicom.gateway.inspect.conversations import (
    BACK,
    CT,
    EXPLICIT,
    FORTH,
    IMPLICIT,
    PATIENT,
    STUDY,
    Reported,
    Value,
    ct,
    encoded,
    inspect,
    message,
    store,
    store_request,
    store_response,
)
from tests.hsm_dicom.gateway.inspect.elements import command, data, number, store_rq, store_rsp, text
from tests.soak import RUNS

STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2"
FIND, MOVE, GET = STUDY_ROOT + ".1", STUDY_ROOT + ".2", STUDY_ROOT + ".3"
VERIFICATION, COMMITMENT, MPPS = "1.2.840.10008.1.1", "1.2.840.10008.1.20.1", "1.2.840.10008.3.1.2.3.3"
PENDING = 0xFF00

SIX = [encoded(ct(study=f"1.2.3.{place}")) for place in range(6)]
"""Data Sets of six studies."""


def primitive(kind: str, **values: Any) -> Any:
    made = getattr(dimse_primitives, kind)()
    for name, value in values.items():
        setattr(made, name, io.BytesIO(encoded(value)) if isinstance(value, Dataset) else value)
    return made


def query(kind: str, sop_class: str, message_id: int = 1, **more: Any) -> list[Value]:
    asked = primitive(kind, MessageID=message_id, AffectedSOPClassUID=sop_class, Priority=2, Identifier=ct(), **more)
    return message(FORTH, asked, f"{kind}_RQ")


def answer(kind: str, sop_class: str, status: int, message_id: int = 1, direction: Direction = BACK) -> list[Value]:
    values = {"Identifier": ct()} if status == PENDING and kind == "C_FIND" else {}
    said = primitive(kind, MessageIDBeingRespondedTo=message_id, AffectedSOPClassUID=sop_class, Status=status, **values)
    return message(direction, said, f"{kind}_RSP")


def told(reported: Reported) -> list[tuple[str, str, str, int | None, int]]:
    return [(one.command, one.direction, one.sop_class_uid, one.status, one.responses) for one in reported.requests]


def test_a_c_echo_is_reported() -> None:
    asked = message(FORTH, primitive("C_ECHO", MessageID=7, AffectedSOPClassUID=VERIFICATION), "C_ECHO_RQ")
    reported = inspect([*asked, *answer("C_ECHO", VERIFICATION, 0, 7)])
    assert told(reported) == [("C-ECHO", "forth", VERIFICATION, 0, 0)]
    assert reported.requests[0].text == (
        "to-pacs: C-ECHO of Verification SOP Class from 192.168.10.21 ended with status 0000."
    )
    assert reported.counts == {}


@pytest.mark.parametrize("kind", ["C_FIND", "C_MOVE", "C_GET"])
def test_a_query_is_reported_at_its_last_response_with_the_number_of_pending_ones(kind: str) -> None:
    more = {"MoveDestination": "SOMEWHERE"} if kind == "C_MOVE" else {}
    asked = query(kind, FIND, **more)
    responses = answer(kind, FIND, PENDING) * 3
    assert inspect([*asked, *responses]).events == []
    reported = inspect([*asked, *responses, *answer(kind, FIND, 0xFF01), *answer(kind, FIND, 0xB000)])
    assert told(reported) == [(kind.replace("_", "-"), "forth", FIND, 0xB000, 4)]
    assert reported.requests[0].text.endswith("ended with status B000 after 4 pending responses.")
    assert reported.counts == {}


def test_the_instances_of_a_c_get_are_reported_between_its_responses() -> None:
    content = encoded(ct())
    conversation = [*query("C_GET", GET)]
    for count in range(3):
        instance = f"1.2.3.6.{count}"
        conversation += store_request(content, 1, instance, BACK, context_id=3)
        conversation += store_response(1, 0x0000 if count else 0xA700, instance, FORTH, context_id=3)
        conversation += answer("C_GET", GET, PENDING)
    conversation += answer("C_GET", GET, 0xB000)
    contexts = {1: AcceptedContext(GET, IMPLICIT), 3: AcceptedContext(CT, EXPLICIT)}
    reported = inspect(conversation, contexts=contexts)
    assert [(one.direction, one.status, one.study_instance_uid) for one in reported.instances] == [
        ("back", 0xA700, STUDY),
        ("back", 0x0000, STUDY),
        ("back", 0x0000, STUDY),
    ]
    assert told(reported) == [("C-GET", "forth", GET, 0xB000, 3)]
    assert reported.counts == {"stored": 2, "failed": 1}


def test_a_c_cancel_is_reported_when_it_passes_and_the_query_when_it_ends() -> None:
    cancel = message(FORTH, primitive("C_CANCEL", MessageIDBeingRespondedTo=1), "C_CANCEL_RQ")
    reported = inspect(
        [*query("C_FIND", FIND), *answer("C_FIND", FIND, PENDING), *cancel, *answer("C_FIND", FIND, 0xFE00)]
    )
    assert told(reported) == [("C-CANCEL", "forth", "", None, 0), ("C-FIND", "forth", FIND, 0xFE00, 1)]
    assert reported.requests[0].text == "to-pacs: C-CANCEL from 192.168.10.21 was relayed."


@pytest.mark.parametrize(
    ("kind", "sop_class", "values"),
    [
        ("N_ACTION", COMMITMENT, {"ActionTypeID": 1, "ActionInformation": ct()}),
        ("N_CREATE", MPPS, {"AttributeList": ct()}),
        ("N_SET", MPPS, {"ModificationList": ct()}),
        ("N_GET", MPPS, {"AttributeIdentifierList": [0x00100010]}),
        ("N_DELETE", MPPS, {}),
    ],
)
def test_normalized_requests_are_reported(kind: str, sop_class: str, values: dict[str, Any]) -> None:
    which = "Affected" if kind == "N_CREATE" else "Requested"
    names = {f"{which}SOPClassUID": sop_class, f"{which}SOPInstanceUID": "1.2.3"}
    asked = message(FORTH, primitive(kind, MessageID=9, **names, **values), f"{kind}_RQ")
    reply = primitive(kind, MessageIDBeingRespondedTo=9, Status=0x0110, AffectedSOPClassUID=sop_class)
    reported = inspect([*asked, *message(BACK, reply, f"{kind}_RSP")])
    assert told(reported) == [(kind.replace("_", "-"), "forth", sop_class, 0x0110, 0)]


def test_a_report_of_storage_commitment_comes_back_and_its_answer_goes_forth() -> None:
    asked = primitive(
        "N_EVENT_REPORT",
        MessageID=1,
        AffectedSOPClassUID=COMMITMENT,
        AffectedSOPInstanceUID="1.2.3",
        EventTypeID=1,
        EventInformation=ct(),
    )
    reply = primitive("N_EVENT_REPORT", MessageIDBeingRespondedTo=1, Status=0)
    conversation = [*message(BACK, asked, "N_EVENT_REPORT_RQ"), *message(FORTH, reply, "N_EVENT_REPORT_RSP")]
    assert told(inspect(conversation)) == [("N-EVENT-REPORT", "back", COMMITMENT, 0, 0)]


def test_a_report_for_a_transaction_that_nobody_asked_for_is_reported_each_time_it_comes() -> None:
    """The receiver judges the transaction; the gateway shows each report with the answer that it got."""
    conversation = []
    for message_id, status in ((1, 0), (2, 0x0110)):
        asked = primitive(
            "N_EVENT_REPORT",
            MessageID=message_id,
            AffectedSOPClassUID=COMMITMENT,
            AffectedSOPInstanceUID="1.2.3",
            EventTypeID=2,
            EventInformation=ct(),
        )
        reply = primitive("N_EVENT_REPORT", MessageIDBeingRespondedTo=message_id, Status=status)
        conversation += message(BACK, asked, "N_EVENT_REPORT_RQ") + message(FORTH, reply, "N_EVENT_REPORT_RSP")
    assert told(inspect(conversation)) == [
        ("N-EVENT-REPORT", "back", COMMITMENT, 0, 0),
        ("N-EVENT-REPORT", "back", COMMITMENT, 0x0110, 0),
    ]


# -- several at once ------------------------------------------------------------------------------------------


@settings(max_examples=40 * RUNS)
@given(order=st.lists(st.integers(0, 5), max_size=60), answers=st.permutations(range(6)))
def test_property_messages_interleaved_by_context_are_reported_as_if_they_came_one_by_one(
    order: list[int], answers: list[int]
) -> None:
    contexts = {2 * place + 1: AcceptedContext(CT, EXPLICIT) for place in range(6)}
    waiting = [
        store_request(
            SIX[place],
            place,
            f"1.2.6.{place}",
            (FORTH, BACK)[place % 2],
            context_id=2 * place + 1,
            maximum=200,
        )
        for place in range(6)
    ]
    conversation = [waiting[place].pop(0) for place in order if waiting[place]]
    conversation += [value for values in waiting for value in values]
    for place in answers:
        direction = (BACK, FORTH)[place % 2]
        conversation += store_response(place, instance=f"1.2.6.{place}", direction=direction, context_id=2 * place + 1)
    reported = inspect(conversation, contexts=contexts)
    assert [(one.sop_instance_uid, one.study_instance_uid, one.size) for one in reported.instances] == [
        (f"1.2.6.{place}", f"1.2.3.{place}", len(SIX[place])) for place in answers
    ]
    assert reported.counts == {"stored": 6}


def test_requests_of_both_directions_may_have_the_same_message_id() -> None:
    content = encoded(ct())
    reported = inspect(
        [
            *store_request(content, 5, "1.2.1"),
            *store_request(content, 5, "1.2.2", BACK),
            *store_response(5, 0xA700, "1.2.2", FORTH),
            *store_response(5, 0x0000, "1.2.1", BACK),
        ]
    )
    assert [(one.direction, one.sop_instance_uid, one.status) for one in reported.instances] == [
        ("back", "1.2.2", 0xA700),
        ("forth", "1.2.1", 0x0000),
    ]


# -- what fits nothing ----------------------------------------------------------------------------------------


def test_a_response_without_a_request_is_counted() -> None:
    reported = inspect([*store_response(), *store(encoded(ct()), 2)])
    assert len(reported.instances) == 1
    assert reported.counts == {"not-followed": 1, "stored": 1}


def test_a_second_response_is_counted() -> None:
    reported = inspect([*store(encoded(ct())), *store_response(status=0xA700)])
    assert [one.status for one in reported.instances] == [0x0000]
    assert reported.counts == {"not-followed": 1, "stored": 1}
    first, *rest = store_request(encoded(ct()), maximum=200)
    early = inspect([first, *store_response(), *store_response(status=0xA700), *rest])
    assert [one.status for one in early.instances] == [0x0000]
    assert early.counts == {"not-followed": 1, "stored": 1}


@pytest.mark.parametrize(
    "response",
    [
        store_response(instance="1.2.3.6.2"),
        store_response(message_id=2),
        store_response(direction=FORTH),
        answer("C_FIND", FIND, 0),
    ],
)
def test_a_response_that_does_not_fit_is_no_answer(response: list[Value]) -> None:
    reported = inspect([*store_request(encoded(ct())), *response])
    assert reported.events == []
    assert reported.counts == {"not-followed": 1, "unanswered": 1}
    answered = inspect([*store_request(encoded(ct())), *response, *store_response()])
    assert answered.counts == {"not-followed": 1, "stored": 1}


def test_a_response_that_names_no_instance_is_an_answer() -> None:
    reported = inspect([*store_request(encoded(ct())), *store_response(instance=None)])
    assert [one.sop_instance_uid for one in reported.instances] == ["1.2.3.6.1"]


def test_two_requests_with_one_message_id_are_not_followed_and_later_ones_are() -> None:
    content = encoded(ct())
    conversation = [
        *store_request(content, instance="1.2.1"),
        *store_request(content, instance="1.2.2"),
        *store_response(status=0xA700, instance=None),
        *store_response(instance=None),
    ]
    reported = inspect(conversation)
    assert reported.events == []
    assert reported.counts == {"not-followed": 3}
    assert inspect([*conversation, *store(content)]).counts == {"not-followed": 3, "stored": 1}


def test_a_sender_that_always_uses_one_message_id_is_followed() -> None:
    assert inspect(store(encoded(ct())) * 20).counts == {"stored": 20}


def test_of_10000_requests_without_an_answer_a_bounded_number_is_remembered() -> None:
    conversation = [value for count in range(10_000) for value in (command(store_rq(message_id=count)), data(b""))]
    reported = inspect(conversation)
    assert reported.events == []
    assert reported.counts == {"unanswered": MOST_OUTSTANDING, "not-followed": 10_000 - MOST_OUTSTANDING}
    answered = [*conversation, *(command(store_rsp(message_id=count), BACK) for count in range(10_000))]
    again = inspect([*answered, command(store_rq()), data(b""), command(store_rsp(), BACK)])
    assert again.counts["stored"] == MOST_OUTSTANDING + 1


def test_a_response_without_a_status_is_not_followed() -> None:
    cut = number(0x0100, 0x8001) + number(0x0120, 1) + number(0x0800, 0x0101)
    reported = inspect([*store_request(encoded(ct())), command(cut, BACK)])
    assert reported.counts == {"not-followed": 1, "unanswered": 1}


def test_the_comment_of_an_error_is_not_reported() -> None:
    reply = store_rsp(status=0xC000) + text(0x0902, PATIENT.encode())
    reported = inspect([command(store_rq()), data(b""), command(reply, BACK)])
    assert reported.counts == {"failed": 1}
    assert PATIENT not in repr(reported)
