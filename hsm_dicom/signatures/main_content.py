"""What a signature of an object must not leave open silently: whose and which object it is, and what it shows or says.

Elements of VR UN, and sequences with UN inside, may not be signed (PS3.3 C.12.1.1.3.1.1). Where that hits a private
element, little is lost. Where it hits the contours of a structure set, the signature does not protect what matters.

A value of more than 65534 bytes whose VR has a 16-bit length (DS, IS, ...) exists in implicit VR only. It may not be
signed either. A MAC is computed over explicit VR (PS3.3 C.12.1.1.3, MAC Calculation Transfer Syntax UID), where such a
value has the VR UN (PS3.5 6.2.2), and what is UN is neither listed nor hashed. DCMTK's dcmsign 3.6.7 lists the sequence
around such a value all the same, because it looks at the VR of its dictionary, and hashes the value as UN. It calls its
own signature not verifiable once the file is converted to explicit VR, so there is no common ground to follow it on.
"""

from __future__ import annotations

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.element import Element
from hsm_dicom.dataset.tags import Path, format_path, format_tag, is_private, tag_name
from hsm_dicom.dataset.vr import FORMS, SHORT, ImplicitVRs
from hsm_dicom.signatures.coverage import IDENTITY, PIXEL_TAGS

CONTENT = PIXEL_TAGS | {
    0x00281201,  # Red, Green, Blue Palette Color Lookup Table Data
    0x00281202,
    0x00281203,
    0x00283000,  # Modality LUT Sequence
    0x00283010,  # VOI LUT Sequence
    0x00409096,  # Real World Value Mapping Sequence
    0x0040A160,  # Text Value
    0x0040A730,  # Content Sequence
    0x00420011,  # Encapsulated Document
    0x00620002,  # Segment Sequence
    0x00640002,  # Deformable Registration Sequence
    0x00660002,  # Surface Sequence
    0x00660101,  # Track Set Sequence
    0x006A0002,  # Annotation Group Sequence
    0x00700001,  # Graphic Annotation Sequence
    0x0070005A,  # Displayed Area Selection Sequence
    0x00700308,  # Registration Sequence
    0x0070031C,  # Fiducial Set Sequence
    0x00701901,  # Volumetric Annotation Sequence
    0x30040050,  # DVH Sequence
    0x30060020,  # Structure Set ROI Sequence
    0x30060039,  # ROI Contour Sequence
    0x30060040,  # Contour Sequence
    0x30060050,  # Contour Data
    0x30060080,  # RT ROI Observations Sequence
    0x30080020,  # Treatment Session Beam Sequence
    0x30080021,  # Treatment Session Ion Beam Sequence
    0x30080110,  # Treatment Session Application Setup Sequence
    0x300A0010,  # Dose Reference Sequence
    0x300A0070,  # Fraction Group Sequence
    0x300A00B0,  # Beam Sequence
    0x300A0180,  # Patient Setup Sequence
    0x300A0210,  # Source Sequence
    0x300A0230,  # Application Setup Sequence
    0x300A03A2,  # Ion Beam Sequence
    0x52009229,  # Shared Functional Groups Sequence
    0x52009230,  # Per-Frame Functional Groups Sequence
    0x54000100,  # Waveform Sequence
    0x54001010,  # Waveform Data
    0x56000020,  # Spectroscopy Data
}
"""What an object of PS3.3 is made for, whatever its kind; Curve and Overlay Data are here by ``is_main``."""

_IDENTITY_TAGS = frozenset(tag for tags in IDENTITY.values() for tag in tags)
_REPEATING_DATA = {0x50003000, 0x60003000}


def is_main(tag: int) -> bool:
    """Whether the element belongs to the identity or to the content of an object."""
    return tag in CONTENT or tag in _IDENTITY_TAGS or tag & 0xFF00FFFF in _REPEATING_DATA


def why_unsignable(file: DicomFile, level: DataSet, element: Element) -> str:
    """Which element of VR UN keeps this one from being signed, as a clause: itself, or one inside it."""
    path, un = _first_un(file, level, element)
    name = (not is_private(un.tag) and tag_name(un.tag)) or format_tag(un.tag)
    inside = path[len(level.path) :]
    place = f"{format_path(inside)}.{name} " if inside else ("it " if un.tag == element.tag else f"{name} ")
    vr = ImplicitVRs(file.guess_private).vr(un.tag) if file.syntax.implicit_vr else "UN"
    size = un.end - un.value
    if vr != "UN" and FORMS[vr] == SHORT and size > 0xFFFF:
        return (
            f"{place}has {size} bytes, too many for VR {vr} in explicit VR, where it is UN (PS3.5 6.2.2); "
            "UN may not be signed (PS3.3 C.12.1.1.3.1.1)"
        )
    return f"{place}is of VR UN, which may not be signed (PS3.3 C.12.1.1.3.1.1)"


def _first_un(file: DicomFile, level: DataSet, element: Element) -> tuple[Path, Element]:
    if element.vr == "SQ":
        for item in file.data_sets(level, element):
            for inner in item.elements:
                if inner.has_un:
                    return _first_un(file, item, inner)
    return level.path, element
