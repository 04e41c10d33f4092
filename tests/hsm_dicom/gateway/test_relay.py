"""What the relay does with the octets of both sides, on plain connections whose every octet the test decides."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from dataclasses import replace
from io import BytesIO
from struct import pack

import pytest
from pynetdicom.dsutils import decode
from pynetdicom.sop_class import CTImageStorage, PatientRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from hsm_dicom.gateway.events import RelayEnded, RelayOpened, RelayRefused, RouteChanged
from hsm_dicom.gateway.services import Service
from hsm_dicom.gateway.settings import PlainDevice
from hsm_dicom.gateway.status import RouteState
from hsm_dicom.transport.events import ConnectionRejected, HandshakeFailed
from tests.hsm_dicom.gateway.routes import (
    CT1,
    LOOPBACK,
    Gateway,
    abort_pdu,
    answered,
    associate_ac,
    established,
    gateway,
    plain_target,
    release_rp,
    release_rq,
    scripted_target,
)
from tests.hsm_dicom.network.nodes import eventually
from tests.hsm_dicom.network.pdus import (
    associate_rq,
    command,
    context,
    echo_rq,
    element,
    p_data,
    pdu,
    read_exactly,
    read_pdu,
    store_rq,
    types_until_the_end,
    value,
)
from tests.ports import free_port

CT, FIND = str(CTImageStorage), str(PatientRootQueryRetrieveInformationModelFind)
REQUEST = associate_rq(called=b"PACS")
ECHO = p_data(1, echo_rq(), is_command=True)


def read_to_the_end(connection: socket.socket) -> bytes:
    """Everything until the other end closes."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while more := connection.recv(65536):
            data += more
    return data


def rejection_of(running: Gateway, request: bytes, origin: str = LOOPBACK) -> tuple[int, int, int]:
    """Result, source and reason of the A-ASSOCIATE-RJ that answers a request."""
    with running.call(origin) as caller:
        caller.sendall(request)
        kind, body = read_pdu(caller)
        assert kind == 3
        assert types_until_the_end(caller) == []
        return body[1], body[2], body[3]


# -- octets ---------------------------------------------------------------------------------------------------


def test_a_conversation_passes_octet_for_octet_in_both_directions() -> None:
    with scripted_target() as target, gateway(target.device) as running:
        with established(running, target, REQUEST, associate_ac()) as (caller, far):
            caller.sendall(ECHO + release_rq())
            assert read_exactly(far, len(ECHO) + 10) == ECHO + release_rq()
            far.sendall(ECHO + release_rp())
            assert read_exactly(caller, len(ECHO) + 10) == ECHO + release_rp()
            caller.close()
            assert read_to_the_end(far) == b""
        ended = running.only(RelayEnded)
        assert (ended.outcome, ended.octets_forth, ended.octets_back) == ("released", len(ECHO) + 10, len(ECHO) + 10)
        status = running.route.status()
        assert (status.accepted, status.aborted, status.octets_forth) == (1, 0, len(ECHO) + 10)


def test_the_request_and_the_answer_pass_untouched() -> None:
    with scripted_target() as target, gateway(target.device) as running, running.call() as caller:
        request = associate_rq(context(1), context(3, CT), called=b"PACS\0\0")
        for octet in request:  # in single octets
            caller.sendall(bytes([octet]))
        with target.accept() as far:
            assert read_exactly(far, len(request)) == request
            answer = associate_ac(answered(1), answered(3))
            for octet in answer:
                far.sendall(bytes([octet]))
            assert read_exactly(caller, len(answer)) == answer
            opened = running.only(RelayOpened)
            assert (opened.source, opened.target, opened.reason) == ("ct1", "pacs", "cannot be changed")


def test_ae_titles_are_replaced_in_place_and_the_caller_gets_its_own_back() -> None:
    wishes = {"called": ("PACS",), "called_ae_title": "ARCHIVE", "calling_ae_title": "GATEWAY"}
    with (
        scripted_target() as target,
        gateway(replace(target.device, ae_titles=("ARCHIVE",)), **wishes) as running,
        running.call() as caller,
    ):
        caller.sendall(REQUEST)
        with target.accept() as far:
            expected = associate_rq(calling=b"GATEWAY", called=b"ARCHIVE")
            assert read_exactly(far, len(expected)) == expected
            far.sendall(associate_ac(calling=b"GATEWAY", called=b"ARCHIVE"))
            answer = associate_ac(calling=b"CT1", called=b"PACS")
            assert read_exactly(caller, len(answer)) == answer


