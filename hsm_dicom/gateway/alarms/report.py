"""What an alarm reports of a condition, and which reports are due."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from hsm_dicom.gateway.status import Condition

SCHEMA = "hsm-dicom/alarm/1"


class ReportState(StrEnum):
    """What has become of a condition since the last report."""

    BEGUN = "begun"
    WORSENED = "worsened"
    """The condition is more pressing than when it was reported before."""
    RESOLVED = "resolved"


@dataclass(frozen=True)
class AlarmReport:
    """One report: a condition that has begun or worsened, or one that was reported and is resolved."""

    state: ReportState
    condition: Condition

    @property
    def text(self) -> str:
        """The report as a sentence."""
        text = self.condition.text
        return f"Resolved: {text}" if self.state is ReportState.RESOLVED else text

    def as_json(self, host: str, now: datetime) -> bytes:
        """Return the JSON object of the schema `hsm-dicom/alarm/1`, as one line of ASCII."""
        condition = self.condition
        content = {
            "schema": SCHEMA,
            "time": _format_time(now),
            "host": host,
            "state": self.state.value,
            "key": condition.key,
            "kind": condition.kind.value,
            "urgent": condition.is_urgent,
            "text": condition.text,
            "since": _format_time(condition.since),
        }
        return json.dumps(content).encode("ascii") + b"\n"


def find_due_reports(
    reported: Mapping[str, Condition], current: Mapping[str, Condition], is_settled: Callable[[str], bool]
) -> Iterator[AlarmReport]:
    """Yield the reports that are due, urgent ones first, given what was reported and what is so now.

    A condition that is absent is resolved when `is_settled` says of its key that it has been absent for long enough.
    """
    for key, condition in sorted(current.items(), key=lambda item: not item[1].is_urgent):
        earlier = reported.get(key)
        if earlier is None:
            yield AlarmReport(ReportState.BEGUN, condition)
        elif condition.stage > earlier.stage:
            yield AlarmReport(ReportState.WORSENED, condition)
    for key, condition in reported.items():
        if key not in current and is_settled(key):
            yield AlarmReport(ReportState.RESOLVED, condition)


def _format_time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
