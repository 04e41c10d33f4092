"""What a file holds outside every MAC: content that no signature can cover, by where it stands.

PS3.3 C.12.1.1.3.1.1 bars some elements from every signature, and PS3.10 puts a preamble and the File Meta Information
before the Data Set. Each octet of a file is in a MAC, or has one of the forms of a closed list that no reader takes for
content, or is reported: elements that could be signed and are not by `coverage`, what the Items of a signature hold by
`envelope`, and the rest here.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import cached_property

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.element import Element
from hsm_dicom.dataset.tags import (
    DIGITAL_SIGNATURES_SEQUENCE,
    ITEM,
    MAC_PARAMETERS_SEQUENCE,
    ItemPath,
    never_signable,
)
from hsm_dicom.dataset.walk.notes import KEPT_UNSIGNABLE
from hsm_dicom.signatures.anomalies.envelope import find_foreign_elements
from hsm_dicom.signatures.anomalies.ignorable import is_ignorable, is_length_to_end
from hsm_dicom.signatures.anomalies.record import Anomaly, AnomalyCode, Place, Weight, list_elements
from hsm_dicom.signatures.read import SignatureItem, read_mac_id_number

_OF_SIGNATURES = (MAC_PARAMETERS_SEQUENCE, DIGITAL_SIGNATURES_SEQUENCE)
_UID = re.compile(rb"[0-9.]{0,64}")
_SHORT_TEXT = re.compile(rb"[ -~]{0,16}")
_META_FORMS = {
    0x00020000: ("UL", re.compile(rb".{4}", re.DOTALL)),
    0x00020001: ("OB", re.compile(b"\0\1")),
    **dict.fromkeys((0x00020002, 0x00020003, 0x00020010, 0x00020012), ("UI", _UID)),
    0x00020013: ("SH", _SHORT_TEXT),
    **dict.fromkeys((0x00020016, 0x00020017, 0x00020018), ("AE", _SHORT_TEXT)),
}
"""Forms of File Meta Information (PS3.10 7.1) that no reader takes for content; `level` compares the UIDs."""

_PREAMBLES = (
    (b"MZ", "a program for Windows"),
    (b"\x7fELF", "a program for Linux"),
    (b"\xcf\xfa\xed\xfe", "a program for macOS"),
    (b"\xca\xfe\xba\xbe", "a program for macOS or Java"),
    (b"#!", "a script"),
    (b"%PDF", "a PDF document"),
    (b"PK", "a ZIP archive"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
)
"""First octets of other kinds of file, which a preamble can make of a DICOM file (PS3.10 7.1)."""

KEPT_CONTENT = 1000
"""Elements with content inside sequences, as many as are kept to be named."""


class OutsideContent:
    """What one file holds outside every MAC; looked for once, however many signatures the file has."""

    def __init__(self, file: DicomFile, items: Iterable[SignatureItem]) -> None:
        self._file = file
        self._items = list(items)
        self._mac_ids: dict[ItemPath, set[int | None]] = {}
        for item in self._items:
            self._mac_ids.setdefault(item.level.path, set()).add(item.mac_id)

    def find(self, item: SignatureItem) -> Iterator[Anomaly]:
        """Yield the content in and around a signed Data Set that no signature can cover."""
        level = item.level
        within = {*level.signable_tags.intersection(item.mac.tags if item.mac else ()), *_OF_SIGNATURES}
        places = [(level.path, element.tag) for element in self._content_of(level)]
        places += [place for place in self._inside(level.path) if place[0][len(level.path)][0] in within]
        if places:
            yield Anomaly(
                AnomalyCode.OUTSIDE_CONTENT,
                Weight.REMARK,
                f"it holds content that no signature can cover: {list_elements(places)}",
                "Anybody may have written this content, and programs may display or use it.",
            )
        if self._is_cut:
            yield Anomaly(
                AnomalyCode.OUTSIDE_CONTENT,
                Weight.REMARK,
                "it holds more elements that no signature can cover than verify examines",
            )
        if not level.path and not self._file.is_bare:
            yield from self._before_data_set()

    def _content_of(self, level: DataSet) -> Iterator[Element]:
        """The elements of a level that are barred by their tags and are not ignorable; UN is reported by coverage."""
        for element in level.elements:
            if not never_signable(element.tag) or element.has_un or _is_of_signatures(element):
                continue
            if not is_ignorable(self._file, element) and not is_length_to_end(self._file, element, level.end):
                yield element

    def _inside(self, path: ItemPath) -> list[Place]:
        """What stands inside sequences below an Item, or below the main Data Set."""
        places = self._all_inside
        if not path:
            return places
        behind = (*path[:-1], (path[-1][0], path[-1][1] + 1))
        low, high = bisect_left(places, (path, -1)), bisect_left(places, (behind, -1))
        return [place for place in places[low:high] if len(place[0]) > len(path)]

    @cached_property
    def _is_cut(self) -> bool:
        return len(self._file.unsignable_inside) == KEPT_UNSIGNABLE or len(self._all_inside) > KEPT_CONTENT

    @cached_property
    def _all_inside(self) -> list[Place]:
        """The elements with content inside sequences, sorted by place, at most one more than KEPT_CONTENT."""
        found: list[Place] = []
        for place in self._look_inside():
            found.append(place)
            if len(found) > KEPT_CONTENT:
                break
        return sorted(found)

    def _look_inside(self) -> Iterator[Place]:
        for path, element in self._file.unsignable_inside:
            if not (_is_in_barred(path) or _is_of_signatures(element) or is_ignorable(self._file, element)):
                yield path, element.tag
        for level in self._file.find_signed_levels():
            if not _is_in_barred(level.path):
                yield from self._find_unused_parameters(level)
        for item in self._items:
            if item.historic:
                yield from find_foreign_elements(self._file, item)

    def _find_unused_parameters(self, level: DataSet) -> Iterator[Place]:
        """MAC Parameters Items of a level that belong to none of its signatures."""
        sequence = level.get(MAC_PARAMETERS_SEQUENCE)
        if sequence is None or sequence.vr != "SQ":
            return
        used = self._mac_ids.get(level.path, set()) - {None}
        for item in self._file.data_sets(level, sequence):
            if read_mac_id_number(self._file, item) not in used:
                yield item.path, ITEM

    def _before_data_set(self) -> Iterator[Anomaly]:
        preamble = self._file.file.read(0, 128)
        if preamble.strip(b"\0"):
            kind = next((name for start, name in _PREAMBLES if preamble.startswith(start)), "")
            yield Anomaly(
                AnomalyCode.PREAMBLE_CONTENT,
                Weight.REMARK,
                f"the preamble makes the file {kind} as well" if kind else "the preamble of the file is not empty",
                "No signature covers the 128 octets before the prefix DICM (PS3.10 7.1).",
            )
        foreign = [element for element in self._file.meta if not self._is_plain_meta(element)]
        if foreign:
            yield Anomaly(
                AnomalyCode.FILE_META_CONTENT,
                Weight.REMARK,
                f"the file meta information holds content: {list_elements([((), e.tag) for e in foreign])}",
                "No signature covers the file meta information.",
            )

    def _is_plain_meta(self, element: Element) -> bool:
        vr, form = _META_FORMS.get(element.tag, ("", _UID))
        if element.vr != vr or element.end - element.value > 1024:
            return False
        value = self._file.file.read(element.value, element.end)
        return bool(form.fullmatch(value.rstrip(b"\0 ") if vr in ("UI", "SH", "AE") else value))


def _is_of_signatures(element: Element) -> bool:
    return element.tag in _OF_SIGNATURES and element.vr == "SQ"


def _is_in_barred(path: ItemPath) -> bool:
    """Whether a place is inside a sequence that is barred itself, and so reported as a whole."""
    return any(never_signable(tag) for tag, _ in path)
