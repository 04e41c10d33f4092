"""What a reader must know about an object whose MAC fits: the ways in which it may still not be what was signed.

The MAC stream of PS3.3 C.12.1.1.3.1.2 has no lengths and no levels, and it leaves parts of a file out, so a MAC that
fits does not say everything. Modules that look for such a thing return `Anomaly` records. `verify` collects them in
`VerifiedSignature.anomalies`; `Validator` turns their weight into the indication of the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from hsm_dicom.dataset.tags import ITEM, ItemPath, format_path, name_element


class Weight(IntEnum):
    """What an anomaly does to the verdict of a signature that is intact and trusted."""

    REMARK = 1
    """The signature stays good: "valid, but …"."""
    QUESTION = 2
    """What the object shows may not be what was signed: "questionable, because …", exit status 102, and it meets no
    profile and no policy."""
    DOUBT = 3
    """The bytes allow no answer, and the signature is never good: "cannot tell, because …", exit status 101."""


class AnomalyCode(StrEnum):
    """The codes of anomalies. Each is explained in docs/explanation/verdicts.md, with its remedy."""

    WRAPPED_CONTENT = "wrapped-content"
    FOREIGN_CONTENT = "foreign-content"
    FRAGMENTS_JOINED = "fragments-joined"
    ELEMENTS_SWALLOWED = "elements-swallowed"
    FRAME_COUNT = "frame-count"
    FRAME_COUNT_OPEN = "frame-count-open"
    OFFSET_TABLE = "offset-table"
    NO_FRAME = "no-frame"
    LEVEL_OPEN = "level-open"
    FILE_META_DIFFERS = "file-meta-differs"
    BARE_DATA_SET = "bare-data-set"
    DCMTK_STREAM = "dcmtk-stream"
    CONVERTED = "converted"
    SHARED_UID = "shared-uid"
    OTHER_CERTIFICATE = "other-certificate"
    SIGNED_BY_CA = "signed-by-ca"
    ODD_OFFSET = "odd-offset"
    OTHER_ENCODING = "other-encoding"
    OUTSIDE_CONTENT = "outside-content"
    PREAMBLE_CONTENT = "preamble-content"
    FILE_META_CONTENT = "file-meta-content"


@dataclass(frozen=True)
class Anomaly:
    """One anomaly of one signature, or of the object that it is in.

    `clause` completes "valid, but …", "questionable, because …" or "cannot tell, because …"; `detail` is further
    sentences, with the remedy.
    """

    code: AnomalyCode
    weight: Weight
    clause: str
    detail: str = ""


Place = tuple[ItemPath, int]
"""An element, by the path of its Data Set and its tag; with the tag of Items, the Item at the path itself."""


def list_elements(places: Sequence[Place], limit: int = 3) -> str:
    """The first elements by their places, and the number of the others."""
    shown = ", ".join(format_path(path) if tag == ITEM else name_element(path, tag) for path, tag in places[:limit])
    return f"{shown} and {len(places) - limit} more" if len(places) > limit else shown


def has_weight(anomalies: tuple[Anomaly, ...], weight: Weight) -> bool:
    """Return whether one of the anomalies weighs at least that much."""
    return any(anomaly.weight >= weight for anomaly in anomalies)
