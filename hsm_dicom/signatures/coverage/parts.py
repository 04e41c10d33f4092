"""Parts of an object that a reader relies on, as tags of the signed level (PS3.3, PS3.6).

If one of them is unsigned, the display can change without breaking the signature: another patient's picture, the same
samples read as another picture, a lesion of another size or on the other side, another text. Only attributes of the
signed level are listed; they include the content of their sequences.
"""

from __future__ import annotations

from collections.abc import Mapping

from hsm_dicom.dataset.tags import is_private


def _tags(text: str) -> frozenset[int]:
    return frozenset(int(tag.replace(",", ""), 16) for tag in text.split())


PIXEL_DATA_TAGS = _tags("7FE0,0010 7FE0,0008 7FE0,0009")
"""Pixel Data, Float Pixel Data, Double Float Pixel Data."""

PIXEL_DATA_PROVIDER_URL = 0x00287FE0
"""URL of the server that has the pixels, if the object itself has none (JPIP)."""

IDENTITY: Mapping[str, tuple[int, ...]] = {
    "patient": (0x00100010, 0x00100020, 0x00100021, 0x00100030),
    "study": (0x0020000D,),
    "series": (0x0020000E,),
    "SOP instance": (0x00080016, 0x00080018),
}
"""Attributes that identify the object and its patient; a group is covered if all its present attributes are."""

PICTURE = PIXEL_DATA_TAGS | _tags(
    # Image Pixel (PS3.3 C.7.6.3): number and interpretation of the samples
    "0028,0002 0028,0004 0028,0006 0028,0008 0028,0009 0028,0010 0028,0011 0028,0100 0028,0101 0028,0102 0028,0103"
    " 0028,7FE0 7FE0,0001 7FE0,0002 7FE0,0003"
    # colours: Palette Color Lookup Tables, supplemental and enhanced ones, ICC Profile
    " 0028,1101 0028,1102 0028,1103 0028,1104 0028,1111 0028,1112 0028,1113 0028,1201 0028,1202 0028,1203 0028,1204"
    " 0028,1221 0028,1222 0028,1223 0028,1224 0028,1401 0028,140B 0028,140C 0028,140D 0028,140E 0028,2000 0028,2002"
)
"""The pixels and the attributes that define how to read them. For overlays and curves, see `is_drawn_over`."""

GEOMETRY = _tags(
    # spacing: sizes measured in the picture
    "0028,0030 0028,0034 0028,0A02 0028,0A04 0018,0050 0018,0088 0018,1110 0018,1111 0018,1114 0018,1164 0018,2010"
    " 0018,6011 3002,0011 3002,0022 3002,0026 0048,0001 0048,0002 0048,0003 0048,0006 0048,0007"
    # orientation and position, sides of the body
    " 0018,1120 0018,5100 0018,5101 0020,0020 0020,0030 0020,0032 0020,0035 0020,0037 0020,0052 0020,0060 0020,0062"
    " 0020,1041 0048,0008 0048,0102 0054,0022 3002,0010 3002,0012 3004,000C 300C,0060"
    # functional groups hold all of these for each frame
    " 5200,9229 5200,9230"
    # rescale and modality LUT: the meaning of a stored value
    " 0028,1052 0028,1053 0028,1054 0028,3000 0040,9096 0054,1001 3004,0002 3004,000E"
    # VOI and presentation LUT, padding values: visible values and their brightness
    " 0028,0120 0028,0121 0028,1040 0028,1041 0028,1050 0028,1051 0028,1055 0028,1056 0028,3010 2050,0010 2050,0020"
)
"""Spacing, orientation, position, rescale, VOI and modality LUT, which affect measurement and display."""

GRAVEST = (0x00280010, 0x00280011, 0x00280004, 0x00280030, 0x00200037, 0x00200032, 0x00281053, 0x00281052, 0x00200060)
"""Elements of picture and geometry that are listed before the others."""

CONTENT = _tags(
    # SR documents, encapsulated documents, waveforms, spectra
    "0040,A730 0040,A040 0040,A043 0040,A050 0040,A160 0040,A491 0040,A493 0042,0011 0042,0012 5400,0100 5400,1010"
    " 5600,0010 5600,0020"
    # radiotherapy: structure sets, plans, dose histograms, records
    " 3004,0050 3006,0010 3006,0020 3006,0039 3006,0040 3006,0050 3006,0080 3008,0010 3008,0020 3008,0021 3008,0030"
    " 3008,0040 3008,0050 3008,0110 3008,0160 300A,0010 300A,0070 300A,00B0 300A,0180 300A,0210 300A,0230 300A,03A2"
    # presentation states, segmentations, registrations, surfaces, tracts, annotations
    " 0008,1115 0062,0002 0064,0002 0066,0002 0066,0101 006A,0002 0070,0001 0070,0041 0070,0042 0070,005A 0070,0060"
    " 0070,0308 0070,031C 0070,1901 0080,0007"
)
"""Content other than pictures: texts, documents, waveforms, contours, plans, presentations."""

SEEN = _tags(
    # shutters hide parts of the picture; masks are subtracted from it
    "0018,1600 0018,1602 0018,1604 0018,1606 0018,1608 0018,1610 0018,1612 0018,1620 0018,1622 0018,1623 0018,1624"
    " 0028,6100 0028,1090"
    # time between frames: flow, rates
    " 0018,1063 0018,1065 0018,1066 0018,1067 0018,1242 0018,0040 0018,1244 0008,2144 0028,6010 0028,6020"
    # uptake values of nuclear medicine, which depend on injection, weight and times
    " 0010,1020 0010,1030 0018,1071 0018,1072 0018,1074 0018,1078 0054,0016 0054,1102 0054,1300 0054,1321 0054,1322"
    # side, body part and phase; dates and times; burned-in marks; lossy compression
    " 0008,0008 0008,0020 0008,0022 0008,0023 0008,0030 0008,0032 0008,0033 0008,0060 0008,2218 0018,0015 0018,0010"
    " 0018,1030 0018,5104 0020,0013 0020,0100 0028,0301 0028,2110 0028,2112 0028,2114 0054,0220 0010,0040"
)
"""Other attributes that change display or measurement; they are listed first among the uncovered elements."""


def is_drawn_over(tag: int) -> bool:
    """Return whether the tag belongs to an overlay (60xx) or a curve (50xx), drawn over the picture (PS3.5 7.6)."""
    return tag >> 24 in (0x50, 0x60) and not is_private(tag) and tag & 0xFFFF != 0


def is_of_picture(tag: int) -> bool:
    """Return whether the element holds pixels, defines how to read them, or is drawn over them."""
    return tag in PICTURE or is_drawn_over(tag)


def is_relied_on(tag: int) -> bool:
    """Return whether readers rely on the element: it belongs to identity, picture, geometry or content."""
    return tag in _RELIED_ON or is_drawn_over(tag)


_RELIED_ON = frozenset(tag for tags in IDENTITY.values() for tag in tags) | PICTURE | GEOMETRY | CONTENT
