"""One object on a route that holds objects: from the first octet of its Data Set to what becomes of it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.errors import DicomFileError
from hsm_dicom.dataset.octets.source import Content
from hsm_dicom.dataset.rewrite import Edit, write_stream
from hsm_dicom.errors import DicomError, TokenError
from hsm_dicom.events import emit
from hsm_dicom.gateway.events import ObjectHeld, ObjectRefused
from hsm_dicom.gateway.hold import Answer, Caller, Handover
from hsm_dicom.gateway.holding.handover import FileHandover
from hsm_dicom.gateway.holding.outcomes import TROUBLES, HeldOutcome
from hsm_dicom.gateway.holding.settings import AlreadySigned, HoldingSettings, Unsigned
from hsm_dicom.gateway.holding.signer import ConflictError, ObjectSigner, Signed
from hsm_dicom.gateway.inspect.outcomes import Outcome, find_outcome
from hsm_dicom.network.storage.incoming import (
    NOT_ACCEPTED,
    OTHER_CONTENT,
    OUT_OF_RESOURCES,
    TOO_LARGE,
    Incoming,
    RefusedInstanceError,
)
from hsm_dicom.network.storage.leftovers import open_part
from hsm_dicom.network.storage.policy_check import CheckFile, Refusal
from hsm_dicom.network.storage.quarantine import put_into_quarantine
from hsm_dicom.network.storage.signature_check import check_signatures
from hsm_dicom.network.storage.soundness import open_sound
from hsm_dicom.signatures.arriving import ArrivingMacs, MacChoice, choose_signable, choose_stated
from hsm_dicom.signatures.errors import KeyMismatchError, SignatureError
from hsm_dicom.signatures.read import read_signature_items

NOT_SIGNABLE = 0xC004
"""A status of our own in the range "Cannot understand" (PS3.4, Table B.2-1): it cannot be signed as the route asks."""

ALREADY_SIGNED = 0xC005
"""Likewise: it has signatures, which the route does not take, or of which one does not hold."""

_OUTCOMES = {OUT_OF_RESOURCES: HeldOutcome.NO_ROOM, TOO_LARGE: HeldOutcome.TOO_LARGE}
_SUCCEEDED = frozenset({Outcome.STORED, Outcome.WARNING})


@dataclass(frozen=True)
class Treatment:
    """What a route does with an object: judge it, sign it, or both. `name` is that of the route."""

    name: str
    settings: HoldingSettings
    check: CheckFile | None = None
    signer: ObjectSigner | None = None

    def choose_macs(self, file: DicomFile) -> Iterable[MacChoice]:
        """Return the MACs that are needed of an object: those of its signatures, and that of the one to be made."""
        if self.signer is not None:
            yield choose_signable(self.signer.algorithm, file)
        yield from choose_stated(file)


@dataclass(frozen=True)
class _Verdict:
    """What becomes of an object. `why` completes a sentence that begins with "an object"."""

    outcome: HeldOutcome
    why: str
    answer: Answer | None = None
    edits: Sequence[Edit] = ()
    signed: Signed | None = None
    unmet: tuple[str, ...] = ()
    file: str = ""


class HeldObject:
    """The object of one C-STORE-RQ; see `hsm_dicom.gateway.hold.Held`."""

    def __init__(self, incoming: Incoming, treatment: Treatment, caller: Caller) -> None:
        self._incoming, self._treatment, self._caller = incoming, treatment, caller
        # Only signatures are remembered by what came. The digest costs as much as receiving the octets.
        is_signed = treatment.signer is not None
        self._digest = hashlib.sha256(incoming.transfer_syntax_uid.encode() + b"\0") if is_signed else None
        self._macs = ArrivingMacs(incoming.sop_instance_uid or "", incoming.transfer_syntax_uid, treatment.choose_macs)
        self._size = 0
        self._is_deflated = False
        self._head = 0
        self._path = Path()
        """The file that came, once it is whole."""
        self._made: ExitStack = ExitStack()
        """What was made besides the file that came."""

    def write(self, data: memoryview) -> None:
        """Take the next octets of the Data Set."""
        self._size += len(data)
        if self._digest is not None:
            self._digest.update(data)
        self._incoming.write(data)
        if not self._macs.wants_to_look(self._size):
            self._macs.take(data)
        elif (seen := self._incoming.look()) is not None:
            self._macs.look(*seen)

    def treat(self) -> Handover | Answer:
        """Judge or sign the object, report what becomes of it, and return that."""
        began = time.monotonic()
        verdict = self._find_verdict()
        self._report(verdict, time.monotonic() - began)
        if verdict.answer is not None:
            return verdict.answer
        try:
            return self._hand_over(verdict)
        except (OSError, DicomFileError, RefusedInstanceError) as error:
            return Answer(OUT_OF_RESOURCES, f"The object cannot be read back: {type(error).__name__}.")

    def discard(self) -> None:
        """Remove what is held."""
        self._incoming.discard()
        self._made.close()

    # -- inside -----------------------------------------------------------------------------------------------

    @property
    def _received_sha256(self) -> bytes:
        return b"" if self._digest is None else self._digest.digest()

    def _find_verdict(self) -> _Verdict:
        try:
            self._path = self._incoming.finish(synced=False)
            return self._judge(self._path)
        except RefusedInstanceError as refused:
            outcome = _OUTCOMES.get(refused.status, HeldOutcome.MALFORMED)
            return _Verdict(outcome, f"was refused: {refused}", Answer(refused.status, str(refused)))
        except OSError as error:
            why = error.strerror or str(error)
            comment = "This node cannot write to its disk; send it again."
            return _Verdict(HeldOutcome.NO_ROOM, f"was refused: {why}", Answer(OUT_OF_RESOURCES, comment))

    def _judge(self, path: Path) -> _Verdict:
        incoming, treatment = self._incoming, self._treatment
        with open_sound(path, incoming.sop_class_uid, incoming.sop_instance_uid) as file:
            self._is_deflated, self._head = file.syntax.deflated, file.head
            try:
                made = read_signature_items(file) if treatment.signer is not None else []
            except DicomFileError as error:
                return self._refuse_signed(f"its signatures cannot be read: {error.reason}")
        source = self._open_hashed(path)
        refusal = treatment.check(source, self._caller.calling_ae_title) if treatment.check is not None else None
        if refusal is not None:
            return self._refuse(path, refusal)
        if treatment.signer is None:
            return _Verdict(HeldOutcome.VERIFIED, f"meets the policy '{treatment.settings.policy}'")
        if made:
            how = treatment.signer.settings.already_signed
            if how is AlreadySigned.PASS:
                return _Verdict(HeldOutcome.PASSED, "is signed already, and goes on as it came")
            if how is AlreadySigned.REFUSE:
                return self._refuse_signed("it is signed already, which the route refuses")
            reason = check_signatures(source)
            if reason is not None:
                return self._refuse_signed(reason)
            if treatment.signer.has_made(incoming.sop_instance_uid or "", made):
                return _Verdict(HeldOutcome.PASSED, "was signed by this route before, and goes on as it came")
        return self._sign(source, treatment.signer)

    def _open_hashed(self, path: Path) -> Path | Content:
        """Return the file with what was hashed of it while it came."""
        spans = self._macs.spans
        if not spans:
            return path
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._made.callback(os.close, fd)
        return Content(str(path), fd=fd, hashed=spans)

    def _sign(self, source: Path | Content, signer: ObjectSigner) -> _Verdict:
        uid = self._incoming.sop_instance_uid or ""
        try:
            signed = signer.sign(source, uid, self._received_sha256)
        except ConflictError as conflict:
            return _Verdict(HeldOutcome.CONFLICT, f"was refused: {conflict}", Answer(OTHER_CONTENT, str(conflict)))
        except KeyMismatchError as error:
            return self._go_without_key(error, signer.settings.unsigned)
        except (SignatureError, DicomFileError) as error:
            comment = "This object cannot be signed as the route requires."
            return _Verdict(HeldOutcome.NOT_SIGNABLE, f"cannot be signed: {error}", Answer(NOT_SIGNABLE, comment))
        except (TokenError, DicomError) as error:
            return self._go_without_key(error, signer.settings.unsigned)
        record = signed.record
        if record.status is not None and not record.is_answered and find_outcome(record.status) in _SUCCEEDED:
            signer.note_status(uid, self._received_sha256, record.status, is_answered=True)
            why = f"came before, and the target answered with status {record.status:04X} when the caller had left"
            return _Verdict(HeldOutcome.ANSWERED_BEFORE, why, Answer(record.status), signed=signed)
        outcome, why = HeldOutcome.SIGNED, "was signed"
        if not signed.is_new:
            outcome, why = HeldOutcome.SIGNED_BEFORE, "came before, and goes on with the same signature"
        elif signed.conflicts:
            outcome = HeldOutcome.CONFLICT
            why = "was signed, although another object with its SOP Instance UID was signed before"
        return _Verdict(outcome, why, edits=signed.insertion.shift(self._head), signed=signed)

    def _go_without_key(self, error: Exception, unsigned: Unsigned | None) -> _Verdict:
        why = str(error).rstrip(".")
        if unsigned is not None and unsigned.is_valid:
            return _Verdict(
                HeldOutcome.UNSIGNED,
                f"goes on unsigned until {unsigned.until:%Y-%m-%d} ({unsigned.reason}), because: {why}",
            )
        comment = "The signing key cannot be used now; send it again."
        return _Verdict(HeldOutcome.NO_KEY, f"was refused: {why}", Answer(OUT_OF_RESOURCES, comment))

    def _refuse(self, path: Path, refusal: Refusal) -> _Verdict:
        quarantine = self._treatment.settings.quarantine
        if quarantine is None:
            answer = Answer(NOT_ACCEPTED, refusal.comment)
            return _Verdict(HeldOutcome.UNMET, f"was refused: {refusal.text}", answer, unmet=refusal.unmet)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        place = put_into_quarantine(path, self._incoming.sop_instance_uid or "", refusal, quarantine.folder)
        answer = Answer(0x0000) if quarantine.answers_success else Answer(NOT_ACCEPTED, refusal.comment)
        why = f"was put into quarantine as {place}: {refusal.text}"
        return _Verdict(HeldOutcome.QUARANTINED, why, answer, unmet=refusal.unmet, file=str(place))

    def _refuse_signed(self, why: str) -> _Verdict:
        return _Verdict(HeldOutcome.ALREADY_SIGNED, f"was refused: {why}", Answer(ALREADY_SIGNED, why))

    def _hand_over(self, verdict: _Verdict) -> FileHandover:
        signer, uid = self._treatment.signer, self._incoming.sop_instance_uid or ""
        note = None if signer is None or verdict.signed is None else signer.make_note(uid, self._received_sha256)
        path, edits = self._path, verdict.edits
        if edits and self._is_deflated:
            path, edits = self._deflate(path, edits), ()
        return FileHandover(path, self._head, edits, self.discard, note)

    def _deflate(self, path: Path, edits: Sequence[Edit]) -> Path:
        """Write the signed object of a deflated one, whose octets change from the signature on."""
        made, lock = open_part(self._treatment.settings.folder, self._incoming.sop_instance_uid or "")
        self._made.callback(os.close, lock)
        self._made.callback(made.unlink, missing_ok=True)
        with DicomFile.open(path) as file, os.fdopen(os.dup(lock), "wb") as target:
            write_stream(file, list(edits), target.write)
        return made

    def _report(self, verdict: _Verdict, seconds: float) -> None:
        name, caller, incoming = self._treatment.name, self._caller, self._incoming
        caller.count(verdict.outcome)
        kind: type[ObjectHeld | ObjectRefused] = ObjectRefused if verdict.outcome in TROUBLES else ObjectHeld
        emit(
            kind(
                name=name,
                address=caller.address,
                text=f"{name}: an object of '{caller.calling_ae_title}' from {caller.address} "
                f"{verdict.why.rstrip('.')}.",
                outcome=str(verdict.outcome),
                sop_class_uid=incoming.sop_class_uid or "",
                sop_instance_uid=incoming.sop_instance_uid or "",
                size=self._size,
                status=None if verdict.answer is None else verdict.answer.status,
                seconds=seconds,
                signature_uid="" if verdict.signed is None else verdict.signed.record.signature_uid,
                left_out=() if verdict.signed is None else verdict.signed.left_out,
                unmet=verdict.unmet,
                file=verdict.file,
            )
        )
