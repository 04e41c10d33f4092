"""Fragments, whose lengths the MAC stream does not have: what shows that they were joined, and what is never signed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hsm_dicom.dataset import DicomFile
from hsm_dicom.signatures import Profile, SigningRequest, check_integrity, prepare, sign
from hsm_dicom.signatures.anomalies.record import AnomalyCode
from hsm_dicom.signatures.creation.repair import explain_repair
from hsm_dicom.signatures.errors import AmbiguousPixelDataError
from hsm_dicom.signing import SigningJob, sign_jobs
from hsm_dicom.validation.policies.policy import Part, Requirement
from hsm_dicom.validation.validator import Indication, Outcome, Verdict
from tests.hsm_dicom.dataset.frames import (
    DELIMITER,
    END_OF_IMAGE,
    ITEM,
    jpeg_2000_frame,
    jpeg_frame,
    jpeg_start,
    rle_frame,
)
from tests.hsm_dicom.dataset.samples import element
from tests.hsm_dicom.signatures.encapsulated_objects import (
    DEFLATED_FRAMES,
    ICON,
    JPEG,
    JPEG_2000,
    JPEG_XL,
    PIXEL_DATA,
    REPORT,
    RLE,
    VIDEO,
    Elements,
    basic_table,
    encapsulated_object,
    extended_table,
    functional_groups,
    icon,
    pixels,
    report,
)
from tests.hsm_dicom.signatures.forgeries import forgeries
from tests.hsm_dicom.validation.verdict_cases import SIGNER, Desk, codes, only, validator

REQUEST = SigningRequest(SIGNER.der)
JOINED, SWALLOWED = AnomalyCode.FRAGMENTS_JOINED, AnomalyCode.ELEMENTS_SWALLOWED
ONE, TWO = jpeg_frame(b"one"), jpeg_frame(b"two and a half")
TUMOUR = report("TUMOUR IN THE LEFT LUNG")


def write(desk: Desk, syntax: str, *parts: Elements) -> Path:
    path = desk.folder / "object.dcm"
    path.write_bytes(encapsulated_object(syntax, *parts))
    return path


def verdict_of(data: bytes, desk: Desk, **policy: Any) -> Verdict:
    path = desk.folder / "forged.dcm"
    path.write_bytes(data)
    return validator(**policy).validate(check_integrity(path))


def forged(desk: Desk, path: Path, wanted: Elements) -> bytes:
    """The file that has these elements under the signature of another one."""
    return next(data for reading, data in forgeries(path) if wanted.items() <= dict(reading.covered).items())


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sign as a program does that does not look into fragments."""
    monkeypatch.setattr("hsm_dicom.signatures.creation.selection.require_unambiguous_fragments", lambda *_: None)
    monkeypatch.setattr("hsm_dicom.signatures.creation.selection.find_frame_count_tags", lambda *_: frozenset())


@pytest.mark.parametrize(
    ("syntax", "one", "two"),
    [(JPEG, ONE, TWO), (JPEG_2000, jpeg_2000_frame(b"a"), jpeg_2000_frame(b"bb")), (RLE, rle_frame(), rle_frame())],
    ids=["jpeg", "jpeg-2000", "rle"],
)
def test_frames_that_were_joined_are_questionable_and_meet_no_demand(
    desk: Desk, syntax: str, one: bytes, two: bytes
) -> None:
    signed = desk.sign(write(desk, syntax, pixels(one, two, frames=2)), profile=Profile.CREATOR)
    demands = {"require": frozenset({Requirement.CREATOR}), "cover": frozenset({Part.PIXEL_DATA})}
    assert verdict_of(signed.read_bytes(), desk, **demands).outcome is Outcome.GOOD
    joined = forged(desk, signed, pixels(one + ITEM + two))
    found = verdict_of(joined, desk, **demands)
    assert only(found).signature.intact, "the MAC fits"
    assert only(found).signature.profiles == ()
    assert only(found).indication is Indication.QUESTIONABLE
    assert {JOINED, AnomalyCode.FRAME_COUNT} <= set(codes(only(found)))
    assert found.outcome.exit_status == 102
    assert [one.code for one in found.unmet] == ["not-covered", "profile-not-met"]
    assert f"fragment 1 of Pixel Data holds, at byte {joined.index(ITEM + two)}, the tag of" in only(found).text


