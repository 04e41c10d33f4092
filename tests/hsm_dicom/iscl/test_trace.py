"""Recording an exchange, and explaining recordings that are whole, broken, crossed or not recordings at all."""

from __future__ import annotations

import errno
import os
import resource
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_dicom.iscl import ISCLHooks, Role, State
from hsm_dicom.iscl.tracing.recording import LONGEST, Exchange, Recorder, RecordingError, load_exchange, read_exchange
from hsm_dicom.iscl.tracing.trace import explain
from hsm_dicom.iscl.wire.encoding import build
from hsm_dicom.iscl.wire.messages import (
    NAK,
    AuthenticationRequest,
    DisconnectionRequest,
    DisconnectionResponse,
    Message,
    Pass1,
    ThroughData,
    TransmissionRequest,
    TransmissionResponse,
)
from hsm_dicom.iscl.wire.profile import ByteOrder, WireProfile
from tests.hsm_dicom.iscl.lines import Ends, line, meanwhile, settings
from tests.hsm_dicom.iscl.samples import HANDSHAKE, REQUEST, TRANSFER, VALUE

PROFILE = WireProfile()
SERVER, CLIENT = Role.SERVER, Role.CLIENT


def exchange(*messages: tuple[Role, Message], handshake: bool = True, profile: WireProfile = PROFILE) -> Exchange:
    """A recording of a handshake and what follows."""
    speakers = (SERVER, CLIENT) * 4
    before = [(who, message) for who, (_, message) in zip(speakers, HANDSHAKE, strict=True)] if handshake else []
    return [(who, build(message, profile)) for who, message in [*before, *messages]]


def remarks(recording: Exchange) -> list[str]:
    return [explained.remark for explained in explain(recording) if explained.remark]


def test_a_recorder_takes_no_file_that_is_there_nor_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("precious")
    (tmp_path / "link.txt").symlink_to(tmp_path / "elsewhere.txt")
    for name in ("there.txt", "link.txt"):
        with pytest.raises(FileExistsError):
            Recorder(tmp_path / name)
    assert (tmp_path / "there.txt").read_text() == "precious"
    assert not (tmp_path / "elsewhere.txt").exists()


