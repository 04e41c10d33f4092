"""Verifying a certified time stamp: a TimeStampToken over the value of a signature (RFC 3161 2.4.2, PS3.3
C.12.1.1.3).

    verdict = verify_token(token, signature_value, validator)
    if verdict.valid:
        print("existed at", verdict.time, "says", verdict.authority)

Two questions are answered apart: is the token what it claims to be (CMS signature, attributes, imprint:
`problem` says why not), and may its signer stamp time as of then (`trust`, for CertificatePurpose.TIME_STAMPING
with the anchors of `validator`, which should be those of time stamp authorities). Tokens of `openssl ts`, with
any set of certificates in any order, count as they come; indefinite lengths (BER) do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from asn1crypto import algos, cms, core, tsp  # type: ignore[import-untyped]
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from hsm_dicom.timestamps.protocol import IMPRINT_HASHES, LARGEST_RESPONSE
from hsm_dicom.trust import AlgorithmPolicy, CertificatePurpose, CertificateValidator, Trust, TrustVerdict
from hsm_dicom.trust._certvalidator import verify_signature
from hsm_dicom.trust.certificates import MalformedCertificateError, der_of, name_text, read_certificate
from hsm_dicom.trust.der import remove_padding

_MAX_CERTIFICATES = 32
_TST_INFO = "tst_info"


class TimestampFinding(StrEnum):
    """The four answers. UNTRUSTED: the token is good, its signer is not to be believed as of then."""

    VALID = "valid"
    INVALID = "invalid"
    UNTRUSTED = "untrusted"
    INDETERMINATE = "indeterminate"


@dataclass(frozen=True)
class TimestampVerdict:
    """Result of the validation of a time stamp.

    `problem` is the reason why the token itself proves nothing, None if its cryptography is correct. `time` is genTime
    and `accuracy` its largest error, if the authority states it; both are only claims unless `valid`. `trust` is the
    verdict on the signer's certificate, None if the token is invalid or its signer unknown.
    """

    finding: TimestampFinding
    problem: str | None = None
    imprint_matches: bool = False
    time: datetime | None = None
    accuracy: timedelta | None = None
    policy: str | None = None
    serial: int | None = None
    hash_name: str | None = None
    authority: str | None = None
    warnings: tuple[str, ...] = ()
    trust: TrustVerdict | None = None

    @property
    def valid(self) -> bool:
        """True if the time stamp proves `time`."""
        return self.finding is TimestampFinding.VALID

    @property
    def text(self) -> str:
        """The verdict in sentences."""
        if self.problem is not None:
            return f"The time stamp proves nothing: {self.problem}"
        text = f"Existed at {self.time:%Y-%m-%d %H:%M:%S} UTC, says {self.authority}."
        return " ".join((text, *self.warnings, *(self.trust.sentences if self.trust else ())))


class _NoTokenError(ValueError):
    """The token is not what it claims to be; the message is a sentence."""


@dataclass(frozen=True)
class _Token:
    """A token taken apart, nothing of it believed yet."""

    info: tsp.TSTInfo
    content: bytes
    signer: cms.SignerInfo
    certificates: tuple[x509.Certificate, ...] = field(repr=False)


def verify_token(
    token: bytes,
    data: bytes,
    validator: CertificateValidator,
    *,
    certificates: Iterable[x509.Certificate] = (),
) -> TimestampVerdict:
    """Say whether the token proves that `data` existed at its time.

    `token` is DER, one pad byte allowed; `data` the value of Signature (0400,0120), the pad byte of an EC
    signature removed. `certificates` may help where the token does not hold the certificate of its signer.
    Hashes are checked against the algorithm policy of `validator`. Never raises for what the token contains.
    """
    verdict = TimestampVerdict(TimestampFinding.INVALID)
    others = tuple(certificates)
    try:
        parts = _take_apart(token, validator.policy.max_certificate_bytes)
        verdict = _describe(parts.info, data)
        warnings = tuple(_check_hashes(parts, validator.policy.algorithms))
        _check_info(parts.info, verdict)
        signer = _signer_certificate(parts, others)
        if signer is None:
            return replace(
                verdict,
                finding=TimestampFinding.INDETERMINATE,
                problem="The certificate of its signer is not in the token; give it as an intermediate.",
            )
        verdict = replace(verdict, authority=name_text(signer.subject), warnings=warnings)
        _check_signature(parts, signer)
    except _NoTokenError as error:
        return replace(verdict, finding=TimestampFinding.INVALID, problem=str(error))
    except Exception as error:  # foreign parsers on hostile bytes
        problem = f"It cannot be read ({type(error).__name__})."
        return replace(verdict, finding=TimestampFinding.INVALID, problem=problem)
    trust = validator.validate(
        signer,
        CertificatePurpose.TIME_STAMPING,
        validation_time=verdict.time,
        time_proven=True,
        intermediates=(*parts.certificates, *others),
    )
    return replace(verdict, finding=_FINDINGS[trust.trust], trust=trust)


_FINDINGS = {
    Trust.TRUSTED: TimestampFinding.VALID,
    Trust.UNTRUSTED: TimestampFinding.UNTRUSTED,
    Trust.INDETERMINATE: TimestampFinding.INDETERMINATE,
}


def _take_apart(token: bytes, max_certificate_bytes: int) -> _Token:
    if len(token) > LARGEST_RESPONSE:
        raise _NoTokenError(f"It is larger than {LARGEST_RESPONSE} bytes.")
    try:
        der = remove_padding(token)
    except ValueError as error:
        raise _NoTokenError(f"It is not in DER: {error}.") from error
    outer = cms.ContentInfo.load(der, strict=True)
    if outer["content_type"].native != "signed_data":
        raise _NoTokenError("It is no CMS signed data.")
    signed = outer["content"]
    content = signed["encap_content_info"]
    if content["content_type"].native != _TST_INFO or content["content"].native is None:
        raise _NoTokenError("It does not hold the information of a time stamp.")
    if len(signed["signer_infos"]) != 1:
        raise _NoTokenError("It has not exactly one signer, as RFC 3161 demands.")
    return _Token(
        info=tsp.TSTInfo.load(bytes(content["content"]), strict=True),
        content=bytes(content["content"]),
        signer=signed["signer_infos"][0],
        certificates=tuple(_certificates(signed["certificates"], max_certificate_bytes)),
    )


def _certificates(found: cms.CertificateSet, max_bytes: int) -> Iterable[x509.Certificate]:
    if isinstance(found, core.Void):
        return
    for choice in list(found)[:_MAX_CERTIFICATES]:
        if choice.name == "certificate":
            try:
                yield read_certificate(choice.chosen.dump(), max_bytes)
            except MalformedCertificateError:
                continue


def _describe(info: tsp.TSTInfo, data: bytes) -> TimestampVerdict:
    imprint = info["message_imprint"]
    hash_name = imprint["hash_algorithm"]["algorithm"].native
    matches = hash_name in IMPRINT_HASHES and imprint["hashed_message"].native == hashlib.new(hash_name, data).digest()
    return TimestampVerdict(
        finding=TimestampFinding.INVALID,
        imprint_matches=matches,
        time=info["gen_time"].native,
        accuracy=_accuracy(info["accuracy"]),
        policy=info["policy"].dotted,
        serial=info["serial_number"].native,
        hash_name=hash_name,
    )


def _accuracy(accuracy: tsp.Accuracy) -> timedelta | None:
    if isinstance(accuracy, core.Void):
        return None
    return timedelta(
        seconds=accuracy["seconds"].native or 0,
        milliseconds=accuracy["millis"].native or 0,
        microseconds=accuracy["micros"].native or 0,
    )


def _check_hashes(parts: _Token, policy: AlgorithmPolicy) -> Iterable[str]:
    imprint = parts.info["message_imprint"]["hash_algorithm"]["algorithm"].native
    digest = parts.signer["digest_algorithm"]["algorithm"].native
    signature = _signature_hash(parts.signer["signature_algorithm"])
    roles = ((imprint, "of what is stamped"), (digest, "of its content"), (signature, "under its signature"))
    for name, role in roles:
        if name is None:
            continue
        shown = name.replace("_", "-")
        if shown in policy.tolerated_hashes:
            yield f"The hash {role} is {shown}, which is weak."
        elif shown not in policy.hashes:
            raise _NoTokenError(f"The hash {role} is {shown}, which the policy does not accept.")


def _signature_hash(algorithm: algos.SignedDigestAlgorithm) -> str | None:
    """The hash that a signature algorithm brings along; None where it takes that of the content, or its own."""
    try:
        return str(algorithm.hash_algo)
    except ValueError:
        return None


def _check_info(info: tsp.TSTInfo, verdict: TimestampVerdict) -> None:
    if info["version"].native != "v1":
        raise _NoTokenError("Its version is not 1.")
    if verdict.time is None or verdict.time.utcoffset() != timedelta(0):
        raise _NoTokenError("Its time is not in UTC.")
    if not isinstance(info["extensions"], core.Void) and any(e["critical"].native for e in info["extensions"]):
        raise _NoTokenError("It has a critical extension that is unknown here.")
    if not verdict.imprint_matches:
        raise _NoTokenError("It is over something else than this signature.")


def _signer_certificate(parts: _Token, others: Iterable[x509.Certificate]) -> x509.Certificate | None:
    """The certificate that the token names as its signer's, twice: by issuer and serial or key identifier,
    and by hash in the signing certificate attribute (RFC 3161 2.4.1, RFC 5816), so that no other can be put
    in its place."""
    kind, wanted = _certificate_hash(parts.signer)
    for certificate in (*parts.certificates, *others):
        if hashlib.new(kind, der_of(certificate)).digest() == wanted:
            if not _is_named(parts.signer["sid"], certificate):
                raise _NoTokenError("It names two different certificates as its signer's.")
            return certificate
    return None


def _certificate_hash(signer: cms.SignerInfo) -> tuple[str, bytes]:
    newer = _attribute(signer, "signing_certificate_v2")
    if newer is not None:
        first = newer["certs"][0]
        return first["hash_algorithm"]["algorithm"].native, first["cert_hash"].native
    older = _attribute(signer, "signing_certificate")
    if older is None:
        raise _NoTokenError("It does not say by hash which certificate signed it, as RFC 3161 demands.")
    return "sha1", older["certs"][0]["cert_hash"].native


def _is_named(sid: cms.SignerIdentifier, certificate: x509.Certificate) -> bool:
    if sid.name == "issuer_and_serial_number":
        named = sid.chosen
        return bool(
            named["serial_number"].native == certificate.serial_number
            and named["issuer"] == asn1.Name.load(certificate.issuer.public_bytes())
        )
    try:
        identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return False
    return bool(sid.chosen.native == identifier)


def _check_signature(parts: _Token, certificate: x509.Certificate) -> None:
    """RFC 5652 5.4 and 5.6: the signature is over the signed attributes, one of which hashes the content."""
    signer = parts.signer
    digest_name = signer["digest_algorithm"]["algorithm"].native
    content_type = _attribute(signer, "content_type")
    message_digest = _attribute(signer, "message_digest")
    if content_type is None or content_type.native != _TST_INFO:
        raise _NoTokenError("Its signature is not over a time stamp.")
    if message_digest is None or message_digest.native != hashlib.new(digest_name, parts.content).digest():
        raise _NoTokenError("Its content is not what its signer signed.")
    # What is signed are the attributes as a SET; in the token the same bytes carry a context tag (RFC 5652 5.4).
    signed = b"\x31" + signer["signed_attrs"].dump()[1:]
    try:
        verify_signature(
            signer["signature"].native, signed, der_of(certificate), signer["signature_algorithm"], digest_name
        )
    except InvalidSignature as error:
        raise _NoTokenError("Its signature does not verify.") from error


def _attribute(signer: cms.SignerInfo, name: str) -> core.Asn1Value | None:
    if isinstance(signer["signed_attrs"], core.Void):
        raise _NoTokenError("It has no signed attributes.")
    found = [a for a in signer["signed_attrs"] if a["type"].native == name]
    if not found:
        return None
    if len(found) > 1 or len(found[0]["values"]) != 1:
        raise _NoTokenError(f"Its signed attribute {name} is there more than once.")
    return found[0]["values"][0]