def test_an_icon_that_swallowed_what_follows_it_is_questionable(desk: Desk) -> None:
    parts = (icon(ONE), TUMOUR, functional_groups(), pixels(TWO))
    signed = desk.sign(write(desk, JPEG, *parts), profile=Profile.CREATOR)
    without_report = [data for reading, data in forgeries(signed) if REPORT not in dict(reading.covered)]
    assert len(without_report) > 1
    for data in without_report:
        found = only(verdict_of(data, desk))
        assert found.signature.intact
        assert found.indication is Indication.QUESTIONABLE
    texts = [only(verdict_of(data, desk)).text for data in without_report]
    assert any("of Pixel Data in IconImageSequence[0] holds, at byte" in text for text in texts)


@pytest.mark.usefixtures("careless")
def test_content_that_a_fragment_can_release_shows_only_as_long_as_it_is_in_there(desk: Desk) -> None:
    hidden = DELIMITER * 2 + TUMOUR[REPORT] + element(0x52009230, "SQ", b"")[:8] + ITEM
    hidden += element(0x00289110, "SQ", b"")[:8] + ITEM + element(0x00280030, "DS", b"5.0\\5.0 ")
    signed = desk.sign(write(desk, JPEG, icon(ONE + hidden), pixels(TWO)), profile=Profile.CREATOR)
    assert {SWALLOWED, JOINED} <= set(codes(only(verdict_of(signed.read_bytes(), desk))))
    released = only(verdict_of(forged(desk, signed, TUMOUR | icon(ONE) | pixels(TWO)), desk))
    assert released.indication.good, "nothing shows afterwards: only the signer can prevent it"


@pytest.mark.parametrize(
    "parts",
    [
        (icon(ONE + DELIMITER * 2 + TUMOUR[REPORT]), pixels(TWO)),
        (pixels(ONE + DELIMITER),),
        (pixels(ONE + ITEM + TWO, frames=1),),
        (pixels(jpeg_frame(b"data" + ITEM + ONE), frames=1),),
        (pixels(jpeg_frame(comment=b"note" + ITEM + b"note")),),
        (pixels(jpeg_start(b"no" + ITEM), b"data" + END_OF_IMAGE, frames=1),),
        (pixels(ONE + b"more octets.", frames=1),),
        (pixels(ONE, b"more octets.", frames=1),),
        (pixels(ONE + TWO, frames=1),),
        (pixels(ONE, frames=2),),
        (pixels(ONE, TWO, frames=2, table=basic_table((ONE,))),),
        (pixels(ONE, TWO, frames=2, table=basic_table((ONE + b"..",), (TWO,))),),
        (pixels(ONE, table=ITEM),),
        (pixels(ONE, TWO, frames=2), extended_table(ONE + b"..", TWO)),
        (icon(), pixels(ONE)),
    ],
)
def test_what_could_become_other_content_is_not_signed(desk: Desk, parts: tuple[Elements, ...]) -> None:
    path = write(desk, JPEG, *parts)
    with pytest.raises(AmbiguousPixelDataError, match="not signed, because .* without breaking the signature"):
        prepare(path, REQUEST)
    request = SigningRequest(SIGNER.der, tags=(0x00100010,))
    assert prepare(path, request).signed == (0x00100010,), "what is not covered does not matter"


@pytest.mark.parametrize(
    ("syntax", "parts"),
    [
        (DEFLATED_FRAMES, pixels(b"of two" + ITEM + b"made", b"two.", frames=2)),
        (JPEG_XL, pixels(b"\xff\x0aof two" + ITEM + b"made", frames=1)),
    ],
    ids=["deflated frames", "jpeg-xl"],
)
def test_octets_of_an_item_tag_are_not_signed_where_no_marker_tells_what_they_are(
    desk: Desk, syntax: str, parts: Elements
) -> None:
    path = write(desk, syntax, parts)
    with pytest.raises(AmbiguousPixelDataError, match="holds, at byte [0-9]+, the octets of an Item tag"):
        prepare(path, REQUEST)


