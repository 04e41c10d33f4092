"""An instance counts as stored by the answer to its own request and by no other; how an association ended is told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom.network.echo import echo
from hsm_dicom.network.errors import AssociationLostError
from hsm_dicom.network.requestor import associate
from hsm_dicom.network.settings import Peer
from hsm_dicom.network.store import StoreResult, store
from hsm_dicom.tls import FailureReason, HandshakeError
from hsm_dicom.transport.events import AssociationAborted
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.network.nodes import QUICK, TIMEOUTS, Node, eventually, node, transport_to
from tests.hsm_dicom.network.odd_scp import (
    A_ABORT_BY_PROVIDER,
    C_ECHO_RSP,
    CLOSE,
    Answering,
    OddSCP,
    Request,
    odd_scp,
)
from tests.hsm_dicom.tls.fixtures import Hospital

REFUSED = 0xA900


def images(folder: Path, count: int) -> list[Path]:
    return [ct_image(folder, f"{number}.dcm", pixels=512) for number in range(count)]


def send(hospital: Hospital, running: OddSCP, files: list[Path], **wishes: Any) -> StoreResult:
    peer = Peer(name="PACS", ae_titles=("PACS",), host="127.0.0.1", port=running.port)
    options = {"pause": 0.01, "timeouts": TIMEOUTS} | wishes
    return store(peer, transport_to(peer, hospital), "NODE", files, **options)


def test_an_answer_that_comes_twice_does_not_count_for_the_next_instance(hospital: Hospital, tmp_path: Path) -> None:
    first: list[Request] = []

    def answer(request: Request) -> bytes:
        if not first:
            first.append(request)
            return request.answer()
        late = first[0].answer() if request.number == 1 else b""
        return late + request.answer(REFUSED)

    with odd_scp(hospital, answer) as running:
        result = send(hospital, running, images(tmp_path, 3))
    assert [outcome.status for outcome in result.outcomes] == [0, REFUSED, REFUSED]
    assert running.associations == 1


def test_two_answers_at_once_do_not_count_for_the_next_instance(hospital: Hospital, tmp_path: Path) -> None:
    def answer(request: Request) -> bytes:
        return request.answer() * 2 if request.number == 0 else request.answer(REFUSED)

    with odd_scp(hospital, answer) as running:
        result = send(hospital, running, images(tmp_path, 2))
    assert [outcome.status for outcome in result.outcomes] == [0, REFUSED]


def test_a_final_answer_after_a_pending_one_does_not_count_for_the_next_instance(
    hospital: Hospital, tmp_path: Path
) -> None:
    def answer(request: Request) -> bytes:
        return request.answer(0xFF00) + request.answer() if request.number == 0 else request.answer(REFUSED)

    with odd_scp(hospital, answer) as running:
        result = send(hospital, running, images(tmp_path, 2))
    assert [outcome.done for outcome in result.outcomes] == [False, False]


WRONG: dict[str, tuple[Answering, str]] = {
    "another Message ID": (
        lambda request: request.answer(message_id=request.message_id + 7),
        "it answered a request 8 that was not made, instead of C-STORE request 1",
    ),
    "another instance": (
        lambda request: request.answer(instance="1.2.3.4"),
        "it answered C-STORE request 1 for another instance, 1.2.3.4, instead of",
    ),
    "another command": (
        lambda request: request.answer(field=C_ECHO_RSP),
        "it answered C-STORE request 1 with a C-ECHO response",
    ),
    "no status": (lambda request: request.answer(None), "it answered C-STORE request 1 without a status"),
    "A-ABORT": (
        lambda request: A_ABORT_BY_PROVIDER,
        "the peer aborted it (A-ABORT by its upper layer: unexpected PDU)",
    ),
    "nothing": (lambda request: CLOSE, "the peer closed the connection"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_answer_is_no_success_and_reports_what_is_wrong(hospital: Hospital, tmp_path: Path, wrong: str) -> None:
    answer, words = WRONG[wrong]
    with odd_scp(hospital, answer) as running:
        result = send(hospital, running, images(tmp_path, 2), attempts=1)
    assert [outcome.status for outcome in result.outcomes] == [None, None]
    assert words in result.outcomes[0].text
    assert "'PACS' at 127.0.0.1:" in result.outcomes[0].text


def test_an_answer_without_the_optional_instance_counts(hospital: Hospital, tmp_path: Path) -> None:
    with odd_scp(hospital, lambda request: request.answer(instance="")) as running:
        assert send(hospital, running, images(tmp_path, 2)).done


def test_every_request_has_a_message_id_of_its_own(hospital: Hospital, tmp_path: Path) -> None:
    with odd_scp(hospital, Request.answer) as running:
        assert send(hospital, running, images(tmp_path, 5)).done
    assert [request.message_id for request in running.requests] == [1, 2, 3, 4, 5]


def test_a_peer_that_does_not_answer_is_named_with_the_time(hospital: Hospital, tmp_path: Path) -> None:
    def answer(request: Request) -> bytes:
        time.sleep(1.5)
        return request.answer()

    with odd_scp(hospital, answer) as running:
        timeouts = replace(TIMEOUTS, answer=0.5)
        result = send(hospital, running, images(tmp_path, 1), attempts=1, timeouts=timeouts)
    assert "it did not answer C-STORE request 1 within 0.5 seconds" in result.outcomes[0].text


def test_a_peer_that_closes_after_two_files_gets_them_all(hospital: Hospital, tmp_path: Path) -> None:
    def answer(request: Request) -> bytes:
        return CLOSE if request.number % 3 == 2 else request.answer()

    with odd_scp(hospital, answer) as running:
        result = send(hospital, running, images(tmp_path, 9), attempts=2)
    assert result.done
    assert running.associations == 5


def test_one_file_that_ends_every_association_does_not_cost_the_others(hospital: Hospital, tmp_path: Path) -> None:
    files = images(tmp_path, 4)
    poison = str(dcmread(files[1]).SOPInstanceUID)

    def answer(request: Request) -> bytes:
        return CLOSE if request.instance == poison else request.answer()

    with odd_scp(hospital, answer) as running:
        result = send(hospital, running, files)
    assert {outcome.path for outcome in result.outcomes if not outcome.done} == {files[1]}
    (failed,) = (outcome for outcome in result.outcomes if not outcome.done)
    assert failed.attempts == 5
    assert "the peer closed the connection" in failed.text
    assert running.associations == 5


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (A_ABORT_BY_PROVIDER, "the peer aborted it (A-ABORT by its upper layer: unexpected PDU)"),
        (b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00", "the peer aborted it (A-ABORT by its application)"),
        (b"", "the peer closed the connection"),
    ],
    ids=["A-ABORT by the provider", "A-ABORT by the user", "closed"],
)
def test_an_end_instead_of_an_association_is_named(hospital: Hospital, sent: bytes, words: str) -> None:
    with odd_scp(hospital, Request.answer, sent) as running:
        peer = Peer(name="PACS", ae_titles=("PACS",), host="127.0.0.1", port=running.port)
        with pytest.raises(AssociationLostError) as caught:
            echo(peer, transport_to(peer, hospital), "NODE", TIMEOUTS)
    assert words in str(caught.value)


def test_a_listener_that_ends_an_idle_association_says_that_it_did(hospital: Hospital) -> None:
    def stay_idle(running: Node, peer: Peer) -> None:
        with associate(peer, transport_to(peer, hospital), "CT1", [build_context(Verification)], TIMEOUTS) as opened:
            assert eventually(lambda: running.of(AssociationAborted))
            assert eventually(lambda: opened.association.is_aborted)

    with node(hospital, limits=replace(QUICK, idle_seconds=0.5)) as running:
        with pytest.raises(AssociationLostError) as caught:
            stay_idle(running, running.peer())
        event = running.only(AssociationAborted)
    assert "we ended it, because it was idle for 0.5 seconds" in event.text
    assert "the peer aborted it (A-ABORT by its application)" in str(caught.value)


@contextmanager
def plain_port(answering: bytes | None) -> Iterator[int]:
    """A port on which DICOM without TLS is spoken: it closes, or answers by an A-ABORT, what is no PDU to it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                if answering:
                    connection.sendall(answering)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(5)


@pytest.mark.parametrize("answering", [None, A_ABORT_BY_PROVIDER], ids=["closes", "aborts"])
def test_tls_to_a_port_without_tls_says_so(hospital: Hospital, answering: bytes | None) -> None:
    with plain_port(answering) as port:
        peer = Peer(name="PACS", ae_titles=("PACS",), host="127.0.0.1", port=port)
        with pytest.raises(HandshakeError, match="DICOM without TLS") as caught:
            echo(peer, transport_to(peer, hospital), "NODE", TIMEOUTS)
    assert caught.value.reason in (FailureReason.NOT_TLS, FailureReason.CLOSED)
