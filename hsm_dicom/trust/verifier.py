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
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography import x509

from hsm_dicom.trust.certificates import MalformedCertificate, fingerprint, read_certificate
from hsm_dicom.trust.judgement import Answer, Question, answer
from hsm_dicom.trust.online import Online
from hsm_dicom.trust.policy import Policy, Purpose
from hsm_dicom.trust.store import TrustStore
from hsm_dicom.trust.verdict import Reason, Trust, TrustVerdict

_KEPT_QUESTIONS = 4096
_KEPT_INTERVALS = 16
_ONLINE_SECONDS = 60.0
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_END = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class _Kept:
    """A verdict, the open interval of moments for which it holds, and the end of its use on the monotonic
    clock."""

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
        at = datetime.now(UTC) if moment is None else moment.astimezone(UTC)
        sent = tuple(intermediates)
        key = (_identity(certificate), purpose, moment is None, certified, tuple(map(_identity, sent)))
        kept = self._recall(key, at)
        if kept is not None:
            return replace(kept, moment=at)
        given = self._judge(certificate, sent, purpose, at, live=moment is None, certified=certified)
        self._keep(key, at, given)
        return given.verdict

    def _judge(
        self,
        certificate: x509.Certificate | bytes,
        sent: tuple[x509.Certificate | bytes, ...],
        purpose: Purpose,
        moment: datetime,
        *,
        live: bool,
        certified: bool,
    ) -> Answer:
        try:
            judged = read_certificate(certificate, self.policy.max_certificate_bytes)
        except MalformedCertificate as error:
            return Answer(_refused(f"The certificate {error}.", purpose, moment, certified), (), frozenset())
        question = Question(
            certificate=judged,
            purpose=purpose,
            moment=moment,
            live=live,
            certified=certified,
            intermediates=self._readable(sent),
        )
        if self._online is not None:
            return self._online.answer(question, self._answer)
        return self._answer(question)

    def _answer(self, question: Question) -> Answer:
        return answer(question, self.store, self.policy)

    def _readable(self, sent: tuple[x509.Certificate | bytes, ...]) -> tuple[x509.Certificate, ...]:
        """The first `max_intermediates` that can be read; one that cannot helps nobody and is left out."""
        read = []
        for source in sent[: self.policy.max_intermediates]:
            try:
                read.append(read_certificate(source, self.policy.max_certificate_bytes))
            except MalformedCertificate:
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


def _refused(sentence: str, purpose: Purpose, moment: datetime, certified: bool) -> TrustVerdict:
    return TrustVerdict(Trust.UNTRUSTED, Reason.MALFORMED, (sentence,), purpose, moment, certified)
