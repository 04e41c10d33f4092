"""Record of refused PINs: a PIN that a device refused is not presented to it again.

A token counts wrong PINs and locks. A service that restarts with an outdated PIN would lock it within seconds, so
refusals are stored in the state folder, in one small file for each device (`tokens.pins.refusal_record`). The PIN
itself is not stored. Somebody who can read the file could try short PINs against the digest, slowly, so only its owner
can read it.

A PIN is recorded *before* it is presented, and removed when the token has accepted it: after a crash, a power cut or a
full disk in between, it counts as refused. `RefusalMemory.forgive` clears a token's refusals.

A device that fails during a login answers with a device error, and some middleware answers so to a wrong PIN. Such an
unclear answer is not yet a refusal if the same PIN was accepted before: that acceptance is removed from the record, and
the PIN is presented once more. Only another acceptance allows another such presentation.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, auto

from tokens.errors import Facts, PinNotPresentedError, PinSourceError, Reason, TokenError
from tokens.pins.companions import record_refusal, watch_presentation
from tokens.pins.refusal_record import Record, Refusal
from tokens.pins.sources import Pin
from tokens.process.state_folder import StateFolder


def role_name(role: str) -> str:
    """Return the role for messages: user, SO."""
    return "SO" if role == "so" else role


@dataclass(frozen=True)
class DeviceName:
    """The name under which a device's refusals are recorded: its serial number, for all modules and labels.

    If the serial number is empty, all zeros, or was seen on several devices (`shared`), the other attributes count too.
    `reference` is what a person types to name the device.
    """

    serial: str
    label: str = ""
    manufacturer: str = ""
    module: str = ""
    shared: bool = False
    reference: str = ""

    @property
    def is_distinct(self) -> bool:
        """Whether the serial number alone identifies this device, as far as is known."""
        return bool(self.serial.strip("0 ")) and not self.shared

    @property
    def companion(self) -> Hashable:
        """What identifies the device among its companions in this process; see `tokens.pins.companions`."""
        return self.serial, self.label, self.manufacturer, self.module

    @property
    def wide_file(self) -> str:
        """The record for every device with this serial number."""
        return f"{self._beginning}.json"

    @property
    def own_file(self) -> str:
        """The record to which refusals of this device are written."""
        if self.is_distinct or not (self.label or self.manufacturer or self.module):
            return self.wide_file
        others = "\0".join((self.module, self.label, self.manufacturer))
        return f"{self._beginning}-{hashlib.sha256(others.encode()).hexdigest()[:16]}.json"

    @property
    def lock(self) -> str:
        """The lock to hold while a PIN is presented to such a device."""
        return self._beginning

    @property
    def _beginning(self) -> str:
        # A serial number is the token's own text: it must not lead out of the folder.
        plain = re.sub(r"[^A-Za-z0-9]", "_", self.serial)
        return f"refused-{plain}-{hashlib.sha256(self.serial.encode()).hexdigest()[:8]}"


Device = DeviceName | str
"""A device, or its serial number alone."""


class Answer(Enum):
    """The answer of a device to a PIN."""

    REFUSED = auto()
    """The PIN is wrong."""
    UNCLEAR = auto()
    """A device error: the device may or may not have checked the PIN."""
    ACCEPTED = auto()
    """CKR_OK."""
    NOT_CHECKED = auto()
    """An error that means that the device did not check the PIN."""


@dataclass
class Presentation:
    """One PIN that is being presented. Set `answer`: without it, the entry is removed when the block ends."""

    may_be_repeated: bool = False
    """Whether this PIN was accepted before, so that after an unclear answer it is presented once more."""
    answer: Answer = field(default=Answer.NOT_CHECKED, init=False)
    readable_again: bool = field(default=True, init=False)
    """Whether the PIN can be read again on this machine by another process; False for one that was typed."""
    low_stays: bool = field(default=False, init=False)
    """Whether the device went on to report a low retry counter after it had accepted the PIN."""

    def refuse(self) -> None:
        """Set the answer to a refusal, so that the entry stays."""
        self.answer = Answer.REFUSED


@dataclass(frozen=True)
class _Entered:
    """A PIN that was recorded and is to be presented."""

    pin: Pin
    entry: Refusal
    before: Record
    repeated: bool
    """Whether it is presented once more after an unclear answer, which uses up the acceptance."""

    def settle(self, presentation: Presentation) -> Record:
        """Return the record after the answer."""
        match presentation.answer:
            case Answer.REFUSED:
                return replace(self.before.add(self.entry), accepted=None, low_stays=False)
            case Answer.UNCLEAR:
                return replace(self.before.add(replace(self.entry, unclear=True)), low_stays=False)
            case Answer.ACCEPTED:
                struck_out = self.before.remove(self.entry)
                accepted = struck_out.accept(
                    self.pin, self.entry.digest, datetime.now(UTC), readable_again=presentation.readable_again
                )
                return replace(accepted, low_stays=presentation.low_stays)
        return self.before.add(self.entry) if self.repeated else self.before


class RefusalMemory(StateFolder):
    """The refused PINs of all devices, in one folder. Safe between threads and between processes."""

    @contextlib.contextmanager
    def present(
        self, device: Device, role: str, pin: Pin | None, check_again: Callable[[Refusal], None] | None = None
    ) -> Iterator[Presentation]:
        """Hold the exclusive right to present a PIN to this device; others wait, and see a refusal.

        The PIN is entered as refused, on disk, before the block begins, and settled by the presentation's answer when
        the block ends well or with a `TokenError` (the device has answered); however else it ends, the entry stays.

        `check_again` is called with the refusal of an unclear answer before that PIN is presented once more, and raises
        where that may not be; for None no PIN is. Raises `PinNotPresentedError` if this PIN was refused before, by this
        device or by one of its companions (see `tokens.pins.companions`), and `PinSourceError` if a refusal could not
        be remembered (then the PIN must not be presented at all).
        """
        named = _parse_name(device)
        with (
            watch_presentation(named.companion, pin) as watch,
            self._present(named, role, pin, check_again) as presentation,
        ):
            watch.was_refused = lambda: presentation.answer is Answer.REFUSED
            yield presentation

    @contextlib.contextmanager
    def _present(
        self, named: DeviceName, role: str, pin: Pin | None, check_again: Callable[[Refusal], None] | None
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
            if known is not None:
                if not (known.unclear and accepted and check_again is not None):
                    raise _not_presented(named, known)
                check_again(known)
                own = replace(own, accepted=None)
            entered = _Entered(pin, Refusal(role, datetime.now(UTC), digest), own, repeated=known is not None)
            self.write(name, str(own.add(entered.entry)))
            presentation = Presentation(may_be_repeated=accepted and known is None)
            try:
                yield presentation
            except TokenError:
                self.write(name, str(entered.settle(presentation)))
                raise
            self.write(name, str(entered.settle(presentation)))

    def record(self, device: Device, role: str, pin: Pin) -> None:
        """Record a PIN that was refused although the token had accepted it before."""
        named = _parse_name(device)
        with self.lock(named.lock):
            own, name = self._own(named)
            entered = own.add(Refusal(role, datetime.now(UTC), own.digest(pin)))
            self.write(name, str(replace(entered, accepted=None, low_stays=False)))
        record_refusal(named.companion, pin)

    def record_unclear(self, device: Device, pin: Pin) -> None:
        """Record the accepted user PIN after an unclear answer, so that one presentation is left."""
        named = _parse_name(device)
        with self.lock(named.lock):
            own, name = self._own(named)
            digest = own.digest(pin)
            if own.has_accepted(pin, digest):
                self.write(name, str(own.add(Refusal("user", datetime.now(UTC), digest, unclear=True))))

    def remove_refusal(self, device: Device, role: str, pin: Pin) -> None:
        """Remove one PIN that the device has not refused after all, or that was set as the correct one.

        It is not the accepted one: nothing is left for an earlier acceptance.
        """
        named = _parse_name(device)
        with self.lock(named.lock):
            for name in {named.wide_file, self._own(named)[1]}:
                record = self._load(name)
                if record.refusals or record.accepted:
                    struck_out = record.remove(Refusal(role, datetime.now(UTC), record.digest(pin)))
                    self.write(name, str(replace(struck_out, accepted=None)))

    def refusals(self, device: Device) -> list[Refusal]:
        """Return the recorded refusals of one device."""
        named = _parse_name(device)
        own, name = self._own(named)
        wide = () if name == named.wide_file else self._load(named.wide_file).refusals
        return [*wide, *own.refusals]

    def has_refusal(self, device: Device, role: str) -> bool:
        """Return whether any PIN of this role is recorded as refused."""
        return any(refusal.role == role for refusal in self.refusals(device))

    def has_refused(self, device: Device, role: str, pin: Pin) -> bool:
        """Return whether this PIN is recorded as refused; an unclear answer is no refusal."""
        if not self.has_refusal(device, role):
            return False  # without a digest, which takes a tenth of a second
        named = _parse_name(device)
        own, _ = self._own(named)
        known = self._find_known(named, own, role, pin, own.digest(pin))
        return known is not None and not known.unclear

    def is_distinct(self, serial: str) -> bool:
        """Return whether a serial number alone identifies a device, as far as is known."""
        named = DeviceName(serial)
        return named.is_distinct and not self._load(named.wide_file).shared

    def low_stays(self, device: Device) -> bool:
        """Return whether the device reported a low retry counter right after a login by a person."""
        return self._own(_parse_name(device))[0].low_stays

    def clear(self, device: Device) -> int:
        """Clear all refusals of one device, or of all devices with a serial number; returns how many there were."""
        named = _parse_name(device)
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


def _parse_name(device: Device) -> DeviceName:
    return DeviceName(device) if isinstance(device, str) else device


def _not_presented(named: DeviceName, known: Refusal) -> PinNotPresentedError:
    return PinNotPresentedError(
        f"This {role_name(known.role)} PIN was refused by the token with serial {named.serial} on "
        f"{known.when:%Y-%m-%d %H:%M} UTC, or its answer was lost. It is not presented again, because wrong PINs "
        "lock the token.",
        remedy="Use the correct PIN; or, if this PIN is correct, clear the recorded refusal.",
        facts=Facts(reason=Reason.PIN_RECORDED, reference=named.reference or named.serial, role=known.role),
    )
