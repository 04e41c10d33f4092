"""Identity and content that no signature can cover are not left open silently (PS3.3 C.12.1.1.3.1.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from hsm_dicom.signatures import NotSignableError, Profile, SigningRequest, check_integrity, sign
from hsm_dicom.signatures.errors import UncoveredContentError
from tests.hsm_dicom.dataset.samples import data_set, element, encode, structure_set
from tests.pki import Identity

ROI_CONTOURS = 0x30060039


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.dcm"


def test_contours_of_more_than_64_kib_are_un_in_the_mac_and_so_not_signed(
    path: Path, signer: Identity, base: SigningRequest
) -> None:
    path.write_bytes(encode(structure_set(4000), "implicit"))
    with pytest.raises(
        UncoveredContentError,
        match=r"\(3006,0039\) ROIContourSequence: ROIContourSequence\[0\]\.ContourSequence\[0\]\.ContourData "
        r"has 112230 bytes, too many for VR DS in explicit VR, where it is UN .* set allow_uncovered",
    ):
        sign(path, None, signer.key, replace(base, profile=Profile.CREATOR))
    report = sign(path, None, signer.key, replace(base, profile=Profile.CREATOR, allow_uncovered=True))
    assert (report.uncovered, report.left_out) == ((ROI_CONTOURS,), (ROI_CONTOURS,))
    assert check_integrity(path).signatures[0].intact


def test_contours_of_less_are_signed(path: Path, signer: Identity, base: SigningRequest) -> None:
    path.write_bytes(encode(structure_set(2000), "implicit"))
    report = sign(path, None, signer.key, base)
    assert ROI_CONTOURS in report.signed
    assert report.uncovered == report.left_out == ()


def frames_with_private_of_unknown_vr() -> Dataset:
    """In implicit VR the private element in each frame's Item is UN, and takes the whole sequence along."""
    ds = data_set()
    frame = Dataset()
    frame.private_block(0x0029, "MADE UP", create=True).add_new(1, "LO", "x")
    ds.PerFrameFunctionalGroupsSequence = Sequence([frame])
    return ds


def unknown_patient_id() -> bytes:
    known = element(0x00100020, "LO", b"4711")
    return encode(data_set()).replace(known, element(0x00100020, "UN", b"4711"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            lambda: encode(frames_with_private_of_unknown_vr(), "implicit"),
            r"\(5200,9230\) .*\]\.\(0029,1001\) is of VR UN",
        ),
        (unknown_patient_id, r"\(0010,0020\) PatientID: it is of VR UN"),
    ],
)
def test_un_in_content_or_identity_is_refused_with_its_place(
    content: Callable[[], bytes], words: str, path: Path, signer: Identity, base: SigningRequest
) -> None:
    path.write_bytes(content())
    with pytest.raises(UncoveredContentError, match=words):
        sign(path, None, signer.key, base)


def test_only_what_was_asked_for_counts(path: Path, signer: Identity, base: SigningRequest) -> None:
    path.write_bytes(encode(frames_with_private_of_unknown_vr(), "implicit"))
    name = (0x00100010,)
    with pytest.raises(UncoveredContentError, match="PerFrameFunctionalGroups"):  # the profile demands it
        sign(path, None, signer.key, replace(base, tags=name, profile=Profile.CREATOR))
    with pytest.raises(NotSignableError, match=r"cannot be signed: .*\(0029,1001\) is of VR UN"):
        sign(path, None, signer.key, replace(base, tags=(0x52009230,)))
    assert sign(path, None, signer.key, replace(base, tags=name)).uncovered == ()


def test_private_elements_of_unknown_vr_do_not_stop_a_signature(
    path: Path, signer: Identity, base: SigningRequest
) -> None:
    path.write_bytes(encode(data_set(), "implicit"))
    report = sign(path, None, signer.key, base)
    assert report.left_out
    assert report.uncovered == ()
