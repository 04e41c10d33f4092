"""Small pictures: what they show, and that hostile pixels cost little and never an exception."""

from __future__ import annotations

import base64
import struct
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian

from hsm_dicom.report.pictures import SIDE, Picture, picture_of
from tests.hsm_dicom.report.png_reader import Pixels, pixels_of_uri
from tests.hsm_dicom.validation.verdict_cases import image

EVER = datetime.max.replace(tzinfo=UTC)


def picture(source: Path | str) -> Picture:
    return picture_of(source if isinstance(source, Path) else image(source), unchanged_since=EVER)


def drawn(source: Path | str) -> Pixels:
    found = picture(source)
    assert found.uri, found.caption
    pixels = pixels_of_uri(found.uri)
    assert (pixels.width, pixels.height) == (found.width, found.height)
    return pixels


def changed(folder: Path, source: str = "MR_small.dcm", **attributes: Any) -> Path:
    """An image with other attributes; a value of None removes one."""
    data_set = pydicom.dcmread(image(source))
    for name, value in attributes.items():
        if value is None:
            delattr(data_set, name)
        else:
            setattr(data_set, name, value)
    target = folder / "changed.dcm"
    data_set.save_as(target)
    return target


def test_colours_are_those_of_the_object() -> None:
    original = pydicom.dcmread(image("SC_rgb_small_odd.dcm")).PixelData[:27]
    pixels = drawn("SC_rgb_small_odd.dcm")
    assert (pixels.width, pixels.height, pixels.channels, pixels.data) == (3, 3, 3, original)
    assert drawn("SC_rgb_small_odd_big_endian.dcm") == pixels


def test_grey_is_stretched_to_the_whole_scale() -> None:
    pixels = drawn("MR_small.dcm")
    assert (pixels.width, pixels.height, pixels.channels) == (64, 64, 1)
    assert (min(pixels.data), max(pixels.data)) == (0, 255)
    values = struct.unpack("<4096h", pydicom.dcmread(image("MR_small.dcm")).PixelData)
    order = sorted(range(4096), key=values.__getitem__)
    shades = [pixels.data[at] for at in order]
    assert shades == sorted(shades), "a brighter pixel must not become a darker one"


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm", "MR_small_implicit.dcm"]
)
def test_the_encoding_does_not_change_the_picture(name: str) -> None:
    assert drawn(name) == drawn("MR_small.dcm")


def test_octets_in_big_endian_are_not_swapped(tmp_path: Path) -> None:
    """Explicit VR Big Endian with Pixel Data of VR OB, whose units are single octets."""
    data_set = pydicom.dcmread(image("SC_rgb_small_odd_big_endian.dcm"))
    data_set.PixelData = pydicom.dcmread(image("SC_rgb_small_odd.dcm")).PixelData
    data_set["PixelData"].VR = "OB"
    target = tmp_path / "octets.dcm"
    data_set.save_as(target)
    assert drawn(target) == drawn("SC_rgb_small_odd.dcm")


@pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_rle_32bit.dcm"])
def test_rle_planes_of_every_width_give_the_same_colours(name: str) -> None:
    pixels = drawn(name)
    assert (pixels.width, pixels.height, pixels.channels) == (100, 100, 3)
    assert [pixels.at(5, y) for y in (5, 15, 25, 35)] == [(255, 0, 0), (255, 128, 128), (0, 255, 0), (128, 255, 128)]


def test_colour_by_plane_is_put_together(tmp_path: Path) -> None:
    pixels = drawn("SC_rgb_small_odd.dcm")
    planes = b"".join(pixels.data[sample::3] for sample in range(3)) + b"\0"
    assert drawn(changed(tmp_path, "SC_rgb_small_odd.dcm", PlanarConfiguration=1, PixelData=planes)) == pixels


def test_brightness_and_colour_difference_become_colours(tmp_path: Path) -> None:
    ybr = bytes((76, 85, 255)) * 4 + bytes((149, 43, 21)) * 5
    path = changed(tmp_path, "SC_rgb_small_odd.dcm", PhotometricInterpretation="YBR_FULL", PixelData=ybr + b"\0")
    pixels = drawn(path)
    assert (pixels.at(0, 0), pixels.at(2, 2)) == ((254, 0, 0), (0, 255, 0))


def test_monochrome1_is_the_other_way_round(tmp_path: Path) -> None:
    inverse = drawn(changed(tmp_path, PhotometricInterpretation="MONOCHROME1"))
    assert inverse.data == bytes(255 - shade for shade in drawn("MR_small.dcm").data)


def test_a_palette_gives_its_colours() -> None:
    data_set = pydicom.dcmread(image("examples_palette.dcm"))
    index = data_set.PixelData[0]
    tables = (
        data_set.RedPaletteColorLookupTableData,
        data_set.GreenPaletteColorLookupTableData,
        data_set.BluePaletteColorLookupTableData,
    )
    words = [struct.unpack_from("<H", table, 2 * index)[0] >> 8 for table in tables]
    assert drawn("examples_palette.dcm").at(0, 0) == tuple(words)


def test_stored_bits_below_the_highest_are_found_and_signs_kept(tmp_path: Path) -> None:
    values = [-8, -4, -1, 0, 3, 7] * 6
    pixels = struct.pack("<36H", *((value & 0xF) << 8 | 0xF0AA for value in values))
    path = changed(tmp_path, Rows=6, Columns=6, BitsStored=4, HighBit=11, PixelRepresentation=1, PixelData=pixels)
    shades = drawn(path).data[:6]
    assert list(shades) == [int((value + 8) * 17) for value in values[:6]]


