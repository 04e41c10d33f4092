"""Construction of candidate paths from a certificate over intermediates to a trust anchor, within fixed bounds.

The candidates match by names and key identifiers only; `chain.py` verifies the signatures. A peer that sends many
certificates that seem to have issued each other causes a bounded number of candidates and steps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from cryptography import x509

from hsm_dicom.trust.certificates import (
    authority_key_identifier,
    fingerprint,
    key_identifier,
    name_key,
)

CertificatePath = tuple[x509.Certificate, ...]

MAX_PATHS = 16
MAX_STEPS = 256


class Pool:
    """Certificates by subject name, in the given order."""

    def __init__(self, certificates: Iterable[x509.Certificate]) -> None:
        self._by_subject: dict[object, list[x509.Certificate]] = defaultdict(list)
        self._identities: set[bytes] = set()
        for certificate in certificates:
            identity = fingerprint(certificate)
            if identity not in self._identities:
                self._identities.add(identity)
                self._by_subject[name_key(certificate.subject)].append(certificate)

    def __iter__(self) -> Iterator[x509.Certificate]:
        """Iterate over the certificates, each once."""
        return (certificate for named in self._by_subject.values() for certificate in named)

    def holds(self, certificate: x509.Certificate) -> bool:
        """Return whether exactly this certificate is in the pool."""
        return fingerprint(certificate) in self._identities

    def has_name(self, name: x509.Name) -> bool:
        """Return whether a certificate with this subject is in the pool, with any key."""
        return name_key(name) in self._by_subject

    def possible_issuers(self, certificate: x509.Certificate) -> list[x509.Certificate]:
        """Return the certificates whose name, and key identifier if both have one, match the issuer of `certificate`.

        Those with a matching key identifier come first.
        """
        named = self._by_subject.get(name_key(certificate.issuer), [])
        wanted = authority_key_identifier(certificate)
        if wanted is None:
            return named
        exact = [c for c in named if key_identifier(c) == wanted]
        return exact + [c for c in named if key_identifier(c) is None]


class PathSearch:
    """Search of all candidate paths for one certificate, anchors and short paths first.

    After iterating, `longest` is the longest partial path, for messages about a missing issuer, and `exhausted` is
    True if the bounds ended the search.
    """

    def __init__(self, anchors: Pool, intermediates: Iterable[Pool], max_length: int) -> None:
        self._anchors = anchors
        self._intermediates = tuple(intermediates)
        self._max_length = max_length
        self._steps = 0
        self.longest: CertificatePath = ()
        self.exhausted = False

    def paths(self, certificate: x509.Certificate) -> Iterator[CertificatePath]:
        """Yield at most MAX_PATHS candidates, each from `certificate` to an anchor."""
        for count, path in enumerate(self._extend((certificate,)), start=1):
            yield path
            if count == MAX_PATHS:
                self.exhausted = True
                return

    def _extend(self, path: CertificatePath) -> Iterator[CertificatePath]:
        if len(path) > len(self.longest):
            self.longest = path
        self._steps += 1
        if self._steps > MAX_STEPS or len(path) >= self._max_length:
            self.exhausted = True
            return
        last = path[-1]
        used = {fingerprint(c) for c in path}
        for anchor in self._anchors.possible_issuers(last):
            if fingerprint(anchor) not in used:
                yield (*path, anchor)
        for pool in self._intermediates:
            for issuer in pool.possible_issuers(last):
                if fingerprint(issuer) not in used:
                    yield from self._extend((*path, issuer))