def test_a_batch_refuses_such_an_object_and_signs_the_others(desk: Desk) -> None:
    good, bad = desk.folder / "good.dcm", desk.folder / "bad.dcm"
    good.write_bytes(encapsulated_object(JPEG, pixels(ONE)))
    bad.write_bytes(encapsulated_object(JPEG, pixels(ONE + DELIMITER + TUMOUR[REPORT])))
    jobs = [SigningJob(str(path), f"{path}.signed") for path in (bad, good)]
    with ThreadPoolExecutor(1) as executor:
        outcomes = {one.job.source: one.error for one in sign_jobs(jobs, SIGNER.key, REQUEST, executor=executor)}
    assert outcomes[str(good)] is None
    assert isinstance(outcomes[str(bad)], AmbiguousPixelDataError)
    assert not Path(f"{bad}.signed").exists()


@pytest.mark.parametrize(
    ("hidden", "clean", "change"),
    [
        (
            (icon(ONE + DELIMITER * 2 + TUMOUR[REPORT]), pixels(TWO)),
            (icon(ONE), pixels(TWO)),
            "IconImageSequence[0].PixelData is without 40 octets behind the end markers of its frames, "
            "in fragments (1, counted from 1)",
        ),
        (
            (pixels(ONE + ITEM + TWO, b"more", TWO, frames=2, table=basic_table((ONE + ITEM + TWO, b"more"), (TWO,))),),
            (pixels(ONE, TWO, frames=2, table=basic_table((ONE,), (TWO,))),),
            f"PixelData is without {len(ITEM + TWO) + 4} octets behind the end markers of its frames, "
            "in fragments (1, 2, counted from 1), and its Basic Offset Table follows",
        ),
    ],
    ids=["icon", "frames"],
)
def test_repair_leaves_out_what_is_behind_the_frames_and_says_so(
    desk: Desk, hidden: tuple[Elements, ...], clean: tuple[Elements, ...], change: str
) -> None:
    path = write(desk, JPEG, *hidden)
    with pytest.raises(AmbiguousPixelDataError) as refused:
        prepare(path, REQUEST)
    assert str(explain_repair(refused.value, str(path))).endswith("To sign a clean copy of it, set repair.")
    target = desk.folder / "signed.dcm"
    report = sign(path, target, SIGNER.key, SigningRequest(SIGNER.der, repair=True))
    assert change in report.repaired
    assert only(validator().validate(check_integrity(target))).indication is Indication.VALID
    with DicomFile.open(target) as signed, DicomFile.open(write(desk, JPEG, *clean)) as wanted:
        for element_of_both in (signed.main[PIXEL_DATA], *filter(None, [signed.main.get(ICON)])):
            assert signed.value(element_of_both) == wanted.value(wanted.main[element_of_both.tag])


def test_a_frame_too_few_cannot_be_repaired_and_no_remedy_is_promised(desk: Desk) -> None:
    path = write(desk, JPEG, pixels(ONE + ITEM + TWO, frames=2))
    with pytest.raises(AmbiguousPixelDataError) as refused:
        prepare(path, SigningRequest(SIGNER.der, repair=True))
    assert "--repair" not in str(explain_repair(refused.value, str(path)))


def _halves(frame: bytes, cut: int) -> tuple[bytes, bytes]:
    return frame[:cut], frame[cut:]


HALVES = _halves(TWO, -8)


@pytest.mark.parametrize(
    ("syntax", "parts"),
    [
        (JPEG, [pixels(ONE, TWO, frames=2)]),
        (JPEG, [pixels(ONE, TWO, frames=2, table=basic_table((ONE,), (TWO,)))]),
        (JPEG, [pixels(*HALVES, ONE, frames=2, table=basic_table(HALVES, (ONE,)))]),
        (JPEG, [pixels(*HALVES, ONE, frames=2, table=basic_table((HALVES[0],), (HALVES[1],), (ONE,)))]),
        (JPEG, [pixels(ONE, TWO, frames=2), extended_table(ONE, TWO)]),
        (JPEG, [pixels(jpeg_frame(b"by chance" + ITEM + b"and" + ITEM), ONE, frames=2)]),
        (JPEG, [pixels(ONE + bytes(6), TWO + b"\xff\xff", frames=2)]),
        (JPEG, [pixels(*HALVES, b"\0\0")]),
        (JPEG_2000, [pixels(jpeg_2000_frame(ITEM + b"chance" + DELIMITER + b"chance"))]),
        (RLE, [pixels(rle_frame(b"raw" + ITEM + b"raw" + DELIMITER + b"raw raw"), rle_frame(), frames=2)]),
        (DEFLATED_FRAMES, [pixels(b"one.", b"two.", frames=2)]),
        (DEFLATED_FRAMES, [pixels(b"by chance" + ITEM + b"at an odd place", b"two.", frames=2)]),
        (JPEG_XL, [pixels(b"\xff\x0aone.", frames=1)]),
        (VIDEO, [pixels(b"\0\0\0\1part", b"part", frames=250)]),
        (VIDEO, [pixels(b"\0\0\0\1part", b"part", frames=250, table=bytes(4))]),
    ],
)
def test_what_is_as_ps3_5_has_it_and_octets_by_chance_raise_no_alarm(
    desk: Desk, syntax: str, parts: list[Elements]
) -> None:
    signed = desk.sign(write(desk, syntax, *parts))
    assert only(validator().validate(check_integrity(signed))).indication is Indication.VALID


