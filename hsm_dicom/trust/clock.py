"""The time at which the validity of certificates, CRLs and exceptions is checked.

It is the time of the system, unless the system clock was set back. A clock that shows a time long past must not make an
expired certificate valid again, so a node may set a mark, the latest time that it has seen: a system time that is
before the mark by more than `TOLERANCE` is replaced by the mark. The mark is of the whole process.

A clock that is set forward is not corrected here: it makes certificates invalid early, which is safe.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

TOLERANCE = timedelta(days=1)
"""How far the system clock may be behind the mark and still be used, as after a correction of a clock that was fast."""


class _Mark:
    """The latest time that this process knows to have been reached."""

    time: datetime | None = None


_mark = _Mark()


def set_mark(time: datetime | None) -> None:
    """Set the latest time that was reached, in UTC; None checks everything by the system clock alone."""
    _mark.time = time


def current_time() -> datetime:
    """Return the validation time now, in UTC."""
    now = datetime.now(UTC)
    return choose_time(now, _mark.time)


def current_date() -> date:
    """Return the day by which exceptions end, in UTC."""
    return current_time().date()


def choose_time(now: datetime, mark: datetime | None) -> datetime:
    """Return `now`, or the mark if `now` is before it by more than `TOLERANCE`."""
    return now if mark is None or mark - now <= TOLERANCE else mark