@pytest.mark.parametrize("seed", range(4))
def test_any_fragmentation_of_a_conversation_arrives_octet_for_octet(seed: int) -> None:
    """Property: values of all lengths, several in one PDU, cut anywhere, in both directions at once."""
    chance = random.Random(seed)
    with (
        scripted_target() as target,
        gateway(target.device) as running,
        established(running, target, REQUEST, associate_ac()) as (caller, far),
    ):
        streams = [_make_stream(chance), _make_stream(chance)]
        got: list[bytes] = [b"", b""]
        threads = [
            threading.Thread(target=_send_in_pieces, args=(caller, streams[0], random.Random(seed))),
            threading.Thread(target=_send_in_pieces, args=(far, streams[1], random.Random(seed + 99))),
        ]
        for thread in threads:
            thread.start()
        reader = threading.Thread(target=lambda: got.__setitem__(1, read_exactly(caller, len(streams[1]))))
        reader.start()
        got[0] = read_exactly(far, len(streams[0]))
        for thread in [*threads, reader]:
            thread.join(20)
        assert got == streams


def _make_stream(chance: random.Random) -> bytes:
    stream = b""
    while len(stream) < 300_000:
        values = b"".join(
            value(1, chance.randbytes(chance.choice((0, 1, 7, 100, 16_000, 70_000))), last=chance.random() < 0.5)
            for _ in range(chance.choice((1, 1, 2, 5)))
        )
        stream += pdu(4, values)
    return stream


def _send_in_pieces(connection: socket.socket, data: bytes, chance: random.Random) -> None:
    while data:
        size = chance.choice((1, 2, 5, 6, 11, 12, 13, 1000, 65_535, 65_536, 100_000))
        connection.sendall(data[:size])
        data = data[size:]


# -- who may call ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calling", [b"", b" ", b"\0" * 16, b"ct1", b"CT2", b"C T1", b"CT1\\CT2", b"\xff" * 16])
def test_an_unknown_calling_ae_title_is_rejected(calling: bytes) -> None:
    with gateway(plain_target(free_port())) as running:
        assert rejection_of(running, associate_rq(calling=calling, called=b"PACS")) == (1, 1, 3)
        assert running.only(RelayRefused).kind == "calling"
        assert running.route.status().refused == {"calling": 1}


@pytest.mark.parametrize("padded", [b"CT1", b" CT1", b"CT1\0\0", b"  CT1 "])
def test_padding_of_an_ae_title_is_not_significant(padded: bytes) -> None:
    with scripted_target() as target, gateway(target.device) as running:
        request = associate_rq(calling=padded, called=b"PACS")
        with established(running, target, request, associate_ac()):
            assert running.only(RelayOpened).calling_ae_title == "CT1"


def test_the_right_ae_title_from_a_wrong_address_is_rejected() -> None:
    with gateway(plain_target(free_port())) as running:
        assert rejection_of(running, REQUEST, "127.0.0.7") == (1, 1, 3)
        refused = running.only(RelayRefused)
        assert (refused.kind, refused.result, refused.source, refused.reason) == ("address", 1, 1, 3)
        assert "'ct1', which may call from 127.0.0.1 and not from 127.0.0.7" in refused.text


def test_a_network_of_addresses_may_call() -> None:
    source = PlainDevice(name="ct1", ae_titles=("CT1",), addresses=("127.0.8.0/24",), reason="a test")
    with scripted_target() as target, gateway(target.device, sources=(source,)) as running:
        with running.call("127.0.8.200") as caller:
            caller.sendall(REQUEST)
            with target.accept() as far:
                assert read_exactly(far, len(REQUEST)) == REQUEST
        assert rejection_of(running, REQUEST, "127.0.9.1") == (1, 1, 3)


def test_a_called_ae_title_of_no_route_is_rejected() -> None:
    with gateway(plain_target(free_port())) as running:
        assert rejection_of(running, associate_rq(called=b"NOBODY")) == (1, 1, 7)
        assert running.only(RelayRefused).kind == "called"


