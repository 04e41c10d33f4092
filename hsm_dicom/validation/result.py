"""Frozen records of verdicts: an indication, its grounds, and the facts that it rests on.

People read the text of an indication, programs read its code. docs/explanation/verdicts.md explains both. They are
stable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from hsm_dicom.dataset.values import ObjectIdentity
from hsm_dicom.signatures.anomalies.record import Weight, has_weight
from hsm_dicom.signatures.integrity import Finding, VerifiedSignature
from hsm_dicom.timestamps.validation import TimestampVerdict
from hsm_dicom.trust import Reason, TrustVerdict


class Indication(StrEnum):
    """The main status indication of one signature."""

    VALID = "valid"
    """The object is unchanged, the signer is trusted and may sign, and the signature covers everything."""
    VALID_BUT = "valid, but"
    """The same with reservations: an element is not covered, an algorithm is weak, or a check could not be made."""
    QUESTIONABLE = "questionable"
    """The signature holds, but what the object shows may not be what was signed, or identity, picture, geometry or
    content are not covered: do not rely on it as it stands."""
    INVALID = "invalid"
    """The object was changed, or the signer is not trusted or may not sign."""
    INDETERMINATE = "cannot tell"
    """Data that the validation needs is missing. Do not treat it as a weaker "valid"."""
    HISTORIC = "historic"
    """It signed an earlier state of the object; reports list it, and it does not count."""

    @property
    def good(self) -> bool:
        """Whether the text begins with "valid": VALID or VALID_BUT."""
        return self in (Indication.VALID, Indication.VALID_BUT)

    @property
    def code(self) -> str:
        """The verdict for programs: "indeterminate" (ETSI EN 319 102-1) where people read "cannot tell"."""
        return "indeterminate" if self is Indication.INDETERMINATE else self.value


class Cause(StrEnum):
    """Codes of grounds that come from the signature itself; those about certificates are `trust.Reason` and
    `trust.Caution`."""

    ALTERED = "altered"
    INCOMPLETE = "incomplete"
    HASH_NOT_OFFERED = "hash-not-offered"
    HISTORIC = "historic"
    MAC_REFUSED = "mac-refused"
    MAC_WEAK = "mac-weak"
    OUTSIDE_VALIDITY = "outside-validity"
    TIME_MISSING = "time-missing"
    TIME_IN_FUTURE = "time-in-future"
    TIME_BEHIND_TIMESTAMP = "time-behind-timestamp"
    EXPIRED_SINCE = "expired-since"
    TIMESTAMP_UNUSABLE = "timestamp-unusable"
    TIMESTAMP_NOT_VALIDATED = "timestamp-not-validated"
    TIMESTAMP_WEAK = "timestamp-weak"
    ITEM_ONLY = "item-only"
    PIXEL_DATA_OPEN = "pixel-data-open"
    PICTURE_OPEN = "picture-open"
    GEOMETRY_OPEN = "geometry-open"
    CONTENT_OPEN = "content-open"
    IDENTITY_OPEN = "identity-open"
    CHARACTER_SET_OPEN = "character-set-open"
    SEEN_OPEN = "seen-open"
    PRIVATE_OPEN = "private-open"
    UNKNOWN_VR_OPEN = "unknown-vr-open"
    ELEMENTS_OPEN = "elements-open"


@dataclass(frozen=True)
class UnmetDemand:
    """One demand that an object does not meet: a code, a sentence, and what to do as a sentence."""

    code: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Ground:
    """One ground: a code, a clause that completes "invalid, because …" or "valid, but …", and more in sentences."""

    code: str
    clause: str
    detail: str = ""


class ValidationTimeKind(StrEnum):
    """Where the validation time of a signature comes from."""

    PROVEN = "proven"
    """A time stamp proves that the signature existed then."""
    CLAIMED = "claimed"
    """The signer claims it, by their own clock."""
    PRESENT = "present"
    """The signature has no usable time, so it is validated as of now."""


@dataclass(frozen=True)
class ValidationTime:
    """The time as of which a signer's certificate is validated; `at` is aware of its time zone."""

    at: datetime
    kind: ValidationTimeKind


