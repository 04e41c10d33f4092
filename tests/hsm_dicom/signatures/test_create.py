"""What a signing request asks for is what is signed, and what cannot be signed is refused by name."""

from __future__ import annotations

import os
import pickle
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest

import hsm_dicom.signatures
from hsm_dicom.dataset import DicomFile, DicomFileError, WriteRefusedError
from hsm_dicom.dataset.errors import FileChangedError
from hsm_dicom.signatures import (
    KeyMismatchError,
    NotSignableError,
    Profile,
    ProfileError,
    SigningRequest,
    check_integrity,
    finish,
    prepare,
    sign,
    sign_digest,
)
from hsm_dicom.signatures.errors import NoSuchSignatureError, UnknownMacAlgorithmError, WeakMacAlgorithmError
from tests.hsm_dicom.dataset.samples import KINDS, data_set, element, encode, item, part10, sample
from tests.pki import Authority, Identity, new_key

PATIENT_NAME, PATIENT_ID, PIXEL_DATA, UNKNOWN = 0x00100010, 0x00100020, 0x7FE00010, 0x00291002


def test_the_examples_of_the_package_run_as_they_stand(
    signer: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ct.dcm").write_bytes(sample())
    code = [line[4:] for line in (hsm_dicom.signatures.__doc__ or "").splitlines() if line.startswith("    ")]
    exec("\n".join(code), {"certificate": signer.der, "key": signer.key})
    assert "attributes signed, left out: (2691074,)\nintact" in capsys.readouterr().out
    assert check_integrity("signed-in-steps.dcm").signatures[0].intact


def test_without_a_tag_list_everything_signable_is_signed_and_the_rest_is_reported(
    native: Path, signer: Identity, base: SigningRequest
) -> None:
    report = sign(native, None, signer.key, base)
    assert report.left_out == (UNKNOWN,)
    assert {PATIENT_NAME, PIXEL_DATA, 0x00290010, 0x00291001} <= set(report.signed)
    (signature,) = check_integrity(native).signatures
    assert signature.intact
    assert signature.coverage is not None
    assert signature.coverage.signed == report.signed
    assert (signature.uid, signature.mac_algorithm) == (report.uid, "SHA256")


def test_a_tag_list_is_signed_as_it_is_and_completed_by_the_profile(
    native: Path, signer: Identity, base: SigningRequest, tmp_path: Path
) -> None:
    tags = (PATIENT_NAME, PATIENT_ID)
    assert sign(native, tmp_path / "a.dcm", signer.key, replace(base, tags=tags)).signed == tags
    report = sign(native, tmp_path / "b.dcm", signer.key, replace(base, tags=tags, profile=Profile.CREATOR))
    assert set(report.signed) >= {*tags, 0x00080016, 0x00080018, 0x0020000D, 0x0020000E, PIXEL_DATA, 0x60003000}
    assert 0x00291001 not in report.signed


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        (0x00080000, "may never be signed"),
        (0x00080001, "may never be signed"),
        (0x00020010, "may never be signed"),
        (0xFFFAFFFA, "may never be signed"),
        (0x4FFE0001, "may never be signed"),
        (0xFFFCFFFC, "may never be signed"),
        (UNKNOWN, "is of VR UN"),
        (0x00081030, "is not there"),
    ],
)
def test_a_tag_that_cannot_be_signed_is_refused_by_name(
    tag: int, reason: str, native: Path, signer: Identity, base: SigningRequest
) -> None:
    before = native.read_bytes()
    with pytest.raises(NotSignableError, match=reason) as caught:
        sign(native, None, signer.key, replace(base, tags=(PATIENT_NAME, tag)))
    assert f"({tag >> 16:04X},{tag & 0xFFFF:04X})" in str(caught.value)
    assert native.read_bytes() == before


def test_weak_hashes_need_to_be_allowed_and_unknown_ones_are_refused(
    native: Path, signer: Identity, base: SigningRequest, tmp_path: Path
) -> None:
    for weak in ("MD5", "SHA1", "RIPEMD160"):
        with pytest.raises(WeakMacAlgorithmError, match=weak):
            sign(native, tmp_path / "x.dcm", signer.key, replace(base, mac=weak))
    with pytest.raises(UnknownMacAlgorithmError, match="SHA999"):
        sign(native, tmp_path / "x.dcm", signer.key, replace(base, mac="SHA999"))
    sign(native, tmp_path / "x.dcm", signer.key, replace(base, mac="sha1", allow_weak=True))
    assert check_integrity(tmp_path / "x.dcm").signatures[0].mac_algorithm == "SHA1"


