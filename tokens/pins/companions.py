"""Companions: devices that hold one key, and often one PIN. A PIN that one of them refused is not presented to another.

A service that cannot log in to one of two devices would otherwise present the same wrong PIN to the other, and lock
both. The values are recognised in this process only, by a digest under a key that ends with the process. Two companions
are not given one value at the same time: the second one waits for the answer of the first.
"""

from __future__ import annotations

import contextlib
import hmac
import os
from collections.abc import Callable, Hashable, Iterator

from tokens.errors import Facts, PinNotPresentedError, PinSourceError, Reason
from tokens.pins.sources import Pin, PinSource
from tokens.process.forking import LockAcrossForks

_KEY_OF_THIS_PROCESS = os.urandom(32)


class Companions:
    """The devices of one group, and the PIN values that one of them refused since the group was formed."""

    def __init__(self) -> None:
        self._devices: dict[Hashable, str] = {}
        self._refused: dict[bytes, Hashable] = {}
        self._presenting: dict[bytes, LockAcrossForks] = {}

    def add(
        self, device: Hashable, description: str, source: PinSource | None, has_refused: Callable[[Pin], bool]
    ) -> None:
        """Add a device. `description` names it in messages.

        If its own PIN can be read unattended and again, and `has_refused` returns that the device has refused it, in
        an earlier process too, the value counts as refused.
        """
        self._devices[device] = description
        if source is None or source.attended or not source.repeatable:
            return
        with contextlib.suppress(PinSourceError):  # reported when it is to be presented
            pin = source.read("PIN")
            if pin is None:
                return
            try:
                if has_refused(pin):
                    self.record_refusal(_digest(pin), device)
            finally:
                pin.wipe()

    def has(self, device: Hashable) -> bool:
        """Return whether a device is in the group."""
        return device in self._devices

    def close(self) -> None:
        """End the group, and forget what was refused."""
        _groups.remove(self)

    def record_refusal(self, digest: bytes, device: Hashable) -> None:
        """Record that a device refused the value with this digest."""
        self._refused[digest] = device

    def hold(self, digest: bytes) -> LockAcrossForks:
        """Return the lock to hold while this value is presented."""
        return self._presenting.setdefault(digest, LockAcrossForks())

    def require_unrefused(self, digest: bytes, device: Hashable) -> None:
        """Raise `PinNotPresentedError` if another device refused this value. The device has a record of its own."""
        refuser = None
        for known, one in list(self._refused.items()):
            if hmac.compare_digest(known, digest) and one != device:
                refuser = one
        if refuser is not None:
            raise PinNotPresentedError(
                f"This PIN was refused by {self._devices[refuser]}, which holds the same key, so it is not presented "
                f"to {self._devices[device]}.",
                remedy="Correct the PIN, or give each token a PIN source of its own; then open the key again.",
                facts=Facts(reason=Reason.PIN_REFUSED_BY_COMPANION),
            )


class _Groups:
    """The groups of this process."""

    def __init__(self) -> None:
        self._groups: list[Companions] = []
        self._changing = LockAcrossForks()

    def add(self, group: Companions) -> None:
        with self._changing:
            self._groups.append(group)

    def remove(self, group: Companions) -> None:
        with self._changing:
            self._groups = [one for one in self._groups if one is not group]

    def find(self, device: Hashable) -> list[Companions]:
        """Return the groups of a device."""
        with self._changing:
            return [group for group in self._groups if group.has(device)]


_groups = _Groups()


def form_companions() -> Companions:
    """Form a group without devices, which applies in this process until it is closed."""
    group = Companions()
    _groups.add(group)
    return group


class Watch:
    """A presentation in progress. `was_refused` is set by the one who knows the answer."""

    def __init__(self) -> None:
        self.was_refused: Callable[[], bool] | None = None


@contextlib.contextmanager
def watch_presentation(device: Hashable, pin: Pin | None) -> Iterator[Watch]:
    """Present a PIN to a device in the block, unless a companion refused this value; record a refusal at its end.

    Raises `PinNotPresentedError` if a companion refused it. A device without companions costs nothing, and neither does
    a PIN that is typed on the device, which this process does not see.
    """
    watch = Watch()
    groups = _groups.find(device)
    if pin is None or not groups:
        yield watch
        return
    digest = _digest(pin)
    with contextlib.ExitStack() as stack:
        for group in groups:
            stack.enter_context(group.hold(digest))
        for group in groups:
            group.require_unrefused(digest, device)
        try:
            yield watch
        except PinNotPresentedError as error:
            if error.facts is not None and error.facts.reason is Reason.PIN_RECORDED:
                _record(groups, digest, device)
            raise
        finally:
            if watch.was_refused is not None and watch.was_refused():
                _record(groups, digest, device)


def record_refusal(device: Hashable, pin: Pin) -> None:
    """Record that a device refused a PIN outside of a watched presentation."""
    groups = _groups.find(device)
    if groups:
        _record(groups, _digest(pin), device)


def _record(groups: list[Companions], digest: bytes, device: Hashable) -> None:
    for group in groups:
        group.record_refusal(digest, device)


def _digest(pin: Pin) -> bytes:
    return hmac.digest(_KEY_OF_THIS_PROCESS, pin.octets(), "sha256")