def test_a_version_other_than_1_is_rejected() -> None:
    with gateway(plain_target(free_port())) as running:
        assert rejection_of(running, associate_rq(called=b"PACS", version=2)) == (1, 2, 2)


# -- hostile callers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"\x01\x00\x40\x00\x00\x00",  # an A-ASSOCIATE-RQ of 1 GiB
        b"\x08\x00\x00\x00\x00\x04" + bytes(4),
        ECHO,
    ],
    ids=["http", "tls", "1-gib", "unknown-type", "data-first"],
)
def test_what_is_no_request_is_aborted_and_reaches_no_target(octets: bytes) -> None:
    with scripted_target() as target, gateway(target.device) as running, running.call() as caller:
        caller.sendall(octets)
        assert types_until_the_end(caller) == [7]
        assert running.only(ConnectionRejected).reason == "malformed-request"
        target.server.settimeout(0)
        with pytest.raises(BlockingIOError):
            target.server.accept()


def test_a_caller_that_sends_nothing_is_closed_after_its_time() -> None:
    with gateway(plain_target(free_port())) as running, running.call() as caller:
        assert read_to_the_end(caller) == b""
        assert running.only(HandshakeFailed).reason == "timed-out"


@pytest.mark.parametrize(
    "octets",
    [
        b"\x09\x00\x00\x00\x00\x04" + bytes(4),
        REQUEST,
        associate_ac(),
        pdu(5, bytes(5)),
        release_rp(),
        pdu(4, b""),
        pdu(4, b"\0\0\0\1\1"),
        pdu(4, b"\0\0\0\1\1\3"),
        pdu(4, value(1, b"abc") + b"\0\0"),
        pdu(4, (100).to_bytes(4, "big") + b"\1\3abc"),
        p_data(3, b"abc"),
        p_data(2, b"abc"),
    ],
)
def test_what_may_not_be_sent_is_aborted_on_both_sides(octets: bytes) -> None:
    with scripted_target() as target, gateway(target.device) as running:
        with established(running, target, REQUEST, associate_ac()) as (caller, far):
            caller.sendall(ECHO + octets)
            assert read_exactly(far, len(ECHO)) == ECHO
            assert types_until_the_end(far) == [7]
            assert types_until_the_end(caller) == [7]
        assert running.only(RelayEnded).outcome == "aborted"


# -- services -------------------------------------------------------------------------------------------------


def test_a_context_of_another_service_is_refused_in_the_answer() -> None:
    with scripted_target() as target, gateway(target.device) as running, running.call() as caller:
        request = associate_rq(context(1), context(3, FIND), called=b"PACS")
        caller.sendall(request)
        with target.accept() as far:
            assert read_exactly(far, len(request)) == request
            far.sendall(associate_ac(answered(1), answered(3)))
            expected = associate_ac(answered(1), answered(3, 2))
            assert read_exactly(caller, len(expected)) == expected
            assert running.only(RelayOpened).refused_contexts == (FIND,)


@pytest.mark.parametrize("is_first", [True, False])
def test_nothing_of_a_message_in_a_refused_context_passes_wherever_it_is_cut(is_first: bool) -> None:
    message = p_data(3, b"secret") if is_first else pdu(4, value(1, b"sound") + value(3, b"secret"))
    request = associate_rq(context(1), context(3, FIND), called=b"PACS")
    with scripted_target() as target, gateway(target.device) as running:
        for cut in range(len(message)):
            with established(running, target, request, associate_ac(answered(1), answered(3))) as (caller, far):
                caller.sendall(message[:cut])
                if cut:
                    time.sleep(0.005)
                caller.sendall(message[cut:])
                arrived = read_to_the_end(far)
                assert b"s" not in arrived.replace(b"sound", b"").replace(b"soun", b"")
                assert b"ecret" not in arrived
                assert not is_first or arrived == abort_pdu(2, 6)
                assert types_until_the_end(caller) == [7]


def test_a_route_that_names_the_service_admits_it() -> None:
    services = frozenset({Service.QUERY_RETRIEVE})
    request = associate_rq(context(1), context(3, FIND), called=b"PACS")
    with (
        scripted_target() as target,
        gateway(target.device, services=services) as running,
        established(running, target, request, associate_ac(answered(1), answered(3))) as (caller, far),
    ):
        caller.sendall(p_data(3, b"a query"))
        assert read_exactly(far, 19) == p_data(3, b"a query")


