"""Fetching of missing issuers, OCSP responses and CRLs for a validation, from the addresses in certificates.

RFC 5280 4.2.2.1 (authority information access) and 4.2.1.13 (CRL distribution points). Revocation data is
fetched for certificates whose chain is proven, so the addresses come from a trusted CA. The address of a
missing issuer comes from a certificate that is not verified yet, which is why fetching is off by default. All
fetched data is verified like other data. An address that failed is not used again for a minute: a server that
does not answer delays a run once, not for each file.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ObjectIdentifier

from hsm_dicom.trust.certificates import MalformedCertificateError, fingerprint, read_certificate
from hsm_dicom.trust.errors import FetchError
from hsm_dicom.trust.fetch import Exchange, fetch
from hsm_dicom.trust.policy import Policy
from hsm_dicom.trust.result import Reason, Revocation
from hsm_dicom.trust.revocation.crl import SourcedCrl, distribution_points
from hsm_dicom.trust.revocation.decision import Unusable
from hsm_dicom.trust.revocation.ocsp import SourcedOcspResponse
from hsm_dicom.trust.validation import Answer, Question
from tokens.errors import fresh_copy

_FRESH_SECONDS = 600.0
_FAILED_SECONDS = 60.0
_MAX_KEPT = 64
_MAX_ADDRESSES = 2
_MAX_ISSUERS = 4

Validation = Callable[[Question], Answer]
"""Function that validates a question with the data that it contains."""


class Online:
    """Validation with data from the network. Threads may share it."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._kept: OrderedDict[bytes, tuple[float, bytes | FetchError]] = OrderedDict()
        self._lock = threading.Lock()

    def answer(self, question: Question, validate: Validation) -> Answer:
        """Validate, fetch what is missing, and validate again, within `policy.online_seconds` of fetching.

        OCSP responses are fetched first, because they are small; then CRLs for certificates with unknown status.
        """
        deadline = time.monotonic() + self._policy.online_seconds
        question = replace(question, revocation_is_sought=True)
        given = validate(question)
        for _ in range(_MAX_ISSUERS):
            issuers = self._issuers(given, deadline)
            if not issuers:
                break
            question = replace(question, intermediates=(*question.intermediates, *issuers))
            given = validate(question)
        for gather in (self._ocsp_answers, self._crls):
            for certificate, issuer in _unknown(given):
                question = gather(question, certificate, issuer, deadline)
            given = validate(question)
        return given

    def _issuers(self, given: Answer, deadline: float) -> tuple[x509.Certificate, ...]:
        if given.verdict.reason is not Reason.NO_PATH:
            return ()
        found: list[x509.Certificate] = []
        for url in _addresses(given.path[-1], AuthorityInformationAccessOID.CA_ISSUERS):
            body = self._fetch(Exchange(url, max_bytes=16 * self._policy.max_certificate_bytes), deadline)
            if isinstance(body, bytes):
                found += _certificates(body, self._policy.max_certificate_bytes)
        present = {fingerprint(c) for c in given.path}
        return tuple(c for c in found if fingerprint(c) not in present)

    def _ocsp_answers(
        self, question: Question, certificate: x509.Certificate, issuer: x509.Certificate, deadline: float
    ) -> Question:
        for url in _addresses(certificate, AuthorityInformationAccessOID.OCSP):
            exchange = Exchange(url, _ocsp_request(certificate, issuer), "application/ocsp-request")
            body = self._fetch(exchange, deadline)
            try:
                answer = SourcedOcspResponse(_successful(_bytes_of(body)), f"from {url}")
            except Exception as error:  # not fetched, or a foreign parser on hostile bytes
                question = _without(question, certificate, f"the OCSP responder {url}", error)
            else:
                question = replace(question, ocsp_responses=(*question.ocsp_responses, answer))
        return question

    def _crls(
        self, question: Question, certificate: x509.Certificate, issuer: x509.Certificate, deadline: float
    ) -> Question:
        names = {n.value for point in distribution_points(certificate) for n in point if _is_web(n)}
        for url in sorted(names)[:_MAX_ADDRESSES]:
            body = self._fetch(Exchange(url), deadline)
            try:
                crl = SourcedCrl(_crl(_bytes_of(body)), f"from {url}")
            except Exception as error:  # not fetched, or a foreign parser on hostile bytes
                question = _without(question, certificate, f"the CRL from {url}", error)
            else:
                question = replace(question, crls=(*question.crls, crl))
        return question

    def _fetch(self, exchange: Exchange, deadline: float) -> bytes | FetchError:
        key = hashlib.sha256(exchange.url.encode() + b"\0" + (exchange.body or b"")).digest()
        with self._lock:
            until, kept = self._kept.get(key, (0.0, b""))
        if time.monotonic() < until:
            return kept
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            return FetchError(exchange.url, f"the {self._policy.online_seconds:g} s for fetching were used up")
        result: bytes | FetchError
        try:
            limit = min(exchange.max_bytes, self._policy.online_bytes)
            result = fetch(replace(exchange, seconds=seconds, max_bytes=limit))
        except FetchError as error:
            result = error
        life = _FAILED_SECONDS if isinstance(result, FetchError) else _FRESH_SECONDS
        with self._lock:
            self._kept[key] = (time.monotonic() + life, result)
            self._kept.move_to_end(key)
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return result