def test_ec_keys_sign_outside_the_profiles_only(native: Path, ec_signer: Identity, tmp_path: Path) -> None:
    for profile in Profile:
        request = SigningRequest(ec_signer.der, profile)
        if profile is not Profile.NONE:
            with pytest.raises(ProfileError, match="RSA"):
                sign(native, tmp_path / "x.dcm", ec_signer.key, request)
    for number in range(4):  # ECDSA in DER has odd and even lengths
        target = tmp_path / f"{number}.dcm"
        sign(native, target, ec_signer.key, SigningRequest(ec_signer.der, Profile.NONE, mac="SHA384"))
        (signature,) = check_integrity(target).signatures
        assert (signature.intact, signature.profiles) == (True, ())
        assert signature.signature[1] + 2 == len(signature.signature)


def test_a_key_that_is_not_the_certificates_never_writes(
    native: Path, signer: Identity, base: SigningRequest, tmp_path: Path
) -> None:
    other = new_key("rsa2048", 1)
    with pytest.raises(KeyMismatchError, match="another key"):
        sign(native, tmp_path / "x.dcm", other, base)
    plan = prepare(native, base)
    for wrong in (sign_digest(other, plan), b"", bytes(256)):
        with pytest.raises(KeyMismatchError, match="nothing was written"):
            finish(plan, wrong, tmp_path / "x.dcm")
    assert not (tmp_path / "x.dcm").exists()


def test_certificates_that_no_dicom_signature_can_use_are_refused(native: Path, authority: Authority) -> None:
    ed25519 = authority.issue("Ed25519", key=new_key("ed25519"))
    for certificate, reason in ((ed25519.der, "RSA keys"), (b"no certificate", "cannot be read")):
        with pytest.raises(KeyMismatchError, match=reason):
            sign(native, None, new_key("rsa2048"), SigningRequest(certificate))


