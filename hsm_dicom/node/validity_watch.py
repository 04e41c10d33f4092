"""Watching what a listener works with for dates: told before it refuses peers, not by their refusals.

At the start, after each reload, and once an hour: own certificates and chains, trust anchors, intermediates, CRLs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from hsm_dicom.events import emit
from hsm_dicom.identity import EXPIRY_WARNING, Identity, expiry_remark
from hsm_dicom.transport.events import ValidityWarning
from hsm_dicom.trust import CertificateValidator, review_trust

INTERVAL_SECONDS = 3600.0

Sources = tuple[Sequence[Identity], CertificateValidator | None]
Now = Callable[[], datetime]


def utc_now() -> datetime:
    """The moment, in UTC."""
    return datetime.now(UTC)


class ValidityWatch:
    """Looks at what `sources` returns, and emits a `ValidityWarning` for each new sentence."""

    def __init__(
        self,
        name: str,
        address: str,
        sources: Callable[[], Sources],
        *,
        warning: timedelta = EXPIRY_WARNING,
        now: Now = utc_now,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        self._name, self._address, self._sources = name, address, sources
        self._warning, self._now, self._interval = warning, now, interval
        self._told: set[str] = set()
        self._looking = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"upkeep-{name}", daemon=True)

    def start(self) -> None:
        """Look now, then at every interval (in seconds)."""
        self.look(anew=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self, *, anew: bool = False) -> None:
        """Emit what is to be said; with `anew` what was said before, too.

        A sentence with a span ("in 9 days") changes with it, so that it is emitted daily, and hourly at the end.
        """
        with self._looking:
            found = list(self._remarks())
            known = set() if anew else self._told
            self._told = {sentence for sentence, _ in found}
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

    def _remarks(self) -> Iterator[tuple[str, bool]]:
        identities, validator = self._sources()
        moment = self._now()
        for identity in identities:
            for certificate in (identity.certificate, *identity.chain):
                remark = expiry_remark(certificate, moment, self._warning)
                if remark is not None:
                    yield f"identity '{identity.name}': {remark.text}", remark.expired
        if validator is not None:
            for found in review_trust(validator, moment, warning=self._warning):
                yield f"{found.text} {found.remedy}", found.refuses

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self.look()