@dataclass(frozen=True)
class SignatureVerdict:
    """The verdict on one signature.

    `grounds` are those of the highest rank; `lesser_grounds` are those of lower ranks that would keep it from being
    valid, too. `signer` is the subject of the certificate (RFC 4514) in the signature, empty without a certificate. It
    is proven only if `trusted`. `trust`, `validation_time` and `timestamp` are None if they were not needed for the
    indication.
    """

    indication: Indication
    grounds: tuple[Ground, ...]
    signature: VerifiedSignature
    signer: str
    validation_time: ValidationTime | None = None
    trust: TrustVerdict | None = None
    timestamp: TimestampVerdict | None = None
    lesser_grounds: tuple[Ground, ...] = ()

    @property
    def text(self) -> str:
        """The verdict: "valid", "valid, but …", "invalid, because …", "cannot tell, because …"."""
        clauses = "; ".join(ground.clause for ground in self.grounds)
        match self.indication:
            case Indication.VALID:
                return "valid"
            case Indication.VALID_BUT:
                return f"valid, but {clauses}"
            case Indication.INDETERMINATE if all(ground.code == Reason.NO_ANCHORS for ground in self.grounds):
                return f"cannot tell who signed, because {clauses}"
            case _:
                return f"{self.indication}, because {clauses}"

    @property
    def trusted(self) -> bool:
        """Whether the signer's certificate is trusted by the trust anchors that were given."""
        return self.trust is not None and self.trust.trusted

    @property
    def protects(self) -> bool:
        """Whether the listed elements are what the signer signed; False if an anomaly questions the object."""
        if self.indication is Indication.QUESTIONABLE:
            return not has_weight(self.signature.anomalies, Weight.QUESTION)
        return self.indication.good


class Outcome(StrEnum):
    """The result for a file; `exit_status` is that of `hsm-dicom verify` for it alone."""

    GOOD = "good"
    """All its signatures are valid, with or without a "but", and the policy is met."""
    UNREADABLE = "unreadable"
    """It could not be read, so nothing was verified."""
    NO_SIGNATURE = "no-signature"
    """It has no signature, or historic ones only."""
    SIGNATURE_FAILED = "signature-failed"
    """A signature is invalid, or indeterminate."""
    QUESTIONABLE = "questionable"
    """All its signatures hold, but what it shows may not be what was signed, or the part that it stands for is open."""
    POLICY_NOT_MET = "policy-not-met"
    """All its signatures are valid, but they do not meet the policy."""
    EXEMPT = "exempt"
    """The policy accepts it although no signature of it counts: it asks nothing of such objects, or accepts unsigned
    ones."""

    @property
    def exit_status(self) -> int:
        """The exit status of `hsm-dicom verify` for a file with this outcome."""
        return _EXIT_STATUS[self]


_EXIT_STATUS = {
    Outcome.GOOD: 0,
    Outcome.UNREADABLE: 1,
    Outcome.NO_SIGNATURE: 100,
    Outcome.SIGNATURE_FAILED: 101,
    Outcome.QUESTIONABLE: 102,
    Outcome.POLICY_NOT_MET: 102,
    Outcome.EXEMPT: 0,
}


WORST_FIRST = (
    Outcome.SIGNATURE_FAILED,
    Outcome.UNREADABLE,
    Outcome.NO_SIGNATURE,
    Outcome.QUESTIONABLE,
    Outcome.POLICY_NOT_MET,
    Outcome.GOOD,
    Outcome.EXEMPT,
)


