"""What an earlier run has signed is left out; whatever else stands in its place is a conflict, and stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hsm_dicom.signatures import Profile, SigningRequest, list_signatures, sign
from hsm_dicom.signatures.errors import ResumeConflictError
from hsm_dicom.signing import find_earlier_signature
from tests.hsm_dicom.dataset.samples import KINDS, data_set, encode, sample
from tests.hsm_dicom.signatures.tampering import CONTENT, changed, report, wrap
from tests.pki import Authority, Identity

TOKEN = b"\x30\x03\x02\x01\x05"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "signed.dcm"


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_is_recognised_in_every_encoding(
    kind: str, tmp_path: Path, target: Path, signer: Identity, base: SigningRequest
) -> None:
    source = tmp_path / "source.dcm"
    source.write_bytes(sample(kind))
    assert find_earlier_signature(str(source), str(target), base) is None
    report = sign(source, target, signer.key, base)
    assert find_earlier_signature(str(source), str(target), base) == report.uid


def test_a_result_that_others_signed_since_is_still_the_result(
    native: Path, target: Path, signer: Identity, ec_signer: Identity, base: SigningRequest
) -> None:
    sign(native, None, ec_signer.key, SigningRequest(ec_signer.der, Profile.NONE))  # the source has one already
    report = sign(native, target, signer.key, base)
    sign(target, None, ec_signer.key, SigningRequest(ec_signer.der, Profile.NONE))
    item = SigningRequest(ec_signer.der, Profile.NONE, item=((0x00081140, 0),))
    sign(target, None, ec_signer.key, item)
    assert find_earlier_signature(str(native), str(target), base) == report.uid


def other_object() -> bytes:
    ds = data_set()
    ds.SOPInstanceUID = "1.2.3.4.99"
    return encode(ds)


def other_comment() -> bytes:
    ds = data_set()
    ds.ImageComments = "even"
    return encode(ds)


def other_un_element() -> bytes:
    """A change that no signature covers, since the element is UN."""
    ds = data_set()
    ds[0x00291002].value = b"\x01\x02\x03\x05"
    return encode(ds)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (other_object, r"another object \(SOP Instance UID 1\.2\.3\.4\.5 instead of 1\.2\.3\.4\.99\)"),
        (other_comment, "another state of the object"),
        (other_un_element, "another state of the object"),
        (lambda: sample("implicit"), "Transfer Syntax or File Meta Information differs"),
    ],
)
def test_a_source_that_became_another_one_is_a_conflict(
    content: Callable[[], bytes], words: str, native: Path, target: Path, signer: Identity, base: SigningRequest
) -> None:
    sign(native, target, signer.key, base)
    native.write_bytes(content())
    with pytest.raises(ResumeConflictError, match=words):
        find_earlier_signature(str(native), str(target), base)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"tags": (0x00100010,), "profile": Profile.NONE}, "covers other elements"),
        ({"mac": "SHA512"}, "made with SHA512"),
        ({"purpose": 1}, "another purpose"),
        ({"item": ((0x00081140, 0),)}, r"is of ReferencedImageSequence\[0\]"),
    ],
)
def test_a_signature_made_for_another_request_is_a_conflict(
    made: dict[str, object], words: str, native: Path, target: Path, signer: Identity, base: SigningRequest
) -> None:
    other = replace(base, **made)  # type: ignore[arg-type]
    sign(native, target, signer.key, other)
    with pytest.raises(ResumeConflictError, match=words):
        find_earlier_signature(str(native), str(target), base)
    sign(native, None, signer.key, other)
    with pytest.raises(ResumeConflictError, match=f"{words}.*without resume"):
        find_earlier_signature(str(native), None, base)


def test_a_certified_timestamp_that_is_asked_for_must_be_there(
    native: Path, target: Path, signer: Identity, base: SigningRequest
) -> None:
    report = sign(native, target, signer.key, base)
    with pytest.raises(ResumeConflictError, match="no time stamp"):
        find_earlier_signature(str(native), str(target), base, timestamped=True)
    stamped = sign(native, target, signer.key, base, timestamp=lambda _: TOKEN, overwrite=True)
    assert stamped.uid != report.uid
    assert find_earlier_signature(str(native), str(target), base, timestamped=True) == stamped.uid
    assert find_earlier_signature(str(native), str(target), base) == stamped.uid


def test_the_signature_of_somebody_else_is_not_ours(
    native: Path, target: Path, authority: Authority, signer: Identity, base: SigningRequest
) -> None:
    """The same key with a renewed certificate is another request, too."""
    renewed = authority.issue("Signer", key=signer.key)
    sign(native, target, signer.key, SigningRequest(renewed.der))
    with pytest.raises(ResumeConflictError, match="no new signature by this certificate"):
        find_earlier_signature(str(native), str(target), base)
    sign(native, None, signer.key, SigningRequest(renewed.der))
    assert find_earlier_signature(str(native), None, base) is None


def test_a_target_that_is_broken_or_no_object_is_a_conflict(
    native: Path, target: Path, signer: Identity, base: SigningRequest
) -> None:
    sign(native, target, signer.key, base)
    [listed] = list_signatures(target)
    content = target.read_bytes()
    at = content.index(listed.date_time.encode())
    target.write_bytes(content[:at] + b"1999" + content[at + 4 :])
    with pytest.raises(ResumeConflictError, match="not intact"):
        find_earlier_signature(str(native), str(target), base)
    target.write_bytes(content[:-50])
    with pytest.raises(ResumeConflictError, match="cannot be read: .* reaches"):
        find_earlier_signature(str(native), str(target), base)
    target.unlink()
    target.symlink_to("nowhere")
    with pytest.raises(ResumeConflictError, match="cannot be read"):
        find_earlier_signature(str(native), str(target), base)


def test_in_place_a_file_that_was_changed_since_is_a_conflict(
    native: Path, signer: Identity, base: SigningRequest
) -> None:
    report = sign(native, None, signer.key, base)
    assert find_earlier_signature(str(native), None, base) == report.uid
    native.write_bytes(native.read_bytes().replace(b"Muster", b"Mister"))
    with pytest.raises(ResumeConflictError, match="not intact"):
        find_earlier_signature(str(native), None, base)


def test_in_place_an_object_in_question_is_a_conflict(tmp_path: Path, signer: Identity, base: SigningRequest) -> None:
    path = tmp_path / "report.dcm"
    path.write_bytes(encode(report()))
    sign(path, None, signer.key, base)
    wrapped = changed(path, wrap(CONTENT))
    with pytest.raises(ResumeConflictError, match="it may not be what was signed: content of the object may have been"):
        find_earlier_signature(str(wrapped), None, base)
