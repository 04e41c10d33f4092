"""Trust store for validations: trust anchors, intermediates, CRLs and OCSP responses, read from files once.

    store = TrustStore.from_files(anchors=["ca.pem"], crls=["ca.crl"])

A store keeps the DER and its source. It is immutable, can be shared between threads, and can be pickled for worker
processes. The operating system's trust store is not used.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from hsm_dicom.arguments import kind_of, path_text
from hsm_dicom.trust.certificate_files import Sourced, read_certificate_file, read_pem_blocks
from hsm_dicom.trust.certificates import MalformedCertificateError, der_of, fingerprint, read_certificate
from hsm_dicom.trust.errors import TrustFileError
from hsm_dicom.trust.paths import Pool
from hsm_dicom.trust.policy import Policy
from hsm_dicom.trust.revocation.crl import SourcedCrl
from hsm_dicom.trust.revocation.ocsp import SourcedOcspResponse

_LARGEST_FILE = 256 * 1024 * 1024
_CRL = b"X509 CRL"

_T = TypeVar("_T")


class TrustStore:
    """Trust anchors, intermediates and revocation data.

    The officer decides which `anchors` are trusted: root CAs, intermediate CAs, or single self-signed
    certificates. `intermediates` are not trusted; they help to build a path. Raises TrustFileError if data
    cannot be read.
    """

    def __init__(
        self,
        anchors: Iterable[Sourced | x509.Certificate],
        intermediates: Iterable[Sourced | x509.Certificate] = (),
        crls: Iterable[Sourced] = (),
        ocsp_responses: Iterable[Sourced] = (),
    ) -> None:
        self._parts = (
            tuple(_add_source(c, "the trust anchors") for c in _several(anchors, "anchors", _CERTIFICATES)),
            tuple(_add_source(c, "the intermediates") for c in _several(intermediates, "intermediates", _CERTIFICATES)),
            tuple(crls),
            tuple(ocsp_responses),
        )
        roots, others, lists, responses = self._parts
        self._by_key: dict[bytes, list[x509.Certificate]] | None = None
        self.anchors = Pool(_read(roots, _certificate))
        self.intermediates = Pool(_read(others, _certificate))
        self.crls: Sequence[SourcedCrl] = _read(lists, _crl)
        self.ocsp_responses: Sequence[SourcedOcspResponse] = _read(responses, _ocsp_response)

    @classmethod
    def from_files(
        cls,
        anchors: Iterable[str | Path],
        *,
        intermediates: Iterable[str | Path] = (),
        crls: Iterable[str | Path] = (),
        ocsp_responses: Iterable[str | Path] = (),
    ) -> TrustStore:
        """Read PEM files (any number of certificates or CRLs in one), PKCS#7 or DER files; OCSP responses are DER.

        A folder stands for every file in it. Raises TrustFileError with the file and the next step.
        """
        return cls(
            [c for path in _files(anchors) for c in read_certificate_file(path, _content(path))],
            [c for path in _files(intermediates) for c in read_certificate_file(path, _content(path))],
            [c for path in _files(crls) for c in _crls_in(path)],
            [Sourced(_content(path), str(path)) for path in _files(ocsp_responses)],
        )

    def with_intermediates(self, certificates: Iterable[Sourced | x509.Certificate]) -> TrustStore:
        """Return the same store with more certificates that help to build a path."""
        anchors, intermediates, crls, responses = self._parts
        return TrustStore(anchors, (*intermediates, *certificates), crls, responses)

    @property
    def sourced_anchors(self) -> tuple[Sourced, ...]:
        """The trust anchors in DER, each with its source."""
        return self._parts[0]

    @property
    def has_anchors(self) -> bool:
        """Whether the store contains a trust anchor."""
        return bool(self._parts[0])

    @property
    def has_revocation_data(self) -> bool:
        """Whether the store contains a CRL or an OCSP response."""
        return bool(self._parts[2] or self._parts[3])

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the content of the store, independent of order and sources."""
        parts = [b"".join(sorted(hashlib.sha256(one.der).digest() for one in part)) for part in self._parts]
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()

    def others_of_key(self, certificate: x509.Certificate) -> tuple[x509.Certificate, ...]:
        """Return the other anchors and intermediates with the same public key as this certificate."""
        if self._by_key is None:
            by_key: dict[bytes, list[x509.Certificate]] = defaultdict(list)
            for one in (*self.anchors, *self.intermediates):
                by_key[_key_of(one)].append(one)
            self._by_key = by_key
        same = self._by_key.get(_key_of(certificate), ())
        return tuple(one for one in same if fingerprint(one) != fingerprint(certificate))

    def __reduce__(self) -> tuple[type[TrustStore], tuple[tuple[Sourced, ...], ...]]:
        return type(self), self._parts

    def __repr__(self) -> str:
        anchors, intermediates, crls, responses = map(len, self._parts)
        return f"TrustStore({anchors} anchors, {intermediates} intermediates, {crls} CRLs, {responses} OCSP responses)"


