"""Clean copy of a file that other programs read and hsm-dicom rejects, with an exact list of changes.

pydicom reads the original and writes the copy. The list of changes comes from a comparison, not from the rules below:
`read_structure` walks original and copy, element by element and at every depth. Each value must have the same octets,
or those that a rule produced. Lengths must account for every octet. Any other difference, such as a duplicate element,
stops the repair; no element is omitted or re-encoded without a reported change.

``RULES`` change values: each rule is called for each value and returns the new value and a clause, or None.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate
from typing import Any, NamedTuple

from hsm_dicom.dataset.bare import find_bare_syntax
from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.element import UNDEFINED_LENGTH
from hsm_dicom.dataset.encapsulated.codestream import Codestream, begins_codestream
from hsm_dicom.dataset.errors import DicomFileError, MediaDirectoryError, UnrepairableFileError
from hsm_dicom.dataset.file_meta import MEDIA_STORAGE_DIRECTORY
from hsm_dicom.dataset.octets.source import ObjectSource, Source, open_source
from hsm_dicom.dataset.repair.structure import _StructureError, read_structure
from hsm_dicom.dataset.tags import (
    DIGITAL_SIGNATURES_SEQUENCE,
    MAC_PARAMETERS_SEQUENCE,
    PIXEL_DATA,
    ItemPath,
    describe_tag,
    name_element,
    tag_name,
)
from hsm_dicom.dataset.transfer_syntax import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, TransferSyntax
from hsm_dicom.dataset.vr import FORMS, PLAIN, SHORT, STRINGS, ImplicitVRs

_PREAMBLE = 128
_PREFIX = b"DICM"
_ITEM = b"\xfe\xff\x00\xe0"
_META_LENGTH, _SOP_CLASS_IN_META, _TRANSFER_SYNTAX = 0x00020000, 0x00020002, 0x00020010
_IN_META = {_SOP_CLASS_IN_META: 0x00080016, 0x00020003: 0x00080018}
_OCTETS = {"OB", "UN"}


@dataclass(frozen=True)
class CleanCopy:
    """The whole content of a clean copy and its changes, one clause each."""

    content: bytes
    changes: tuple[str, ...]


class Value(NamedTuple):
    """One encoded value; ``in_fragments`` is True for the Items of encapsulated Pixel Data."""

    path: ItemPath
    tag: int
    vr: str
    data: bytes
    in_fragments: bool


Rule = Callable[[Value], tuple[bytes, str] | None]


def pad_odd_value(value: Value) -> tuple[bytes, str] | None:
    """Pad a string or octets of odd length with the pad character of the VR (PS3.5 6.2)."""
    if value.in_fragments or len(value.data) % 2 == 0 or value.vr not in STRINGS | _OCTETS:
        return None
    pad = b" " if value.vr in STRINGS and value.vr != "UI" else b"\0"
    return value.data + pad, f"was padded from {len(value.data)} to {len(value.data) + 1} octets"


def pad_odd_fragments(value: Value) -> tuple[bytes, str] | None:
    """Append a zero octet to each fragment of odd length (PS3.5 A.4)."""
    if not value.in_fragments:
        return None
    table, *fragments = split_fragments(value.data)
    odd = [number for number, fragment in enumerate(fragments, start=1) if len(fragment) % 2]
    if not odd or len(table) % 4:
        return None
    padded = [fragment + b"\0" * (len(fragment) % 2) for fragment in fragments]
    clause = f"has a zero octet behind each fragment of odd length ({_numbers(odd)})"
    return _join_moved(table, dict(enumerate(fragments)), dict(enumerate(padded)), clause)


def cut_behind_frames(value: Value) -> tuple[bytes, str] | None:
    """Remove non-padding octets after the end marker of a JPEG, JPEG-LS or JPEG 2000 frame.

    No decoder shows them, and no signature may cover them (``signatures.fragments``).
    """
    if not value.in_fragments:
        return None
    table, *fragments = split_fragments(value.data)
    if len(table) % 4:
        return None
    kept: dict[int, bytes] = {}
    cut = []
    frame = Codestream()
    for number, fragment in enumerate(fragments):
        ended = frame.length is not None
        if begins_codestream(fragment):
            frame, ended = Codestream(), False
        frame.feed(fragment)
        if not frame.has_surplus or frame.length is None:
            kept[number] = fragment
            continue
        cut.append(number + 1)
        if not ended:
            kept[number] = fragment[: frame.length - frame.fed + len(fragment)]
            kept[number] += b"\0" * (len(kept[number]) % 2)
    if not cut:
        return None
    lost = sum(map(len, fragments)) - sum(map(len, kept.values()))
    clause = f"is without {lost} octets behind the end markers of its frames, in fragments ({_numbers(cut)})"
    return _join_moved(table, dict(enumerate(fragments)), kept, clause)


RULES: tuple[Rule, ...] = (pad_odd_value, cut_behind_frames, pad_odd_fragments)
"""Rules in order of application; each receives the value that the previous one returned."""


def split_fragments(data: bytes) -> Iterator[bytes]:
    """Yield the content of each Item of encapsulated Pixel Data, Basic Offset Table first. Raises ValueError."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] != _ITEM or at + 8 + length > len(data):
            raise ValueError(f"no fragment begins at octet {at} of the value")
        yield data[at + 8 : at + 8 + length]
        at += 8 + length


