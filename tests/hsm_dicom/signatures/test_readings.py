"""The proof that can be run: of all objects with the stream of a signature that we made, only the original is good.

`mac_streams.readings` yields every Data Set that has a stream; each is built, verified and judged. What the argument of
docs/explanation/mac-stream.md leaves out is not generated: octets of an Item tag in entropy-coded data of JPEG, and
fragments that end in it where no offset table says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.signatures import Finding, Profile, SigningRequest, check_integrity, sign
from hsm_dicom.signatures.errors import AmbiguousPixelDataError
from hsm_dicom.signatures.read import read_signature_items
from tests.hsm_dicom.dataset.frames import (
    DELIMITER,
    ITEM,
    even,
    jpeg_2000_frame,
    jpeg_frame,
    jpeg_start,
    rle_frame,
)
from tests.hsm_dicom.dataset.samples import element
from tests.hsm_dicom.signatures.encapsulated_objects import (
    FUNCTIONAL_GROUPS,
    ICON,
    JPEG,
    JPEG_2000,
    REPORT,
    RLE,
    Elements,
    basic_table,
    encapsulated_object,
    extended_table,
    in_order,
    pixels,
)
from tests.hsm_dicom.signatures.forgeries import forgeries
from tests.hsm_dicom.signatures.mac_streams import encode_sequence
from tests.hsm_dicom.validation.verdict_cases import SIGNER, validator
from tests.soak import RUNS

MOST_READINGS = 250
REFERENCES, CONTENT = 0x00081140, 0x0040A730
JUDGE = validator()
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
PROOF = settings(
    max_examples=25 * RUNS,
    deadline=None,
    derandomize=True,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

TEXTS = st.sampled_from([b"", b"TUMOUR", b"NO FINDING, SEND HOME", ITEM, DELIMITER + b"AB", b"\xff\xd9" + ITEM])
HIDDEN = st.lists(
    st.sampled_from(
        [
            ITEM,
            ITEM + jpeg_frame(b"another"),
            ITEM + rle_frame(b"another"),
            DELIMITER,
            element(REPORT, "ST", b"NO FINDING"),
            element(FUNCTIONAL_GROUPS, "SQ", b"")[:8] + ITEM,
            element(0x7FE00010, "OB", b"")[:8] + ITEM,
            element(0x04000005, "US", b"\0\0"),
            b"octets",
        ]
    ),
    max_size=5,
).map(b"".join)
"""What somebody may put into a frame so that it becomes something else when the fragment is cut."""


def frames(syntax: str, hidden: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """A frame in this Transfer Syntax, with hidden octets where a decoder passes over them."""
    data = st.binary(max_size=12).map(lambda octets: octets.replace(b"\xff", b"\xff\0"))
    if syntax == RLE:
        return st.builds(lambda octets, more: rle_frame(octets + more), data, hidden)
    if syntax == JPEG_2000:
        packets = st.builds(lambda octets, tag: octets + tag, data, st.sampled_from([b"", b"", ITEM, ITEM + b"data"]))
        return st.builds(lambda octets, more: jpeg_2000_frame(octets, even(more)), packets, hidden)
    in_comment = st.builds(jpeg_frame, data, hidden)
    behind = st.builds(lambda octets, more: even(jpeg_frame(octets) + more), data, hidden)
    return in_comment | behind


@st.composite
def pixel_data(draw: st.DrawFn, syntax: str, hidden: st.SearchStrategy[bytes]) -> Elements:
    """Pixel Data of one or two frames, some of several fragments, with or without one of the tables."""
    found = draw(st.lists(frames(syntax, hidden), min_size=1, max_size=2))
    counted = {} if len(found) == 1 and draw(st.booleans()) else {"frames": len(found)}
    table = draw(st.sampled_from(["none", "basic", "extended"]))
    if table == "extended":
        return pixels(*found, **counted) | extended_table(*found)
    parts = [(frame,) for frame in found]
    if syntax == JPEG and draw(st.booleans()):
        comment = b"note" * 4
        cut = 2 * draw(st.integers(2, 8))  # in the comment: seen, wherever it is
        parts[-1] = _halves(jpeg_frame(b"in two", comment), cut)
        if table == "basic" and len(parts) > 1:
            cut = len(even(jpeg_start())) + 2  # in entropy-coded data: seen by the table
            parts[0] = _halves(jpeg_frame(b"in two fragments"), cut)
    if syntax == JPEG_2000 and draw(st.booleans()):
        parts[-1] = _halves(jpeg_2000_frame(b"in two fragments"), 2 * draw(st.integers(2, 20)))
    fragments = [part for frame in parts for part in frame]
    return pixels(*fragments, **counted, table=basic_table(*parts) if table == "basic" else b"")


def _halves(frame: bytes, cut: int) -> tuple[bytes, bytes]:
    return frame[:cut], frame[cut:]


@st.composite
def data_sets(draw: st.DrawFn, syntax: str, hidden: st.SearchStrategy[bytes], depth: int) -> Elements:
    """Elements of every form, with Items that are such Data Sets themselves."""
    found: Elements = {0x00104000: element(0x00104000, "LT", even(draw(TEXTS)))}
    if draw(st.booleans()):
        found[REPORT] = element(REPORT, "ST", even(draw(TEXTS)))
    if draw(st.booleans()):
        found[0x00420011] = element(0x00420011, "OB", even(draw(HIDDEN)))
    if depth:
        for tag in draw(st.sets(st.sampled_from([CONTENT, ICON, FUNCTIONAL_GROUPS]), max_size=1)):
            items = draw(st.lists(data_sets(syntax, hidden, depth - 1), max_size=2))
            found[tag] = encode_sequence(tag, *map(in_order, items))
    if draw(st.booleans()):
        found |= draw(pixel_data(syntax, hidden))
    return found


def objects(hidden: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Files with such Data Sets; the first Item of a sequence is always there, for a signature of its own."""

    def in_syntax(syntax: str) -> st.SearchStrategy[bytes]:
        parts = data_sets(syntax, hidden, 2)
        item = data_sets(syntax, hidden, 0).map(lambda one: {REFERENCES: encode_sequence(REFERENCES, in_order(one))})
        return st.builds(lambda one, other: encapsulated_object(syntax, one, other), parts, item)

    return st.sampled_from([JPEG, JPEG_2000, RLE]).flatmap(in_syntax)