FIND_RQ = command(element(2, FIND), element(0x100, 0x0020), element(0x110, 1), element(0x800, 1))
WITHIN_ERROR_COMMENT = pack("<HHI", 0, 0x0902, len(store_rq(CT)))


def with_explicit_vr() -> bytes:
    """A C-STORE-RQ whose first element is long, and holds a C-FIND-RQ for a decoder that takes its length for a VR."""
    start = pack("<HH2sHI", 0, 0, b"UL", 4, 0)
    query = b"".join(
        pack("<HH2sH", 0, tag, vr, len(content)) + content
        for tag, vr, content in (
            (2, b"UI", FIND.encode() + b"\0" * (len(FIND) % 2)),
            (0x100, b"US", pack("<H", 0x0020)),
            (0x110, b"US", pack("<H", 1)),
            (0x800, b"US", pack("<H", 1)),
        )
    )
    rest = pack("<HI", 0, int.from_bytes(start[4:8], "little") + 8 - len(start + query) - 12 + len(store_rq(CT)))
    filler = pack("<HH2s", 0, 0x5000, b"OB") + rest
    end = int.from_bytes(start[4:8], "little") + 8
    return (start + query + filler).ljust(end, b"\0") + store_rq(CT)


@pytest.mark.parametrize(
    "octets",
    [
        p_data(3, FIND_RQ, is_command=True),
        p_data(3, command(element(2, CT), element(0x100, 0x0020), element(0x110, 1)), is_command=True),
        p_data(3, command(element(2, FIND), element(0x100, 1), element(0x110, 1)), is_command=True),
        p_data(3, command(element(3, FIND), element(0x100, 1), element(0x110, 1)), is_command=True),
        p_data(3, command(element(0x100, 1), element(0x100, 0x0020)), is_command=True),
        p_data(3, command(element(0x100, 1))[:-1], is_command=True),
        p_data(3, command(element(2, CT)), is_command=True),
        p_data(1, store_rq("1.2.3"), is_command=True),
        b"".join(p_data(3, bytes([octet]), is_command=True, last=False) for octet in FIND_RQ)
        + p_data(3, b"", is_command=True),
        p_data(3, FIND_RQ + WITHIN_ERROR_COMMENT, is_command=True, last=False)
        + p_data(5, store_rq(CT), is_command=True),
        p_data(3, with_explicit_vr(), is_command=True),
    ],
)
def test_a_query_does_not_reach_the_target_in_a_context_for_storage(octets: bytes) -> None:
    """Whoever takes a device's place must not get at patients' data by a command that its route does not admit."""
    request = associate_rq(context(1), context(3, CT), context(5, CT), called=b"PACS")
    with (
        scripted_target() as target,
        gateway(target.device) as running,
        established(running, target, request, associate_ac(answered(1), answered(3), answered(5))) as (caller, far),
    ):
        caller.sendall(octets)
        arrived = read_to_the_end(far)
        assert arrived.endswith(abort_pdu(2, 6))
        assert arrived[:-10] == octets[: len(arrived) - 10]
        assert octets not in arrived
        assert types_until_the_end(caller) == [7]
    assert running.only(RelayEnded).outcome == "aborted"


@pytest.mark.filterwarnings("ignore:Expected implicit VR")
def test_a_library_decodes_a_query_where_the_length_of_an_element_looks_like_a_vr() -> None:
    """Otherwise the relay need not refuse such a length."""
    assert decode(BytesIO(with_explicit_vr()), True, True).CommandField == 0x0020


def test_any_command_passes_a_route_that_admits_everything() -> None:
    services = frozenset({Service.ANY})
    octets = p_data(1, FIND_RQ, is_command=True)
    with (
        scripted_target() as target,
        gateway(target.device, services=services) as running,
        established(running, target, REQUEST, associate_ac()) as (caller, far),
    ):
        caller.sendall(octets)
        assert read_exactly(far, len(octets)) == octets


# -- targets --------------------------------------------------------------------------------------------------


