"""Watch the validity of what a listener uses, and warn before it has to refuse peers.

At the start, after each reload, and every hour: its certificates and chains, trust anchors, intermediates, CRLs.
Independent of the warnings, an event is emitted as each end comes nearer than 60, 30, 14, 7 and 1 days; also that of an
exception, and of an anchor of time stamps.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from hsm_dicom.events import emit
from hsm_dicom.gateway.status import CertificateStatus, ExceptionStatus
from hsm_dicom.identity import EXPIRY_WARNING, Identity, find_expiry_remark
from hsm_dicom.node.validity.ends import list_certificates
from hsm_dicom.transport.events import EndApproaching, ValidityWarning
from hsm_dicom.transport.periodic import look_until
from hsm_dicom.trust import CertificateValidator, review_trust
from hsm_dicom.trust.clock import current_time

INTERVAL_SECONDS = 3600.0

DAYS_BEFORE = (60, 30, 14, 7, 1)
"""How many days before an end an event is emitted, the largest first."""

_SENTENCES = {"crl": "the next CRL is due", "retired-profile": "the exception ends", "emergency": "the exception ends"}
"""What happens at the end of what is no certificate."""

Now = Callable[[], datetime]


@dataclass(frozen=True)
class Watched:
    """What a listener or a gateway works with. Nobody is refused because a time stamp's anchor or an exception ends."""

    identities: Sequence[Identity] = ()
    validator: CertificateValidator | None = None
    timestamp_anchors: Sequence[x509.Certificate] = ()
    exceptions: Sequence[ExceptionStatus] = ()


class ValidityWatch:
    """Check what `sources` returns, and emit a `ValidityWarning` for each new sentence."""

    def __init__(
        self,
        name: str,
        address: str,
        sources: Callable[[], Watched],
        *,
        warning: timedelta = EXPIRY_WARNING,
        now: Now = current_time,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        self._name, self._address, self._sources = name, address, sources
        self._warning, self._now, self._interval = warning, now, interval
        self._emitted: set[str] = set()
        self._approached: dict[tuple[str, str, datetime], int] = {}
        self._checking = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"validity-{name}", daemon=True)

    def start(self) -> None:
        """Check now, then after every interval (in seconds)."""
        self.check(repeat=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop checking, and join the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def check(self, *, repeat: bool = False) -> None:
        """Emit the new warnings; with `repeat`, the earlier ones again.

        The text of a warning contains the time that is left ("in 9 days"), so a warning is emitted daily, and hourly on
        the last day.
        """
        with self._checking:
            found = list(self._find_warnings())
            approaching = list(self._find_approaching())
            known = set() if repeat else self._emitted
            self._emitted = {sentence for sentence, _ in found}
        for item, days in approaching:
            self._emit_approach(item, days)
        for sentence, refuses in found:
            if sentence not in known:
                emit(
                    ValidityWarning(
                        name=self._name,
                        address=self._address,
                        text=f"{self._name}: {sentence}",
                        blocks_connections=refuses,
                    )
                )

    def _find_warnings(self) -> Iterator[tuple[str, bool]]:
        watched, now = self._sources(), self._now()
        for identity in (one for each in watched.identities for one in each.all):
            for certificate in (identity.certificate, *identity.chain):
                remark = find_expiry_remark(certificate, now, self._warning)
                if remark is not None:
                    yield f"identity '{identity.name}': {remark.text}", remark.expired
        if watched.validator is not None:
            for found in review_trust(watched.validator, now, warning=self._warning):
                yield f"{found.text} {found.remedy}", found.refuses

    def _find_approaching(self) -> Iterator[tuple[CertificateStatus | ExceptionStatus, int]]:
        """Yield what has come nearer its end than another of the numbers of days, and that number."""
        watched, now = self._sources(), self._now()
        items: list[CertificateStatus | ExceptionStatus] = [
            *list_certificates(watched.identities, watched.validator, now, watched.timestamp_anchors),
            *watched.exceptions,
        ]
        reached = {}
        for item in items:
            days = find_days_reached(item, now)
            if days is not None:
                key = (item.kind, item.name, item.ends)
                reached[key] = days
                if self._approached.get(key, days + 1) > days:
                    yield item, days
        self._approached = reached

    def _emit_approach(self, item: CertificateStatus | ExceptionStatus, days: int) -> None:
        what = _SENTENCES.get(item.kind, "the certificate ends")
        emit(
            EndApproaching(
                name=self._name,
                address=self._address,
                text=f"{self._name}: {item.kind} {item.name}: {what} in {days} days or less, on {item.ends:%Y-%m-%d}.",
                kind=item.kind,
                item=item.name,
                days=days,
                ends=f"{item.ends:%Y-%m-%dT%H:%M:%SZ}",
            )
        )

    def _run(self) -> None:
        look_until(self._stopping, self.check, self._interval)


def find_days_reached(item: CertificateStatus | ExceptionStatus, now: datetime) -> int | None:
    """Return the smallest of the numbers of days that the end is nearer than; None after it, or if it is far.

    A number above half of the whole validity is left out: a weekly CRL would be in its last 60 days from the first.
    """
    if item.ends < now:
        return None
    begins = item.begins if isinstance(item, CertificateStatus) else None
    life = None if begins is None else item.ends - begins
    reached = [
        days
        for days in DAYS_BEFORE
        if item.ends - now <= timedelta(days=days) and (life is None or timedelta(days=days) <= life / 2)
    ]
    return min(reached, default=None)
