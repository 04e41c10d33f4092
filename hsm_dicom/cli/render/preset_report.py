"""What of a configuration meets a document on cryptography, for people and as JSON."""

from __future__ import annotations

from typing import Any

from hsm_dicom.cli.render import output
from hsm_dicom.node.presets import PresetReport


def print_preset(report: PresetReport) -> None:
    """Print the findings by table, those that are not met with their remedy, and what cannot be seen."""
    preset = report.preset
    output.say((preset.title, "bold"), f"  {preset.edition}")
    table = ""
    for finding in report.findings:
        if finding.table != table:
            table = finding.table
            output.say((output.shown(table), "bold"), indent=2)
        place = "" if finding.line is None else f"line {finding.line}: "
        text = f"{place}{output.shown(finding.text)} ({finding.source})"
        if finding.meets is None:
            output.say(("?", output.UNSURE), f" {text}", indent=4)
        else:
            output.say(output.mark(finding.meets), f" {text}", indent=4)
        if finding.remedy:
            output.say(output.shown(finding.remedy), indent=6)
    output.say(("The configuration does not show", "bold"), indent=2)
    for sentence in preset.unseen:
        output.say(("?", output.UNSURE), f" {sentence}", indent=4)
    missed = sum(finding.meets is False for finding in report.findings)
    unseen = sum(finding.meets is None for finding in report.findings)
    verdict = f"{output.count(len(report.findings), 'rule')} compared, {missed} not met, {unseen} cannot be seen."
    output.outcome(report.meets, verdict)


def make_preset_json(report: PresetReport) -> dict[str, Any]:
    """Return the report for `write_json`."""
    preset = report.preset
    return {
        "preset": preset.name,
        "title": preset.title,
        "edition": preset.edition,
        "meets": report.meets,
        "findings": [
            {
                "table": finding.table,
                "line": finding.line,
                "topic": finding.topic,
                "meets": finding.meets,
                "text": finding.text,
                "source": finding.source,
                "remedy": finding.remedy or None,
            }
            for finding in report.findings
        ],
        "not_shown": list(preset.unseen),
    }
