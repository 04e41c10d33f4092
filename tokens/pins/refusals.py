"""Record of the PINs that a device did not accept: a PIN that it refused is not presented to it again.

A token counts wrong PINs and locks. A service that restarts with an outdated PIN would lock it within seconds, so
refusals are stored in the state folder, in one small file for each device (`tokens.pins.refusal_record`). The PIN
itself is not stored. Somebody who can read the file could try short PINs against the digest, slowly, so only its owner
can read it.

A PIN is recorded *before* it is presented, as unanswered, and removed when the token has accepted it. It stays
unanswered after a deadline, a crash, a power cut or a full disk in between. An unanswered PIN is not presented
unattended. It is settled by the answer, if that comes late, and by the device's retry counter; a person may present it
again. `RefusalMemory.clear` clears a token's record.

A device that fails during a login answers with a device error, and some middleware answers so to a wrong PIN. Such an
unclear answer is not yet a refusal if the same PIN was accepted before: that acceptance is removed from the record, and
the PIN is presented once more. Only another acceptance allows another such presentation. An unanswered PIN has the same
allowance when nothing waits for its answer any longer, except after a crash.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from tokens.errors import Facts, LoginTimeoutError, PinNotPresentedError, PinSourceError, Reason
from tokens.pins.companions import record_refusal, watch_presentation
from tokens.pins.device_name import Device, DeviceName, parse_name
from tokens.pins.presentation import Answer, Entered, Presentation
from tokens.pins.refusal_record import Record, Refusal, State
from tokens.pins.sources import Pin
from tokens.process.state_folder import StateFolder


def role_name(role: str) -> str:
    """Return the role for messages: user, SO."""
    return "SO" if role == "so" else role


def describe_unanswered(entries: list[Refusal]) -> str:
    """Return what a person who is asked for a PIN is told about the entries that are unanswered."""
    unanswered = [entry for entry in entries if entry.state is State.UNANSWERED]
    if not unanswered:
        return ""
    return f" (a PIN that was presented on {unanswered[-1].when:%Y-%m-%d %H:%M} UTC was not answered)"


class RefusalMemory(StateFolder):
    """The refused PINs of all devices, in one folder. Safe between threads and between processes."""

    @contextlib.contextmanager
    def present(
        self,
        device: Device,
        role: str,
        pin: Pin | None,
        check_again: Callable[[Refusal], None] | None = None,
        *,
        attended: bool = False,
        retries: int | None = None,
    ) -> Iterator[Presentation]:
        """Hold the exclusive right to present a PIN to this device; others wait, and see the answer.

        The PIN is entered as unanswered, on disk, before the block begins, and settled by the presentation's answer
        when the block ends. If that is `Answer.UNANSWERED` and `Presentation.is_awaited` is set, call
        `Presentation.settle_late` when the answer comes after all.

        `attended` tells whether a person has just given this PIN, and may present an unanswered one. `retries` is what
        the device reports of its retry counter. `check_again` is called with the entry of an unclear or unanswered PIN
        before it is presented once more unattended, and raises where that may not be; for None no PIN is.

        Raises `LoginTimeoutError` if this PIN is unanswered and a process waits for the answer, `PinNotPresentedError`
        if it may not be presented to this device for another reason or because one of its companions refused it (see
        `tokens.pins.companions`), and `PinSourceError` if a refusal could not be remembered (then the
        PIN must not be presented at all).
        """
        named = parse_name(device)
        with (
            watch_presentation(named.companion, pin) as watch,
            self._present(named, role, pin, check_again, attended, retries) as presentation,
        ):
            watch.was_refused = lambda: presentation.answer is Answer.REFUSED
            yield presentation

    @contextlib.contextmanager
    def _present(
        self,
        named: DeviceName,
        role: str,
        pin: Pin | None,
        check_again: Callable[[Refusal], None] | None,
        attended: bool,
        retries: int | None,
    ) -> Iterator[Presentation]:
        with self.lock(named.lock):
            if pin is None:
                yield Presentation()
                return
            self._note_shared(named)
            own, name = self._own(named)
            digest = own.digest(pin)
            accepted = own.has_accepted(pin, digest)
            known = self._find_known(named, own, role, pin, digest)
            if known is not None and not (attended and known.state is State.UNANSWERED):
                self._require_repeatable(named, known, may_be_repeated=accepted and check_again is not None)
                if check_again is not None:
                    check_again(known)
            entry = Refusal(role, datetime.now(UTC), digest, State.UNANSWERED, retries)
            entered = Entered(pin, entry, known)
            # After a crash nothing is left for an earlier acceptance of this PIN.
            without = replace(own, accepted=None) if accepted else own
            self.write(name, str(without.add(entry)))
            presentation = Presentation(
                lambda late: self._settle_late(named, name, entered, late),
                may_be_repeated=accepted and known is None,
            )
            try:
                yield presentation
            finally:
                if presentation.answer is Answer.UNANSWERED and presentation.is_awaited:
                    presentation.wait_for_answer(self.hold(_marker_of(named)))
                is_spent = known is not None and presentation.answer is not Answer.NOT_CHECKED
                is_spent |= known is not None and known.state is State.UNCLEAR
                self.write(name, str(entered.settle(without if is_spent else own, presentation)))
                if presentation.answer is Answer.ACCEPTED and name != named.wide_file:
                    self._strike_out(named.wide_file, role, pin)

    def _require_repeatable(self, named: DeviceName, known: Refusal, *, may_be_repeated: bool) -> None:
        if known.state is State.UNANSWERED and self.is_held(_marker_of(named)):
            # The answer may still settle it, so a service may be started again after this error.
            raise LoginTimeoutError(
                f"{_describe_unanswered(named, known)} A process is still waiting for the answer.",
                remedy="Wait for that process, or end it; then log in again.",
                facts=_make_facts(named, known),
            )
        if known.state is State.REFUSED or not may_be_repeated:
            raise _make_not_presented_error(named, known)

    def _settle_late(self, named: DeviceName, name: str, entered: Entered, presentation: Presentation) -> None:
        with self.lock(named.lock):
            record = self._load(name)
            entry = replace(entered.entry, digest=record.digest(entered.pin))  # the record may have been cleared
            current = record.find(entry.role, entry.digest)
            if presentation.answer is not Answer.REFUSED and current is not None and current.when != entry.when:
                return  # the PIN was presented again meanwhile
            if presentation.answer is Answer.UNCLEAR and (current is None or current.state is State.REFUSED):
                return
            if presentation.answer is Answer.NOT_CHECKED and current is None:
                return
            self.write(name, str(replace(entered, entry=entry).settle(record, presentation)))
        if presentation.answer is Answer.REFUSED:
            record_refusal(named.companion, entered.pin)

    def record_unanswered(self, device: Device, pin: Pin, retries: int | None = None) -> Presentation:
        """Record a user PIN that the device had accepted and has not answered now; a late answer settles it."""
        named = parse_name(device)
        with self.lock(named.lock):
            own, name = self._own(named)
            entry = Refusal("user", datetime.now(UTC), own.digest(pin), State.UNANSWERED, retries)
            entered = Entered(pin, entry, None)
            presentation = Presentation(
                lambda late: self._settle_late(named, name, entered, late),
                may_be_repeated=own.has_accepted(pin, entry.digest),
            )
            presentation.wait_for_answer(self.hold(_marker_of(named)))
            self.write(name, str(own.add(entry)))
        return presentation

    def settle_by_retries(
        self, device: Device, role: str, retries: int | None, *, exact: bool = False
    ) -> list[Refusal]:
        """Settle unanswered PINs by what the device reports of its retry counter now.

        A lower counter than before the presentation means that the PIN was wrong; one that is `exact` and not lower,
        that it was not. Returns those that stay unanswered, and those that turned out to be wrong.
        """
        named = parse_name(device)
        unanswered = [r for r in self.refusals(named) if r.role == role and r.state is State.UNANSWERED]
        if not unanswered:
            return []
        with self.lock(named.lock):
            for name in sorted({named.wide_file, self._own(named)[1]}):
                record = self._load(name)
                if retries is not None and record.refusals:
                    settled = record.settle_by_retries(role, retries, exact=exact)
                    if settled != record:
                        self.write(name, str(settled))
            before = {r.when for r in unanswered}
            return [r for r in self.refusals(named) if r.role == role and r.when in before]

    def record(self, device: Device, role: str, pin: Pin) -> None:
        """Record a PIN that was refused although the token had accepted it before."""
        named = parse_name(device)
        with self.lock(named.lock):
            own, name = self._own(named)
            entered = own.add(Refusal(role, datetime.now(UTC), own.digest(pin)))
            self.write(name, str(replace(entered, accepted=None, low_stays=False)))
        record_refusal(named.companion, pin)

    def record_unclear(self, device: Device, pin: Pin) -> None:
        """Record the accepted user PIN after an unclear answer, so that one presentation is left."""
        named = parse_name(device)
        with self.lock(named.lock):
            own, name = self._own(named)
            digest = own.digest(pin)
            if own.has_accepted(pin, digest):
                self.write(name, str(own.add(Refusal("user", datetime.now(UTC), digest, State.UNCLEAR))))

    def remove_refusal(self, device: Device, role: str, pin: Pin) -> None:
        """Remove one PIN that the device has not refused after all, or that was set as the correct one.

        It is not the accepted one: nothing is left for an earlier acceptance.
        """
        named = parse_name(device)
        with self.lock(named.lock):
            for name in {named.wide_file, self._own(named)[1]}:
                record = self._load(name)
                if record.refusals or record.accepted:
                    struck_out = record.remove(Refusal(role, datetime.now(UTC), record.digest(pin)))
                    self.write(name, str(replace(struck_out, accepted=None)))

    def refusals(self, device: Device) -> list[Refusal]:
        """Return the recorded PINs of one device that it did not accept."""
        named = parse_name(device)
        own, name = self._own(named)
        wide = () if name == named.wide_file else self._load(named.wide_file).refusals
        return [*wide, *own.refusals]

    def has_refusal(self, device: Device, role: str) -> bool:
        """Return whether any PIN of this role is recorded as not accepted."""
        return any(refusal.role == role for refusal in self.refusals(device))

    def has_unanswered(self, device: Device, role: str) -> bool:
        """Return whether any PIN of this role is recorded as unanswered, by this process or another one."""
        return any(entry.role == role and entry.state is State.UNANSWERED for entry in self.refusals(device))

    def has_refused(self, device: Device, role: str, pin: Pin) -> bool:
        """Return whether this PIN is recorded as refused; an unclear answer, or none, is no refusal."""
        return any(known.state is State.REFUSED for known, _ in self._find_entry(device, role, pin))

    def check(self, device: Device, role: str, pin: Pin) -> None:
        """Raise the error with which this PIN, given unattended, may not be presented. Presents and records nothing."""
        for known, was_accepted in self._find_entry(device, role, pin):
            self._require_repeatable(parse_name(device), known, may_be_repeated=was_accepted)

    def _find_entry(self, device: Device, role: str, pin: Pin) -> Iterator[tuple[Refusal, bool]]:
        """Yield the entry of this PIN, if there is one, and whether the device had accepted it before."""
        if not self.has_refusal(device, role):
            return  # without a digest, which takes a tenth of a second
        named = parse_name(device)
        own, _ = self._own(named)
        digest = own.digest(pin)
        known = self._find_known(named, own, role, pin, digest)
        if known is not None:
            yield known, own.has_accepted(pin, digest)

    def is_distinct(self, serial: str) -> bool:
        """Return whether a serial number alone identifies a device, as far as is known."""
        named = DeviceName(serial)
        return named.is_distinct and not self._load(named.wide_file).shared

    def low_stays(self, device: Device) -> bool:
        """Return whether the device reported a low retry counter right after a login by a person."""
        return self._own(parse_name(device))[0].low_stays

    def clear(self, device: Device) -> int:
        """Clear all refusals of one device, or of all devices with a serial number; returns how many there were."""
        named = parse_name(device)
        with self.lock(named.lock):
            names = {named.wide_file, self._own(named)[1]}
            if isinstance(device, str):
                names |= set(self.names(named.wide_file.removesuffix(".json") + "-", ".json"))
            count = 0
            for name in names:
                record = self._load(name)
                count += len(record.refusals)
                if record.shared:
                    self.write(name, str(Record(shared=True)))
                else:
                    self.remove(name)
        return count

    def _strike_out(self, name: str, role: str, pin: Pin) -> None:
        """Remove a PIN that was accepted from the record that other devices may share."""
        record = self._load(name)
        if record.refusals:
            self.write(name, str(record.remove(Refusal(role, datetime.now(UTC), record.digest(pin)))))

    def _own(self, named: DeviceName) -> tuple[Record, str]:
        """Return the record to which this device's refusals are written, and its name."""
        wide = self._load(named.wide_file)
        name = replace(named, shared=named.shared or wide.shared).own_file
        return (wide if name == named.wide_file else self._load(name)), name

    def _note_shared(self, named: DeviceName) -> None:
        """Record that several devices have this serial number: only one of them may be present next time."""
        if named.shared:
            wide = self._load(named.wide_file)
            if not wide.shared:
                self.write(named.wide_file, str(replace(wide, shared=True)))

    def _find_known(self, named: DeviceName, own: Record, role: str, pin: Pin, digest: bytes) -> Refusal | None:
        """Return the refusal of this PIN by this device, or by any device with its serial number."""
        known = own.find(role, digest)
        if known is None:
            wide = self._load(named.wide_file)
            if wide.salt != own.salt and wide.refusals:
                known = wide.find(role, wide.digest(pin))
        return known

    def _load(self, name: str) -> Record:
        try:
            text = self.read(name)
            return Record() if text is None else Record.parse(text)
        except (ValueError, KeyError, TypeError) as error:
            raise PinSourceError(
                f"{self.folder / name}, which records refused PINs, cannot be understood.",
                remedy="Look at it, then remove it.",
            ) from error


