"""Reasons why an element that readers rely on (`parts.is_relied_on`) may not be signed, for messages to the signer.

Elements of VR UN, and sequences with UN inside, may not be signed (PS3.3 C.12.1.1.3.1.1). For a private element, the
loss is small. For the contours of a structure set, the signature does not protect the main content.

A value of more than 65534 bytes whose VR has a 16-bit length (DS, IS, ...) exists in implicit VR only. It may not be
signed either. A MAC is computed over explicit VR (PS3.3 C.12.1.1.3, MAC Calculation Transfer Syntax UID), where such a
value has the VR UN (PS3.5 6.2.2), and UN elements are neither listed nor hashed. DCMTK's dcmsign 3.6.7 nevertheless
lists the sequence around such a value, because it uses the VR of its dictionary, and hashes the value as UN. It reports
its own signature as not verifiable after conversion to explicit VR, so hsm-dicom does not follow it.
"""

from __future__ import annotations

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.element import Element
from hsm_dicom.dataset.tags import ItemPath, format_path, format_tag, is_private, tag_name
from hsm_dicom.dataset.vr import FORMS, SHORT, ImplicitVRs


def explain_unsignable(file: DicomFile, level: DataSet, element: Element) -> str:
    """Return a clause that names the UN element that makes this one unsignable: itself, or one inside it."""
    path, un = _first_un(file, level, element)
    name = (not is_private(un.tag) and tag_name(un.tag)) or format_tag(un.tag)
    inside = path[len(level.path) :]
    place = f"{format_path(inside)}.{name} " if inside else ("it " if un.tag == element.tag else f"{name} ")
    vr = ImplicitVRs(file.reading).vr(un.tag) if file.syntax.implicit_vr else "UN"
    size = un.end - un.value
    if vr != "UN" and FORMS[vr] == SHORT and size > 0xFFFF:
        return (
            f"{place}has {size} bytes, too many for VR {vr} in explicit VR, where it is UN (PS3.5 6.2.2); "
            "UN may not be signed (PS3.3 C.12.1.1.3.1.1)"
        )
    return f"{place}is of VR UN, which may not be signed (PS3.3 C.12.1.1.3.1.1)"


def _first_un(file: DicomFile, level: DataSet, element: Element) -> tuple[ItemPath, Element]:
    if element.vr == "SQ":
        for item in file.data_sets(level, element):
            for inner in item.elements:
                if inner.has_un:
                    return _first_un(file, item, inner)
    return level.path, element