def test_a_target_that_is_down_is_answered_by_a_transient_rejection_and_reported_once() -> None:
    port = free_port()
    with gateway(plain_target(port)) as running:
        assert rejection_of(running, REQUEST) == (2, 3, 1)
        assert rejection_of(running, REQUEST) == (2, 3, 1)
        assert running.only(RouteChanged).is_up is False
        assert [refused.kind for refused in running.of(RelayRefused)] == ["target-down"] * 2
        status = running.route.status()
        assert status.state is RouteState.DOWN
        assert "cannot be reached" in status.last_error
        with socket.create_server((LOOPBACK, port)) as server, running.call() as caller:
            caller.sendall(REQUEST)
            with server.accept()[0] as far:
                far.sendall(associate_ac())
                assert read_pdu(caller)[0] == 2
        assert [changed.is_up for changed in running.of(RouteChanged)] == [False, True]
        assert running.route.status().state is RouteState.OPEN


def test_a_target_that_closes_after_the_request_is_answered_by_a_transient_rejection() -> None:
    with scripted_target() as target, gateway(target.device) as running, running.call() as caller:
        caller.sendall(REQUEST)
        with target.accept() as far:
            read_exactly(far, len(REQUEST))
        assert read_pdu(caller) == (3, bytes([0, 2, 3, 1]))


def test_a_silent_target_is_aborted_and_the_caller_rejected() -> None:
    with scripted_target() as target, gateway(target.device, request_seconds=0.3) as running, running.call() as caller:
        caller.sendall(REQUEST)
        with target.accept() as far:
            assert read_pdu(caller) == (3, bytes([0, 2, 3, 1]))
            assert types_until_the_end(far) == [1, 7]
        assert running.only(RelayRefused).kind == "target-down"


@pytest.mark.parametrize("answer", [pdu(3, bytes([0, 1, 1, 2])), pdu(3, bytes([0, 2, 3, 2])), abort_pdu(2, 1)])
def test_a_refusal_of_the_target_passes_verbatim(answer: bytes) -> None:
    with scripted_target() as target, gateway(target.device) as running, running.call() as caller:
        caller.sendall(REQUEST)
        with target.accept() as far:
            read_exactly(far, len(REQUEST))
            far.sendall(answer)
            assert read_to_the_end(caller) == answer
        assert running.only(RelayRefused).kind == "target-refused"
        assert running.route.status().state is RouteState.OPEN


@pytest.mark.parametrize(
    "answer", [ECHO, REQUEST, associate_ac(answered(5)), b"HTTP/1.1 400 Bad Request\r\n", pdu(2, b"")]
)
def test_an_answer_that_is_none_is_aborted_on_both_sides(answer: bytes) -> None:
    with scripted_target() as target, gateway(target.device) as running, running.call() as caller:
        caller.sendall(REQUEST)
        with target.accept() as far:
            read_exactly(far, len(REQUEST))
            far.sendall(answer)
            assert types_until_the_end(caller) == [7]
            assert types_until_the_end(far) == [7]


# -- ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["before the answer", "idle", "within a value"])
def test_an_abort_of_the_caller_passes_verbatim(phase: str) -> None:
    aborting = abort_pdu(0, 0)
    with scripted_target() as target, gateway(target.device) as running, running.call() as caller:
        caller.sendall(REQUEST)
        with target.accept() as far:
            read_exactly(far, len(REQUEST))
            if phase != "before the answer":
                far.sendall(associate_ac())
                read_pdu(caller)
            if phase == "within a value":
                caller.sendall(p_data(1, bytes(1000))[:500])
            else:
                caller.sendall(aborting)
                assert read_to_the_end(far) == aborting
        if phase == "idle":
            assert running.only(RelayEnded).outcome == "aborted"


def test_an_abort_of_the_target_passes_verbatim() -> None:
    with scripted_target() as target, gateway(target.device) as running:
        with established(running, target, REQUEST, associate_ac()) as (caller, far):
            far.sendall(ECHO + abort_pdu(2, 6))
            assert read_to_the_end(caller) == ECHO + abort_pdu(2, 6)
        assert "the target 'pacs' aborted it" in running.only(RelayEnded).text


