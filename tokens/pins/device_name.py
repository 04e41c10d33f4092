"""The name under which a device's PINs are recorded, and the files and the lock of that record."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable
from dataclasses import dataclass


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
    uri: str = ""
    """The URI of the device, for remedies."""

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


def parse_name(device: Device) -> DeviceName:
    """Return the name of a device."""
    return DeviceName(device) if isinstance(device, str) else device
