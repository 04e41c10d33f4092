"""PDUs and messages that are not as the standard has them, from either side: an A-ABORT, an event, and no traceback."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsm_dicom.network.echo import echo
from hsm_dicom.network.errors import AssociationLostError
from hsm_dicom.network.requestor import Timeouts
from hsm_dicom.network.settings import Peer
from hsm_dicom.tls import server_context
from hsm_dicom.transport.events import AssociationAborted, AssociationRejected, ConnectionRejected
from tests.hsm_dicom.network.nodes import QUICK, Node, eventually, node, transport_to
from tests.hsm_dicom.network.pdus import (
    APPLICATION_CONTEXT,
    C_ECHO_RQ,
    CT,
    IMPLICIT,
    USER_INFORMATION,
    VERIFICATION,
    associate_rq,
    command,
    context,
    echo_rq,
    element,
    item,
    p_data,
    pdu,
    read_pdu,
    status_of,
    store_rq,
    types_until_the_end,
    value,
)
from tests.hsm_dicom.network.test_pdu import WRONG_REQUESTS, accepted
from tests.hsm_dicom.network.test_places import seconds_of_an_echo, secured
from tests.hsm_dicom.tls.fixtures import Hospital


@pytest.fixture(autouse=True)
def no_tracebacks(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing is left behind by any test: no traceback on the screen, no descriptor, no thread."""
    before = descriptors()
    yield
    assert "Traceback" not in capfd.readouterr().err
    assert eventually(lambda: descriptors() <= before)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(scope="module")
def running(hospital: Hospital) -> Iterator[Node]:
    with node(hospital, limits=replace(QUICK, read_seconds=0.5)) as running:
        yield running


@pytest.mark.parametrize("data", WRONG_REQUESTS.values(), ids=WRONG_REQUESTS)
def test_a_wrong_request_is_aborted_and_counted(running: Node, hospital: Hospital, data: bytes) -> None:
    refused, told = running.listener.counts.refused, len(running.of(ConnectionRejected))
    with secured(running, hospital) as peer:
        peer.socket.sendall(data)
        assert types_until_the_end(peer.socket) == [7]
    assert eventually(lambda: running.listener.counts.refused == refused + 1)
    assert running.nth(ConnectionRejected, told).reason == "malformed-request"


@pytest.mark.parametrize("title", [b"", b"\0\0", b"C\x1bT", b"C\xc4T", b"\xff" * 16])
def test_what_is_no_ae_title_is_nobodys(running: Node, hospital: Hospital, title: bytes) -> None:
    told = len(running.of(AssociationRejected))
    with secured(running, hospital) as peer:
        peer.socket.sendall(associate_rq(calling=title))
        assert types_until_the_end(peer.socket) == [3]
    assert "may not use the AE title" in running.nth(AssociationRejected, told).text


def test_a_gigabyte_that_is_announced_is_not_read(running: Node, hospital: Hospital) -> None:
    told = len(running.of(ConnectionRejected))
    with secured(running, hospital) as peer:
        peer.socket.sendall(b"\x01\0\xff\xff\xff\xff")
        assert types_until_the_end(peer.socket) == [7]
    assert "4294967295 bytes" in running.nth(ConnectionRejected, told).text


def test_forty_wrong_requests_leave_nothing_behind(running: Node, hospital: Hospital) -> None:
    wrong = WRONG_REQUESTS["no Transfer Syntax"]
    with contextlib.ExitStack() as stack:
        for number in range(40):
            peer = stack.enter_context(secured(running, hospital, f"127.0.2.{1 + number // 4}"))
            peer.socket.sendall(wrong)
        assert seconds_of_an_echo(running, hospital) < 3
    assert eventually(lambda: not list(running.listener._places.inside))


def unknown_command() -> bytes:
    return command(element(0x00000100, 0x9999), element(0x00000110, 1), element(0x00000800, 0x0101))


