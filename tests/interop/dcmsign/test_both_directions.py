"""Six MAC algorithms, seven encodings, both directions: each side accepts what the other one signs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hsm_dicom.signatures import MAC_ALGORITHMS, SigningRequest, check_integrity, dump_macs, sign
from tests.hsm_dicom.dataset.samples import KINDS
from tests.interop.dcmsign.dcmsign import Dcmsign
from tests.pki import Identity


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mac", MAC_ALGORITHMS)
def test_dcmsign_accepts_our_signature(
    kind: str,
    mac: str,
    samples: dict[str, Path],
    dcmsign: Dcmsign,
    signer: Identity,
    request_: SigningRequest,
    tmp_path: Path,
) -> None:
    signed = tmp_path / "ours.dcm"
    sign(samples[kind], signed, signer.key, replace(request_, mac=mac, allow_weak=True))
    assert dcmsign.accepts(signed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mac", MAC_ALGORITHMS)
def test_dcmsigns_signature_is_intact_and_its_stream_is_ours(
    kind: str, mac: str, samples: dict[str, Path], dcmsign: Dcmsign, signer: Identity, tmp_path: Path
) -> None:
    signed = tmp_path / "theirs.dcm"
    stream = dcmsign.sign(samples[kind], signed, mac=mac)
    (signature,) = check_integrity(signed).signatures
    assert signature.intact, signature.reason
    assert signature.mac_algorithm == mac
    assert signature.certificate == signer.der
    (dump,) = dump_macs(signed, tmp_path)
    assert Path(dump).read_bytes() == stream


@pytest.mark.parametrize("kind", ["native", "implicit", "big-endian", "deflated", "undefined"])
def test_signatures_inside_an_item_go_both_ways(
    kind: str,
    samples: dict[str, Path],
    dcmsign: Dcmsign,
    signer: Identity,
    request_: SigningRequest,
    tmp_path: Path,
) -> None:
    theirs, ours = tmp_path / "theirs.dcm", tmp_path / "ours.dcm"
    stream = dcmsign.sign(samples[kind], theirs, item="ReferencedImageSequence[2]")
    (signature,) = check_integrity(theirs).signatures
    assert (signature.place, signature.intact) == (((0x00081140, 2),), True)
    assert Path(*dump_macs(theirs, tmp_path)).read_bytes() == stream

    sign(samples[kind], ours, signer.key, replace(request_, item=((0x00081140, 2),)))
    assert dcmsign.accepts(ours)


def test_two_signatures_of_either_side_stand_beside_each_other(
    samples: dict[str, Path], dcmsign: Dcmsign, signer: Identity, request_: SigningRequest, tmp_path: Path
) -> None:
    first, second, third = (tmp_path / f"{n}.dcm" for n in (1, 2, 3))
    sign(samples["undefined"], first, signer.key, request_)
    dcmsign.sign(first, second, mac="SHA384")
    sign(second, third, signer.key, replace(request_, mac="SHA512", item=((0x00081140, 0),)))
    sign(third, None, signer.key, replace(request_, purpose=1))
    signatures = check_integrity(third).signatures
    assert [s.intact for s in signatures] == [True] * 4
    assert len({s.mac_id for s in signatures}) == 4
    assert str(signatures[2].purpose) == "Author's Signature (1, ASTM-sigpurpose)"
    assert dcmsign.accepts(third)