def test_a_disk_that_fills_up_stops_no_exchange(ends: Ends, tmp_path: Path) -> None:
    path = tmp_path / "exchange.txt"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (
        Recorder(path) as recorder,
        line(ends, settings(), client_hooks=ISCLHooks(packet=recorder)) as (server, client),
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
        try:
            with meanwhile(lambda: server.recv(100)):
                client.sendall(b"seen")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert recorder.failure is not None
        assert recorder.failure.errno == errno.EFBIG


def test_what_comes_after_the_end_of_a_recording_stops_nobody(tmp_path: Path) -> None:
    """A line may end after whoever recorded it has lost patience."""
    with Recorder(tmp_path / "exchange.txt") as recorder:
        recorder(SERVER, b"\x01")
    recorder(CLIENT, b"\x02")
    assert recorder.failure is None
    assert load_exchange(tmp_path / "exchange.txt") == [(SERVER, b"\x01")]


def test_what_is_no_file_or_too_long_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(RecordingError, match="it is not a regular file"):
        load_exchange(tmp_path / "fifo")
    with (tmp_path / "long.txt").open("wb") as long:
        long.truncate(LONGEST + 1)
    with pytest.raises(RecordingError, match="is longer than 64 MiB"):
        load_exchange(tmp_path / "long.txt")


def test_a_recorder_writes_what_the_decoder_reads(ends: Ends, tmp_path: Path) -> None:
    path = tmp_path / "exchange.txt"
    with (
        Recorder(path) as recorder,
        line(ends, settings(), client_hooks=ISCLHooks(packet=recorder)) as (server, client),
    ):
        with meanwhile(lambda: server.recv(100)):
            client.sendall(b"seen")
        with meanwhile(lambda: server.recv(1)):
            client.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    explained = explain(read_exchange(path.read_text().splitlines()))
    assert [one.number for one in explained] == list(range(1, 15))
    assert explained[-1].state is State.CLOSED
    assert not any(one.remark for one in explained)


def test_octets_may_be_recorded_in_other_pieces_than_messages() -> None:
    """As a capture of a TCP stream does."""
    whole = exchange()
    pieces = [(who, octets[start : start + 11]) for who, octets in whole for start in range(0, len(octets), 11)]
    assert list(map(str, explain(pieces))) == list(map(str, explain(whole)))


def test_a_message_out_of_turn_is_remarked_upon() -> None:
    (remark, *_) = remarks(exchange((CLIENT, TransmissionResponse(1))))
    assert "may not be sent by the client while the connection is in the state 'ready'" in remark


def test_mistakes_and_refusals_are_reported_with_their_codes() -> None:
    asked = [*exchange()[:2], (SERVER, build(AuthenticationRequest(0, 9), PROFILE))]
    assert remarks(asked) == ["The server may not send an authentication key index outside 1 to 8. [ISCL 202]"]
    told = remarks(exchange((CLIENT, REQUEST), (SERVER, TransmissionResponse(50, option=NAK))))
    assert told == ["The server sent a refusal: it takes 50 octets, and the message has 100. [ISCL 110]"]


def test_a_device_that_failed_is_reported() -> None:
    recording = [*exchange()[:4], (SERVER, build(Pass1(VALUE, option=0x6983), PROFILE))]
    explained = explain(recording)[-1]
    assert "the device failed: 0x00006983" in explained.facts
    assert "[ISCL 103]" in str(explained)


@pytest.mark.parametrize("recorded_at", Role)
def test_requests_that_crossed_are_followed_and_not_blamed_on_anybody(recorded_at: Role) -> None:
    """The recording has them in the order of the end where it was made."""
    both = [(recorded_at, REQUEST), (recorded_at.peer, REQUEST)]
    after = [(CLIENT, TransmissionResponse(100))]
    assert remarks(exchange(*both, *after)) == []
    closing = [(recorded_at, DisconnectionRequest()), (recorded_at.peer, REQUEST)]
    assert remarks(exchange(*closing, (recorded_at.peer, DisconnectionResponse()))) == []


def test_every_kind_of_message_is_explained() -> None:
    unique = [(CLIENT if at % 2 == 0 else SERVER, message) for at, message in enumerate(TRANSFER[State.RANDOM_GIVEN])]
    recording = exchange((SERVER, ThroughData(b"through")), *unique)
    text = "\n".join(map(str, explain(recording)))
    assert "a session key of this message, under encryption key 1" in text
    assert "data: 7 octets" in text
    bare = exchange((CLIENT, TransmissionRequest(0x7777, 0x10, 0, 5)))
    text = "\n".join(map(str, explain(bare)))
    assert "unknown (0x7777)" in text
    assert "under the key with the index of the authentication key" in text
    assert "mac: none (0x0000)" in text


@pytest.mark.parametrize("recorder", Role)
def test_an_end_may_close_before_it_saw_the_answer_to_its_crossed_request(recorder: Role) -> None:
    """Both asked to disconnect, and both answered; the recording is of an end that closed after its own answer."""
    explained = explain(
        exchange(
            (recorder, DisconnectionRequest()),
            (recorder.peer, DisconnectionRequest()),
            (recorder, DisconnectionResponse()),
        )
    )
    assert not [one.remark for one in explained if one.remark]
    assert explained[-1].state is State.CLOSED


def test_what_cannot_be_read_is_reported_and_what_is_cut_off_too() -> None:
    explained = explain([(SERVER, bytes(32))])
    assert explained[0].name == "what follows cannot be read"
    assert "unknown id 0x00000000" in str(explained[0])
    explained = explain([(SERVER, build(HANDSHAKE[0][1], PROFILE)[:-1])])
    assert explained[0].name == "the recording ends within a message"


def test_another_profile_reads_another_line() -> None:
    little = WireProfile(byte_order=ByteOrder.LITTLE)
    recording = exchange(profile=little)
    assert remarks(recording) != []
    assert not any(one.remark for one in explain(recording, little))


def test_comments_and_empty_lines_do_not_count() -> None:
    assert read_exchange(["# a comment", "", "server 00ff # and another", "client 01 02"]) == [
        (SERVER, b"\x00\xff"),
        (CLIENT, b"\x01\x02"),
    ]


@pytest.mark.parametrize("row", ["proxy 00", "server", "server 0g", "client 000", "\x00"])
def test_what_is_no_recording_is_refused_by_its_line(row: str) -> None:
    with pytest.raises(RecordingError, match="Line 2"):
        read_exchange(["server 00", row])


@given(st.lists(st.tuples(st.sampled_from(Role), st.binary(max_size=80)), max_size=6))
def test_any_octets_are_explained_or_remarked_upon(recording: Exchange) -> None:
    for explained in explain(recording):
        assert str(explained)
