"""Emergency settings: a route that passes objects unexamined, or leaves TLS, until a day, for a reason.

One command makes one, so that examinations can go on while a part of the secured connection fails. It replaces
settings of the configuration without changing the file, lapses after its last day (in UTC, as other exceptions do), is
an urgent condition for as long as it holds, and is an event when it begins, at each start, and when it ends.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from hsm_dicom.errors import DicomError
from hsm_dicom.gateway.events import EmergencySettingChanged
from hsm_dicom.gateway.settings import Objects, PlainDevice, RouteSettings
from hsm_dicom.gateway.state_file import StateFileError, lock_state, read_state, write_state
from hsm_dicom.gateway.status import EmergencyStatus
from hsm_dicom.network.addresses import Address
from hsm_dicom.network.settings import Peer

SCHEMA = "hsm-dicom/emergency/1"
FILE_NAME = "emergency.json"

MOST_DAYS = 90
"""How many days ahead the last day may be."""

_LONGEST_TEXT = 500


class EmergencySettingError(DicomError):
    """An emergency setting cannot be made, or does not fit the route."""


@dataclass(frozen=True, kw_only=True)
class EmergencySetting:
    """What replaces the settings of one route. At least one of `passes_objects` and `plain` is set.

    `passes_objects` sets `objects = "pass"`. `plain` is an address at which the target accepts plain DICOM; the route
    then connects there, without TLS or ISCL. `until` is the last day, in UTC.
    """

    route: str
    passes_objects: bool = False
    plain: Address | None = None
    reason: str
    operator: str
    since: datetime
    until: date

    @property
    def setting(self) -> str:
        """What replaces the configuration, in words, such as "objects = pass"."""
        parts = ["objects = pass"] if self.passes_objects else []
        if self.plain is not None:
            host, port = self.plain
            parts.append(f"plain DICOM to [{host}]:{port}" if ":" in host else f"plain DICOM to {host}:{port}")
        return ", ".join(parts)

    @property
    def status(self) -> EmergencyStatus:
        """The setting as the status page shows it."""
        return EmergencyStatus(setting=self.setting, reason=self.reason, operator=self.operator, until=self.until)

    def is_active(self, today: date) -> bool:
        """Return whether the setting holds on a day."""
        return today <= self.until

    def make_event(self, change: str) -> EmergencySettingChanged:
        """Make the event of a change: "begun", "active" (at a start), "ended" or "lapsed"."""
        words = {
            "begun": f"runs with the emergency setting {self.setting} until {self.until}",
            "active": f"runs with the emergency setting {self.setting} until {self.until}",
            "ended": f"runs as configured again; the emergency setting {self.setting} was ended",
            "lapsed": f"runs as configured again; the last day of the emergency setting {self.setting} is over",
        }
        return EmergencySettingChanged(
            name=self.route,
            address="",
            text=f"{self.route}: {words[change]} ({self.reason}; {self.operator}).",
            change=change,
            setting=self.setting,
            reason=self.reason,
            operator=self.operator,
            until=self.until.isoformat(),
        )


def check_emergency(setting: EmergencySetting, today: date) -> None:
    """Raise `EmergencySettingError` unless the setting has an effect, a reason, and an end that is near."""
    if not setting.passes_objects and setting.plain is None:
        raise EmergencySettingError(
            "Nothing is set.", remedy="Give --objects pass, or --plain HOST:PORT, where the target accepts plain DICOM."
        )
    for name, text in (("reason", setting.reason), ("operator", setting.operator)):
        if not text.strip() or len(text) > _LONGEST_TEXT or not text.isprintable():
            raise EmergencySettingError(
                f"The {name} is empty, longer than {_LONGEST_TEXT} characters, or not one line of text.",
                remedy=f"Write it like --{name} '{'TLS key lost, ticket 4711' if name == 'reason' else 'NAME'}'.",
            )
    last = today + timedelta(days=MOST_DAYS)
    if not today <= setting.until <= last:
        why = "is over" if setting.until < today else f"is more than {MOST_DAYS} days ahead"
        raise EmergencySettingError(
            f"The last day {setting.until} {why}.",
            remedy=f"Give --until a day from {today} to {last}.",
        )


def apply_emergency(settings: RouteSettings, emergency: EmergencySetting) -> RouteSettings:
    """Return the settings of a route with an emergency setting. Raises `EmergencySettingError` if it does not fit.

    A route that leaves TLS has a `PlainDevice` as its target, with the name and the AE titles of the peer.
    """
    if emergency.passes_objects:
        settings = replace(settings, objects=Objects.PASS)
    if emergency.plain is not None:
        settings = replace(settings, target=make_plain_target(settings.target, emergency))
    return settings


def make_plain_target(target: Peer | PlainDevice, emergency: EmergencySetting) -> PlainDevice:
    """Return the target of a route as a device that speaks plain DICOM at the address of the emergency setting.

    Raises `EmergencySettingError` if the target is a plain device already, or the setting has no address.
    """
    if isinstance(target, PlainDevice) or emergency.plain is None:
        raise EmergencySettingError(
            f"Route '{emergency.route}' leads to '{target.name}', which is configured as a plain device already.",
            remedy="Leave out --plain; only the secured side of a route can be taken out of TLS.",
        )
    host, port = emergency.plain
    return PlainDevice(
        name=target.name,
        ae_titles=target.ae_titles,
        host=host,
        port=port,
        reason=f"emergency setting until {emergency.until}: {emergency.reason}",
    )


def parse_plain_address(text: str) -> Address:
    """Return host and port of "HOST:PORT" or "[IPV6]:PORT". Raises `EmergencySettingError`."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise EmergencySettingError(
            f"'{text}' is not an address.", remedy="Write it like --plain 10.1.2.3:104 or --plain '[2001:db8::7]:104'."
        )
    try:
        return str(ipaddress.ip_address(host)), int(port)
    except ValueError:
        return host, int(port)


