"""Defects of fragments (PS3.5 A.4), whose lengths the MAC byte stream does not contain.

Joining two fragments, or extending a fragment over the elements behind it, does not change the stream
(PS3.3 C.12.1.1.3.1.2). `find_fragment_defects` finds signs of such changes in a signed object. Cutting a fragment in
two, or into a fragment and elements, leaves no sign; `require_unambiguous_fragments` therefore refuses to sign
fragments that could be cut in this way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Set

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.encapsulated.fragments import DefectKind, EncapsulatedPixelData
from hsm_dicom.dataset.tags import NUMBER_OF_FRAMES, PIXEL_DATA, ItemPath, never_signable
from hsm_dicom.signatures.anomalies.record import Anomaly, AnomalyCode, Weight
from hsm_dicom.signatures.errors import AmbiguousPixelDataError
from hsm_dicom.signatures.read import SignatureItem

_CODES = {
    DefectKind.JOINED: AnomalyCode.FRAGMENTS_JOINED,
    DefectKind.SWALLOWED: AnomalyCode.ELEMENTS_SWALLOWED,
    DefectKind.FRAME_COUNT: AnomalyCode.FRAME_COUNT,
    DefectKind.OFFSET_TABLE: AnomalyCode.OFFSET_TABLE,
    DefectKind.NO_FRAME: AnomalyCode.NO_FRAME,
}

_REMEDY = "Compare the object with the sender's own copy, and ask the sender for it again."


def find_fragment_defects(file: DicomFile, item: SignatureItem) -> Iterator[Anomaly]:
    """Yield the anomalies of the Pixel Data, at any depth, that an intact signature covers."""
    tags = item.mac.tags if item.mac else ()
    for pixel_data in find_covered_pixel_data(file, item.level.path, tags):
        for defect in pixel_data.defects:
            yield Anomaly(_CODES[defect.kind], Weight.QUESTION, defect.clause, _REMEDY)
        if pixel_data.path == item.level.path and NUMBER_OF_FRAMES in item.level and NUMBER_OF_FRAMES not in tags:
            yield Anomaly(
                AnomalyCode.FRAME_COUNT_OPEN,
                Weight.QUESTION,
                "it covers Pixel Data but not Number of Frames, so frames may have been joined",
                _REMEDY,
            )


def require_unambiguous_fragments(file: DicomFile, level: ItemPath, tags: Collection[int]) -> None:
    """Raise AmbiguousPixelDataError if Pixel Data covered by these tags of a level could be read as other content."""
    refusals = []
    for pixel_data in find_covered_pixel_data(file, level, tags):
        refusals += [defect.clause for defect in pixel_data.defects]
        if pixel_data.hazard is not None:
            refusals.append(pixel_data.hazard.clause)
    if refusals:
        raise AmbiguousPixelDataError(
            f"{file.name}: not signed, because {'; '.join(refusals)}. Anyone with the signed object could turn these "
            "octets into other content without breaking the signature (PS3.3 C.12.1.1.3.1.2). Ask the creator of the "
            "object for one whose fragments hold frames and nothing else."
        )


def find_frame_count_tags(level: DataSet, tags: Set[int]) -> Set[int]:
    """Return the tag of Number of Frames if a signature of these tags needs it to prevent joined frames."""
    is_encapsulated = PIXEL_DATA in tags and level[PIXEL_DATA].pieces is not None
    return level.signable_tags & {NUMBER_OF_FRAMES} if is_encapsulated else frozenset()


def find_covered_pixel_data(file: DicomFile, level: ItemPath, tags: Collection[int]) -> Iterator[EncapsulatedPixelData]:
    """Yield the encapsulated Pixel Data that a signature of these tags covers, in the level and in its Items."""
    depth = len(level)
    listed = frozenset(tags)
    for pixel_data in file.encapsulated:
        path = pixel_data.path
        if path[:depth] != level:
            continue
        below = [tag for tag, _ in path[depth:]]
        if (below[0] if below else PIXEL_DATA) in listed and not any(map(never_signable, below)):
            yield pixel_data
