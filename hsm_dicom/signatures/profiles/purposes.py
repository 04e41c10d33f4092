"""Purposes of signatures: CID 7007 of PS3.16, codes of ASTM E 2084 (coding scheme 1.2.840.10065.1.12)."""

from __future__ import annotations

CODING_SCHEME = "ASTM-sigpurpose"
VERIFICATION = 5

PURPOSES: dict[int, str] = {
    1: "Author's Signature",
    2: "Coauthor's Signature",
    3: "Co-participant's Signature",
    4: "Transcriptionist/Recorder Signature",
    5: "Verification Signature",
    6: "Validation Signature",
    7: "Consent Signature",
    8: "Signature Witness Signature",
    9: "Event Witness Signature",
    10: "Identity Witness Signature",
    11: "Consent Witness Signature",
    12: "Interpreter Signature",
    13: "Review Signature",
    14: "Source Signature",
    15: "Addendum Signature",
    16: "Modification Signature",
    17: "Administrative (Error/Edit) Signature",
    18: "Timestamp Signature",
}
