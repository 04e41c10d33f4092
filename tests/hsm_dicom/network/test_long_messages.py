"""Long messages: PDUs read into and made in memory that is used again, and Data Sets sent from their files."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import evt

from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.settings import MAXIMUM_PDU
from hsm_dicom.network.storage.incoming import Incoming
from hsm_dicom.network.storage.writeback import STEP, Writeback
from hsm_dicom.network.upper_layer.file_data import FileData
from hsm_dicom.network.upper_layer.pdu import DataPDU, PDUReader, abort, presentation_data_values
from hsm_dicom.tls import client_context, server_context
from hsm_dicom.transport.sockets import SecuredSSLSocket
from tests.hsm_dicom.network.images import ct_image, data_set_bytes
from tests.hsm_dicom.network.nodes import eventually, node
from tests.hsm_dicom.network.pdus import associate_rq, p_data, pdu
from tests.hsm_dicom.network.test_store import send, storing
from tests.hsm_dicom.tls.fixtures import Hospital

RECORD = 1 << 14

# -- reading --------------------------------------------------------------------------------------------------


def read_all(reader: PDUReader, stream: bytes, steps: Iterator[int] | list[int]) -> list[tuple[bool, bytes]]:
    """Read a stream in steps of at most so many bytes; whether each PDU was a view of a P-DATA-TF, and its bytes."""
    found, at, turn = [], 0, 0
    sizes = list(steps)
    while at < len(stream):
        space = reader.space()
        count = min(len(space), sizes[turn % len(sizes)], len(stream) - at)
        space[:count] = stream[at : at + count]
        reader.add(count)
        at, turn = at + count, turn + 1
        while (whole := reader.next()) is not None:
            found.append((isinstance(whole, DataPDU), bytes(whole.data)))
    return found


@given(steps=st.lists(st.integers(1, 70_000), min_size=1, max_size=8))
def test_a_stream_is_the_same_pdus_however_much_arrives_at_once(steps: list[int]) -> None:
    steps[0] = max(steps[0], 200)
    long = p_data(1, os.urandom(16_000))
    sent = [associate_rq(), *[long] * 3, p_data(3, b"short", is_command=True), pdu(5, bytes(4)), abort()]
    found = read_all(PDUReader(maximum_data=16384, seconds=5.0), b"".join(sent), steps)
    assert [data for _, data in found] == sent
    assert [is_view for is_view, _ in found] == [data[0] == 4 for data in sent]


def test_memory_for_a_long_pdu_is_used_once_its_header_has_come_and_is_used_again() -> None:
    reader = PDUReader(maximum_data=MAXIMUM_PDU, seconds=5.0)
    assert len(reader.space()) < 3 * RECORD
    stream = p_data(1, bytes(MAXIMUM_PDU - 6)) * 20
    assert len(read_all(reader, stream, [RECORD])) == 20
    assert len(reader.space()) < MAXIMUM_PDU + 3 * RECORD


def test_a_pdu_in_single_bytes_is_copied_a_few_times_only_and_takes_no_more_memory_than_it_needs() -> None:
    reader = PDUReader(maximum_data=MAXIMUM_PDU, seconds=5.0)
    memories: list[object] = []  # kept, so that no two have the same identity
    for byte in associate_rq(more=bytes([0x77, 0]) + (60_000).to_bytes(2, "big") + bytes(60_000)):
        whole = reader.feed(bytes([byte]))
        if not memories or memories[-1] is not reader._memory.obj:
            memories.append(reader._memory.obj)
    assert whole is not None
    assert len(memories) < 25
    assert len(reader._memory) == len(whole.data)


def test_what_is_wrong_behind_a_whole_pdu_is_refused_when_it_is_its_turn() -> None:
    reader = PDUReader(maximum_data=16384, seconds=5.0)
    stream = p_data(1, b"good") + b"\x04\0\x00\x00\x40\x01"
    reader.space()[: len(stream)] = stream
    reader.add(len(stream))
    assert isinstance(reader.next(), DataPDU)
    with pytest.raises(PDUError, match="16385 bytes"):
        reader.next()


def test_the_deadline_of_a_pdu_that_came_with_the_one_before_it_is_its_own() -> None:
    now = [100.0]
    reader = PDUReader(maximum_data=16384, seconds=5.0, clock=lambda: now[0])
    stream = p_data(1, b"first") + b"\x04"
    reader.space()[: len(stream)] = stream
    reader.add(len(stream))
    now[0] = 103.0
    assert reader.next() is not None
    assert reader.deadline == 108.0


@contextmanager
def secured_pair(hospital: Hospital) -> Iterator[tuple[ssl.SSLSocket, SecuredSSLSocket]]:
    """A TLS connection: a client, and the server's socket as a listener has it."""
    server = server_context([hospital.ec], hospital.validator())
    server.sslsocket_class = SecuredSSLSocket
    client = client_context(hospital.peer("CT 1"), hospital.validator())
    near, far = socket.socketpair()
    made: list[ssl.SSLSocket] = []
    accepting = threading.Thread(target=lambda: made.append(server.wrap_socket(far, server_side=True)))
    accepting.start()
    with client.wrap_socket(near, server_hostname="localhost") as there:
        accepting.join()
        with made[0] as here:
            assert isinstance(here, SecuredSSLSocket)
            here.settimeout(0)
            yield there, here


