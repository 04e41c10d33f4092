"""Read the Digital Signatures Macro (PS3.3 C.12.1.1.3): the signatures of an object and their attributes.

VR, value and multiplicity of the attributes are checked strictly, because a signature does not protect its MAC
Parameters: every defect in them is reported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.encode import decode_tags
from hsm_dicom.dataset.tags import (
    DIGITAL_SIGNATURES_SEQUENCE,
    MAC_PARAMETERS_SEQUENCE,
    describe_tag,
    format_tag,
    is_historic,
)
from hsm_dicom.signatures import attributes as a
from hsm_dicom.trust.der import without_pad_byte
from tokens.errors import fresh_copy

LARGEST_VALUE = 1 << 20
"""No value of the macro is larger than this: what a certificate or a time stamp may take."""

UID_OF_FILE = re.compile(r"(?!\.)[0-9.]{1,64}(?<!\.)")
"""A UID that may become the name of a file."""

_DATE_TIME = re.compile(r"(?P<date>\d{14})(?:\.(?P<fraction>\d{1,6}))?(?P<zone>[+-]\d{4})?", re.ASCII)


class _MalformedSignatureError(Exception):
    """The macro is incomplete or breaks its own rules; the text says how. Ends up as a verdict, never escapes."""


@dataclass(frozen=True)
class Purpose:
    """The one Item of Digital Signature Purpose Code Sequence (0400,0401)."""

    code: str
    scheme: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.meaning or 'no meaning given'} ({self.code}, {self.scheme})"


@dataclass(frozen=True)
class MacParameters:
    """One Item of MAC Parameters Sequence (4FFE,0001)."""

    item: DataSet
    mac_id: int
    transfer_syntax: str
    algorithm: str
    tags: tuple[int, ...]


@dataclass(frozen=True)
class SignatureItem:
    """One Item of Digital Signatures Sequence (FFFA,FFFA), as found.

    ``level`` is the Data Set that it signs in, ``item`` its own. ``certificate`` and ``timestamp`` are DER without
    pad byte; ``signature`` is the value as it is.
    ``defect`` says what is wrong with the macro, if something is; fields that could not be read are then empty.
    """

    level: DataSet
    item: DataSet
    number: int
    mac_id: int | None = None
    uid: str = ""
    date_time: str = ""
    certificate_type: str = ""
    certificate: bytes = b""
    signature: bytes = b""
    purpose: Purpose | None = None
    timestamp_type: str = ""
    timestamp: bytes | None = None
    mac: MacParameters | None = None
    defect: str = ""

    @property
    def historic(self) -> bool:
        """Whether the signature is kept in an Original Attributes Sequence: it signed what the object was once."""
        return is_historic(self.level.path)


def read_signature_items(file: DicomFile) -> list[SignatureItem]:
    """Every signature at every level, the main Data Set's first."""
    found = []
    for level in file.find_signed_levels():
        sequence = level.get(DIGITAL_SIGNATURES_SEQUENCE)
        if sequence is None:
            continue
        if sequence.vr != "SQ":
            found.append(SignatureItem(level, level, 0, defect="Digital Signatures Sequence is not a sequence"))
            continue
        parameters, defect = _all_parameters(file, level)
        found += [_signature_item(file, level, item, parameters, defect) for item in file.data_sets(level, sequence)]
    return found


def read_mac_parameters(file: DicomFile, level: DataSet) -> list[MacParameters]:
    """MAC Parameters Items of one level; those that are malformed are left out."""
    found, _ = _all_parameters(file, level)
    return [one for one in found.values() if isinstance(one, MacParameters)]


def read_mac_id_number(file: DicomFile, item: DataSet) -> int | None:
    """MAC ID Number of an Item of either sequence; None if it has none that can be read."""
    try:
        return _number(file, item, a.MAC_ID_NUMBER)
    except _MalformedSignatureError:
        return None


def parse_date_time(text: str) -> datetime | None:
    """A DT value (PS3.5 6.2) as an aware datetime; None if it is malformed, not to the second, or has no offset."""
    match = _DATE_TIME.fullmatch(text)
    if match is None or match["zone"] is None:
        return None
    zone = match["zone"]
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5]))
    digits = match["date"]
    month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(4, 14, 2))
    micros = int((match["fraction"] or "0").ljust(6, "0"))
    try:
        utc_offset = timezone(-offset if zone[0] == "-" else offset)
        return datetime(int(digits[:4]), month, day, hour, minute, second, micros, utc_offset)
    except ValueError:
        return None


def _optional(file: DicomFile, level: DataSet, tag: int, vr: str) -> bytes | None:
    element = level.get(tag)
    if element is None:
        return None
    if element.vr != vr:
        raise _MalformedSignatureError(f"{describe_tag(tag)} has VR {element.vr} instead of {vr}")
    if not 0 < element.end - element.value <= LARGEST_VALUE:
        raise _MalformedSignatureError(f"{describe_tag(tag)} is empty, or larger than {LARGEST_VALUE >> 10} KiB")
    return file.value(element)