def _marker_of(named: DeviceName) -> str:
    """Return the lock that is held, and shared, while a process waits for a late answer of the device."""
    return f"{named.lock}-waiting"


def _make_facts(named: DeviceName, known: Refusal) -> Facts:
    return Facts(
        reason=Reason.PIN_UNANSWERED if known.state is State.UNANSWERED else Reason.PIN_RECORDED,
        uri=named.uri,
        reference=named.reference or named.serial,
        role=known.role,
    )


def _describe_unanswered(named: DeviceName, known: Refusal) -> str:
    return (
        f"The token with serial {named.serial} has not answered this {role_name(known.role)} PIN since "
        f"{known.when:%Y-%m-%d %H:%M} UTC: the answer is late, or was lost. It is not presented unattended, because it "
        "may be wrong, and wrong PINs lock the token."
    )


def _make_not_presented_error(named: DeviceName, known: Refusal) -> PinNotPresentedError:
    if known.state is State.UNANSWERED:
        return PinNotPresentedError(
            _describe_unanswered(named, known),
            remedy="Log in once with a typed PIN; or, if this PIN is correct, clear the record.",
            facts=_make_facts(named, known),
        )
    return PinNotPresentedError(
        f"This {role_name(known.role)} PIN was refused by the token with serial {named.serial} on "
        f"{known.when:%Y-%m-%d %H:%M} UTC. It is not presented again, because wrong PINs lock the token.",
        remedy="Use the correct PIN; or, if this PIN is correct, clear the recorded refusal.",
        facts=_make_facts(named, known),
    )
