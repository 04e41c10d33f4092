"""What is hidden in a signature's own Items, which the MAC stream does not tell from the object that it covers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from hsm_dicom.dataset.tags import ItemPath
from hsm_dicom.signatures import Profile, check_integrity
from hsm_dicom.signatures.anomalies.record import AnomalyCode
from hsm_dicom.validation.policies.policy import Part, Requirement
from hsm_dicom.validation.validator import Indication, Outcome, Verdict
from tests.hsm_dicom.dataset.samples import encode
from tests.hsm_dicom.signatures.tampering import (
    CONTENT,
    MAC_PARAMETERS,
    PADDING,
    SIGNATURES,
    changed,
    inserted,
    report,
    text_item,
    wrap,
)
from tests.hsm_dicom.validation.verdict_cases import Desk, codes, only, validator

SIGNATURE, PARAMETERS = ((SIGNATURES, 0),), ((MAC_PARAMETERS, 0),)
PURPOSE = (*SIGNATURE, (0x04000401, 0))


@pytest.fixture
def plain(desk: Desk) -> Path:
    path = desk.folder / "plain.dcm"
    path.write_bytes(encode(report()))
    return path


def verdict_of(path: Path, **policy: Any) -> Verdict:
    return validator(**policy).validate(check_integrity(path))


def test_content_that_was_moved_into_the_signature_and_replaced_is_never_good(desk: Desk, plain: Path) -> None:
    def replace_content(ds: Dataset) -> None:
        wrap(CONTENT)(ds)
        ds.ContentSequence = Sequence([text_item("No finding")])

    path = changed(desk.sign(plain, profile=Profile.CREATOR), replace_content)
    (signature,) = check_integrity(path).signatures
    assert signature.intact, "the MAC fits"
    assert signature.profiles == ()
    found = verdict_of(path, require=frozenset({Requirement.ANY}), cover=frozenset({Part.IDENTITY}))
    one = only(found)
    assert (one.indication, codes(one)) == (Indication.INDETERMINATE, [AnomalyCode.WRAPPED_CONTENT])
    assert one.text == (
        "cannot tell, because content of the object may have been moved into the signature's own Item "
        "and replaced: ContentSequence"
    )
    assert (found.outcome, found.outcome.exit_status) == (Outcome.SIGNATURE_FAILED, 101)
    assert [one.code for one in found.unmet] == ["no-valid-signature", "not-covered"]


@pytest.mark.parametrize("syntax", ["native", "implicit", "big-endian", "deflated", "undefined"])
def test_one_element_that_is_moved_is_enough_in_every_encoding(desk: Desk, syntax: str) -> None:
    plain = desk.folder / "plain.dcm"
    plain.write_bytes(encode(report(), syntax))
    whole = desk.sign(plain)
    assert only(verdict_of(whole)).indication is Indication.VALID
    one = only(verdict_of(changed(whole, wrap(CONTENT))))
    assert codes(one) == [AnomalyCode.WRAPPED_CONTENT]


def test_content_of_an_item_is_not_moved_into_the_items_signature_either(desk: Desk, plain: Path) -> None:
    def change(ds: Dataset) -> None:
        wrap(0x0040A160)(ds.ContentSequence[0])
        ds.ContentSequence[0].TextValue = "No finding"

    one = only(verdict_of(changed(desk.sign(plain, item=((CONTENT, 0),)), change)))
    assert codes(one) == [AnomalyCode.WRAPPED_CONTENT]


def test_an_element_of_unknown_vr_in_an_implicit_file_may_be_wrapped_content(desk: Desk) -> None:
    """A reader with a dictionary of private elements has it in the MAC."""
    plain = desk.folder / "plain.dcm"
    plain.write_bytes(encode(report(), "implicit"))

    def change(ds: Dataset) -> None:
        ds[SIGNATURES].value[0].private_block(0x0009, "GEMS_IDEN_01", create=True).add_new(0x01, "LO", "x")

    wrapped = changed(desk.sign(plain), change)
    assert not only(verdict_of(wrapped)).indication.good
    lone = changed(desk.sign(plain), lambda ds: ds[SIGNATURES].value[0].add_new(0x00091001, "UN", b"xx"))
    assert codes(only(verdict_of(lone))) == [AnomalyCode.WRAPPED_CONTENT]


@pytest.mark.parametrize(
    ("place", "tag", "vr", "value", "name"),
    [
        (SIGNATURE, 0x00091010, "UN", b"xx", "DigitalSignaturesSequence[0].(0009,1010)"),
        (SIGNATURE, 0x00060010, "LO", b"text", "DigitalSignaturesSequence[0].(0006,0010)"),
        (SIGNATURE, 0x00100000, "UL", b"12345678", "DigitalSignaturesSequence[0].(0010,0000)"),
        (SIGNATURE, 0x00100000, "LO", b"text", "DigitalSignaturesSequence[0].(0010,0000)"),
        (SIGNATURE, 0x04000305, "CS", b"CMS_TSP ", "DigitalSignaturesSequence[0].CertifiedTimestampType"),
        (SIGNATURE, SIGNATURES, "LO", b"text", "DigitalSignaturesSequence[0].DigitalSignaturesSequence"),
        (SIGNATURE, PADDING, "OB", b"\0text\0", "DigitalSignaturesSequence[0].DataSetTrailingPadding"),
        (PARAMETERS, 0x0040A160, "UT", b"text", "MACParametersSequence[0].TextValue"),
        (PARAMETERS, PADDING, "OW", b"\0\0", "MACParametersSequence[0].DataSetTrailingPadding"),
        (PURPOSE, 0x00060010, "LO", b"text", "DigitalSignaturePurposeCodeSequence[0].(0006,0010)"),
    ],
)
def test_foreign_content_of_a_signatures_items_is_named(
    desk: Desk, plain: Path, place: ItemPath, tag: int, vr: str, value: bytes, name: str
) -> None:
    signed = desk.sign(plain, profile=Profile.CREATOR, purpose=1)
    one = only(verdict_of(inserted(signed, place, tag, vr, value)))
    assert (one.indication, codes(one)) == (Indication.VALID_BUT, [AnomalyCode.FOREIGN_CONTENT])
    assert one.text.endswith(name)
    assert Profile.CREATOR in one.signature.profiles


def test_group_lengths_and_zero_padding_are_not_foreign(desk: Desk, plain: Path) -> None:
    path = desk.sign(plain, purpose=1)
    for place, group in ((SIGNATURE, 0x0400), (PARAMETERS, 0x0400), (PURPOSE, 0x0008)):
        path = inserted(path, place, group << 16, "UL", b"\1\0\0\0")
        path = inserted(path, place, PADDING, "OB", bytes(64))
    assert only(verdict_of(path)).text == "valid"
