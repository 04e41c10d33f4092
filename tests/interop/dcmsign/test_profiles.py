"""Profiles of PS3.15 Annex C: what dcmsign makes under a profile meets it here, and the other way round."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from hsm_dicom.signatures import NotSignableError, Profile, ProfileError, SigningRequest, check_integrity, sign
from hsm_dicom.signatures.errors import MissingPurposeError
from hsm_dicom.signatures.profiles.tables import MODULES
from tests.hsm_dicom.dataset.samples import data_set, encode, shipped
from tests.interop.dcmsign.dcmsign import PROFILES, Dcmsign
from tests.pki import Authority, Identity, new_key

PATIENT_NAME = 0x00100010
LEFT_OUT = (0x00287FE0, 0x00089123)  # dcmsign does not write the one, and demands private elements with the other
CREATOR, AUTHORIZATION = "+rc", "+ru"


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rich Data Set with every attribute that a module of the profiles has and that fits into it empty."""
    ds = data_set()
    for tag in sorted(set().union(*MODULES.values())):
        vr = pydicom.datadict.dictionary_VR(tag)
        if tag not in ds and " or " not in vr and vr != "SQ" and tag >> 16 != 0x7FE0 and tag not in LEFT_OUT:
            ds.add_new(tag, vr, None)
    ds.add_new(0x601E0010, "US", 16)
    ds.add_new(0x601E3000, "OW", bytes(32))
    ds.add_new(0x50020005, "US", 1)
    path = tmp_path_factory.mktemp("rich") / "rich.dcm"
    path.write_bytes(encode(ds))
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Structured Report that is verified."""
    ds = pydicom.dcmread(shipped("test-SR.dcm"))
    ds.VerificationFlag = "VERIFIED"
    observer = pydicom.Dataset()
    observer.VerifyingObserverName, observer.VerificationDateTime = "Observer", "20240101"
    ds.VerifyingObserverSequence = pydicom.Sequence([observer])
    path = tmp_path_factory.mktemp("report") / "report.dcm"
    ds.save_as(path)
    return path


@pytest.mark.parametrize(("profile", "option"), [(Profile.CREATOR, CREATOR), (Profile.AUTHORIZATION, AUTHORIZATION)])
def test_a_signature_of_ours_with_a_tag_list_meets_the_profile_for_dcmsign(
    profile: Profile,
    option: str,
    rich: Path,
    dcmsign: Dcmsign,
    signer: Identity,
    request_: SigningRequest,
    tmp_path: Path,
) -> None:
    signed = tmp_path / "ours.dcm"
    signing = sign(rich, signed, signer.key, replace(request_, profile=profile, tags=(PATIENT_NAME,)))
    assert PATIENT_NAME in signing.signed
    assert {0x601E3000, 0x50020005, 0x60003000} <= set(signing.signed)
    assert (0x00081010 in signing.signed) is (profile is Profile.CREATOR)
    assert dcmsign.accepts(signed, option)
    assert profile in check_integrity(signed).signatures[0].profiles


@pytest.mark.parametrize("profile", [Profile.BASE, Profile.CREATOR, Profile.AUTHORIZATION])
def test_everything_signed_by_dcmsign_meets_its_profile_here(
    profile: Profile, rich: Path, dcmsign: Dcmsign, tmp_path: Path
) -> None:
    signed = tmp_path / "theirs.dcm"
    dcmsign.sign(rich, signed, PROFILES[profile.value])
    assert profile in check_integrity(signed).signatures[0].profiles


def test_a_plain_signature_over_one_tag_is_no_creator_signature_for_either_side(
    rich: Path, dcmsign: Dcmsign, signer: Identity, request_: SigningRequest, tmp_path: Path
) -> None:
    signed = tmp_path / "ours.dcm"
    sign(rich, signed, signer.key, replace(request_, tags=(PATIENT_NAME,)))
    assert check_integrity(signed).signatures[0].profiles == (Profile.BASE,)
    assert dcmsign.verify(signed, CREATOR).returncode == 102


def test_overlays_in_all_repeating_groups_are_demanded_where_dcmsign_asks_for_the_first_only(
    rich: Path, dcmsign: Dcmsign, tmp_path: Path
) -> None:
    """DCMTK 3.6.7 compares only group 6000; PS3.3 C.9.2 has overlays in groups 6000 to 601E."""
    signed = tmp_path / "theirs.dcm"
    dcmsign.sign(rich, signed, PROFILES["creator"], "-t", "PatientName")
    assert dcmsign.accepts(signed, CREATOR)
    signature = check_integrity(signed).signatures[0]
    assert signature.coverage is not None
    assert 0x601E3000 in signature.coverage.open
    assert Profile.CREATOR not in signature.profiles


@pytest.mark.parametrize("profile", [Profile.SR, Profile.SR_VERIFICATION])
def test_reports_go_both_ways(
    profile: Profile, report: Path, dcmsign: Dcmsign, signer: Identity, request_: SigningRequest, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours.dcm", tmp_path / "theirs.dcm"
    purpose = 5 if profile is Profile.SR_VERIFICATION else 1
    sign(report, ours, signer.key, replace(request_, profile=profile, purpose=purpose))
    assert dcmsign.accepts(ours, "+rs")
    assert profile in check_integrity(ours).signatures[0].profiles
    dcmsign.sign(report, theirs, PROFILES[profile.value], "+sp", str(purpose))
    assert profile in check_integrity(theirs).signatures[0].profiles


def test_what_is_no_report_or_not_verified_cannot_be_signed_as_one(
    rich: Path, report: Path, signer: Identity, request_: SigningRequest, tmp_path: Path
) -> None:
    target = tmp_path / "x.dcm"
    request = replace(request_, profile=Profile.SR, purpose=1)
    with pytest.raises(ProfileError, match="not a Structured Report"):
        sign(rich, target, signer.key, request)
    with pytest.raises(MissingPurposeError, match="needs a purpose"):
        sign(report, target, signer.key, replace(request, purpose=None))
    with pytest.raises(ProfileError, match="needs the purpose 5, Verification Signature"):
        sign(report, target, signer.key, replace(request, profile=Profile.SR_VERIFICATION))
    with pytest.raises(ProfileError, match="99 is not a purpose"):
        sign(report, target, signer.key, replace(request, purpose=99))
    draft = tmp_path / "draft.dcm"
    ds = pydicom.dcmread(report)
    ds.VerificationFlag = "UNVERIFIED"
    ds.save_as(draft)
    with pytest.raises(ProfileError, match="not VERIFIED"):
        sign(draft, target, signer.key, replace(request, profile=Profile.SR_VERIFICATION, purpose=None))
    sign(draft, target, signer.key, request)


def test_profiles_are_for_the_main_data_set_and_need_their_identifiers(
    rich: Path, signer: Identity, request_: SigningRequest, tmp_path: Path
) -> None:
    target = tmp_path / "x.dcm"
    request = replace(request_, profile=Profile.CREATOR)
    with pytest.raises(ProfileError, match="not of an Item"):
        sign(rich, target, signer.key, replace(request, item=((0x00081140, 0),)))
    ds = pydicom.dcmread(rich)
    del ds.SeriesInstanceUID
    bare = tmp_path / "bare.dcm"
    ds.save_as(bare)
    with pytest.raises(ProfileError, match=r"\(0020,000E\) SeriesInstanceUID, which the profile requires"):
        sign(bare, target, signer.key, request)


def test_raw_data_signs_its_private_attributes_too(
    rich: Path, dcmsign: Dcmsign, signer: Identity, request_: SigningRequest, tmp_path: Path
) -> None:
    ds = pydicom.dcmread(rich)
    ds.CreatorVersionUID = "1.2.3"
    del ds[0x00291002]  # of VR UN: dcmsign demands it and cannot sign it
    raw, target = tmp_path / "raw.dcm", tmp_path / "x.dcm"
    ds.save_as(raw)
    report = sign(raw, target, signer.key, replace(request_, profile=Profile.CREATOR, tags=(PATIENT_NAME,)))
    assert 0x00291001 in report.signed
    assert dcmsign.accepts(target, CREATOR)


def test_an_ec_signature_is_good_for_both_under_no_profile(rich: Path, authority: Authority, tmp_path: Path) -> None:
    for curve, mac in (("secp256r1", "SHA256"), ("secp384r1", "SHA384")):
        ec = authority.issue(curve, key=new_key(curve))
        (tmp_path / curve).mkdir()
        theirs = Dcmsign(tmp_path / curve, authority, ec)
        ours, other = tmp_path / f"{curve}.dcm", tmp_path / f"{curve}-theirs.dcm"
        sign(rich, ours, ec.key, SigningRequest(ec.der, Profile.NONE, mac=mac))
        assert theirs.accepts(ours)
        theirs.sign(rich, other, mac=mac)
        assert check_integrity(other).signatures[0].intact


def test_what_dcmsign_refuses_to_sign_is_refused_here_too(
    rich: Path, dcmsign: Dcmsign, signer: Identity, request_: SigningRequest, tmp_path: Path
) -> None:
    target = tmp_path / "x.dcm"
    for text, tag in (("0029,1002", 0x00291002), ("FFFA,FFFA", 0xFFFAFFFA), ("0008,0000", 0x00080000)):
        result = dcmsign.run("+s", dcmsign.key, dcmsign.certificate, "-t", text, rich, target)
        assert result.returncode != 0
        with pytest.raises(NotSignableError):
            sign(rich, target, signer.key, replace(request_, tags=(tag,)))