def test_a_socket_reads_every_record_that_is_there_and_what_it_had_read_before(hospital: Hospital) -> None:
    sent = os.urandom(5 * RECORD + 7)
    with secured_pair(hospital) as (there, here):
        there.sendall(sent)
        space = memoryview(bytearray(len(sent)))
        assert here.recv(6) == sent[:6]
        assert here.recv_into(space) == RECORD - 6  # decrypted already, and kept
        assert here.recv_into(space[RECORD - 6 :]) == len(sent) - RECORD
        assert bytes(space[: len(sent) - 6]) == sent[6:]
        with pytest.raises(ssl.SSLWantReadError):
            here.recv_into(space)


def test_records_before_a_forged_one_are_read_and_the_forgery_is_remembered(hospital: Hospital) -> None:
    with secured_pair(hospital) as (there, here):
        there.sendall(b"genuine")
        os.write(there.fileno(), bytes.fromhex("1703030020") + os.urandom(32))
        space = bytearray(100)
        assert here.recv_into(space) == 7
        assert isinstance(here.failure, ssl.SSLError)
        with pytest.raises(ssl.SSLError):
            here.recv_into(space)


def test_an_application_that_follows_the_pdus_sees_each_of_them(hospital: Hospital, tmp_path: Path) -> None:
    seen: list[int] = []

    def count(event: evt.Event) -> None:
        seen.append(event.pdu.pdu_type)

    image = ct_image(tmp_path, pixels=1 << 20)
    with node(hospital, handlers=[(evt.EVT_PDU_RECV, count), (evt.EVT_C_STORE, lambda event: 0x0000)]) as running:
        (outcome,) = send(running, hospital, image)
    assert outcome.done
    assert seen.count(4) == 1 + -(-len(data_set_bytes(image)) // (MAXIMUM_PDU - 6))


def test_writing_to_disk_begins_while_a_file_arrives_and_leaves_no_gap(tmp_path: Path) -> None:
    begun: list[tuple[int, int]] = []
    path = tmp_path / "file"
    with path.open("wb") as file:

        def begin(descriptor: int, offset: int, length: int) -> None:
            assert descriptor == file.fileno()
            assert path.stat().st_size == offset + length  # nothing is left in the buffer
            begun.append((offset, offset + length))

        writeback = Writeback(file, begin)
        file.write(b"head")
        for _ in range(5):
            file.write(bytes(STEP // 2 + 1))
            writeback.add(STEP // 2 + 1)
    assert begun == [(0, 4 + STEP + 2), (4 + STEP + 2, 4 + 2 * STEP + 4)]


# -- sending --------------------------------------------------------------------------------------------------


@contextmanager
def file_data(path: Path, content: bytes, maximum: int) -> Iterator[FileData]:
    path.write_bytes(content)
    with path.open("rb", buffering=0) as file:
        yield FileData(file, len(content), 5, maximum)


@pytest.mark.parametrize("maximum", [8, 16, 1000, 16384, MAXIMUM_PDU, MAXIMUM_PDU + 1, 0])
@pytest.mark.parametrize("length", [0, 1, 2, 994, 995, 5000, 300_000])
def test_the_pdus_of_a_file_are_its_bytes_within_the_peers_maximum(tmp_path: Path, maximum: int, length: int) -> None:
    content = os.urandom(length // 100 if maximum == 8 else length)
    received, controls = b"", []
    with file_data(tmp_path / "data", content, maximum) as data:
        made = [bytes(one) for one in iter(data.next_pdu, None)]
    for whole in made:
        assert int.from_bytes(whole[2:6], "big") == len(whole) - 6 <= (min(maximum, MAXIMUM_PDU) or MAXIMUM_PDU)
        ((context, start, end),) = presentation_data_values(whole)
        assert (context, end) == (5, len(whole))
        controls.append(whole[start])
        received += whole[start + 1 : end]
    assert received == content
    assert controls == [0] * (len(controls) - 1) + [2]


def test_a_file_that_became_shorter_is_not_completed(tmp_path: Path) -> None:
    with file_data(tmp_path / "data", bytes(5000), 1000) as data:
        assert data.next_pdu() is not None
        os.truncate(tmp_path / "data", 1500)
        with pytest.raises(OSError, match="became shorter"):
            list(iter(data.next_pdu, None))


def test_a_file_is_not_closed_under_a_read(tmp_path: Path) -> None:
    # The other end of a pipe decides how long the read takes.
    reading_end, writing_end = os.pipe()
    file = os.fdopen(reading_end, "rb", buffering=0)
    data = FileData(file, 6, 5, 16384)
    made: list[bytes] = []
    reading = threading.Thread(target=lambda: made.append(bytes(data.next_pdu() or b"")))
    reading.start()
    os.write(writing_end, b"abc")
    assert eventually(lambda: data._reading.locked())
    data.close()
    assert not file.closed
    os.write(writing_end, b"def")
    reading.join(5)
    os.close(writing_end)
    assert made[0].endswith(b"abcdef")
    assert file.closed
    with pytest.raises(OSError, match="closed while it was sent"):
        data.next_pdu()


def test_a_file_that_is_cut_off_while_it_is_sent_is_reported_and_the_others_are_sent(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, whole = ct_image(tmp_path, "1.dcm", pixels=64 << 20), ct_image(tmp_path, "2.dcm")
    write = Incoming.write

    def cut_off_and_write(incoming: Incoming, data: bytes | memoryview) -> None:
        os.truncate(cut, 1 << 20)
        write(incoming, data)

    monkeypatch.setattr(Incoming, "write", cut_off_and_write)
    with storing(hospital, tmp_path / "received") as running:
        outcomes = {outcome.path: outcome for outcome in send(running, hospital, cut, whole)}
    assert outcomes[cut].status is None
    assert "cannot be read any more" in outcomes[cut].text
    assert outcomes[whole].done
    (received,) = (tmp_path / "received").iterdir()
    assert data_set_bytes(received) == data_set_bytes(whole)
