"""What of a configuration meets a published document on cryptography, and what does not. Nothing is switched on or off.

| module      | contents                                                                      |
|-------------|-------------------------------------------------------------------------------|
| `documents` | BCP 195, BSI TR-02102 and FIPS 140-3 as data, each figure with its place      |
| `report`    | the report on a plan: one finding for each rule and each thing it applies to  |
| `objects`   | the part of the report on the signatures of objects                           |
| `findings`  | a finding, with the table and the line that it is about                       |
"""

from hsm_dicom.node.presets.documents import PRESETS, Preset
from hsm_dicom.node.presets.findings import Finding
from hsm_dicom.node.presets.report import PresetReport, report_preset

__all__ = ["PRESETS", "Finding", "Preset", "PresetReport", "report_preset"]