def _require(file: DicomFile, level: DataSet, tag: int, vr: str) -> bytes:
    value = _optional(file, level, tag, vr)
    if value is None:
        raise _MalformedSignatureError(f"{describe_tag(tag)} is missing")
    return value


def _number(file: DicomFile, level: DataSet, tag: int) -> int:
    value = _require(file, level, tag, "US")
    if len(value) != 2:
        raise _MalformedSignatureError(f"{describe_tag(tag)} has {len(value) // 2} values instead of one")
    return file.number(value)


def _string(file: DicomFile, level: DataSet, tag: int, vr: str) -> str:
    value = _require(file, level, tag, vr)
    return value.rstrip(b"\0" if vr == "UI" else b" ").decode("latin-1")


def _all_parameters(file: DicomFile, level: DataSet) -> tuple[dict[int, MacParameters | _MalformedSignatureError], str]:
    """MAC Parameters Items of one level by MAC ID, and what is wrong with the sequence as a whole."""
    sequence = level.get(MAC_PARAMETERS_SEQUENCE)
    if sequence is None or sequence.vr != "SQ":
        return {}, "the Data Set has no MAC Parameters Sequence"
    found: dict[int, MacParameters | _MalformedSignatureError] = {}
    for item in file.data_sets(level, sequence):
        try:
            mac_id = _number(file, item, a.MAC_ID_NUMBER)
        except _MalformedSignatureError as defect:
            return found, f"in MAC Parameters Sequence, {defect}"
        if mac_id in found:
            return found, f"MAC ID Number {mac_id} stands for two MAC Parameters Items"
        try:
            found[mac_id] = _parameters(file, item, mac_id)
        except _MalformedSignatureError as defect:
            found[mac_id] = defect
    return found, ""


def _parameters(file: DicomFile, item: DataSet, mac_id: int) -> MacParameters:
    packed = _require(file, item, a.DATA_ELEMENTS_SIGNED, "AT")
    if len(packed) % 4:
        raise _MalformedSignatureError("Data Elements Signed is not a list of tags")
    tags = decode_tags(packed, file.syntax)
    for before, after in pairwise(tags):
        if after <= before:
            raise _MalformedSignatureError(f"Data Elements Signed is not in ascending order at {format_tag(after)}")
    return MacParameters(
        item,
        mac_id,
        _string(file, item, a.MAC_CALCULATION_TRANSFER_SYNTAX_UID, "UI"),
        _string(file, item, a.MAC_ALGORITHM, "CS"),
        tags,
    )


def _signature_item(
    file: DicomFile,
    level: DataSet,
    item: DataSet,
    parameters: dict[int, MacParameters | _MalformedSignatureError],
    defect: str,
) -> SignatureItem:
    fields: dict[str, object] = {}
    try:
        fields["uid"] = _string(file, item, a.DIGITAL_SIGNATURE_UID, "UI")
        fields["mac_id"] = mac_id = _number(file, item, a.MAC_ID_NUMBER)
        fields["date_time"] = _string(file, item, a.DIGITAL_SIGNATURE_DATETIME, "DT")
        fields["certificate_type"] = _string(file, item, a.CERTIFICATE_TYPE, "CS")
        fields["certificate"] = without_pad_byte(_require(file, item, a.CERTIFICATE_OF_SIGNER, "OB"))
        fields["signature"] = _require(file, item, a.SIGNATURE, "OB")
        fields["purpose"] = _purpose(file, item)
        timestamp = _optional(file, item, a.CERTIFIED_TIMESTAMP, "OB")
        if timestamp is not None:
            fields["timestamp"] = without_pad_byte(timestamp)
            fields["timestamp_type"] = _string(file, item, a.CERTIFIED_TIMESTAMP_TYPE, "CS")
        if defect:
            raise _MalformedSignatureError(defect)
        found = parameters.get(mac_id, _MalformedSignatureError(f"no MAC Parameters Item has MAC ID Number {mac_id}"))
        if isinstance(found, _MalformedSignatureError):
            raise fresh_copy(found)
        fields["mac"] = found
    except _MalformedSignatureError as problem:
        fields["defect"] = str(problem)
    return SignatureItem(level, item, item.path[-1][1], **fields)  # type: ignore[arg-type]


def _purpose(file: DicomFile, item: DataSet) -> Purpose | None:
    sequence = item.get(a.PURPOSE_CODE_SEQUENCE)
    if sequence is None:
        return None
    items = file.data_sets(item, sequence) if sequence.vr == "SQ" else []
    if len(items) != 1:
        raise _MalformedSignatureError("Digital Signature Purpose Code Sequence does not have exactly one Item")
    code = items[0]
    meaning = _optional(file, code, a.CODE_MEANING, "LO") or b""
    return Purpose(
        _string(file, code, a.CODE_VALUE, "SH").strip(" "),
        _string(file, code, a.CODING_SCHEME_DESIGNATOR, "SH").strip(" "),
        meaning.strip(b" ").decode("latin-1"),
    )
