"""Alarms: conditions that need a person are reported once when they begin, and once when they are resolved.

    with Alarms(settings.alarms, find_current_conditions, state_folder / "alarms.json"):
        ...  # serve

| module    | contents                                                                                    |
|-----------|---------------------------------------------------------------------------------------------|
| `alarms`  | `Alarms`: one thread that compares the conditions with what was reported                    |
| `report`  | `AlarmReport`, its JSON (`hsm-dicom/alarm/1`), and which reports are due                    |
| `record`  | the file of what each alarm has reported, so that a restart does not repeat it              |
| `channel` | one alarm: its pauses after a failure, and its rate                                         |
| `command` | the command of a hospital, with JSON on its standard input                                  |
| `syslog`  | the local syslog socket                                                                     |
"""

from hsm_dicom.gateway.alarms.alarms import Alarms
from hsm_dicom.gateway.alarms.report import SCHEMA, AlarmReport, ReportState

__all__ = ["SCHEMA", "AlarmReport", "Alarms", "ReportState"]
