"""The validation time of a signature: that of a time stamp, else the signer's claim, else the present."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from hsm_dicom.signatures.attributes import CMS_TIMESTAMP
from hsm_dicom.signatures.integrity import VerifiedSignature
from hsm_dicom.timestamps.validation import TimestampFinding, TimestampVerdict, verify_token
from hsm_dicom.trust import CertificateValidator, Reason
from hsm_dicom.validation.result import Cause, Ground, ValidationTime, ValidationTimeKind, format_time
from hsm_dicom.validation.trust import CAUTION_CLAUSES, group_cautions

_LARGEST_ACCURACY = timedelta(hours=1)
"""The largest stated accuracy of a time stamp that is taken into account."""


def validate_timestamp(
    signature: VerifiedSignature, timestamp_authorities: CertificateValidator
) -> TimestampVerdict | None:
    """Validate the time stamp of an intact signature, if there is one, with the trust anchors of authorities."""
    if signature.timestamp is None:
        return None
    if signature.timestamp_type.encode("latin-1", "replace") != CMS_TIMESTAMP:
        problem = f"Certified Timestamp Type {signature.timestamp_type!r} is not CMS_TSP."
        return TimestampVerdict(TimestampFinding.INDETERMINATE, problem)
    return verify_token(signature.timestamp, signature.signature, timestamp_authorities)


def find_validation_time(signature: VerifiedSignature, stamp: TimestampVerdict | None, now: datetime) -> ValidationTime:
    """Return the time as of which the signer's certificate is validated."""
    if stamp is not None and stamp.valid and stamp.time is not None:
        return ValidationTime(stamp.time, ValidationTimeKind.PROVEN)
    if signature.signed_at is not None:
        return ValidationTime(signature.signed_at, ValidationTimeKind.CLAIMED)
    return ValidationTime(now, ValidationTimeKind.PRESENT)


def find_time_doubts(validation_time: ValidationTime, now: datetime, tolerance: timedelta) -> Iterator[Ground]:
    """Yield why the validation time cannot be relied on."""
    if validation_time.kind is not ValidationTimeKind.PRESENT and validation_time.at > now + tolerance:
        yield Ground(
            Cause.TIME_IN_FUTURE,
            f"it claims to be from {format_time(validation_time.at)}, which is in the future",
            "The clock of the signer or the one of this computer is wrong; correct it.",
        )


def find_time_cautions(
    signature: VerifiedSignature, stamp: TimestampVerdict | None, validation_time: ValidationTime, tolerance: timedelta
) -> Iterator[Ground]:
    """Yield the warnings about the times of a signature that is valid at its validation time."""
    if signature.signed_at is None:
        yield Ground(
            Cause.TIME_MISSING,
            "it does not say when it was made" if not signature.date_time else "the time that it claims is not usable",
            "Digital Signature DateTime must have a UTC offset (PS3.3 C.12.1.1.3).",
        )
    elif (
        validation_time.kind is ValidationTimeKind.PROVEN
        and signature.signed_at - validation_time.at > _accuracy(stamp) + tolerance
    ):
        yield Ground(
            Cause.TIME_BEHIND_TIMESTAMP,
            f"it claims to be from {format_time(signature.signed_at)}, after its own time stamp",
            "The signer's clock was wrong; the time that the time stamp proves is used.",
        )
    if stamp is not None:
        yield from _stamp_cautions(stamp)


def _stamp_cautions(stamp: TimestampVerdict) -> Iterator[Ground]:
    if stamp.trust is not None and stamp.trust.reason is Reason.NO_ANCHORS:
        yield Ground(
            Cause.TIMESTAMP_NOT_VALIDATED,
            "its time stamp was not validated, because no trust anchors for time stamping authorities were given",
            stamp.text,
        )
    elif not stamp.valid:
        verb = "is indeterminate" if stamp.finding is TimestampFinding.INDETERMINATE else "proves nothing"
        yield Ground(Cause.TIMESTAMP_UNUSABLE, f"its time stamp {verb}", stamp.text)
    else:
        if stamp.warnings:
            yield Ground(Cause.TIMESTAMP_WEAK, "its time stamp rests on a weak hash", " ".join(stamp.warnings))
        for caution, sentences in group_cautions(stamp.trust) if stamp.trust is not None else ():
            yield Ground(Cause.TIMESTAMP_WEAK, f"of its time stamp, {CAUTION_CLAUSES[caution]}", sentences)


def _accuracy(stamp: TimestampVerdict | None) -> timedelta:
    stated = stamp.accuracy if stamp is not None else None
    return min(stated or timedelta(0), _LARGEST_ACCURACY)
