"""The verdict on a signature: what it covers, and what of the object is outside it."""

from __future__ import annotations

from collections.abc import Callable

import pydicom
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from hsm_dicom.dataset import DicomFile
from hsm_dicom.dataset.tags import tag_name
from hsm_dicom.signatures import Profile, check_integrity
from hsm_dicom.signatures.anomalies.level import MODALITY
from hsm_dicom.signatures.coverage.parts import GEOMETRY, PICTURE
from hsm_dicom.signatures.errors import UncoveredContentError
from hsm_dicom.validation.validator import Cause, Indication, Outcome, worst_exit_status
from tests.hsm_dicom.validation.verdict_cases import (
    CHARACTER_SET,
    IDENTITY_TAGS,
    PATIENT_ID,
    PIXELS,
    SOP_INSTANCE,
    Desk,
    codes,
    everything_but,
    image,
    only,
    validator,
)


def test_what_is_outside_is_named_the_gravest_first(desk: Desk) -> None:
    verdict = validator().validate(desk.verified(tags=(SOP_INSTANCE, PATIENT_ID)))
    one = only(verdict)
    assert one.indication is Indication.QUESTIONABLE
    assert verdict.outcome is Outcome.QUESTIONABLE
    assert worst_exit_status([verdict.outcome]) == 102
    assert codes(one) == [Cause.PIXEL_DATA_OPEN, Cause.GEOMETRY_OPEN, Cause.IDENTITY_OPEN]
    clauses = [ground.clause for ground in one.grounds]
    assert clauses[0] == "the pixel data is not covered"
    assert clauses[1] == (
        "the geometry is not covered: PixelSpacing, ImageOrientationPatient, ImagePositionPatient and 12 more"
    )
    assert clauses[2] == "the identity of the patient, study, series and SOP instance is not covered"


def test_what_changes_what_is_seen_is_named_before_private_and_other_elements(desk: Desk) -> None:
    image_tags = {int(element.tag) for element in pydicom.dcmread(image())}
    relied_on = {*IDENTITY_TAGS, MODALITY, *PICTURE, *GEOMETRY} & image_tags
    one = only(validator().validate(desk.verified(tags=tuple(relied_on))))
    assert one.indication is Indication.VALID_BUT
    assert codes(one) == [Cause.CHARACTER_SET_OPEN, Cause.SEEN_OPEN, Cause.PRIVATE_OPEN, Cause.ELEMENTS_OPEN]
    clauses = [ground.clause for ground in one.grounds]
    assert clauses[0] == "Specific Character Set is not covered while text is"
    assert clauses[1].startswith("11 elements that change what is seen or measured are not covered: ImageType, ")
    assert clauses[2].startswith("179 private elements are not covered: (0009,0010), (0009,1001), (0009,1002) and")
    assert "SpecificCharacterSet" not in clauses[3]


@pytest.mark.parametrize(
    ("edit", "cause", "tag"),
    [
        (lambda ds: setattr(ds, "PhotometricInterpretation", "MONOCHROME1"), Cause.PICTURE_OPEN, 0x00280004),
        (lambda ds: (setattr(ds, "Rows", 64), setattr(ds, "Columns", 256)), Cause.PICTURE_OPEN, 0x00280010),
        (lambda ds: setattr(ds, "PixelSpacing", [0.1, 0.1]), Cause.GEOMETRY_OPEN, 0x00280030),
        (lambda ds: setattr(ds, "ImageOrientationPatient", [-1, 0, 0, 0, 1, 0]), Cause.GEOMETRY_OPEN, 0x00200037),
        (lambda ds: setattr(ds, "RescaleSlope", -1), Cause.GEOMETRY_OPEN, 0x00281053),
        (lambda ds: setattr(ds, "WindowWidth", 1), Cause.GEOMETRY_OPEN, 0x00281051),
    ],
)
def test_the_same_pixel_data_shown_as_another_picture_is_questionable(
    desk: Desk, edit: Callable[[Dataset], object], cause: Cause, tag: int
) -> None:
    """All is covered but Columns and one more attribute of how the samples are read, or what they measure."""
    with DicomFile.open(image()) as file:
        others = file.main.signable_tags - {tag, 0x00280011}
    signed = pydicom.dcmread(desk.sign(tags=tuple(others)))
    edit(signed)
    path = desk.folder / "other.dcm"
    signed.save_as(path)
    verdict = validator(require={"any"}).validate(check_integrity(path))
    one = only(verdict)
    assert one.signature.intact
    assert one.indication is Indication.QUESTIONABLE
    assert {ground.code for ground in one.grounds} == {cause, Cause.PICTURE_OPEN}
    assert any(tag_name(tag) in ground.clause for ground in one.grounds)
    assert [one.text for one in verdict.unmet] == ["There is no valid signature over the main Data Set."]
    assert worst_exit_status([verdict.outcome]) == 102


