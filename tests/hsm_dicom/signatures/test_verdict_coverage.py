"""The verdict on a signature: what it covers, and what of the object is outside it."""

from __future__ import annotations

import pydicom

from hsm_dicom.signatures import Profile, verify
from hsm_dicom.signatures.verdict import Cause, Word
from tests.hsm_dicom.signatures.verdict_cases import (
    CHARACTER_SET,
    PATIENT_ID,
    PIXELS,
    SOP_INSTANCE,
    Desk,
    codes,
    image,
    judge,
    only,
)


def test_what_is_outside_is_named_the_gravest_first(desk: Desk) -> None:
    one = only(judge().file(desk.verified(tags=(SOP_INSTANCE, PATIENT_ID))))
    assert one.word is Word.VALID_BUT
    assert codes(one) == [
        Cause.PIXEL_DATA_OPEN,
        Cause.IDENTITY_OPEN,
        Cause.CHARACTER_SET_OPEN,
        Cause.PRIVATE_OPEN,
        Cause.ELEMENTS_OPEN,
    ]
    clauses = [ground.clause for ground in one.grounds]
    assert clauses[0] == "the pixel data is not covered"
    assert clauses[1] == "the identity of the patient, study, series and SOP instance is not covered"
    assert clauses[3].startswith("179 private elements are not covered: (0009,0010), (0009,1001), (0009,1002) and")


def test_an_element_added_since_is_named(desk: Desk) -> None:
    signed = pydicom.dcmread(desk.sign())
    signed.PatientComments = "added"
    path = desk.folder / "added.dcm"
    signed.save_as(path)
    assert only(judge().file(verify(path))).text == "valid, but 1 element is not covered: PatientComments"


def test_private_and_unknown_elements_outside_are_named(desk: Desk) -> None:
    signed = pydicom.dcmread(desk.sign())
    signed.private_block(0x0029, "SOMEBODY", create=True).add_new(0x01, "LO", "added")
    signed.add_new(0x0018_9999, "UN", b"\1\2")
    path = desk.folder / "added.dcm"
    signed.save_as(path)
    one = only(judge().file(verify(path)))
    assert codes(one) == [Cause.PRIVATE_OPEN, Cause.UNKNOWN_VR_OPEN]
    assert "2 private elements are not covered: (0029,0011), (0029,1101)" in one.text
    assert "1 element of unknown VR is not covered: (0018,9999)" in one.text


def test_a_character_set_put_around_signed_text_is_named(desk: Desk) -> None:
    everything_else = tuple(
        int(element.tag)
        for element in pydicom.dcmread(image())
        if element.tag.group >= 8 and element.tag not in (CHARACTER_SET, 0xFFFCFFFC)
    )
    one = only(judge().file(desk.verified(profile=Profile.NONE, tags=everything_else)))
    assert Cause.CHARACTER_SET_OPEN in codes(one)


def test_a_signature_of_an_item_is_not_one_of_the_object(desk: Desk) -> None:
    one = only(judge().file(desk.verified("reportsi.dcm", item=((0x0040A730, 0),))))
    assert codes(one)[0] == Cause.ITEM_ONLY
    assert "it covers the Item ContentSequence[0] only, not the object" in one.text


def test_pixels_and_identity_that_are_covered_leave_no_such_ground(desk: Desk) -> None:
    named = (0x00080005, 0x00080016, SOP_INSTANCE, 0x00100010, PATIENT_ID, 0x00100030, 0x0020000D, 0x0020000E, PIXELS)
    one = only(judge().file(desk.verified(tags=named)))
    assert codes(one) == [Cause.PRIVATE_OPEN, Cause.ELEMENTS_OPEN]