def join_fragments(fragments: Iterable[bytes]) -> bytes:
    """Encode these Items as a value of encapsulated Pixel Data."""
    return b"".join(_ITEM + len(fragment).to_bytes(4, "little") + fragment for fragment in fragments)


def _join_moved(table: bytes, before: dict[int, bytes], after: dict[int, bytes], clause: str) -> tuple[bytes, str]:
    """Return the value with the remaining fragments and an adjusted Basic Offset Table, and the clause."""
    new = dict(zip(after, _offsets(after.values()), strict=False))
    moved = {old: new[number] for number, old in zip(before, _offsets(before.values()), strict=False) if number in new}
    offsets = [int.from_bytes(table[at : at + 4], "little") for at in range(0, len(table), 4)]
    table = b"".join(moved.get(offset, offset).to_bytes(4, "little") for offset in offsets)
    return join_fragments([table, *after.values()]), clause + (
        ", and its Basic Offset Table follows" if offsets else ""
    )


def _numbers(fragments: list[int]) -> str:
    """Format the first three fragment numbers and the count of the others."""
    more = f" and {len(fragments) - 3} more" if len(fragments) > 3 else ""
    return ", ".join(map(str, fragments[:3])) + more + ", counted from 1"


def make_clean_copy(path: ObjectSource) -> CleanCopy:
    """Make a clean copy of a file in memory.

    Raises UnrepairableFileError if a copy would change the content of the object, MediaDirectoryError for a DICOMDIR,
    and DicomFileError if the file cannot be read.
    """
    file, _ = open_source(path)
    try:
        original = file.read(0, file.size)
        file.replace(original)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _Repair(file, original, path).copy()
    except DicomFileError:
        raise
    except Exception as error:  # pydicom may raise any exception for a file that is not DICOM
        reason = f"cannot be repaired: pydicom cannot read or write it ({type(error).__name__}: {error})."
        raise UnrepairableFileError(file.name, reason) from error
    finally:
        file.close()


