"""Get a time stamp from an authority by HTTP or HTTPS (RFC 3161 3.4).

    authority = TimestampAuthority("https://tsa.example/tsr")
    sign("ct.dcm", "signed.dcm", key, request, timestamp=authority)

`hsm_dicom.trust.fetch` makes the exchange, with one deadline for the whole and a limit for the response.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hsm_dicom.timestamps.protocol import (
    LARGEST_RESPONSE,
    TimestampError,
    extract_token,
    make_request,
)
from hsm_dicom.timestamps.validation import verify_token
from hsm_dicom.trust import CertificateValidator, TrustStore
from hsm_dicom.trust.errors import FetchError
from hsm_dicom.trust.fetch import Exchange, fetch

_QUERY = "application/timestamp-query"


@dataclass(frozen=True)
class TimestampAuthority:
    """A time stamping authority (TSA). Call it with the value of a signature to get the token over it (DER).

    `hash_name` is sha256, sha384 or sha512; `policy` is the dotted identifier of the policy to
    request; `seconds` is the deadline for the whole exchange; `roots` is a PEM file of CAs for https, default: those of
    the system. With a `validator` (with trust anchors of authorities) a token is returned only if it is valid and
    trusted; without one, only if its signature holds.
    """

    url: str
    hash_name: str = "sha256"
    policy: str | None = None
    seconds: float = 20.0
    roots: Path | None = None
    validator: CertificateValidator | None = None

    def __call__(self, signature: bytes) -> bytes:
        """Return a TimeStampToken over `signature`. Raises TimestampError with the URL and the reason."""
        request = make_request(signature, self.hash_name, policy=self.policy)
        exchange = Exchange(
            self.url, request.der, _QUERY, seconds=self.seconds, max_bytes=LARGEST_RESPONSE, roots=self.roots
        )
        try:
            token = extract_token(fetch(exchange), request)
        except FetchError as error:
            raise TimestampError(f"No time stamp from {error}") from error
        except TimestampError as error:
            raise TimestampError(f"{self.url}: {error}") from error
        self._check_token(token, signature)
        return token

    def _check_token(self, token: bytes, signature: bytes) -> None:
        verdict = verify_token(token, signature, self.validator or CertificateValidator(TrustStore([])))
        good = verdict.valid if self.validator else verdict.problem is None
        if not good:
            raise TimestampError(f"{self.url}: the time stamp is not usable. {verdict.text}")
