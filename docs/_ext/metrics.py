"""Reference of the metrics, from the collector that makes them."""

from __future__ import annotations

from datetime import UTC, datetime

from markdown import write_table

from hsm_dicom.gateway.pages.metrics import StatusCollector
from hsm_dicom.gateway.status import GatewayStatus

_SUFFIXES = {"counter": ("_total",), "info": ("_info",), "summary": ("_count", "_sum")}
"""What the names of samples have behind the name of their metric, by its type."""


def write_metrics() -> str:
    """Return a table of each metric with its type, its labels and its meaning."""
    rows = []
    for metric in StatusCollector(_nothing).collect():
        names = [f"`{metric.name}{suffix}`" for suffix in _SUFFIXES.get(metric.type, ("",))]
        labels = [*metric._labelnames, *(("version",) if metric.type == "info" else ())]
        rows.append([", ".join(names), metric.type, ", ".join(f"`{label}`" for label in labels), metric.documentation])
    return write_table(["metric", "type", "labels", "meaning"], sorted(rows))


def _nothing() -> GatewayStatus:
    """Return the status of a gateway without routes, tokens and certificates: each metric exists all the same."""
    now = datetime.now(UTC)
    return GatewayStatus(
        version="",
        host="",
        started=now,
        at=now,
        is_ready=True,
        is_draining=False,
        problem="",
        configuration="",
        routes=(),
        tokens=(),
        certificates=(),
        conditions=(),
    )
