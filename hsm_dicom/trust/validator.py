"""The judge that keeps its answers: thousands of files signed with one certificate cost one judgement.

    verifier = Verifier(TrustStore.from_files(anchors=["ca.pem"], crls=["ca.crl"]))
    verdict = verifier.judge(certificate, Purpose.SIGNING, moment=signed_at)

An answer changes with the moment only where a certificate begins or ends, revocation data is issued or
outdated, a revocation takes effect. Between two such instants it stays the same, so it is kept with the
interval it holds for.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography import x509

from hsm_dicom.trust.certificates import MalformedCertificateError, fingerprint, read_certificate
from hsm_dicom.trust.online import Online
from hsm_dicom.trust.policy import Policy, Purpose
from hsm_dicom.trust.result import Reason, Trust, TrustVerdict
from hsm_dicom.trust.store import TrustStore
from hsm_dicom.trust.validation import Answer, Question, answer

_log = logging.getLogger(__name__)

_KEPT_QUESTIONS = 1024
_KEPT_INTERVALS = 64
_ONLINE_SECONDS = 60.0
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_END = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class _Kept:
    """A verdict, the open interval of moments for which it holds, and until when (monotonic clock) it is used."""

    after: datetime
    before: datetime
    verdict: TrustVerdict
    until: float


class Verifier:
    """Judges certificates against one store and one policy. Safe to share between threads; pickling takes the
    store and the policy along, not the answers."""

    def __init__(self, store: TrustStore, policy: Policy | None = None, *, online: bool = False) -> None:
        """With `online`, missing issuers, OCSP answers and CRLs are fetched from where the certificates say."""
        self.store = store
        self.policy = policy or Policy()
        self.online = online
        self._online = Online(self.policy) if online else None
        self._kept: OrderedDict[object, list[_Kept]] = OrderedDict()
        self._lock = threading.Lock()

    def judge(
        self,
        certificate: x509.Certificate | bytes,
        purpose: Purpose,
        *,
        moment: datetime | None = None,
        certified: bool = False,
        intermediates: Iterable[x509.Certificate | bytes] = (),
    ) -> TrustVerdict:
        """Say whether the certificate may be used for the purpose at the moment.

        `certificate` is parsed or DER (one pad byte allowed). `moment` has a time zone; without it, now.
        `certified` says that the moment is proven by a verified time stamp: only then does a later revocation
        not count. `intermediates` are untrusted certificates that came with the message. Never raises for
        what the certificates contain; raises ValueError for a moment without a time zone.
        """
        if moment is not None and moment.utcoffset() is None:
            raise ValueError("the moment of a judgement needs a time zone")
        at = datetime.now(UTC) if moment is None else _in_utc(moment)
        sent = tuple(itertools.islice(intermediates, self.policy.max_intermediates))
        key = (_identity(certificate), purpose, moment is None, certified, tuple(map(_identity, sent)))
        kept = self._recall(key, at)
        if kept is not None:
            return replace(kept, moment=at)
        try:
            question = Question(
                certificate=read_certificate(certificate, self.policy.max_certificate_bytes),
                purpose=purpose,
                moment=at,
                live=moment is None,
                certified=certified,
                intermediates=self._readable(sent),
            )
            given = self._online.answer(question, self._answer) if self._online else self._answer(question)
        except MalformedCertificateError as error:
            sentences = (f"The certificate {error}.",)
            refusal = TrustVerdict(Trust.UNTRUSTED, Reason.MALFORMED, sentences, purpose, at, certified)
            given = Answer(refusal, (), frozenset())
        except Exception as error:
            # Nothing known leads here. Should a parser fail on hostile bytes where none did in all our tests, the
            # caller still gets an answer, and it is not "trusted".
            _log.debug("a judgement failed", exc_info=True)
            sentences = (f"The certificate cannot be examined ({type(error).__name__}).",)
            refusal = TrustVerdict(Trust.CANNOT_TELL, Reason.CANNOT_BE_EXAMINED, sentences, purpose, at, certified)
            given = Answer(refusal, (), frozenset())
        self._keep(key, at, given)
        return given.verdict

    def _answer(self, question: Question) -> Answer:
        return answer(question, self.store, self.policy)

    def _readable(self, sent: tuple[x509.Certificate | bytes, ...]) -> tuple[x509.Certificate, ...]:
        """Those that can be read; one that cannot helps nobody and is left out."""
        read = []
        for source in sent:
            try:
                read.append(read_certificate(source, self.policy.max_certificate_bytes))
            except MalformedCertificateError:
                continue
        return tuple(read)

    def _recall(self, key: object, moment: datetime) -> TrustVerdict | None:
        with self._lock:
            intervals = self._kept.get(key, ())
            now = time.monotonic()
            return next((k.verdict for k in intervals if k.after < moment < k.before and now < k.until), None)

    def _keep(self, key: object, moment: datetime, given: Answer) -> None:
        if moment in given.changes:
            return
        after = max((c for c in given.changes if c < moment), default=_BEGINNING)
        before = min((c for c in given.changes if c > moment), default=_END)
        until = math.inf if self._online is None else time.monotonic() + _ONLINE_SECONDS
        with self._lock:
            intervals = self._kept.setdefault(key, [])
            intervals.append(_Kept(after, before, given.verdict, until))
            del intervals[:-_KEPT_INTERVALS]
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT_QUESTIONS:
                self._kept.popitem(last=False)

    def __reduce__(self) -> tuple[Callable[..., Verifier], tuple[TrustStore, Policy]]:
        return functools.partial(Verifier, online=self._online is not None), (self.store, self.policy)


def _identity(certificate: x509.Certificate | bytes) -> bytes:
    if isinstance(certificate, x509.Certificate):
        return fingerprint(certificate)
    return hashlib.sha256(certificate).digest()


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        # Within a day of the first or the last instant that datetime knows, where no certificate is valid.
        return _BEGINNING if moment.year == 1 else _END