def _unknown(given: Answer) -> Iterator[tuple[x509.Certificate, x509.Certificate]]:
    """Yield the certificates of the path whose revocation is not known, each with its issuer."""
    described = given.verdict.path
    for (certificate, issuer), shown in zip(itertools.pairwise(given.path), described, strict=False):
        if shown.revocation.state is Revocation.UNKNOWN:
            yield certificate, issuer


def _addresses(certificate: x509.Certificate, method: ObjectIdentifier) -> list[str]:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return []
    places = [d.access_location for d in access if d.access_method == method]
    return [place.value for place in places if _is_web(place)][:_MAX_ADDRESSES]


def _is_web(name: x509.GeneralName) -> bool:
    return isinstance(name, x509.UniformResourceIdentifier) and name.value.lower().startswith(("http://", "https://"))


def _ocsp_request(certificate: x509.Certificate, issuer: x509.Certificate) -> bytes:
    # SHA-1 only identifies the CA here; every responder supports it (RFC 5019 2.1.1).
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())  # noqa: S303
    return builder.build().public_bytes(Encoding.DER)


def _bytes_of(body: bytes | FetchError) -> bytes:
    if isinstance(body, FetchError):
        raise fresh_copy(body)
    return body


def _successful(body: bytes) -> ocsp.OCSPResponse:
    response = ocsp.load_der_ocsp_response(body)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise ValueError(f"the responder answered {response.response_status.name}")
    return response


def _crl(body: bytes) -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl(body) if body.startswith(b"-----BEGIN") else x509.load_der_x509_crl(body)


def _certificates(body: bytes, max_bytes: int) -> list[x509.Certificate]:
    """Return the certificates in an answer: one as DER or PEM, or a PKCS#7 bundle (RFC 5280 4.2.2.1)."""
    found: list[x509.Certificate] = []
    for certificate in _bundle(body)[:_MAX_ISSUERS]:
        with contextlib.suppress(MalformedCertificateError):
            found.append(read_certificate(certificate, max_bytes))
    return found


def _bundle(body: bytes) -> list[x509.Certificate]:
    for reader in (_one_certificate, x509.load_pem_x509_certificates, pkcs7.load_der_pkcs7_certificates):
        with contextlib.suppress(Exception):  # foreign parsers on hostile bytes, one of which may fit
            return reader(body)
    return []


def _one_certificate(body: bytes) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(body)]


def _without(question: Question, certificate: x509.Certificate, source: str, error: Exception) -> Question:
    why = error.why if isinstance(error, FetchError) else f"it cannot be read: {error}"
    missing = (fingerprint(certificate), Unusable(source, f"gave nothing ({why})"))
    return replace(question, unfetched=(*question.unfetched, missing))
