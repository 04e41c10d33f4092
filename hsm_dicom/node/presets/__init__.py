"""What of a configuration meets a published document on cryptography, and what does not. Nothing is switched on or off.

| module      | contents                                                                      |
|-------------|-------------------------------------------------------------------------------|
| `documents` | BCP 195, BSI TR-02102 and FIPS 140-3 as data, each figure with its place      |
| `report`    | the report on a plan: one finding for each rule and each thing it applies to  |
"""

from hsm_dicom.node.presets.documents import PRESETS, Preset
from hsm_dicom.node.presets.report import Finding, PresetReport, report_preset

__all__ = ["PRESETS", "Finding", "Preset", "PresetReport", "report_preset"]