IN_AN_ASSOCIATION = {
    "a second request": associate_rq(),
    "an A-ASSOCIATE-AC": accepted((1, 0, IMPLICIT.encode())),
    "an A-ASSOCIATE-RJ": pdu(3, bytes(4)),
    "a PDU of an unknown type": pdu(0x55, bytes(4)),
    "a P-DATA-TF of 4 GiB": b"\x04\0\xff\xff\xff\xff",
    "half a PDU": p_data(1, echo_rq(), is_command=True)[:20],
    "a value of 1 byte": pdu(4, b"\0\0\0\1\1"),
    "a value that is too long": pdu(4, b"\0\0\1\0\1\3"),
    "a context that was not accepted": p_data(5, echo_rq(), is_command=True),
    "the context 0": p_data(0, echo_rq(), is_command=True),
    "an unknown command": p_data(1, unknown_command(), is_command=True),
    "a command that is no Data Set": p_data(1, b"\xff" * 40, is_command=True),
    "an empty command": p_data(1, b"", is_command=True),
    "a command without Message ID": p_data(
        1, command(element(0x00000100, C_ECHO_RQ), element(0x00000800, 0x0101)), is_command=True
    ),
    "a Data Set without its command": p_data(1, b"abc"),
    "a command in the middle of a Data Set": p_data(
        1,
        command(
            element(0x00000002, VERIFICATION),
            element(0x00000100, C_ECHO_RQ),
            element(0x00000110, 1),
            element(0x00000800, 1),
        ),
        is_command=True,
    )
    + p_data(1, echo_rq(), is_command=True),
    "more requests than are served": pdu(4, value(1, echo_rq(), is_command=True) * 200),
    "a response that nobody asked for": p_data(
        1, command(element(0x00000100, 0x8030), element(0x00000120, 1), element(0x00000800, 0x0101)), is_command=True
    )
    + pdu(0x55, bytes(4)),
}


@pytest.mark.parametrize("data", IN_AN_ASSOCIATION.values(), ids=IN_AN_ASSOCIATION)
def test_what_is_wrong_in_an_association_ends_it(running: Node, hospital: Hospital, data: bytes) -> None:
    aborted = len(running.of(AssociationAborted))
    with secured(running, hospital) as peer:
        peer.socket.sendall(associate_rq())
        assert read_pdu(peer.socket)[0] == 2
        peer.socket.sendall(data)
        started = time.monotonic()
        assert types_until_the_end(peer.socket)[-1] == 7
        assert time.monotonic() - started < 4
    assert eventually(lambda: len(running.of(AssociationAborted)) == aborted + 1)
    assert "the peer sent" in running.of(AssociationAborted)[-1].text
    assert eventually(lambda: not running.acceptor.associations)


def test_an_abort_with_an_unknown_reason_is_an_abort(running: Node, hospital: Hospital) -> None:
    with secured(running, hospital) as peer:
        peer.socket.sendall(associate_rq())
        assert read_pdu(peer.socket)[0] == 2
        peer.socket.sendall(p_data(1, echo_rq(), is_command=True))
        kind, body = read_pdu(peer.socket)
        assert (kind, status_of(body)) == (4, 0)
        peer.socket.sendall(pdu(7, b"\0\0\x63\x63"))
        assert types_until_the_end(peer.socket) == []
    assert eventually(lambda: not running.acceptor.associations)


# -- the other side: acceptors that are wrong -------------------------------------------------------------------


@contextlib.contextmanager
def acceptor(hospital: Hospital, answer: Callable[[socket.socket], object]) -> Iterator[Peer]:
    """A TLS server that reads an A-ASSOCIATE-RQ and then does what `answer` does."""
    context = server_context([hospital.ec], hospital.validator())
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with contextlib.suppress(OSError, EOFError), context.wrap_socket(connection, server_side=True) as opened:
            opened.settimeout(10)
            read_pdu(opened)
            answer(opened)
            types_until_the_end(opened)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Peer(name="node", ae_titles=("NODE",), host="127.0.0.1", port=listening.getsockname()[1])
    finally:
        listening.close()
        thread.join(15)


def sends(data: bytes) -> Callable[[socket.socket], object]:
    return lambda connection: connection.sendall(data)


def drips(connection: socket.socket) -> None:
    for byte in accepted((1, 0, IMPLICIT.encode())):
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


ACCEPTED = accepted((1, 0, IMPLICIT.encode()))