def test_the_date_time_is_of_now_and_has_its_offset(native: Path, signer: Identity, base: SigningRequest) -> None:
    sign(native, None, signer.key, base)
    (signature,) = check_integrity(native).signatures
    assert re.fullmatch(r"\d{14}\.\d{6}[+-]\d{4}", signature.date_time)
    assert signature.signed_at is not None
    assert abs(signature.signed_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_mac_ids_are_unique_in_the_instance_and_every_signature_stays_intact(
    native: Path, signer: Identity, base: SigningRequest
) -> None:
    places = [(), ((0x00081140, 0),), ((0x00081140, 0), (0x0040A170, 0)), (), ((0x00081140, 2),), ((0x00081140, 0),)]
    for place in places:
        sign(native, None, signer.key, replace(base, item=place))
    signatures = check_integrity(native).signatures
    assert sorted(s.place for s in signatures) == sorted(places)
    assert sorted(s.mac_id for s in signatures if s.mac_id is not None) == [0, 1, 2, 3, 4, 5]
    assert all(s.intact for s in signatures), [s.reason for s in signatures]
    pydicom.dcmread(native)


def test_signing_an_item_that_is_not_there_says_which(native: Path, signer: Identity, base: SigningRequest) -> None:
    with pytest.raises(NoSuchSignatureError, match=r"ReferencedImageSequence\[7\]"):
        sign(native, None, signer.key, replace(base, item=((0x00081140, 7),)))


def test_an_item_without_elements_has_nothing_to_sign(native: Path, signer: Identity, base: SigningRequest) -> None:
    with pytest.raises(NotSignableError, match="nothing that could be signed"):
        sign(native, None, signer.key, replace(base, item=((0x00081140, 1),)))


def test_an_image_without_pixels_is_not_signed(signer: Identity, base: SigningRequest, tmp_path: Path) -> None:
    ds = data_set()
    ds.PixelData = b""
    path = tmp_path / "x.dcm"
    path.write_bytes(encode(ds))
    with pytest.raises(NotSignableError, match="PixelData is empty"):
        sign(path, None, signer.key, base)
    assert sign(path, None, signer.key, replace(base, tags=(PATIENT_NAME,))).signed == (PATIENT_NAME,)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_two_sequences_are_new_and_all_other_bytes_are_the_same(
    kind: str, signer: Identity, base: SigningRequest, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.dcm", tmp_path / "out.dcm"
    source.write_bytes(sample(kind))
    sign(source, target, signer.key, base)
    before, after = pydicom.dcmread(source), pydicom.dcmread(target)
    del after[0x4FFE0001], after[0xFFFAFFFA]
    assert before == after
    with DicomFile.open(target) as file, DicomFile.open(source) as original:
        spans = [file.main[0x4FFE0001], file.main[0xFFFAFFFA]]
        everything = file.source.read(0, file.source.size)
        for span in reversed(spans):
            everything = everything[: span.start] + everything[span.end :]
        assert everything == original.source.read(0, original.source.size)


def test_a_plan_can_be_pickled_and_finished_elsewhere(
    native: Path, signer: Identity, base: SigningRequest, tmp_path: Path
) -> None:
    plan = pickle.loads(pickle.dumps(prepare(native, base)))
    report = finish(plan, sign_digest(signer.key, plan), tmp_path / "x.dcm")
    assert pickle.loads(pickle.dumps(report)) == report
    assert check_integrity(tmp_path / "x.dcm").signatures[0].intact


def test_a_file_that_changes_between_preparing_and_finishing_is_left_alone(
    native: Path, signer: Identity, base: SigningRequest
) -> None:
    plan = prepare(native, base)
    native.write_bytes(native.read_bytes())
    with pytest.raises(FileChangedError, match="nothing was written"):
        finish(plan, sign_digest(signer.key, plan), None)


def test_no_file_is_overwritten_by_accident(
    native: Path, signer: Identity, base: SigningRequest, tmp_path: Path
) -> None:
    other = tmp_path / "other.dcm"
    other.write_bytes(b"precious")
    link = tmp_path / "link.dcm"
    link.hardlink_to(native)
    before = native.read_bytes()
    for target, reason in ((native, "source itself"), (link, "source itself"), (other, "exists already")):
        with pytest.raises(WriteRefusedError, match=reason):
            sign(native, target, signer.key, base)
    with pytest.raises(WriteRefusedError, match="source itself"):
        sign(native, native, signer.key, base, overwrite=True)
    with pytest.raises(DicomFileError, match="cannot be written"):
        sign(native, tmp_path / "no" / "folder.dcm", signer.key, base)
    assert (native.read_bytes(), other.read_bytes()) == (before, b"precious")
    sign(native, other, signer.key, base, overwrite=True)
    assert check_integrity(other).signatures[0].intact


def test_in_place_follows_links_and_keeps_the_mode(
    native: Path, signer: Identity, base: SigningRequest, tmp_path: Path
) -> None:
    native.chmod(0o640)
    link = tmp_path / "link.dcm"
    link.symlink_to(native)
    sign(link, None, signer.key, base)
    assert link.is_symlink()
    assert native.stat().st_mode & 0o777 == 0o640
    assert check_integrity(native).signatures[0].intact
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_in_place_keeps_extended_attributes(native: Path, signer: Identity, base: SigningRequest) -> None:
    try:
        os.setxattr(native, "user.ward", b"3 north")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    sign(native, None, signer.key, base)
    assert os.getxattr(native, "user.ward") == b"3 north"


def test_group_lengths_and_length_to_end_grow_with_what_they_count(
    signer: Identity, base: SigningRequest, tmp_path: Path
) -> None:
    def number(value: int) -> bytes:
        return value.to_bytes(4, "little")

    sequence = element(0x00081140, "SQ", item(element(0x00081150, "UI", b"1.2.3\0")))
    group8 = sequence
    rest = element(0x00100010, "PN", b"Name")
    to_end = element(0x00080001, "UL", number(len(group8) + len(rest)))
    body = element(0x00080000, "UL", number(len(to_end) + len(group8))) + to_end + group8 + rest
    path = tmp_path / "x.dcm"
    path.write_bytes(part10(body))
    sign(path, None, signer.key, replace(base, item=((0x00081140, 0),)))
    sign(path, None, signer.key, base)
    with DicomFile.open(path) as file:
        main = file.main
        assert file.number(file.value(main[0x00080000])) == main[0x00100010].start - main[0x00080000].end
        assert file.number(file.value(main[0x00080001])) == file.source.size - main[0x00080001].end
    assert [s.intact for s in check_integrity(path).signatures] == [True, True]
