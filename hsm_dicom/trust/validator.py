"""Certificate validator with a result cache: thousands of files signed with one certificate need one validation.

    validator = CertificateValidator(TrustStore.from_files(anchors=["ca.pem"], crls=["ca.crl"]))
    verdict = validator.validate(certificate, CertificatePurpose.SIGNING, validation_time=signed_at)

A result changes with the validation time only when a certificate begins or ends, when revocation data is issued or
outdated, or when a revocation takes effect. Between two such instants it stays the same, so it is cached with the
interval for which it holds.
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
from hsm_dicom.trust.clock import current_time
from hsm_dicom.trust.online import Online
from hsm_dicom.trust.policy import CertificatePurpose, Policy
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
    """A verdict, the open interval of validation times for which it holds, and its expiry (monotonic clock)."""

    after: datetime
    before: datetime
    verdict: TrustVerdict
    until: float


class CertificateValidator:
    """Validates certificates against one store and one policy. Threads may share it; a pickle holds no results."""

    def __init__(self, store: TrustStore, policy: Policy | None = None, *, online: bool = False) -> None:
        """Create a validator. `online` fetches missing issuers, OCSP responses and CRLs from where certificates say."""
        self.store = store
        self.policy = policy or Policy()
        self.online = online
        self._online = Online(self.policy) if online else None
        self._kept: OrderedDict[object, list[_Kept]] = OrderedDict()
        self._lock = threading.Lock()

    def validate(
        self,
        certificate: x509.Certificate | bytes,
        purpose: CertificatePurpose,
        *,
        validation_time: datetime | None = None,
        time_proven: bool = False,
        intermediates: Iterable[x509.Certificate | bytes] = (),
    ) -> TrustVerdict:
        """Return whether the certificate may be used for the purpose at the validation time.

        `certificate` is parsed or DER (one pad byte allowed). `validation_time` has a time zone; without it, now, by
        `hsm_dicom.trust.clock`.
        `time_proven` is True if a valid time stamp proves the validation time: only then does a later revocation
        not count. `intermediates` are untrusted certificates that came with the message. Never raises for
        what the certificates contain; raises ValueError for a validation time without a time zone.
        """
        if validation_time is not None and validation_time.utcoffset() is None:
            raise ValueError("the validation time needs a time zone")
        at = current_time() if validation_time is None else _in_utc(validation_time)
        sent = tuple(itertools.islice(intermediates, self.policy.max_intermediates))
        key = (_identity(certificate), purpose, validation_time is None, time_proven, tuple(map(_identity, sent)))
        kept = self._recall(key, at)
        if kept is not None:
            return replace(kept, validation_time=at)
        try:
            question = Question(
                certificate=read_certificate(certificate, self.policy.max_certificate_bytes),
                purpose=purpose,
                validation_time=at,
                live=validation_time is None,
                time_proven=time_proven,
                intermediates=self._readable(sent),
            )
            given = self._online.answer(question, self._answer) if self._online else self._answer(question)
        except MalformedCertificateError as error:
            sentences = (f"The certificate {error}.",)
            refusal = TrustVerdict(Trust.UNTRUSTED, Reason.MALFORMED, sentences, purpose, at, time_proven)
            given = Answer(refusal, (), frozenset())
        except Exception as error:
            # No known input leads here. If a parser fails on hostile bytes, the caller still gets an answer, which is
            # never "trusted".
            _log.debug("a validation failed", exc_info=True)
            sentences = (f"The certificate cannot be examined ({type(error).__name__}).",)
            refusal = TrustVerdict(Trust.INDETERMINATE, Reason.CANNOT_BE_EXAMINED, sentences, purpose, at, time_proven)
            given = Answer(refusal, (), frozenset())
        self._keep(key, at, given)
        return given.verdict

    def _answer(self, question: Question) -> Answer:
        return answer(question, self.store, self.policy)

    def _readable(self, sent: tuple[x509.Certificate | bytes, ...]) -> tuple[x509.Certificate, ...]:
        """Return the certificates that can be read, without the others."""
        read = []
        for source in sent:
            try:
                read.append(read_certificate(source, self.policy.max_certificate_bytes))
            except MalformedCertificateError:
                continue
        return tuple(read)

    def _recall(self, key: object, validation_time: datetime) -> TrustVerdict | None:
        with self._lock:
            intervals = self._kept.get(key, ())
            now = time.monotonic()
            return next((k.verdict for k in intervals if k.after < validation_time < k.before and now < k.until), None)

    def _keep(self, key: object, validation_time: datetime, given: Answer) -> None:
        if validation_time in given.changes:
            return
        after = max((c for c in given.changes if c < validation_time), default=_BEGINNING)
        before = min((c for c in given.changes if c > validation_time), default=_END)
        until = math.inf if self._online is None else time.monotonic() + _ONLINE_SECONDS
        with self._lock:
            intervals = self._kept.setdefault(key, [])
            intervals.append(_Kept(after, before, given.verdict, until))
            del intervals[:-_KEPT_INTERVALS]
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT_QUESTIONS:
                self._kept.popitem(last=False)

    def __reduce__(self) -> tuple[Callable[..., CertificateValidator], tuple[TrustStore, Policy]]:
        return functools.partial(CertificateValidator, online=self._online is not None), (self.store, self.policy)


def _identity(certificate: x509.Certificate | bytes) -> bytes:
    if isinstance(certificate, x509.Certificate):
        return fingerprint(certificate)
    return hashlib.sha256(certificate).digest()


def _in_utc(validation_time: datetime) -> datetime:
    try:
        return validation_time.astimezone(UTC)
    except OverflowError:
        # Within a day of the first or the last time of datetime, where no certificate is valid.
        return _BEGINNING if validation_time.year == 1 else _END
