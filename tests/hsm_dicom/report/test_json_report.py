"""The schema hsm-dicom/verify/2: every member that is documented is there, in its order, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hsm_dicom.report import SCHEMA, as_json, json_line
from hsm_dicom.signatures import check_integrity
from hsm_dicom.signatures.anomalies.record import AnomalyCode
from hsm_dicom.trust import Caution, Reason
from hsm_dicom.validation.validator import Cause, Indication, Outcome, Validator, make_unreadable_verdict
from tests.hsm_dicom.validation.verdict_cases import PATIENT_ID, SIGNER, STAMPER, Desk, image, validator

DOCS = Path(__file__).parents[3] / "docs"
DOCUMENT = DOCS / "reference/json-verify.md"


def members(document: Any, path: str = "") -> list[str]:
    """Dotted names of all members, in their order; items of lists count as one."""
    if isinstance(document, list):
        return members(document[0], f"{path}[]") if document else []
    if not isinstance(document, dict) or path == "signatures[].coverage.identity":
        return []
    found = []
    for name, value in document.items():
        inner = f"{path}.{name}" if path else name
        found += [inner, *members(value, inner)]
    return found


def documented() -> list[str]:
    """The members that the document's tables name."""
    return re.findall(r"(?m)^\| `([\w.\[\]]+)` \|", DOCUMENT.read_text())


@pytest.mark.interop
def test_the_document_names_exactly_the_members_that_are_written(desk: Desk) -> None:
    found = desk.verified(stamper=STAMPER, purpose=5)
    full = validator(crls=False, stamp_crls=False, require={"sr"}).validate(found)
    written = members(as_json(full))
    of_stamper = [name for name in written if name.startswith("signatures[].timestamp.trust.")]
    assert [name for name in written if name not in of_stamper] == documented()
    assert [name.replace("timestamp.trust", "trust") for name in of_stamper] == [
        name for name in documented() if name.startswith("signatures[].trust.")
    ]


def test_members_are_always_there_and_null_or_empty_where_nothing_is_known(desk: Desk) -> None:
    bad = make_unreadable_verdict("bad.dcm", ValueError("no image"))
    assert list(as_json(bad)) == [name for name in documented() if "." not in name and "[" not in name]
    assert as_json(bad)["problem"] == "no image"
    assert as_json(bad)["signatures"] == []
    assert [one["code"] for one in as_json(bad)["unmet"]] == ["unreadable"]
    broken = desk.sign()
    broken.write_bytes(broken.read_bytes().replace(b"CompressedSamples", b"DompressedSamples", 1))
    one = as_json(validator().validate(check_integrity(broken)))["signatures"][0]
    assert (one["trust"], one["timestamp"], one["validation_time"], one["purpose"]) == (None, None, None, None)


def test_a_line_is_one_line_of_ascii_with_the_schema_first(desk: Desk) -> None:
    for verdict in (
        validator().validate(desk.verified()),
        Validator.from_stores().validate(check_integrity(image())),
        make_unreadable_verdict("bad\n\udcff\x1b[2J.dcm", OSError("né\nnon")),
    ):
        line = json_line(verdict)
        assert line.isascii()
        assert line.isprintable()
        assert line.startswith(f'{{"schema": "{SCHEMA}", "file": ')
        assert json.loads(line) == as_json(verdict)


def test_what_is_reported_is_what_was_validated(desk: Desk) -> None:
    document = as_json(validator(revoked=[SIGNER], require={"any"}).validate(desk.verified(tags=(PATIENT_ID,))))
    assert document["outcome"] == "signature-failed"
    assert document["exit_status"] == 101
    assert document["unmet_requirements"] == ["There is no valid signature over the main Data Set."]
    (one,) = document["signatures"]
    assert one["verdict"] == "invalid"
    assert one["grounds"][0]["code"] == "revoked"
    assert one["integrity"] == "intact"
    assert one["trusted"] is False
    assert one["coverage"]["signed"] == ["(0010,0020) PatientID"]
    assert "(7FE0,0010) PixelData" in one["coverage"]["unsigned"]
    assert one["coverage"]["pixel_data"] == "not covered"
    assert one["trust"]["path"][0]["revocation"]["state"] == "revoked"
    assert [step["is_anchor"] for step in one["trust"]["path"]] == [False, True]
    assert one["validation_time"]["kind"] == "claimed"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", one["validation_time"]["at"])


def test_the_patient_is_not_named(desk: Desk) -> None:
    """Such lines end up in logs."""
    line = json_line(validator().validate(desk.verified()))
    assert "CompressedSamples" not in line
    assert "1CT1" not in line


def test_every_code_of_a_verdict_has_a_meaning_and_a_remedy() -> None:
    page = (DOCS / "reference/verdict-codes.md").read_text().partition("## Demands of a policy")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \| (.*) \|$", page, re.M)
    assert {code for code, _, _ in rows} == {*Cause, *AnomalyCode, *Reason, *Caution} - {Reason.TRUSTED}
    for code, meaning, remedy in rows:
        assert meaning.endswith("."), code
        assert remedy.endswith("."), code


def test_every_word_is_explained_to_programs() -> None:
    document = DOCUMENT.read_text()
    for word in Indication:
        assert f"`{word.code}`" in document
    for outcome in Outcome:
        assert f"`{outcome.name.lower().replace('_', '-')}`" in document
