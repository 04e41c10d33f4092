"""Transfer Syntaxes and their four encoding properties (PS3.5 Section 10 and Annex A)."""

from __future__ import annotations

from typing import NamedTuple

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"


class TransferSyntax(NamedTuple):
    """Encoding of a Data Set. All encapsulated Transfer Syntaxes are explicit VR little endian."""

    uid: str
    implicit_vr: bool = False
    big_endian: bool = False
    deflated: bool = False
    encapsulated: bool = False

    @property
    def verbatim(self) -> bool:
        """Whether the elements are already encoded in explicit VR little endian."""
        return not (self.implicit_vr or self.big_endian)


NATIVE = (
    TransferSyntax(IMPLICIT_VR_LITTLE_ENDIAN, implicit_vr=True),
    TransferSyntax(EXPLICIT_VR_LITTLE_ENDIAN),
    TransferSyntax(DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, deflated=True),
    TransferSyntax(EXPLICIT_VR_BIG_ENDIAN, big_endian=True),
)
"""Transfer Syntaxes without fragments; their encodings in files are distinguishable."""

_NATIVE_BY_UID = {syntax.uid: syntax for syntax in NATIVE}

_ENCAPSULATED = (
    "1.2.840.10008.1.2.1.98",  # Encapsulated Uncompressed
    "1.2.840.10008.1.2.4.",  # JPEG, JPEG-LS, JPEG 2000, MPEG, HEVC, HTJ2K, JPEG XL
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.8.1",  # Deflated Image Frame Compression
)


_DEFLATED_JPIP = ("1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
"""JPIP Referenced Deflate and JPIP HTJ2K Referenced Deflate (PS3.5 A.7, A.13)."""


def transfer_syntax(uid: str) -> TransferSyntax | None:
    """Look up a Transfer Syntax UID; return None if it is private, unknown, or not for Data Sets in files."""
    native = _NATIVE_BY_UID.get(uid)
    if native is not None:
        return native
    if uid in _ENCAPSULATED or uid.startswith("1.2.840.10008.1.2.4."):
        return TransferSyntax(uid, encapsulated=True, deflated=uid in _DEFLATED_JPIP)
    return None