def answers_by_drips(connection: socket.socket) -> None:
    connection.sendall(ACCEPTED)
    read_pdu(connection)
    for byte in p_data(1, echo_rq(), is_command=True):
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


ANSWERS = {
    "rubbish": (sends(pdu(2, b"\xff" * 80)), "sent"),
    "4 GiB that are announced": (sends(b"\x02\0\xff\xff\xff\xff"), "4294967295 bytes"),
    "HTTP": (sends(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "unknown type 48H"),
    "unknown codes": (sends(pdu(3, b"\0\x63\x63\x63")), "unknown codes"),
    "another Transfer Syntax": (sends(accepted((1, 0, b"1.2.840.10008.1.2.4.50"))), "not proposed"),
    "an empty Transfer Syntax": (sends(accepted((1, 0, b""))), "no UID"),
    "another context": (sends(accepted((3, 0, IMPLICIT.encode()))), "not proposed"),
    "an even context": (sends(accepted((2, 0, IMPLICIT.encode()))), "not odd"),
    "no context at all": (
        sends(pdu(2, b"\0\1" + bytes(66) + item(0x10, APPLICATION_CONTEXT) + item(0x50, USER_INFORMATION))),
        "accepted none",
    ),
    "an answer in drips": (drips, "did not answer|not the rest within 1 second"),  # whichever timer ends first
    "a response in drips": (answers_by_drips, "was lost"),
    "an abort with an unknown reason": (sends(pdu(7, b"\0\0\x63\x63")), "."),
}


@pytest.mark.parametrize(("answer", "why"), ANSWERS.values(), ids=ANSWERS)
def test_a_wrong_answer_is_one_sentence_in_bounded_time(
    hospital: Hospital, answer: Callable[[socket.socket], object], why: str
) -> None:
    started = time.monotonic()
    with acceptor(hospital, answer) as peer:
        with pytest.raises(AssociationLostError, match=why):
            echo(peer, transport_to(peer, hospital), "CT1", Timeouts(connect=5, handshake=5, answer=1, idle=5))
        assert time.monotonic() - started < 5


def test_the_time_for_an_answer_is_the_peers(hospital: Hospital) -> None:
    with acceptor(hospital, lambda connection: None) as peer:
        hasty = replace(peer, answer_seconds=0.3)
        with pytest.raises(AssociationLostError, match="within 0.3 seconds"):
            echo(hasty, transport_to(hasty, hospital), "CT1")


CONVERSATION = (
    associate_rq(context(1), context(3, CT, [IMPLICIT]))
    + p_data(1, echo_rq(), is_command=True)
    + p_data(3, store_rq("1.2.3"), is_command=True)
    + p_data(3, element(0x00080016, CT) + element(0x00080018, "1.2.3"))
    + pdu(5, bytes(4))
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, len(CONVERSATION) - 1), st.integers(0, 255)), max_size=3),
    cut=st.integers(0, len(CONVERSATION)),
)
def test_fuzzed_conversations_end_and_leave_nothing_behind(
    running: Node, hospital: Hospital, edits: list[tuple[int, int]], cut: int
) -> None:
    sent = bytearray(CONVERSATION)
    for place, byte in edits:
        sent[place] = byte
    size = len(associate_rq(context(1), context(3, CT, [IMPLICIT])))
    with secured(running, hospital) as peer:
        with contextlib.suppress(EOFError, OSError):
            peer.socket.sendall(sent[: min(cut, size)])
            if cut >= size and read_pdu(peer.socket)[0] == 2:
                peer.socket.sendall(sent[size:cut])
        with contextlib.suppress(OSError):
            peer.socket.shutdown(socket.SHUT_WR)
            while peer.socket.recv(4096):
                pass
    assert eventually(lambda: not running.acceptor.associations)


def test_the_listener_serves_after_the_fuzzing(running: Node, hospital: Hospital) -> None:
    assert seconds_of_an_echo(running, hospital) < 3
    counts = running.listener.counts
    ends = counts.identified + counts.rejected + counts.left + counts.refused + counts.without_place
    assert eventually(lambda: not list(running.listener._places.inside))
    assert counts.accepted == ends