class EmergencyStore:
    """The emergency settings of a node: one file in its state folder, at most one setting for each route."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def read(self) -> dict[str, EmergencySetting]:
        """Return all settings by route, those that have lapsed too.

        Raises `StateFileError`: the gateway then runs as configured, and must say so.
        """
        content = read_state(self.path, SCHEMA) or {"routes": []}
        try:
            settings = [_parse(one) for one in content["routes"]]
        except (EmergencySettingError, KeyError, TypeError, ValueError) as error:
            raise StateFileError(
                f"{self.path} has an emergency setting that cannot be read.",
                remedy=f"Remove {self.path}, then make the settings again.",
            ) from error
        return {one.route: one for one in settings}

    def read_active(self, today: date) -> dict[str, EmergencySetting]:
        """Return the settings that hold on a day, by route. Raises `StateFileError`."""
        return {name: one for name, one in self.read().items() if one.is_active(today)}

    def put(self, setting: EmergencySetting, today: date) -> None:
        """Keep a setting in place of the one that its route may have; remove those that have lapsed.

        Raises `EmergencySettingError` (see `check_emergency`) and `StateFileError`.
        """
        check_emergency(setting, today)
        with lock_state(self.path):
            self._write((self.read_active(today) | {setting.route: setting}).values())

    def remove(self, route: str) -> EmergencySetting | None:
        """Remove the setting of a route and return it; None if it has none. Raises `StateFileError`."""
        with lock_state(self.path):
            settings = self.read()
            removed = settings.pop(route, None)
            if removed is not None:
                self._write(settings.values())
        return removed

    def _write(self, settings: Iterable[EmergencySetting]) -> None:
        write_state(self.path, SCHEMA, {"routes": [_format(one) for one in settings]})


def _format(setting: EmergencySetting) -> dict[str, Any]:
    return {
        "route": setting.route,
        "objects": "pass" if setting.passes_objects else None,
        "plain": list(setting.plain) if setting.plain else None,
        "reason": setting.reason,
        "operator": setting.operator,
        "since": setting.since.isoformat(),
        "until": setting.until.isoformat(),
    }


def _parse_plain(host: str, port: int) -> Address:
    return parse_plain_address(f"[{host}]:{port}")


def _parse(one: Mapping[str, Any]) -> EmergencySetting:
    plain = one["plain"]
    return EmergencySetting(
        route=str(one["route"]),
        passes_objects=one["objects"] == "pass",
        plain=_parse_plain(*plain) if plain else None,
        reason=str(one["reason"]),
        operator=str(one["operator"]),
        since=datetime.fromisoformat(one["since"]),
        until=date.fromisoformat(one["until"]),
    )
