"""Layout of a certificate chain over time: issuers, validity periods and the validation time.

The trust anchor is on top and the signer at the bottom. All lengths are in units of the SVG's viewBox. The template
`chain.svg.j2` draws the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hsm_dicom.trust import PathCertificate, Revocation, TrustVerdict

WIDTH = 760
ROW = 84
HEAD = 30
FOOT = 12
AXIS_LEFT, AXIS_RIGHT = 452, 748
LONGEST_TEXT = 50
"""Characters of a name that fit beside the time axis."""

_REACH = timedelta(days=365 * 25)
"""The axis ends this far from the validation time at most; a validity beyond it is drawn as continuing."""


@dataclass(frozen=True)
class Row:
    """Row of one certificate, beginning at `top`; the bar of its validity goes from `bar_left` to `bar_right`."""

    certificate: PathCertificate
    role: str
    name: str
    facts: str
    status: str
    status_kind: str
    top: int
    bar_left: float
    bar_right: float
    begins_before: bool
    ends_after: bool


@dataclass(frozen=True)
class ChainPicture:
    """The elements of the picture. `summary` describes them in one sentence for screen readers."""

    rows: tuple[Row, ...]
    height: int
    time_x: float
    time_label: str
    time_anchor: str
    ticks: tuple[tuple[float, str], ...]
    missing_issuer: str
    summary: str


def chain_picture(trust: TrustVerdict) -> ChainPicture | None:
    """Lay out the path of a verdict; return None if it has no path."""
    if not trust.path:
        return None
    path = trust.path[::-1]
    axis = _Axis(trust)
    top = HEAD if path[0].is_anchor else HEAD + ROW
    rows = tuple(_row(certificate, number, len(path), top, axis) for number, certificate in enumerate(path))
    time_x = axis.x(trust.validation_time)
    return ChainPicture(
        rows=rows,
        height=top + ROW * len(rows) + FOOT,
        time_x=time_x,
        time_label=f"as of {trust.validation_time:%Y-%m-%d}",
        time_anchor=_anchor(time_x),
        ticks=tuple(axis.ticks()),
        missing_issuer="" if path[0].is_anchor else _short(path[0].issuer),
        summary=_summary(path),
    )


class _Axis:
    """Time axis from left to right, over the validity of all certificates and the validation time."""

    def __init__(self, trust: TrustVerdict) -> None:
        at = trust.validation_time
        first = max(min(at, *(one.not_before for one in trust.path)), _shift(at, -_REACH))
        last = min(max(at, *(one.not_after for one in trust.path)), _shift(at, _REACH))
        margin = (last - first) / 25 + timedelta(days=1)
        self.first, self.last = _shift(first, -margin), _shift(last, margin)

    def x(self, time: datetime) -> float:
        share = (time - self.first) / (self.last - self.first)
        return round(AXIS_LEFT + min(max(share, 0.0), 1.0) * (AXIS_RIGHT - AXIS_LEFT), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Return at most six ticks, at the beginnings of years."""
        years = self.last.year - self.first.year
        step = next(step for step in (1, 2, 5, 10, 20, 50) if years // step <= 5)
        begin = -(-(self.first.year + 1) // step) * step
        return [
            (self.x(datetime(year, 1, 1, tzinfo=UTC)), str(year)) for year in range(begin, self.last.year + 1, step)
        ]


def _shift(time: datetime, by: timedelta) -> datetime:
    try:
        return time.astimezone(UTC) + by
    except OverflowError:
        return (datetime.min if time.year < 5000 else datetime.max).replace(tzinfo=UTC)


def _row(certificate: PathCertificate, number: int, count: int, top: int, axis: _Axis) -> Row:
    role = "signer" if number == count - 1 else "anchor" if certificate.is_anchor else "ca"
    status, kind = _status(certificate)
    hash_name = f", {certificate.signature_hash.upper()}" if certificate.signature_hash else ""
    return Row(
        certificate=certificate,
        role=role,
        name=_short(certificate.subject),
        facts=f"{certificate.key}{hash_name} · {certificate.not_before:%Y-%m-%d} to {certificate.not_after:%Y-%m-%d}",
        status=status,
        status_kind=kind,
        top=top + number * ROW,
        bar_left=axis.x(certificate.not_before),
        bar_right=axis.x(certificate.not_after),
        begins_before=certificate.not_before < axis.first,
        ends_after=certificate.not_after > axis.last,
    )


_STATUS = {
    Revocation.GOOD: ("not revoked", "good"),
    Revocation.REVOKED: ("revoked", "bad"),
    Revocation.REVOKED_SINCE: ("revoked later", "but"),
    Revocation.UNKNOWN: ("revocation not known", "unsure"),
    Revocation.NOT_CHECKED: ("revocation not checked", "unsure"),
}


def _status(certificate: PathCertificate) -> tuple[str, str]:
    if certificate.is_anchor:
        return "trust anchor", "good"
    return _STATUS[certificate.revocation.state]


def _anchor(x: float) -> str:
    """Choose the text anchor that keeps a label inside the picture."""
    if x < AXIS_LEFT + 50:
        return "start"
    return "end" if x > AXIS_RIGHT - 50 else "middle"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_TEXT else name[: LONGEST_TEXT - 1] + "…"


def _summary(path: tuple[PathCertificate, ...]) -> str:
    names = [one.subject for one in path]
    if not path[0].is_anchor:
        return f"No trust anchor leads to {names[-1]}; the last issuer in the chain is {path[0].issuer}."
    return f"{names[0]} is a trust anchor" + "".join(f", and issued {name}" for name in names[1:]) + "."
