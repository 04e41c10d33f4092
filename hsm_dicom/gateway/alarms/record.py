"""The file of what each alarm has reported and has not yet reported as resolved."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from hsm_dicom.gateway.state_file import StateFileError, read_state, write_state
from hsm_dicom.gateway.status import Condition, ConditionKind

SCHEMA = "hsm-dicom/alarms/1"

Reported = dict[str, dict[str, Condition]]
"""By the name of the alarm, then by the key of the condition."""

log = logging.getLogger("hsm_dicom.gateway")


class AlarmRecord:
    """What was reported, kept in a file; if that cannot be used, in memory, and the log gives the reason once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_failing = False
        self.reported: Reported = {}
        try:
            self.reported = _parse(read_state(path, SCHEMA) or {})
        except StateFileError as error:
            self._log("Alarms may be reported again: %s", error)

    def of(self, alarm: str) -> dict[str, Condition]:
        """Return what an alarm has reported, by key, to be changed by the caller."""
        return self.reported.setdefault(alarm, {})

    def keep(self, alarms: frozenset[str]) -> None:
        """Forget the alarms that are not among these."""
        self.reported = {name: conditions for name, conditions in self.reported.items() if name in alarms}

    def save(self) -> None:
        """Write the file."""
        try:
            write_state(self._path, SCHEMA, {"alarms": _format(self.reported)})
        except StateFileError as error:
            if not self._is_failing:
                self._log("After a restart alarms will be reported again: %s", error)
            self._is_failing = True
        else:
            self._is_failing = False

    def _log(self, sentence: str, error: StateFileError) -> None:
        log.error(sentence, error)


def _format(reported: Reported) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [
            {
                "key": one.key,
                "kind": one.kind.value,
                "text": one.text,
                "since": one.since.isoformat(),
                "urgent": one.is_urgent,
                "stage": one.stage,
            }
            for one in conditions.values()
        ]
        for name, conditions in reported.items()
    }


def _parse(content: Mapping[str, Any]) -> Reported:
    try:
        return {
            str(name): {str(one["key"]): _parse_condition(one) for one in conditions}
            for name, conditions in content.get("alarms", {}).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StateFileError("The record of alarms cannot be read, and is begun anew.") from error


def _parse_condition(one: Mapping[str, Any]) -> Condition:
    return Condition(
        key=str(one["key"]),
        kind=ConditionKind(one["kind"]),
        text=str(one["text"]),
        since=datetime.fromisoformat(one["since"]),
        is_urgent=bool(one["urgent"]),
        stage=int(one["stage"]),
    )
