"""Value Representations: their encodings (PS3.5 6.2, 7.1.2, 7.3) and the VRs of implicit VR elements.

If PS3.6 leaves a choice (``US or SS``, ``OB or OW``), :class:`ImplicitVRs` applies PS3.5 8 and A.1 and, if these leave
it open, DCMTK's choice. VRs are part of the MAC byte stream, so signer and validator must choose the same one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

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
"""Size in bytes of the units that depend on the byte order; all other VRs are the same in both byte orders."""

TEXT = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
"""VRs whose characters depend on Specific Character Set (PS3.5 6.1.2.2)."""

STRINGS = TEXT | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
"""VRs of character strings."""

_PIXEL_REPRESENTATION = 0x00280103
_WAVEFORM_BITS_ALLOCATED = 0x54001004
_BY_PIXEL_REPRESENTATION = frozenset(
    (
        *(0x00280106, 0x00280107, 0x00280108, 0x00280109, 0x00280120, 0x00280121, 0x00283002),
        *(0x00409211, 0x00409216, 0x00603004, 0x00603006),
    )
)
_BY_WAVEFORM_BITS = frozenset((0x5400100A, 0x54001010))
_WORDS = frozenset((0x00281200, 0x00283006, 0x7FE00010))


class Reading(NamedTuple):
    """Choice of VRs for the elements of an implicit VR object where PS3.6 leaves the VR open.

    With ``guess_private``, private elements have the VR of pydicom's private dictionary. With ``bytes_for_words``,
    ``OB or OW`` is OB and ``US or OW`` is US. With ``signed``, ``US or SS`` is SS. Without these, `ImplicitVRs`
    decides.
    """

    guess_private: bool = False
    bytes_for_words: bool = False
    signed: bool = False


PLAIN = Reading()
"""The default reading of signers and validators."""


class ImplicitVRs:
    """The VRs of one Data Set in implicit VR.

    Some VRs depend on earlier elements of the same Data Set: ``measure_needed`` returns how many bytes of such an
    element's value to pass to ``note``.
    """

    def __init__(self, reading: Reading) -> None:
        self._guess_private = reading.guess_private
        self._chosen: dict[str, str] = {}
        if reading.bytes_for_words:
            self._chosen |= {"OB or OW": "OB", "US or OW": "US", "US or SS or OW": "US"}
        if reading.signed:
            self._chosen["US or SS"] = "SS"
        self._noted: dict[int, bytes] = {}

    def vr(self, tag: int) -> str:
        """Return the VR of PS3.5; UN for elements absent from PS3.6, and for private ones unless guessed."""
        vr = (self._chosen and self._chosen.get(_open_choice(tag))) or _look_up_vr(tag)
        if vr == "UN" and self._guess_private:
            creator = self._noted.get(tag >> 16 << 16 | tag >> 8 & 0xFF, b"")
            return _private_vr(tag, creator.strip(b" \0").decode("latin-1"))
        if vr == "US or SS":
            return "SS" if self._noted.get(_PIXEL_REPRESENTATION) == b"\1\0" else "US"
        if vr == "OB or OW":
            return "OB" if self._noted.get(_WAVEFORM_BITS_ALLOCATED, b"\x08\0") == b"\x08\0" else "OW"
        return vr

    def measure_needed(self, tag: int) -> int:
        """Return how many bytes of this element's value determine other VRs."""
        if tag in (_PIXEL_REPRESENTATION, _WAVEFORM_BITS_ALLOCATED):
            return 2
        return 64 if self._guess_private and tag & 0x10000 and 0x10 <= tag & 0xFFFF <= 0xFF else 0

    def note(self, tag: int, value: bytes) -> None:
        """Store the first bytes of an element that determines other VRs."""
        self._noted[tag] = value


@lru_cache(maxsize=8192)
def _look_up_vr(tag: int) -> str:
    """Return the VR without context; ``US or SS`` or ``OB or OW`` if another element decides."""
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
    if listed in FORMS or tag in _BY_PIXEL_REPRESENTATION or tag in _BY_WAVEFORM_BITS:
        return listed
    if listed == "US or SS":
        return "US"
    is_overlay_data = tag & 0xFF00FFFF == 0x60003000
    return "OW" if is_overlay_data or tag in _WORDS else "OB"


@lru_cache(maxsize=8192)
def _open_choice(tag: int) -> str:
    """Return the VRs in PS3.6 if it leaves a choice, else an empty string. Overlay Data is always OW."""
    from pydicom.datadict import dictionary_VR

    try:
        listed = dictionary_VR(tag)
    except KeyError:
        return ""
    return "" if listed in FORMS or tag & 0xFF00FFFF == 0x60003000 else listed


@lru_cache(maxsize=8192)
def _private_vr(tag: int, creator: str) -> str:
    from pydicom.datadict import private_dictionary_VR

    try:
        listed = private_dictionary_VR(tag, creator)
    except KeyError:
        return "UN"
    return listed if listed in FORMS else "UN"