REQUESTS = st.lists(
    st.sampled_from(
        [
            SigningRequest(SIGNER.der, Profile.CREATOR),
            SigningRequest(SIGNER.der, purpose=1),
            SigningRequest(SIGNER.der, tags=(0x00080016, 0x00080018, 0x00104000, REFERENCES), purpose=5),
            SigningRequest(SIGNER.der, item=((REFERENCES, 0),)),
        ]
    ),
    min_size=1,
    max_size=3,
)


@contextmanager
def signed(data: bytes, requests: list[SigningRequest]) -> Iterator[tuple[Path, Path]]:
    """The object as a file, and the same with all signatures."""
    with tempfile.TemporaryDirectory() as folder:
        plain, path = Path(folder, "plain.dcm"), Path(folder, "signed.dcm")
        plain.write_bytes(data)
        path.write_bytes(data)
        for request in requests:
            sign(path, None, SIGNER.key, request)
        yield plain, path


def check_readings(plain: Path, path: Path) -> int:
    """Assert that of all readings of all signatures only what was signed is good; return how many were judged."""
    count = 0
    forged = path.with_name("forged.dcm")
    with DicomFile.open(path) as file:
        items = [(item.level.path, item.mac.tags if item.mac else ()) for item in read_signature_items(file)]
    for number, (place, tags) in enumerate(items):
        with DicomFile.open(plain) as file:
            level = file.item(place)
            original = tuple((tag, file.source.read(level[tag].start, level[tag].end)) for tag in tags)
        good = []
        found = list(islice(forgeries(path, number), MOST_READINGS + 1))
        assume(len(found) <= MOST_READINGS)
        for reading, data in found:
            forged.write_bytes(data)
            (verdict,) = JUDGE.validate(check_integrity(forged)).signatures
            assert verdict.signature.finding is not Finding.BROKEN, "a reading has the stream that was signed"
            count += 1
            if verdict.protects:
                good.append(reading.covered)
        assert good == [original]
    return count


@PROOF
@given(objects(st.just(b"")), REQUESTS)
def test_only_the_original_is_good_property(data: bytes, requests: list[SigningRequest]) -> None:
    with signed(data, requests) as (plain, path):
        event(f"readings: {min(8, check_readings(plain, path))}")


@PROOF
@given(objects(HIDDEN), REQUESTS)
def test_content_prepared_for_cutting_is_refused_or_cannot_be_cut_property(
    data: bytes, requests: list[SigningRequest]
) -> None:
    try:
        with signed(data, requests) as (plain, path):
            check_readings(plain, path)
            event("signed")
    except AmbiguousPixelDataError:
        event("refused")
