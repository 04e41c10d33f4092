"""An object that may not be what was signed is left as it is: no change to its signatures hides the findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from hsm_dicom.signatures import (
    Profile,
    SigningRequest,
    add_timestamp,
    check_integrity,
    list_signatures,
    remove,
    remove_all,
    sign,
)
from hsm_dicom.signatures.errors import QuestionedObjectError
from tests.hsm_dicom.dataset.frames import jpeg_frame
from tests.hsm_dicom.dataset.samples import encode
from tests.hsm_dicom.signatures.encapsulated_objects import JPEG, NUMBER_OF_FRAMES, encapsulated_object, pixels
from tests.hsm_dicom.signatures.forgeries import forgeries
from tests.hsm_dicom.signatures.tampering import CONTENT, PADDING, changed, inserted, report, text_item, wrap
from tests.hsm_dicom.validation.verdict_cases import SIGNER, Desk

TOKEN = b"\x30\x03\x02\x01\x07"
ONE, TWO = jpeg_frame(b"a"), jpeg_frame(b"bb")
ITEM_TAG = b"\xfe\xff\x00\xe0"

Change = Callable[[Path, Path], object]


def _uid(path: Path) -> str:
    return list_signatures(path)[0].uid


CHANGES: dict[str, Change] = {
    "remove": lambda path, target: remove(path, [_uid(path)], target),
    "remove-all": lambda path, target: remove_all(path, target),
    "add-timestamp": lambda path, target: add_timestamp(path, _uid(path), TOKEN, target),
    "sign": lambda path, target: sign(path, target, SIGNER.key, SigningRequest(SIGNER.der)),
    "sign-some": lambda path, target: sign(path, target, SIGNER.key, SigningRequest(SIGNER.der, tags=(0x00080018,))),
}


def plain_report(desk: Desk) -> Path:
    path = desk.folder / "plain.dcm"
    path.write_bytes(encode(report()))
    return path


def wrapped(desk: Desk) -> Path:
    def replace_content(ds: Dataset) -> None:
        wrap(CONTENT)(ds)
        ds.ContentSequence = Sequence([text_item("No finding")])

    return changed(desk.sign(plain_report(desk)), replace_content)


def joined(desk: Desk) -> Path:
    plain, path = desk.folder / "plain.dcm", desk.folder / "joined.dcm"
    plain.write_bytes(encapsulated_object(JPEG, pixels(ONE, TWO, frames=2)))
    wanted = pixels(ONE + ITEM_TAG + TWO).items()
    made = forgeries(desk.sign(plain))
    path.write_bytes(next(data for reading, data in made if wanted <= dict(reading.covered).items()))
    return path


def moved(desk: Desk) -> Path:
    item = Dataset()
    item.SOPClassUID, item.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.999"
    item.StudyInstanceUID, item.PatientName = "1.2.3.9", "Roe^John"
    ds, alone = report(), Dataset()
    ds.ReferencedImageSequence = Sequence([item])
    plain, path = desk.folder / "plain.dcm", desk.folder / "moved.dcm"
    plain.write_bytes(encode(ds))
    alone.update(pydicom.dcmread(desk.sign(plain, item=((0x00081140, 0),))).ReferencedImageSequence[0])
    path.write_bytes(encode(alone))
    return path


def moved_with_modality(desk: Desk) -> Path:
    return changed(moved(desk), lambda ds: ds.add_new(0x00080060, "CS", "OT"))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("forge", [wrapped, joined, moved, moved_with_modality], ids=lambda forge: forge.__name__)
def test_an_object_in_question_is_refused_and_nothing_is_written(
    desk: Desk, forge: Callable[[Desk], Path], name: str
) -> None:
    path, target = forge(desk), desk.folder / "target.dcm"
    (signature,) = check_integrity(path).signatures
    assert signature.intact, "the MAC fits"
    before = path.read_bytes()
    with pytest.raises(
        QuestionedObjectError, match=r"may not be what was signed.*ask the sender for the object"
    ) as said:
        CHANGES[name](path, target)
    assert signature.uid in str(said.value)
    assert any(anomaly.clause in str(said.value) for anomaly in signature.anomalies)
    assert (path.read_bytes(), target.exists()) == (before, False)


def test_a_signature_in_an_item_that_is_in_question_is_enough(desk: Desk) -> None:
    def change(ds: Dataset) -> None:
        wrap(0x0040A160)(ds.ContentSequence[0])

    path = changed(desk.sign(plain_report(desk), item=((CONTENT, 0),)), change)
    with pytest.raises(QuestionedObjectError, match=r"signature's own Item and replaced: TextValue"):
        sign(path, desk.folder / "target.dcm", SIGNER.key, SigningRequest(SIGNER.der))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize(
    "tags",
    [(0x00080018,), (0x00080016, 0x00100010), (0x00100010, CONTENT), None],
    ids=["instance", "class", "content", "all"],
)
def test_what_is_only_left_open_is_no_obstacle(desk: Desk, name: str, tags: tuple[int, ...] | None) -> None:
    """The verdict says before and after that it is open, so nothing is hidden."""
    signed = desk.sign(plain_report(desk), profile=Profile.NONE, tags=tags)
    path, target = inserted(signed, (), PADDING, "OB", b"text"), desk.folder / "target.dcm"
    before = check_integrity(path).signatures
    CHANGES[name](path, target)
    uids = {signature.uid: signature for signature in check_integrity(target).signatures}
    if not name.startswith("remove"):
        kept = uids[before[0].uid]
        assert (kept.intact, kept.anomalies) == (True, before[0].anomalies)


@pytest.mark.parametrize("name", CHANGES)
def test_an_open_number_of_frames_is_no_obstacle(desk: Desk, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = desk.folder / "plain.dcm"
    plain.write_bytes(encapsulated_object(JPEG, pixels(ONE, TWO, frames=2)))
    everything = {int(element.tag) for element in pydicom.dcmread(plain)}
    with monkeypatch.context() as careless:
        careless.setattr("hsm_dicom.signatures.creation.selection.find_frame_count_tags", lambda *_: frozenset())
        path = desk.sign(plain, tags=tuple(everything - {NUMBER_OF_FRAMES}))
    assert [anomaly.code for anomaly in check_integrity(path).signatures[0].anomalies] == ["frame-count-open"]
    CHANGES[name](path, desk.folder / "target.dcm")
    assert (desk.folder / "target.dcm").exists()


def test_a_historic_signature_in_question_is_no_obstacle(desk: Desk) -> None:
    """It signed what the object was once, and counts for nothing."""
    old = Dataset()
    old.update(pydicom.dcmread(wrapped(desk)))
    ds = report()
    ds.add_new(0x04000561, "SQ", [old])
    path = desk.folder / "historic.dcm"
    path.write_bytes(encode(ds))
    request = SigningRequest(SIGNER.der)
    sign(path, desk.folder / "target.dcm", SIGNER.key, replace(request, tags=(0x00080018,)))
    assert len(check_integrity(desk.folder / "target.dcm").signatures) == 2
