"""Where a decoder is in a codestream of the JPEG family, whatever parts it is fed in."""

from __future__ import annotations

import pytest

from hsm_dicom.dataset.encapsulated.codestream import (
    Codestream,
    begins_frame,
    has_markers,
    has_tile_parts,
    is_rle_header,
    is_video,
)
from tests.hsm_dicom.dataset.frames import END_OF_IMAGE, jpeg_2000_frame, jpeg_frame, jpeg_start, rle_frame

THUMBNAIL = jpeg_frame(b"in a comment")
PROGRESSIVE = jpeg_start() + b"scan\xff\0\xff\xd3scan" + jpeg_start()[2:] + b"next scan" + END_OF_IMAGE
JPEG_LS = jpeg_start().replace(b"\xff\xc0", b"\xff\xf7") + b"\xff\x7fdata\xff\x01" + END_OF_IMAGE
PACKETS = b"\xff\x8f\xff\x91\0\x04\xff\x93\xff\x92data"
"""Packets of JPEG 2000, with SOP, whose number looks like a marker, and EPH."""

FRAMES = [jpeg_frame(b"data\xff\0data"), jpeg_frame(comment=THUMBNAIL), PROGRESSIVE, JPEG_LS, jpeg_2000_frame(PACKETS)]


def fed(data: bytes, size: int) -> Codestream:
    frame = Codestream()
    for at in range(0, len(data), size):
        frame.feed(data[at : at + size])
    return frame


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize("frame", FRAMES, ids=["jpeg", "thumbnail", "progressive", "jpeg-ls", "jpeg-2000"])
def test_a_frame_ends_at_its_own_end_marker(frame: bytes, size: int) -> None:
    assert not fed(frame, size).has_surplus
    assert not fed(frame + b"\0\0\xff\xff\0\0", size).has_surplus, "padding"
    assert not fed(frame + b"\x63", size).has_surplus, "one octet of any value"
    assert fed(frame + b"more", size).has_surplus
    assert fed(frame + b"\0\0m\0\0e\0", size).has_surplus
    assert fed(frame + b"more", size).length == len(frame.rstrip(b"\0"))
    assert not fed(frame[:-3] + b"more", size).has_surplus, "it has not ended"
    assert fed(frame[:-3] + b"more", size).length is None


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_entropy_coded_data_is_distinguished_from_what_is_around_it(size: int) -> None:
    start = jpeg_start(b"comment")
    for end in range(len(start)):
        assert not fed(start[:end], size).in_entropy_coded_data
    assert fed(start, size).in_entropy_coded_data
    assert fed(start + b"data\xff\0\xff\xd7data", size).in_entropy_coded_data
    assert not fed(start + b"data" + END_OF_IMAGE, size).in_entropy_coded_data
    assert not fed(b"what is no codestream", size).in_entropy_coded_data
    second_scan = PROGRESSIVE.index(b"next scan")
    assert not fed(PROGRESSIVE[: second_scan - 4], size).in_entropy_coded_data
    assert fed(PROGRESSIVE[:second_scan], size).in_entropy_coded_data


def test_decoders_pass_over_octets_between_segments_and_so_do_we() -> None:
    start, comment_end = jpeg_start(b"note"), 10
    stray = start[:comment_end] + b"stray octets"
    assert not fed(stray, 1 << 20).in_entropy_coded_data
    assert fed(stray + start[comment_end:], 1 << 20).in_entropy_coded_data


@pytest.mark.parametrize("size", [1, 3, 11, 1 << 20])
def test_a_tile_part_is_held_to_its_length(size: int) -> None:
    frame = jpeg_2000_frame(b"data data ")
    assert fed(frame, size).misfit == 0
    assert fed(frame.replace(b"data", b"more data", 1), size).misfit == 5
    assert fed(frame.replace(b"data", b"", 1), size).misfit == -4
    tile, end = frame.index(b"\xff\x90"), frame.index(END_OF_IMAGE)
    two = frame[:end] + frame[tile:]
    assert fed(two, size).misfit == 0
    assert fed(two.replace(b"data d", b"", 1), size).misfit == -6
    unknown = frame[: tile + 6] + bytes(4) + frame[tile + 10 : end] + b"more" + END_OF_IMAGE
    assert fed(unknown, size).misfit == 0, "a length of 0: up to the end"


def test_every_coding_is_known_by_its_start() -> None:
    starts = [jpeg_frame(), jpeg_2000_frame(), rle_frame(), b"\xff\x0a", b"\0\0\x01\xb3", b"\0\0\0\x01"]
    assert all(map(begins_frame, starts))
    assert not begins_frame(b"anything else".ljust(64))


def test_an_rle_header_is_held_to_its_rules() -> None:
    header = rle_frame()[:64]
    assert is_rle_header(header)
    assert is_rle_header(b"\x02\0\0\0\x40\0\0\0\x50\0\0\0".ljust(64, b"\0"))
    for wrong in (
        header[:63],
        bytes(64),
        b"\x10" + header[1:],
        header[:4] + b"\x41" + header[5:],
        header[:8] + b"\x01" + header[9:],
        b"\x02\0\0\0\x40\0\0\0\x30\0\0\0".ljust(64, b"\0"),
    ):
        assert not is_rle_header(wrong)


def test_transfer_syntaxes_are_distinguished() -> None:
    root = "1.2.840.10008.1.2.4."
    assert all(has_markers(root + last) for last in ("50", "70", "80", "91", "201"))
    assert not any(has_markers(root + last) for last in ("100", "107", "110"))
    assert all(has_tile_parts(root + last) for last in ("90", "91", "203"))
    assert not any(has_tile_parts(root + last) for last in ("50", "80", "100", "110"))
    assert all(is_video(root + last) for last in ("100", "100.1", "106.1", "108"))
    assert not any(is_video(root + last) for last in ("50", "90", "110", "201"))