class _Repair:
    """Repair of one file with pydicom."""

    def __init__(self, file: Source, original: bytes, origin: ObjectSource, *, trimmed: bool = False) -> None:
        self._file = file
        self._origin = origin
        self._original = original
        self._trimmed = trimmed
        self._changes: list[str] = []
        self._growth = 0
        self._made: dict[tuple[ItemPath, int], bytes] = {}

    def copy(self) -> CleanCopy:
        from pydicom import dcmread, dcmwrite  # costs a fifth of a second, so not at import

        readable = self._with_meta()
        ds = dcmread(BytesIO(readable), force=True)
        self._require_repairable(readable, ds)
        if 0 in ds:  # zeros after the last element; `_account` checks them
            del ds[0]
        self._apply_rules(ds, ())
        buffer = BytesIO()
        dcmwrite(buffer, ds, enforce_file_format=True)
        content = buffer.getvalue()
        self._compare_meta(_meta_values(readable), _meta_values(content))
        try:
            with DicomFile.open(self._origin, content=content) as clean:
                self._compare(readable, content, clean.syntax)
        except DicomFileError as error:
            raise self._refusal(error.reason.rstrip(".")) from error
        except _StructureError as error:
            raise self._refusal(str(error)) from error
        self._account(readable, content)
        if content[:_PREAMBLE] != readable[:_PREAMBLE]:
            raise self._refusal("its preamble would be another one")
        return CleanCopy(content, tuple(self._changes))

    def _refusal(self, reason: str) -> UnrepairableFileError:
        return UnrepairableFileError(self._file.name, f"cannot be repaired: {reason}.")

    def _with_meta(self) -> bytes:
        """Return the original, preceded by the headers that pydicom needs."""
        original = self._original
        if original[_PREAMBLE : _PREAMBLE + 4] == _PREFIX:
            return original
        if original[:4] == _PREFIX:
            self._changes.append("the preamble of 128 octets was missing and was added")
            return bytes(_PREAMBLE) + original
        if original[:2] == b"\x02\0":
            self._changes.append("the preamble of 128 octets and the prefix DICM were missing and were added")
            return bytes(_PREAMBLE) + _PREFIX + original
        syntax = find_bare_syntax(self._file)
        self._changes.append(
            "preamble, prefix and file meta information were missing and were added; the Transfer Syntax is "
            f"{syntax.uid}, the only one that reads to the end of the file"
        )
        uid = syntax.uid.encode() + b"\0" * (len(syntax.uid) % 2)
        return bytes(_PREAMBLE) + _PREFIX + b"\x02\0\x10\0UI" + len(uid).to_bytes(2, "little") + uid + original

    def _require_repairable(self, readable: bytes, ds: Any) -> None:
        meta = _meta_values(readable)
        uids = {tag: meta.get(tag, ("", b""))[1].rstrip(b"\0 ") for tag in (_SOP_CLASS_IN_META, _TRANSFER_SYNTAX)}
        if uids[_SOP_CLASS_IN_META] == MEDIA_STORAGE_DIRECTORY:
            raise MediaDirectoryError(self._file.name, "is a DICOMDIR, the directory of a medium; it is not repaired.")
        if uids[_TRANSFER_SYNTAX] == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN.encode():
            raise self._refusal("it is deflated")
        for repeated, tag in _IN_META.items():
            if not meta.get(repeated, ("", b""))[1] and not _raw(ds, tag):
                raise self._refusal(f"it has no {tag_name(tag)}, which the file meta information has to name")
        if DIGITAL_SIGNATURES_SEQUENCE in ds or MAC_PARAMETERS_SEQUENCE in ds:
            raise self._refusal("it carries signatures, which cover it as it is")

    def _apply_rules(self, ds: Any, path: ItemPath) -> None:
        for tag in map(int, list(ds.keys())):
            self._require_whole(ds.get_item(tag), path)
            for inner, item in _items(ds, tag, path):
                self._apply_rules(item, inner)
            raw = ds.get_item(tag)
            if not raw.is_raw:
                continue
            in_fragments = tag == PIXEL_DATA and raw.length == UNDEFINED_LENGTH
            value = Value(path, tag, _vr(raw), raw.value or b"", in_fragments)
            for rule in RULES:
                if (answer := rule(value)) is not None:
                    value = value._replace(data=answer[0])
                    self._changes.append(f"{name_element(path, tag)} {answer[1]}")
            if value.data != (raw.value or b""):
                self._made[path, tag] = value.data
                length = raw.length if raw.length == UNDEFINED_LENGTH else len(value.data)
                ds[tag] = raw._replace(value=value.data, length=length)

    def _require_whole(self, raw: Any, path: ItemPath) -> None:
        """Reject a value shorter than its length field, as at the end of a truncated file."""
        if raw.is_raw and raw.length != UNDEFINED_LENGTH and raw.length != len(raw.value or b""):
            name = name_element(path, int(raw.tag))
            raise self._refusal(f"{name} has {len(raw.value or b'')} octets instead of {raw.length}")

    def _compare(self, before: bytes, after: bytes, syntax: TransferSyntax) -> None:
        """Compare each value of the copy with the original's, or with the result of a rule."""
        one, other = (read_structure(data, _meta_bounds(data), syntax) for data in (before, after))
        if one.items != other.items or other.values.keys() - one.values.keys():
            raise self._refusal("pydicom would add or leave out elements")
        for (path, tag), (vr, start, end) in one.values.items():
            name, old = name_element(path, tag), before[start:end]
            if (path, tag) not in other.values:
                if tag & 0xFFFF or tag <= 0xFFFF:
                    raise self._refusal(f"pydicom would leave out {name}")
                self._changes.append(f"{name}, a group length, was left out")
                self._growth -= 8 + len(old)
                continue
            other_vr, start, end = other.values[path, tag]
            new, wanted = after[start:end], self._made.get((path, tag), old)
            if other_vr != vr:
                raise self._refusal(f"{name} would have VR {other_vr} instead of {vr}")
            if new != wanted:
                if vr not in STRINGS or new.rstrip(b"\0 ") != wanted.rstrip(b"\0 "):
                    raise self._refusal(f"the value of {name} would be another one")
                self._changes.append(f"{name} is padded as PS3.5 6.2 demands")
            self._growth += len(new) - len(old)
        self._changes += one.changes

    def _compare_meta(self, before: dict[int, tuple[str, bytes]], after: dict[int, tuple[str, bytes]]) -> None:
        """Compare the File Meta Information of copy and original; each difference is a change."""
        for tag in sorted(before.keys() | after.keys()):
            name = describe_tag(tag)
            if tag not in after:
                raise self._refusal(f"pydicom would leave out {name}")
            vr, new = after[tag]
            if tag not in before:
                self._changes.append(f"{name} was missing and was added")
                self._growth += _header_size(vr) + len(new)
                continue
            old = before[tag][1]
            if old != new:
                if tag == _META_LENGTH:
                    said, size = int.from_bytes(old, "little"), _meta_size(before)
                    if said != size:
                        self._changes.append(f"{name} said {said} octets for a length of {size}")
                elif old.rstrip(b"\0 ") == new.rstrip(b"\0 "):
                    self._changes.append(f"{name} is padded as PS3.5 6.2 demands")
                else:
                    was, now = (value.rstrip(b"\0 ").decode("latin-1") for value in (old, new))
                    self._changes.append(f"{name} was {was!r} and is {now!r}, as in the Data Set")
            self._growth += len(new) - len(old)

    def _account(self, readable: bytes, content: bytes) -> None:
        """Account for each octet: only zeros after the last element may be missing from the copy.

        Without them, the original must produce the same copy with no loss: zeros at the end of a value are kept.
        """
        lost = len(readable) + self._growth - len(content)
        if not lost:
            return
        rest = self._original[: len(self._original) - lost]
        if lost > 0 and not self._original[len(rest) :].strip(b"\0") and not self._trimmed:
            again = _Repair(Source(self._file.name, held=rest), rest, self._origin, trimmed=True)
            with suppress(DicomFileError):
                if again.copy().content == content:
                    self._changes.append(f"{lost} zero octets behind the last element were left out")
                    return
        raise self._refusal("not every octet of it can be accounted for, as where an element is there twice")


