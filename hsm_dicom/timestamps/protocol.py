"""Encode time stamp requests and read responses (RFC 3161 2.4.1, 2.4.2), without a transport.

DICOM stores the TimeStampToken of the response in Certified Timestamp (0400,0310). It is over the value of Signature
(0400,0120) (PS3.3 C.12.1.1.3, PS3.15 C.1).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import ClassVar

from asn1crypto import cms, core, tsp  # type: ignore[import-untyped]

from hsm_dicom.signatures.errors import SignatureError
from hsm_dicom.trust.der import remove_padding

REQUEST_HASHES = ("sha256", "sha384", "sha512")
IMPRINT_HASHES = (*REQUEST_HASHES, "sha224", "sha1", "sha3_256", "sha3_384", "sha3_512")
LARGEST_RESPONSE = 1024 * 1024
"""The largest response, in bytes. Real ones have between 1 and 20 kB."""

_NONCE_BITS = 64
_GRANTED = ("granted", "granted_with_mods")


class _Response(core.Sequence):  # type: ignore[misc]
    """TimeStampResp as RFC 3161 2.4.2 has it: an authority that refuses sends no token."""

    _fields: ClassVar = [
        ("status", tsp.PKIStatusInfo),
        ("time_stamp_token", cms.ContentInfo, {"optional": True}),
    ]


class TimestampError(SignatureError):
    """The authority sent no time stamp, or one that does not answer the request."""


@dataclass(frozen=True)
class TimestampRequest:
    """A request: the imprint, and the nonce and policy that the response must repeat."""

    hash_name: str
    imprint: bytes
    nonce: int | None = None
    policy: str | None = None
    wants_certificate: bool = True

    @property
    def der(self) -> bytes:
        """The TimeStampReq in DER."""
        fields = {
            "version": "v1",
            "message_imprint": {
                "hash_algorithm": {"algorithm": self.hash_name},
                "hashed_message": self.imprint,
            },
            "cert_req": self.wants_certificate,
        }
        if self.nonce is not None:
            fields["nonce"] = self.nonce
        if self.policy is not None:
            fields["req_policy"] = self.policy
        return bytes(tsp.TimeStampReq(fields).dump())


def make_request(
    data: bytes, hash_name: str = "sha256", *, policy: str | None = None, wants_certificate: bool = True
) -> TimestampRequest:
    """Return a request for a time stamp over `data`, with a fresh nonce of 64 bits.

    `hash_name` is one of REQUEST_HASHES; `policy` the dotted object identifier of a TSA policy. Raises
    TimestampError for another hash.
    """
    if hash_name not in REQUEST_HASHES:
        raise TimestampError(f"Time stamps are asked for with {', '.join(REQUEST_HASHES)}, not with {hash_name}.")
    nonce = secrets.randbits(_NONCE_BITS - 1) | 1 << (_NONCE_BITS - 2)
    return TimestampRequest(hash_name, hashlib.new(hash_name, data).digest(), nonce, policy, wants_certificate)


def read_request(der: bytes) -> TimestampRequest:
    """Return the request in a TimeStampReq, as another program may have written it. Raises TimestampError."""
    try:
        request = tsp.TimeStampReq.load(der, strict=True)
        imprint = request["message_imprint"]
        return TimestampRequest(
            imprint["hash_algorithm"]["algorithm"].native,
            imprint["hashed_message"].native,
            request["nonce"].native,
            request["req_policy"].dotted if request["req_policy"].native is not None else None,
            bool(request["cert_req"].native),
        )
    except Exception as error:  # a foreign parser on foreign bytes
        raise TimestampError(f"This is no time stamp query ({type(error).__name__}).") from error


def extract_token(der: bytes, request: TimestampRequest) -> bytes:
    """Return the TimeStampToken (DER) of a response, checked to answer this request.

    Its signature is not checked (`validation.verify_token` does that). Raises TimestampError if `der` is not a
    response, if the authority refused (with its reason), or if imprint, nonce or policy differ.
    """
    try:
        response = _Response.load(remove_padding(der), strict=True)
        status = response["status"]["status"].native
        if status not in _GRANTED:
            raise TimestampError(f"The time stamp authority refused: {_explain_refusal(response['status'])}.")
        token = response["time_stamp_token"]
        info = token["content"]["encap_content_info"]["content"].parsed
        _check_answer(info, request)
        return bytes(token.dump())
    except TimestampError:
        raise
    except Exception as error:  # a foreign parser on foreign bytes
        raise TimestampError(
            f"The time stamp authority did not send a time stamp response ({type(error).__name__})."
        ) from error


def _explain_refusal(status: tsp.PKIStatusInfo) -> str:
    texts = status["status_string"].native or ()
    failures = sorted(status["fail_info"].native or ())
    said = [str(status["status"].native), *failures, *texts]
    return "".join(c if c.isprintable() else " " for c in ", ".join(said))[:300]


def _check_answer(info: tsp.TSTInfo, request: TimestampRequest) -> None:
    imprint = info["message_imprint"]
    given = (imprint["hash_algorithm"]["algorithm"].native, imprint["hashed_message"].native)
    if given != (request.hash_name, request.imprint):
        raise TimestampError("The time stamp is over something else than what was asked for.")
    if info["nonce"].native != request.nonce and request.nonce is not None:
        raise TimestampError("The time stamp does not carry the nonce that was asked for: an old answer, replayed.")
    if request.policy is not None and info["policy"].dotted != request.policy:
        raise TimestampError(
            f"The time stamp was made under policy {info['policy'].dotted}, not {request.policy} as asked for."
        )
