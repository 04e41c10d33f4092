"""Whether a received instance is accepted: by a policy, or by the mathematics of its signatures alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from hsm_dicom.dataset.octets.source import Content
from hsm_dicom.network.dimse.commands import COMMENT_LENGTH
from hsm_dicom.network.storage.signature_check import check_signatures
from hsm_dicom.report import json_line
from hsm_dicom.validation import PolicyValidator, PolicyVerdict, emit_events


@dataclass(frozen=True)
class Refusal:
    """Why an instance is not accepted.

    `comment` goes to the sender, with at most 64 characters; `text` has all reasons as sentences, `unmet` their codes,
    and `report` is the verdict as JSON. The last two are empty if no policy was asked.
    """

    comment: str
    text: str
    unmet: tuple[str, ...] = ()
    report: str = ""


CheckFile = Callable[[Path | Content, str], Refusal | None]
"""Checks a received file before it gets its name; the text is the calling AE title of its sender."""


def make_policy_check(open_validator: Callable[[], PolicyValidator]) -> CheckFile:
    """Return a check by the policy that `open_validator` returns, which is called for each instance."""

    def check(path: Path | Content, calling_ae_title: str) -> Refusal | None:
        result = open_validator().validate_file(path, calling_ae_title=calling_ae_title)
        # The file has a temporary name still: events and reports identify the object by its UID.
        verdict = replace(result.verdict, name=result.verdict.identity.sop_instance_uid)
        emit_events(verdict)
        return None if result.is_met else make_refusal(replace(result, verdict=verdict))

    return check


def make_refusal(result: PolicyVerdict) -> Refusal:
    """Return the refusal of an object that does not meet a policy."""
    codes = tuple(dict.fromkeys(str(one.code) for one in result.unmet))
    comment = _make_comment(result.verdict.policy, result.text, codes)
    return Refusal(comment, result.text, codes, json_line(result.verdict))


def check_integrity_only(path: Path | Content, calling_ae_title: str) -> Refusal | None:
    """Check as `check_signatures = true` does: unsigned objects are accepted, and signatures by any certificate."""
    reason = check_signatures(path)
    return None if reason is None else Refusal(reason, reason)


def _make_comment(policy: str, text: str, codes: tuple[str, ...]) -> str:
    """Return the reasons within the length of an Error Comment: as sentences, else as codes, else some of these."""
    head = f"Policy {policy}: "[: COMMENT_LENGTH // 2]
    shortened = (f"{', '.join(codes[:count])} and {len(codes) - count} more" for count in range(len(codes) - 1, 0, -1))
    return _find_fitting(head, (text, ", ".join(codes), *shortened))


def _find_fitting(head: str, texts: Iterable[str]) -> str:
    fitting = (f"{head}{text}" for text in texts if len(head) + len(text) <= COMMENT_LENGTH)
    comment = next(fitting, f"{head}not met"[:COMMENT_LENGTH])
    return comment.encode("ascii", "replace").decode().replace("\\", "/")