@dataclass(frozen=True)
class Verdict:
    """The verdict on one object.

    `unmet` are the demands of the policy that are not met. `policy` is the name of the policy in the configuration, and
    `rule` that of its rule which applies; both are empty without one. `is_exempt` is True if the policy accepts the
    object without a valid signature, unless one is broken. `problem` says why the file could
    not be read; the other fields are then empty. `validated_at` is when the verdict was made, in UTC. `resume_key` is
    a hash of the state of the file (not of its content), of the trust anchors and of the policy.
    """

    name: str
    validated_at: datetime
    identity: ObjectIdentity = field(default_factory=ObjectIdentity)
    transfer_syntax: str = ""
    signatures: tuple[SignatureVerdict, ...] = ()
    unmet: tuple[UnmetDemand, ...] = ()
    problem: str = ""
    resume_key: str = ""
    policy: str = ""
    rule: str = ""
    is_exempt: bool = False

    @property
    def outcome(self) -> Outcome:
        """The result for the object, derived from its signatures and the policy."""
        indications = [
            verdict.indication for verdict in self.signatures if verdict.indication is not Indication.HISTORIC
        ]
        if self.problem:
            return Outcome.UNREADABLE
        if self.is_exempt:
            return Outcome.SIGNATURE_FAILED if self.has_broken_signature else Outcome.EXEMPT
        if not indications:
            return Outcome.NO_SIGNATURE
        if not all(one.good or one is Indication.QUESTIONABLE for one in indications):
            return Outcome.SIGNATURE_FAILED
        if Indication.QUESTIONABLE in indications:
            return Outcome.QUESTIONABLE
        return Outcome.POLICY_NOT_MET if self.unmet else Outcome.GOOD

    @property
    def has_broken_signature(self) -> bool:
        """Whether one of its signatures does not hold, whoever made it: it is broken, or cannot be checked."""
        return any(
            one.signature.finding not in (Finding.INTACT, Finding.HISTORIC)
            or has_weight(one.signature.anomalies, Weight.QUESTION)
            for one in self.signatures
        )

    @property
    def valid(self) -> bool:
        """Whether the object may be relied on.

        True only if a signature over the main Data Set is valid, no signature is invalid, indeterminate or
        questionable (so identity, picture, geometry and content are covered), and the policy is met. An object
        without a signature is not valid.
        """
        over_object = [one for one in self.signatures if one.indication.good and not one.signature.place]
        return self.outcome is Outcome.GOOD and bool(over_object)

    @property
    def exit_status(self) -> int:
        """The exit status of `hsm-dicom verify` for this file alone."""
        return self.outcome.exit_status

    def __bool__(self) -> bool:
        raise TypeError("A verdict is neither true nor false: use its attribute valid, which is True or False.")

    @property
    def text(self) -> str:
        """One sentence about the file."""
        match self.outcome:
            case Outcome.UNREADABLE:
                return f"Could not be read: {self.problem}"
            case Outcome.NO_SIGNATURE:
                return "Not signed: nothing in it is protected by a signature."
            case Outcome.POLICY_NOT_MET:
                return f"{self._count_words()} The policy is not met: {' '.join(map(str, self.unmet))}"
            case Outcome.EXEMPT:
                return "Accepted: the policy asks for no signature of it."
            case _:
                return self._count_words()

    def _count_words(self) -> str:
        if len(self.signatures) == 1:
            text = self.signatures[0].text
            return f"{text[0].upper()}{text[1:]}."
        indications = [verdict.indication for verdict in self.signatures]
        counts = [f"{indications.count(one)} {_COUNTED[one]}" for one in Indication if one in indications]
        return f"{len(indications)} signatures: {', '.join(counts)}."


_COUNTED = {
    Indication.VALID: "valid",
    Indication.VALID_BUT: "valid with reservations",
    Indication.QUESTIONABLE: "questionable",
    Indication.INVALID: "invalid",
    Indication.INDETERMINATE: "undecided",
    Indication.HISTORIC: "historic",
}


def worst_exit_status(outcomes: Iterable[Outcome]) -> int:
    """Return the exit status of a run over many files: that of the worst one.

    101 if a signature failed, else 1 if a file could not be read, else 100 if a file has no signature, else 102 if a
    signature is questionable or the policy is not met, else 0. A run without a file gives 1.
    """
    found = set(outcomes)
    return next((outcome for outcome in WORST_FIRST if outcome in found), Outcome.UNREADABLE).exit_status


def format_time(time: datetime) -> str:
    """Return a time as text for people, in its own time zone."""
    zone = f"{time:%z}"
    return f"{time:%Y-%m-%d %H:%M:%S} {'UTC' if zone in ('+0000', '-0000') else zone[:3] + ':' + zone[3:5]}"