@pytest.mark.parametrize(
    ("tag", "vr", "value", "cause"),
    [
        (0x60003000, "OW", bytes(2048), Cause.PICTURE_OPEN),
        (0x601E3000, "OW", bytes(2048), Cause.PICTURE_OPEN),
        (0x00281101, "US", [256, 0, 16], Cause.PICTURE_OPEN),
        (0x00280008, "IS", 2, Cause.PICTURE_OPEN),
        (0x20500020, "CS", "INVERSE", Cause.GEOMETRY_OPEN),
        (0x52009229, "SQ", [], Cause.GEOMETRY_OPEN),
        (0x00700001, "SQ", [], Cause.CONTENT_OPEN),
        (0x00100021, "LO", "Other issuer", Cause.IDENTITY_OPEN),
    ],
)
def test_what_is_added_to_a_whole_signature_and_changes_its_picture_is_questionable(
    desk: Desk, tag: int, vr: str, value: object, cause: Cause
) -> None:
    signed = pydicom.dcmread(desk.sign())
    assert tag not in signed
    signed.add_new(tag, vr, value)
    path = desk.folder / "added.dcm"
    signed.save_as(path)
    assert codes(only(validator().validate(check_integrity(path)))) == [cause]


def test_geometry_with_an_unknown_element_inside_cannot_be_covered(desk: Desk) -> None:
    """A sequence with UN inside is no part of any signature, so what it says of the picture is open."""
    plain = pydicom.dcmread(image())
    region = Dataset()
    region.add_new(0x00111001, "UN", b"ab")
    plain.VOILUTSequence = Sequence([region])
    source = desk.folder / "source.dcm"
    plain.save_as(source)
    with pytest.raises(UncoveredContentError, match=r"VOILUTSequence\[0\].\(0011,1001\) is of VR UN"):
        desk.sign(source)
    one = only(validator().validate(desk.verified(source, allow_uncovered=True)))
    assert (one.indication, codes(one)) == (Indication.QUESTIONABLE, [Cause.GEOMETRY_OPEN])


def test_a_report_without_its_text_is_questionable(desk: Desk) -> None:
    tags = everything_but("reportsi.dcm", 0x0040A730)
    one = only(validator().validate(desk.verified("reportsi.dcm", tags=tags)))
    assert one.text == "questionable, because the content is not covered: ContentSequence"


def test_an_element_added_since_is_named(desk: Desk) -> None:
    signed = pydicom.dcmread(desk.sign())
    signed.PatientComments = "added"
    path = desk.folder / "added.dcm"
    signed.save_as(path)
    assert (
        only(validator().validate(check_integrity(path))).text == "valid, but 1 element is not covered: PatientComments"
    )


def test_private_and_unknown_elements_outside_are_named(desk: Desk) -> None:
    signed = pydicom.dcmread(desk.sign())
    signed.private_block(0x0029, "SOMEBODY", create=True).add_new(0x01, "LO", "added")
    signed.add_new(0x0018_9999, "UN", b"\1\2")
    path = desk.folder / "added.dcm"
    signed.save_as(path)
    one = only(validator().validate(check_integrity(path)))
    assert codes(one) == [Cause.PRIVATE_OPEN, Cause.UNKNOWN_VR_OPEN]
    assert "2 private elements are not covered: (0029,0011), (0029,1101)" in one.text
    assert "1 element of unknown VR is not covered: (0018,9999)" in one.text


def test_a_character_set_put_around_signed_text_is_named(desk: Desk) -> None:
    tags = everything_but("CT_small.dcm", CHARACTER_SET)
    one = only(validator().validate(desk.verified(profile=Profile.NONE, tags=tags)))
    assert one.text == "valid, but Specific Character Set is not covered while text is"


def test_a_signature_of_an_item_is_not_one_of_the_object(desk: Desk) -> None:
    one = only(validator().validate(desk.verified("reportsi.dcm", item=((0x0040A730, 0),))))
    assert codes(one)[0] == Cause.ITEM_ONLY
    assert "it covers the Item ContentSequence[0] only, not the object" in one.text


def test_pixels_and_identity_that_are_covered_leave_no_such_ground(desk: Desk) -> None:
    one = only(validator().validate(desk.verified(tags=(CHARACTER_SET, *IDENTITY_TAGS, PIXELS))))
    assert codes(one) == [Cause.PICTURE_OPEN, Cause.GEOMETRY_OPEN]
