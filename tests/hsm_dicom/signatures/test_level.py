"""At which level a signature was made is not in its MAC: what shows that it covers an object, and not an Item."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from hsm_dicom.signatures import NotSignableError, check_integrity
from hsm_dicom.signatures.anomalies.record import AnomalyCode
from hsm_dicom.validation.validator import Indication, SignatureVerdict
from tests.hsm_dicom.dataset.samples import encode
from tests.hsm_dicom.signatures.tampering import changed, report
from tests.hsm_dicom.validation.verdict_cases import Desk, codes, only, validator

REFERENCED_IMAGE = 0x00081140
SOP_CLASS = 0x00080016


def judged(path: Path) -> SignatureVerdict:
    return only(validator().validate(check_integrity(path)))


def with_item(desk: Desk, *, modality: bool = False) -> Path:
    """An object with an Item that has a patient and UIDs of its own."""
    item = Dataset()
    item.SOPClassUID, item.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.999"
    item.StudyInstanceUID, item.SeriesInstanceUID = "1.2.3.9", "1.2.3.8"
    item.PatientName, item.PatientID = "Roe^John", "B2"
    if modality:
        item.Modality = "OT"
    ds = report()
    ds.ReferencedImageSequence = Sequence([item])
    path = desk.folder / "item.dcm"
    path.write_bytes(encode(ds))
    return path


def moved_to_main(path: Path) -> Path:
    """An object made of the signed Item alone."""
    ds = Dataset()
    ds.update(pydicom.dcmread(path).ReferencedImageSequence[0])
    target = path.with_suffix(".moved.dcm")
    target.write_bytes(encode(ds))
    return target


def test_the_signature_of_an_item_that_was_moved_to_a_main_data_set_is_not_simply_valid(desk: Desk) -> None:
    signed = desk.sign(with_item(desk), item=((REFERENCED_IMAGE, 0),))
    one = judged(moved_to_main(signed))
    assert one.signature.intact, "the MAC fits at any level"
    assert one.signature.place == ()
    assert (one.indication, codes(one)) == (Indication.VALID_BUT, [AnomalyCode.LEVEL_OPEN])
    assert one.text == (
        "valid, but it may have been made for an Item inside another object, since it does not cover Modality"
    )


def test_an_item_that_could_stand_for_an_object_is_not_signed(desk: Desk) -> None:
    path = with_item(desk, modality=True)
    with pytest.raises(
        NotSignableError, match=r"the Item ReferencedImageSequence\[0\] has SOP Class UID .* without SOP Instance UID"
    ):
        desk.sign(path, item=((REFERENCED_IMAGE, 0),))
    signed = desk.sign(path, item=((REFERENCED_IMAGE, 0),), tags=(SOP_CLASS, 0x00100010))
    assert judged(moved_to_main(signed)).signature.intact
    assert AnomalyCode.LEVEL_OPEN in {anomaly.code for anomaly in judged(moved_to_main(signed)).signature.anomalies}


def test_an_item_in_its_place_is_said_to_be_an_item_and_no_more(desk: Desk) -> None:
    one = judged(desk.sign(with_item(desk), item=((REFERENCED_IMAGE, 0),)))
    assert one.signature.anomalies == ()


def test_an_object_whose_sop_instance_is_not_covered_may_be_an_item(desk: Desk) -> None:
    (signature,) = desk.verified(tags=(SOP_CLASS, 0x00100010)).signatures
    assert [anomaly.code for anomaly in signature.anomalies] == [AnomalyCode.LEVEL_OPEN]
    assert "does not cover SOPInstanceUID" in signature.anomalies[0].clause


def test_an_object_without_sop_instance_uid_may_be_an_item(desk: Desk) -> None:
    ds = report()
    del ds.SOPInstanceUID, ds.SOPClassUID
    path = desk.folder / "none.dcm"
    path.write_bytes(encode(ds))
    assert "does not cover SOPClassUID, SOPInstanceUID" in judged(desk.sign(path)).text


@pytest.mark.parametrize(
    ("keyword", "value", "clause"),
    [
        ("MediaStorageSOPInstanceUID", "1.2.3.4.6", "the file meta information names another SOP Instance UID"),
        (
            "MediaStorageSOPClassUID",
            "1.2.840.10008.5.1.4.1.1.7",
            "the file meta information names another SOP Class UID",
        ),
        ("MediaStorageSOPInstanceUID", None, "the file meta information does not name its SOP Instance UID"),
    ],
)
def test_file_meta_that_contradicts_the_object_is_named(
    desk: Desk, keyword: str, value: str | None, clause: str
) -> None:
    plain = desk.folder / "plain.dcm"
    plain.write_bytes(encode(report()))

    def change(ds: Dataset) -> None:
        if value is None:
            delattr(ds.file_meta, keyword)
        else:
            setattr(ds.file_meta, keyword, value)

    one = judged(changed(desk.sign(plain), change))
    assert (one.indication, codes(one)) == (Indication.VALID_BUT, [AnomalyCode.FILE_META_DIFFERS])
    assert one.text == f"valid, but {clause}"