@pytest.mark.parametrize("is_reset", [True, False])
@pytest.mark.parametrize("side", ["caller", "target"])
def test_a_lost_connection_is_an_abort_by_the_provider_on_the_other(side: str, is_reset: bool) -> None:
    with scripted_target() as target, gateway(target.device) as running:
        with established(running, target, REQUEST, associate_ac()) as (caller, far):
            gone, other = (caller, far) if side == "caller" else (far, caller)
            gone.sendall(ECHO)
            assert read_exactly(other, len(ECHO)) == ECHO
            if is_reset:
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            gone.close()
            assert read_to_the_end(other) == abort_pdu(2, 0)
        assert running.only(RelayEnded).outcome == "lost"


@pytest.mark.parametrize("side", ["caller", "target"])
def test_a_connection_lost_within_a_pdu_closes_the_other_without_an_abort(side: str) -> None:
    """An A-ABORT there would be taken for data."""
    half = p_data(1, bytes(1000))[:500]
    with (
        scripted_target() as target,
        gateway(target.device) as running,
        established(running, target, REQUEST, associate_ac()) as (caller, far),
    ):
        gone, other = (caller, far) if side == "caller" else (far, caller)
        gone.sendall(half)
        assert read_exactly(other, len(half)) == half
        gone.close()
        assert read_to_the_end(other) == b""


@pytest.mark.parametrize("side", ["caller", "target"])
def test_a_half_closed_connection_is_an_abort_on_both_sides(side: str) -> None:
    with scripted_target() as target, gateway(target.device) as running:
        with established(running, target, REQUEST, associate_ac()) as (caller, far):
            half, other = (caller, far) if side == "caller" else (far, caller)
            half.sendall(ECHO)
            half.shutdown(socket.SHUT_WR)
            assert read_to_the_end(other) == ECHO + abort_pdu(2, 0)
            assert read_to_the_end(half) == abort_pdu(2, 0)
        assert running.only(RelayEnded).outcome == "lost"


def test_a_caller_that_closes_its_side_after_the_release_request_gets_the_answer() -> None:
    with scripted_target() as target, gateway(target.device) as running:
        with established(running, target, REQUEST, associate_ac()) as (caller, far):
            caller.sendall(release_rq())
            caller.shutdown(socket.SHUT_WR)
            assert read_exactly(far, 10) == release_rq()
            time.sleep(0.05)
            far.sendall(release_rp())
            assert read_to_the_end(caller) == release_rp()
        assert running.only(RelayEnded).outcome == "released"


def test_colliding_releases_are_both_answered() -> None:
    with scripted_target() as target, gateway(target.device) as running:
        with established(running, target, REQUEST, associate_ac()) as (caller, far):
            caller.sendall(release_rq())
            far.sendall(release_rq())
            assert read_pdu(caller)[0] == read_pdu(far)[0] == 5
            caller.sendall(release_rp())
            assert read_pdu(far)[0] == 6
            far.sendall(release_rp())
            assert read_pdu(caller)[0] == 6
        assert running.only(RelayEnded).outcome == "released"


def test_an_idle_association_is_aborted_on_both_sides() -> None:
    with scripted_target() as target, gateway(target.device, idle_seconds=0.2) as running:
        with established(running, target, REQUEST, associate_ac()) as (caller, far):
            assert types_until_the_end(caller) == types_until_the_end(far) == [7]
        assert "no octet came within 0.2 seconds" in running.only(RelayEnded).text


def test_a_drain_waits_and_then_aborts_at_a_boundary() -> None:
    with (
        scripted_target() as target,
        gateway(target.device) as running,
        established(running, target, REQUEST, associate_ac()) as (caller, far),
    ):
        running.route.close()
        assert rejection_of(running, REQUEST) == (2, 3, 1)
        assert running.route.status().state is RouteState.CLOSED
        running.route.drain(0.1)
        assert running.route.is_idle
        assert types_until_the_end(caller) == types_until_the_end(far) == [7]


# -- limits ---------------------------------------------------------------------------------------------------


def test_the_maximum_of_associations_is_a_transient_rejection() -> None:
    with scripted_target() as target, gateway(target.device, associations=1) as running:
        with established(running, target, REQUEST, associate_ac()) as (caller, far):
            assert rejection_of(running, REQUEST) == (2, 3, 2)
            caller.sendall(release_rq())
            far.sendall(release_rp())
        assert eventually(lambda: running.route.is_idle)
        with established(running, target, REQUEST, associate_ac()):
            assert running.route.status().associations == 1
        assert CT1.name in running.route.status().sources
