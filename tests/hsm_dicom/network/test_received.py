"""What a listener stores and what it refuses, judged from the first byte to the last before it says success."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, generate_uid
from pynetdicom.sop_class import MRImageStorage  # type: ignore[attr-defined]

from hsm_dicom.network.errors import SettingsError
from hsm_dicom.network.receive import Receiver
from hsm_dicom.network.settings import StorageSettings
from hsm_dicom.network.storage.comparison import same_data_set
from hsm_dicom.network.storage.incoming import (
    CANNOT_UNDERSTAND,
    DOES_NOT_MATCH_SOP_CLASS,
    INVALID_INSTANCE,
    OTHER_CONTENT,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    TOO_LARGE,
)
from hsm_dicom.transport.events import AssociationAborted, InstanceReceived
from hsm_dicom.transport.port import Secured
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.network.nodes import Node, eventually, node
from tests.hsm_dicom.network.pdus import (
    CT,
    IMPLICIT,
    associate_rq,
    context,
    element,
    p_data,
    read_pdu,
    status_of,
    store_rq,
    types_until_the_end,
)
from tests.hsm_dicom.network.test_places import secured
from tests.hsm_dicom.tls.fixtures import Hospital

UID = "1.2.826.0.1.3680043.10.1.2.3"
PIXEL_DATA = 0x7FE00010


def data_set(instance: str = UID, sop_class: str = CT, *more: bytes) -> bytes:
    return element(0x00080016, sop_class) + element(0x00080018, instance) + b"".join(more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "received"


@contextmanager
def storing(hospital: Hospital, folder: Path, largest_object_mib: int = 16) -> Iterator[Node]:
    receiver = Receiver("main", StorageSettings(folder=folder, largest_object_mib=largest_object_mib))
    with node(hospital, receiver=receiver) as running:
        yield running


@contextmanager
def associated(running: Node, hospital: Hospital) -> Iterator[Secured]:
    """CT 1, with an association for CT images in implicit VR."""
    with secured(running, hospital) as peer:
        peer.socket.sendall(associate_rq(context(1, CT, [IMPLICIT]), context(3)))
        assert read_pdu(peer.socket)[0] == 2
        yield peer


def test_a_store_that_cannot_be_written_keeps_the_listener_from_starting() -> None:
    before = os.getuid()
    os.setreuid(before or 65534, -1)  # access(2) asks for the real user
    try:
        with pytest.raises(SettingsError, match="name the folder in ReadWritePaths="):
            Receiver("main", StorageSettings(folder=Path("/etc")))
    finally:
        os.setreuid(before, -1)


def stored(peer: Secured, request: bytes, data: bytes, number: int = 1) -> int:
    """The status that the answer to one C-STORE has."""
    peer.socket.sendall(p_data(number, request, is_command=True))
    for at in range(0, max(1, len(data)), 100_000):
        peer.socket.sendall(p_data(number, data[at : at + 100_000], last=at + 100_000 >= len(data)))
    kind, body = read_pdu(peer.socket)
    assert kind == 4
    return status_of(body)


def test_a_sound_data_set_is_stored_and_nothing_else_is_there(hospital: Hospital, folder: Path) -> None:
    with storing(hospital, folder) as running, associated(running, hospital) as peer:
        assert stored(peer, store_rq(UID), data_set()) == SUCCESS
        assert [path.name for path in folder.iterdir()] == [f"{UID}.dcm"]
    assert dcmread(folder / f"{UID}.dcm").SOPInstanceUID == UID


TRUNCATED = {
    "Pixel Data": data_set(UID, CT, struct.pack("<HHI", 0x7FE0, 0x0010, 1_000_000) + bytes(10)),
    "a sequence": data_set(UID, CT, struct.pack("<HHI", 0x0008, 0x1140, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0"),
    "an element's header": data_set() + b"\x10\x00\x10",
    "an Item": data_set(UID, CT, struct.pack("<HHI", 0x0008, 0x1140, 8) + b"\xfe\xff\x00\xe0\xff\0\0\0"),
}


@pytest.mark.parametrize("data", TRUNCATED.values(), ids=TRUNCATED)
def test_a_truncated_data_set_is_refused(hospital: Hospital, folder: Path, data: bytes) -> None:
    with storing(hospital, folder) as running, associated(running, hospital) as peer:
        assert stored(peer, store_rq(UID), data) == CANNOT_UNDERSTAND
        assert stored(peer, store_rq("1.2.3"), data_set("1.2.3")) == SUCCESS
        assert [path.name for path in folder.iterdir()] == ["1.2.3.dcm"]
        event = running.nth(InstanceReceived)
        assert (event.status, event.file) == (CANNOT_UNDERSTAND, "")
        assert "malformed" in event.text


@pytest.mark.parametrize("uid", ["", ".", "..", "." * 64, "1..2", "1.2.", "../x", "1." + "2" * 63, "1.2\\3.4", "a.b"])
def test_what_is_no_uid_is_refused_by_its_status(hospital: Hospital, folder: Path, uid: str) -> None:
    with storing(hospital, folder) as running, associated(running, hospital) as peer:
        assert stored(peer, store_rq(uid), data_set(uid)) == INVALID_INSTANCE
        assert stored(peer, store_rq("1.2.3"), data_set("1.2.3")) == SUCCESS
        assert [path.name for path in folder.iterdir()] == ["1.2.3.dcm"]


@pytest.mark.parametrize(
    ("number", "sop_class"), [(1, str(MRImageStorage)), (3, CT), (1, ""), (1, "1." + "2" * 63), (1, "Secondary")]
)
def test_a_store_in_a_context_of_another_sop_class_is_refused(
    hospital: Hospital, folder: Path, number: int, sop_class: str
) -> None:
    with storing(hospital, folder) as running, associated(running, hospital) as peer:
        assert stored(peer, store_rq(UID, sop_class), data_set(UID, sop_class), number) == SOP_CLASS_NOT_SUPPORTED
        assert not list(folder.iterdir())


def test_another_instance_or_class_inside_than_outside_is_refused(hospital: Hospital, folder: Path) -> None:
    with storing(hospital, folder) as running, associated(running, hospital) as peer:
        assert stored(peer, store_rq(UID), data_set("1.2.3")) == DOES_NOT_MATCH_SOP_CLASS
        assert stored(peer, store_rq(UID), data_set(UID, str(MRImageStorage))) == DOES_NOT_MATCH_SOP_CLASS
        assert stored(peer, store_rq(UID), b"") in (CANNOT_UNDERSTAND, DOES_NOT_MATCH_SOP_CLASS)
        assert not list(folder.iterdir())


def test_an_object_beyond_the_limit_is_refused_and_leaves_nothing(hospital: Hospital, folder: Path) -> None:
    large = data_set(UID, CT, struct.pack("<HHI", 0x7FE0, 0x0010, 3 << 20) + bytes(3 << 20))
    with storing(hospital, folder, largest_object_mib=2) as running, associated(running, hospital) as peer:
        assert stored(peer, store_rq(UID), large) == TOO_LARGE
        assert not list(folder.iterdir())
        assert stored(peer, store_rq(UID), data_set()) == SUCCESS
    assert "more than 2 MiB" in running.nth(InstanceReceived).text


def test_what_was_not_finished_leaves_nothing(hospital: Hospital, folder: Path) -> None:
    with storing(hospital, folder) as running:
        with associated(running, hospital) as peer:
            peer.socket.sendall(p_data(1, store_rq(UID), is_command=True) + p_data(1, bytes(1000), last=False))
            assert eventually(lambda: len(list(folder.iterdir())) == 1)
        assert running.only(AssociationAborted)
        assert eventually(lambda: not list(folder.iterdir()))


def test_a_malformed_value_in_the_middle_of_a_data_set_leaves_nothing(hospital: Hospital, folder: Path) -> None:
    with storing(hospital, folder) as running, associated(running, hospital) as peer:
        peer.socket.sendall(p_data(1, store_rq(UID), is_command=True) + p_data(1, bytes(1000), last=False))
        peer.socket.sendall(p_data(1, store_rq(UID), is_command=True))
        assert types_until_the_end(peer.socket) == [7]
        assert eventually(lambda: not list(folder.iterdir()))


# -- the same again ----------------------------------------------------------------------------------------------


def test_the_same_data_set_under_another_file_meta_information_is_a_success(hospital: Hospital, folder: Path) -> None:
    with storing(hospital, folder) as running, associated(running, hospital) as peer:
        assert stored(peer, store_rq(UID), data_set()) == SUCCESS
        place = folder / f"{UID}.dcm"
        older = dcmread(place)
        older.file_meta.ImplementationVersionName = "ANOTHER VERSION"
        older.save_as(place)
        before = place.read_bytes()
        assert stored(peer, store_rq(UID), data_set()) == SUCCESS
        assert stored(peer, store_rq(UID), data_set(UID, CT, element(0xFFFCFFFC, bytes(64)))) == SUCCESS
        assert stored(peer, store_rq(UID), data_set(UID, CT, element(0x00100020, "2"))) == OTHER_CONTENT
        assert place.read_bytes() == before
        assert len(list(folder.iterdir())) == 1


def test_what_is_compared_of_two_files(tmp_path: Path) -> None:
    uid = generate_uid()
    one = ct_image(tmp_path, "one.dcm", uid=uid)
    changed = ct_image(tmp_path, "changed.dcm", uid=uid, value=1)
    padded = dcmread(one)
    padded.DataSetTrailingPadding = bytes(100)
    padded.save_as(tmp_path / "padded.dcm")
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(one.read_bytes()[:-2])
    assert same_data_set(one, one)
    assert same_data_set(one, tmp_path / "padded.dcm")
    assert same_data_set(tmp_path / "padded.dcm", one)
    assert not same_data_set(one, changed)
    assert not same_data_set(one, cut)


def test_a_data_set_that_was_deflated_in_another_way_is_the_same(tmp_path: Path) -> None:
    image = dcmread(ct_image(tmp_path))
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    deflated = tmp_path / "deflated.dcm"
    image.save_as(deflated)
    head = 144 + int.from_bytes(deflated.read_bytes()[140:144], "little")
    plain = zlib.decompress(deflated.read_bytes()[head:], -zlib.MAX_WBITS)
    stored_only = zlib.compressobj(0, zlib.DEFLATED, -zlib.MAX_WBITS)
    again = tmp_path / "again.dcm"
    again.write_bytes(deflated.read_bytes()[:head] + stored_only.compress(plain) + stored_only.flush())
    assert again.stat().st_size != deflated.stat().st_size
    assert same_data_set(deflated, again)


def test_the_association_goes_on_after_each_refusal(hospital: Hospital, folder: Path) -> None:
    with storing(hospital, folder) as running, associated(running, hospital) as peer:
        statuses = [
            stored(peer, store_rq(uid), data)
            for uid, data in ((UID, TRUNCATED["Pixel Data"]), ("..", b""), (UID, data_set()))
        ]
        assert statuses == [CANNOT_UNDERSTAND, INVALID_INSTANCE, SUCCESS]
        assert not running.of(AssociationAborted)