def _key_of(certificate: x509.Certificate) -> bytes:
    """Return the SubjectPublicKeyInfo; empty if the key type cannot be read."""
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return b""


def _add_source(certificate: Sourced | x509.Certificate, source: str) -> Sourced:
    if isinstance(certificate, Sourced):
        return certificate
    if not isinstance(certificate, x509.Certificate):
        raise TypeError(f"One of {source} must be an x509.Certificate, not {kind_of(certificate)}.")
    return Sourced(der_of(certificate), source)


_CERTIFICATES = "x509.Certificate"


def _several(values: Iterable[_T], name: str, kind: str) -> Iterable[_T]:
    if isinstance(values, str | bytes | x509.Certificate) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list of {kind}, not {kind_of(values)}.")
    return values


def _read(parts: Iterable[Sourced], reader: Callable[[Sourced], _T]) -> tuple[_T, ...]:
    return tuple(reader(part) for part in parts)


def _certificate(part: Sourced) -> x509.Certificate:
    try:
        return read_certificate(part.der, Policy.max_certificate_bytes)
    except MalformedCertificateError as error:
        raise TrustFileError(
            f"{part.source}: the certificate {error}. Give X.509 certificates as PEM, DER or PKCS#7 (P7B)."
        ) from error


def _crl(part: Sourced) -> SourcedCrl:
    try:
        return SourcedCrl(x509.load_der_x509_crl(part.der), part.source)
    except Exception as error:  # for hostile bytes, the parser raises more than ValueError
        raise TrustFileError(f"{part.source}: no CRL can be read from it. Give a CRL as PEM or DER.") from error


def _ocsp_response(part: Sourced) -> SourcedOcspResponse:
    try:
        response = ocsp.load_der_ocsp_response(part.der)
    except Exception as error:  # as above
        raise TrustFileError(
            f"{part.source}: no OCSP response can be read from it. Give one as DER, as openssl ocsp -respout writes."
        ) from error
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise TrustFileError(
            f"{part.source}: the OCSP responder answered {response.response_status.name}. Ask it again."
        )
    return SourcedOcspResponse(response, part.source)


def _files(paths: Iterable[str | Path]) -> Iterable[Path]:
    for path in [Path(path_text("A file of the store", path)) for path in _several(paths, "Files", "paths")]:
        if path.is_dir():
            yield from sorted(p for p in path.iterdir() if p.is_file())
        else:
            yield path


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise TrustFileError(
            f"{path}: cannot be read ({error.strerror}). Check the path and its permissions."
        ) from error
    if len(data) > _LARGEST_FILE:
        raise TrustFileError(f"{path}: is larger than {_LARGEST_FILE >> 20} MiB, which no such file is.")
    if not data:
        raise TrustFileError(f"{path}: is empty. Give a PEM or DER file.")
    return data


def _crls_in(path: Path) -> list[Sourced]:
    data = _content(path)
    return read_pem_blocks(path, data, (_CRL,)) if b"-----BEGIN " in data else [Sourced(data, str(path))]
