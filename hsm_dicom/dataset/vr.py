"""Value Representations: how each is encoded (PS3.5 6.2, 7.1.2, 7.3), and which one an implicit VR element has.

Where PS3.6 leaves a choice (``US or SS``, ``OB or OW``), :func:`implicit_vr` decides by PS3.5 8 and A.1 and, where
these leave it open, as DCMTK does: VRs enter the MAC byte stream, so signer and verifier must choose alike.
"""

from __future__ import annotations

from functools import lru_cache

SHORT, LONG, UNKNOWN, SEQUENCE = range(4)
"""Forms of an explicit VR header: 16-bit length; reserved field and 32-bit length; the same, VR UN; the same, VR SQ."""

_SHORT = (
    *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FL", "FD", "IS", "LO", "LT"),
    *("PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"),
)
_LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SV", "UC", "UR", "UT", "UV")

FORMS: dict[str, int] = {
    **dict.fromkeys(_SHORT, SHORT),
    **dict.fromkeys(_LONG, LONG),
    "UN": UNKNOWN,
    "SQ": SEQUENCE,
}

SWAPPED_UNITS: dict[str, int] = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
"""Size in bytes of the units that change with the byte order; VRs not named here are the same in both."""

TEXT = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
"""VRs whose characters depend on Specific Character Set (PS3.5 6.1.2.2)."""

STRINGS = TEXT | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
"""VRs of character strings."""

SIGNED_BY_PIXEL_REPRESENTATION = "xs"
BY_WAVEFORM_BITS_ALLOCATED = "ww"

_BY_PIXEL_REPRESENTATION = frozenset(
    (
        *(0x00280106, 0x00280107, 0x00280108, 0x00280109, 0x00280120, 0x00280121, 0x00283002),
        *(0x00409211, 0x00409216, 0x00603004, 0x00603006),
    )
)
_BY_WAVEFORM_BITS = frozenset((0x5400100A, 0x54001010))
_WORDS = frozenset((0x00281200, 0x00283006, 0x7FE00010))


@lru_cache(maxsize=8192)
def implicit_vr(tag: int) -> str:
    """The VR of an element that was encoded without one.

    Returns a VR of PS3.5, or one of the two marks above where another element of the same Data Set decides.
    Elements that PS3.6 does not have are UN, and so are private ones: nothing in the file tells their VR.
    """
    group, element = tag >> 16, tag & 0xFFFF
    if element == 0:
        return "UL"
    if group & 1:
        return "LO" if 0x10 <= element <= 0xFF else "UN"
    from pydicom.datadict import dictionary_VR  # costs a fifth of a second, so not at import

    try:
        listed = dictionary_VR(tag)
    except KeyError:
        return "UN"
    return listed if listed in FORMS else _decide(tag, listed)


@lru_cache(maxsize=8192)
def private_vr(tag: int, creator: str) -> str:
    """The VR that pydicom's private dictionary has for an element of this private creator, else UN."""
    from pydicom.datadict import private_dictionary_VR

    try:
        listed = private_dictionary_VR(tag, creator)
    except KeyError:
        return "UN"
    return listed if listed in FORMS else "UN"


def _decide(tag: int, listed: str) -> str:
    if tag in _BY_PIXEL_REPRESENTATION:
        return SIGNED_BY_PIXEL_REPRESENTATION
    if tag in _BY_WAVEFORM_BITS:
        return BY_WAVEFORM_BITS_ALLOCATED
    if listed == "US or SS":
        return "US"
    is_overlay_data = tag & 0xFF00FFFF == 0x60003000
    return "OW" if is_overlay_data or tag in _WORDS else "OB"