@pytest.mark.parametrize(
    "frame",
    [(jpeg_2000_frame(b"octets of " + ITEM + b"data"),), _halves(jpeg_2000_frame(b"data data "), -6)],
    ids=["cut", "joined"],
)
def test_a_jpeg_2000_frame_shows_that_it_was_cut_or_joined_in_its_data(desk: Desk, frame: tuple[bytes, ...]) -> None:
    signed = desk.sign(write(desk, JPEG_2000, pixels(*frame)))
    assert only(validator().validate(check_integrity(signed))).indication is Indication.VALID
    other = frame[0].split(ITEM) if len(frame) == 1 else [ITEM.join(frame)]
    found = only(verdict_of(forged(desk, signed, pixels(*other)), desk))
    assert (found.indication, codes(found)) == (Indication.QUESTIONABLE, [JOINED])
    assert "a tile-part of the frame that begins in fragment 1 of Pixel Data has 4 octets" in found.text


@pytest.mark.usefixtures("careless")
@pytest.mark.parametrize(
    ("syntax", "parts", "code"),
    [
        (RLE, [pixels(rle_frame(), rle_frame(), frames=1)], AnomalyCode.FRAME_COUNT),
        (RLE, [pixels(b"not RLE.", frames=1)], AnomalyCode.NO_FRAME),
        (DEFLATED_FRAMES, [pixels(b"one.", b"two.", frames=1)], AnomalyCode.FRAME_COUNT),
        (JPEG, [pixels(*HALVES, frames=1), extended_table(*HALVES)], AnomalyCode.FRAME_COUNT),
        (JPEG, [pixels(ONE), extended_table(ONE + b"..")], AnomalyCode.OFFSET_TABLE),
        (JPEG, [pixels(ONE, table=bytes(4)), extended_table(ONE)], AnomalyCode.OFFSET_TABLE),
        (JPEG, [pixels(ONE, TWO, frames=2, table=basic_table((TWO,), (ONE,)))], AnomalyCode.OFFSET_TABLE),
        (JPEG, [pixels(ONE, table=bytes(6))], AnomalyCode.OFFSET_TABLE),
        (VIDEO, [pixels(b"part", frames=9, table=ITEM)], AnomalyCode.OFFSET_TABLE),
        (VIDEO, [pixels(b"part", frames=9, table=bytes(4) + ITEM)], AnomalyCode.OFFSET_TABLE),
        (VIDEO, [icon(), pixels(b"part", frames=9)], AnomalyCode.FRAME_COUNT),
    ],
)
def test_tables_and_counts_that_do_not_fit_are_questionable(
    desk: Desk, syntax: str, parts: list[Elements], code: AnomalyCode
) -> None:
    found = only(validator().validate(check_integrity(desk.sign(write(desk, syntax, *parts)))))
    assert (found.indication, codes(found)) == (Indication.QUESTIONABLE, [code])


@pytest.mark.usefixtures("careless")
def test_pixel_data_without_number_of_frames_is_questionable(desk: Desk) -> None:
    path = write(desk, JPEG, pixels(ONE, TWO, frames=2))
    found = only(validator().validate(check_integrity(desk.sign(path, tags=(PIXEL_DATA,)))))
    assert found.indication is Indication.QUESTIONABLE
    assert codes(found)[0] == AnomalyCode.FRAME_COUNT_OPEN


def test_a_signature_over_pixel_data_covers_number_of_frames_too(desk: Desk) -> None:
    plan = prepare(write(desk, JPEG, pixels(ONE, TWO, frames=2)), SigningRequest(SIGNER.der, tags=(PIXEL_DATA,)))
    assert plan.signed == (0x00280008, PIXEL_DATA)