def _items(ds: Any, tag: int, path: ItemPath) -> Iterator[tuple[ItemPath, Any]]:
    """Yield the Items of a sequence with their paths; none for any other element."""
    if _vr(ds.get_item(tag)) == "SQ":
        for number, item in enumerate(ds[tag].value):
            yield (*path, (tag, number)), item


def _vr(element: Any) -> str:
    """Return the encoded VR or, in implicit VR, that of PS3.6."""
    return str(element.VR) if element.VR is not None else ImplicitVRs(PLAIN).vr(int(element.tag))


def _meta_values(data: bytes) -> dict[int, tuple[str, bytes]]:
    """Return VR and value of each File Meta Information element after the prefix; ignore the group length."""
    found: dict[int, tuple[str, bytes]] = {}
    at = _PREAMBLE + 4
    while data[at : at + 2] == b"\x02\0":
        tag, vr = 0x00020000 | int.from_bytes(data[at + 2 : at + 4], "little"), data[at + 4 : at + 6].decode("latin-1")
        value = at + _header_size(vr)
        length = int.from_bytes(data[value - 2 : value] if value == at + 8 else data[value - 4 : value], "little")
        found[tag] = vr, data[value : value + length]
        at = value + length
    return found


def _meta_size(values: dict[int, tuple[str, bytes]]) -> int:
    """Return the correct value of (0002,0000): the length in octets of all that follows it."""
    return sum(_header_size(vr) + len(value) for tag, (vr, value) in values.items() if tag != _META_LENGTH)


def _meta_bounds(data: bytes) -> tuple[int, int]:
    """Return start and end of the File Meta Information; ignore the group length."""
    values, start = _meta_values(data), _PREAMBLE + 4
    return start, start + _meta_size(values) + (12 if _META_LENGTH in values else 0)


def _header_size(vr: str) -> int:
    return 8 if FORMS.get(vr) == SHORT else 12


def _raw(ds: Any, tag: int) -> bytes:
    """Return the encoded value of an element; empty if there is none."""
    element = ds.get_item(tag) if tag in ds else None
    value = None if element is None or not element.is_raw else element.value
    return bytes(value or b"")


def _offsets(fragments: Iterable[bytes]) -> list[int]:
    """Return the offset of each fragment's Item from the first one (PS3.5 A.4)."""
    return [0, *accumulate(8 + len(fragment) for fragment in fragments)]