def test_a_large_image_becomes_a_small_picture() -> None:
    pixels = drawn("examples_overlay.dcm")
    assert max(pixels.width, pixels.height) <= SIDE
    assert pixels.width > pixels.height


def test_a_multi_frame_jpeg_is_handed_to_the_browser() -> None:
    found = picture("examples_ybr_color.dcm")
    assert found.caption.startswith("Frame 1 of 30.")
    assert (found.width, found.height) == (320, 240)
    jpeg = base64.b64decode(found.uri.removeprefix("data:image/jpeg;base64,"))
    assert jpeg[:2] == b"\xff\xd8"
    assert jpeg[-2:] == b"\xff\xd9"
    assert len(jpeg) < 40_000


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("693_J2KI.dcm", "this compression is not decoded here"),
        ("liver_1frame.dcm", "pixels of this kind (MONOCHROME2, 1 bits) are not drawn"),
        ("SC_ybr_full_422_uncompressed.dcm", "pixels of this kind (YBR_FULL_422, 8 bits) are not drawn"),
        ("SC_jpeg_no_color_transform.dcm", "a browser would not show a JPEG of RGB pixels as it is meant"),
        ("reportsi.dcm", "the object has no Pixel Data"),
    ],
)
def test_why_there_is_none_is_reported(name: str, reason: str) -> None:
    assert picture(name) == Picture(f"No picture: {reason}.")


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Rows": 0}, "its Rows and Columns say nothing"),
        ({"Rows": None}, "its Rows and Columns say nothing"),
        ({"Rows": 65535, "Columns": 65535}, "a frame has more than 32 MiB"),
        ({"Rows": 65}, "its Pixel Data is shorter than one frame"),
        ({"BitsStored": 17}, "its Bits Stored and High Bit do not fit its Bits Allocated"),
        ({"HighBit": 16}, "its Bits Stored and High Bit do not fit its Bits Allocated"),
        ({"SamplesPerPixel": 3}, "pixels of this kind (MONOCHROME2, 16 bits) are not drawn"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "its palette is not in the file or not of a kind"),
    ],
)
def test_impossible_pixels_are_refused(tmp_path: Path, attributes: dict[str, Any], reason: str) -> None:
    assert picture(changed(tmp_path, **attributes)).caption.startswith(f"No picture: {reason}")


def test_a_jpeg_of_another_size_than_the_object_says_is_not_shown(tmp_path: Path) -> None:
    path = changed(tmp_path, "examples_ybr_color.dcm", Rows=241)
    assert "not the Baseline one that the object describes" in picture(path).caption


def test_an_rle_frame_that_lies_about_itself_is_refused(tmp_path: Path) -> None:
    content = image("MR_small_RLE.dcm").read_bytes()
    header = content.index(struct.pack("<2I", 2, 64))
    for offset, value, words in (
        (0, 3, "It has 3 RLE segments instead of 2."),
        (4, 1 << 30, "An RLE segment lies outside the frame."),
        (8, 65, "An RLE segment is shorter than its pixels."),
    ):
        bent = tmp_path / "bent.dcm"
        bent.write_bytes(content[: header + offset] + struct.pack("<I", value) + content[header + offset + 4 :])
        assert picture(bent).caption == f"No picture: {words}"


def test_a_file_that_was_changed_after_its_judgement_is_not_drawn(tmp_path: Path) -> None:
    path = changed(tmp_path)
    before = datetime.now(UTC) - timedelta(minutes=1)
    assert picture_of(path, unchanged_since=before).caption == (
        "No picture: the file was changed after it was validated."
    )
    assert picture_of(path, unchanged_since=datetime.now(UTC) + timedelta(seconds=1)).uri


def test_a_file_that_vanished_is_not_drawn(tmp_path: Path) -> None:
    assert "No such file" in picture(tmp_path / "gone.dcm").caption


def test_a_frame_of_the_largest_size_takes_less_than_a_second(tmp_path: Path) -> None:
    side = 4096
    path = changed(tmp_path, Rows=side, Columns=side, PixelData=bytes(side * side * 2))
    began = time.perf_counter()
    assert drawn(path).width <= SIDE
    assert time.perf_counter() - began < 1


def test_the_dearest_rle_is_given_up_in_time(tmp_path: Path) -> None:
    side = 2048
    segment = b"\0\7" * (side * side)  # every pixel by itself
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + segment
    path = changed(
        tmp_path,
        "MR_small_RLE.dcm",
        Rows=side,
        Columns=side,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        PixelData=pydicom.encaps.encapsulate([frame]),
    )
    began = time.perf_counter()
    assert picture(path).caption == "No picture: The RLE frame has more runs than are unpacked here."
    assert time.perf_counter() - began < 3


CONTENTS = {name: image(name).read_bytes() for name in ("MR_small_RLE.dcm", "examples_ybr_color.dcm", "MR_small.dcm")}


@settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(CONTENTS)),
    changes=st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=4)), min_size=1, max_size=8),
)
def test_no_change_of_a_file_makes_drawing_fail(tmp_path: Path, name: str, changes: list[tuple[int, bytes]]) -> None:
    content = bytearray(CONTENTS[name])
    for offset, data in changes:
        content[offset : offset + len(data)] = data
    path = tmp_path / "bent.dcm"
    path.write_bytes(content)
    found = picture(path)
    assert found.uri or found.caption.startswith("No picture: ")


def test_deflated_data_is_drawn_like_any_other() -> None:
    assert drawn("image_dfl.dcm").width == 171
    assert pydicom.dcmread(image("image_dfl.dcm")).file_meta.TransferSyntaxUID != ExplicitVRLittleEndian
