"""The PDU reader and the checks of association PDUs: pure functions of bytes and a clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.upper_layer.negotiation import AssociateRequest, Proposal, read_answer, read_request
from hsm_dicom.network.upper_layer.pdu import PDU, PDUReader, abort, rejection
from tests.hsm_dicom.network.pdus import (
    APPLICATION_CONTEXT,
    CT,
    EXPLICIT,
    IMPLICIT,
    USER_INFORMATION,
    VERIFICATION,
    associate_rq,
    context,
    echo_rq,
    item,
    p_data,
    pdu,
)

PROPOSED = {1: Proposal(VERIFICATION, (IMPLICIT, EXPLICIT))}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def reader(**changes: object) -> PDUReader:
    return PDUReader(**{"maximum_data": 16384, "seconds": 5.0, **changes})  # type: ignore[arg-type]


def pdus_in(data: bytes, step: int, taken: PDUReader) -> list[PDU]:
    found, at = [], 0
    while at < len(data):
        size = min(step, taken.wanted)
        whole = taken.feed(data[at : at + size])
        at += size
        found += [whole] if whole else []
    return found


def request(data: bytes) -> AssociateRequest:
    return read_request(PDU(1, data))


@given(step=st.integers(1, 300))
def test_a_stream_is_the_same_pdus_however_it_is_cut(step: int) -> None:
    sent = [associate_rq(), p_data(1, echo_rq(), is_command=True), pdu(5, bytes(4)), abort()]
    assert [one.data for one in pdus_in(b"".join(sent), step, reader())] == sent


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"\x01\0\xff\xff\xff\xff", "4294967295 bytes"),
        (b"\x02\0\x00\x02\x00\x01", "131073 bytes"),
        (b"\x04\0\x00\x00\x40\x01", "16385 bytes"),
        (b"\x04\0\0\0\0\0", "0 bytes"),
        (b"\x03\0\0\0\0\5", "5 bytes"),
        (b"\x07\0\0\0\0\3", "3 bytes"),
        (b"GET / ", "unknown type 47H"),
        (b"\x00\0\0\0\0\4", "unknown type 00H"),
        (b"\x16\3\1\0\2\0", "unknown type 16H"),
    ],
)
def test_a_wrong_header_is_refused_before_anything_behind_it_is_read(header: bytes, why: str) -> None:
    taken = reader()
    assert taken.wanted == 6
    with pytest.raises(PDUError, match=why):
        taken.feed(header)


def test_only_what_is_expected_is_read() -> None:
    with pytest.raises(PDUError, match="P-DATA-TF"):
        reader(expected=(1, 7)).feed(b"\x04\0\0\0\x10\0")


def test_the_deadline_counts_from_the_first_byte_and_ends_with_the_pdu() -> None:
    clock = Clock()
    taken = reader(clock=clock)
    clock.now += 1000
    taken.check_deadline()
    taken.feed(b"\x05")
    for byte in b"\0\0\0\0\4\0\0":
        clock.now += 0.6
        taken.check_deadline()
        taken.feed(bytes([byte]))
    assert taken.deadline == 1105.0
    clock.now = 1105.0
    with pytest.raises(PDUError, match="within 5 seconds of its first byte"):
        taken.check_deadline()
    assert taken.feed(b"\0\0") is not None
    assert taken.deadline is None


@pytest.mark.parametrize(
    "body",
    [b"\0\0\0\0", b"\0\0\0\1\1", b"\0\0\0\5\1\3ab", b"\xff\xff\xff\xff\1\3", b"\0\0\0\2\1\3\0\0"],
    ids=["no context", "one byte", "too long", "much too long", "half a header behind it"],
)
def test_a_presentation_data_value_that_does_not_fit_is_refused(body: bytes) -> None:
    with pytest.raises(PDUError):
        pdus_in(pdu(4, body), 1000, reader())


def test_a_sound_request_is_read() -> None:
    read = request(associate_rq(context(3, CT, [EXPLICIT, IMPLICIT]), context(255), calling=b"CT1\0\0"))
    assert (read.calling_ae_title, read.called_ae_title, read.speaks_version_1) == ("CT1", "NODE", True)
    assert read.contexts == {3: Proposal(CT, (EXPLICIT, IMPLICIT)), 255: Proposal(VERIFICATION, (IMPLICIT,))}


@pytest.mark.parametrize("title", [b"", b"\0\0", b"C\x1bT", b"C\xc4T", b"C\\T", b"\xff" * 16])
def test_what_is_no_ae_title_is_left_to_the_authorisation(title: bytes) -> None:
    assert request(associate_rq(calling=title)).calling_ae_title == title.rstrip(b"\0").decode("latin-1")


def test_items_of_unknown_types_are_left_out() -> None:
    with_more = associate_rq(more=item(0x77, b"new"), user_information=USER_INFORMATION + item(0x7F, b"newer"))
    assert request(with_more).data == associate_rq()


WRONG_REQUESTS = {
    "no Transfer Syntax": associate_rq(context(1, syntaxes=[])),
    "an empty Transfer Syntax": associate_rq(context(1, syntaxes=[""])),
    "an even ID": associate_rq(context(2)),
    "the ID 0": associate_rq(context(0)),
    "an ID twice": associate_rq(context(1), context(1)),
    "no abstract syntax": associate_rq(item(0x20, bytes([1, 0, 0, 0]) + item(0x40, IMPLICIT.encode()))),
    "two abstract syntaxes": associate_rq(
        item(0x20, bytes([1, 0, 0, 0]) + item(0x30, b"1.2") * 2 + item(0x40, IMPLICIT.encode()))
    ),
    "an abstract syntax that is no UID": associate_rq(context(1, "Verification")),
    "a UID of 65 characters": associate_rq(context(1, "1." + "2" * 63)),
    "a context without an ID": associate_rq(item(0x20, b"")),
    "no context": associate_rq(item(0x77, b"")),
    "no user information": pdu(1, associate_rq()[6 : -len(USER_INFORMATION) - 4]),
    "a maximum length of 3 bytes": associate_rq(user_information=item(0x51, bytes(3)) + item(0x52, b"1.2")),
    "no maximum length": associate_rq(user_information=item(0x52, b"1.2")),
    "no implementation": associate_rq(user_information=item(0x51, bytes(4))),
    "a role that is cut off": associate_rq(user_information=USER_INFORMATION + item(0x54, b"\0\x40ab")),
    "an item that is too long": associate_rq()[:-3] + b"\xff\xff\xff",
    "68 bytes": pdu(1, bytes(67)),
    "two application contexts": associate_rq(more=item(0x10, APPLICATION_CONTEXT)),
}


@pytest.mark.parametrize("data", WRONG_REQUESTS.values(), ids=WRONG_REQUESTS)
def test_a_wrong_request_is_refused(data: bytes) -> None:
    with pytest.raises(PDUError):
        bytes(request(data).data)


@given(st.data())
def test_any_request_is_read_or_refused(data: st.DataObject) -> None:
    sent = bytearray(associate_rq(context(1), context(3, CT, [EXPLICIT, IMPLICIT])))
    for _ in range(data.draw(st.integers(1, 4))):
        sent[data.draw(st.integers(6, len(sent) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = request(bytes(sent))
        assert read.data
    except PDUError:
        return
    assert all(number % 2 == 1 and one.transfer_syntaxes for number, one in read.contexts.items())


def accepted(*answers: tuple[int, int, bytes]) -> bytes:
    body = b"\0\1\0\0" + b"\xff" * 64 + item(0x10, APPLICATION_CONTEXT)
    body += b"".join(
        item(0x21, bytes([number, 0, result, 0]) + item(0x40, syntax)) for number, result, syntax in answers
    )
    return pdu(2, body + item(0x50, USER_INFORMATION))


@pytest.mark.parametrize("answer", [(1, 0, IMPLICIT.encode()), (1, 3, b""), (1, 4, b"1.2.3")])
def test_an_answer_to_what_was_proposed_is_read(answer: tuple[int, int, bytes]) -> None:
    assert read_answer(PDU(2, accepted(answer)), PROPOSED)


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([(3, 0, IMPLICIT.encode())], "which was not proposed"),
        ([(2, 0, IMPLICIT.encode())], "which is not odd"),
        ([(1, 0, b"1.2.840.10008.1.2.4.50")], "Transfer Syntax .*50.* that was not proposed"),
        ([(1, 0, b"")], "that is no UID"),
        ([(1, 9, IMPLICIT.encode())], "unknown result 9"),
        ([(1, 0, IMPLICIT.encode())] * 2, "two answers"),
    ],
)
def test_an_answer_to_what_was_not_proposed_is_refused(answers: list[tuple[int, int, bytes]], why: str) -> None:
    with pytest.raises(PDUError, match=why):
        read_answer(PDU(2, accepted(*answers)), PROPOSED)


def test_unknown_codes_of_a_rejection_are_refused_and_known_ones_are_not() -> None:
    assert read_answer(PDU(3, rejection(1, 1, 7)), PROPOSED) == rejection(1, 1, 7)
    for codes in ((99, 99, 99), (1, 2, 3), (0, 1, 1)):
        with pytest.raises(PDUError, match="unknown codes"):
            read_answer(PDU(3, rejection(*codes)), PROPOSED)


def test_an_abort_with_an_unknown_reason_is_one_without_a_reason() -> None:
    assert read_answer(PDU(7, pdu(7, b"\0\0\2\x63")), PROPOSED) == pdu(7, b"\0\0\2\0")
    assert read_answer(PDU(7, pdu(7, b"\0\0\x63\x63")), PROPOSED) == pdu(7, bytes(4))
