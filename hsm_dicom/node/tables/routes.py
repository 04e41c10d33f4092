"""The gateway in the plan: each `[plain.NAME]` and `[routes.NAME]`, `[gateway]`, `[status]` and `[alarms.NAME]`."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from hsm_dicom.config.gateway_sections import AlarmSection, PlainSection, RouteSection, StatusSection
from hsm_dicom.config.lines import KeyPath
from hsm_dicom.config.loading import Reading
from hsm_dicom.config.permissions import find_write_risk
from hsm_dicom.gateway.holding.settings import HoldingSettings
from hsm_dicom.gateway.services import Service
from hsm_dicom.gateway.settings import (
    AlarmKind,
    AlarmSettings,
    GatewaySettings,
    Objects,
    PlainDevice,
    RouteSettings,
    SourceLimits,
    StatusSettings,
)
from hsm_dicom.gateway.status import ConditionKind
from hsm_dicom.identity import IdentityAccess
from hsm_dicom.network.settings import Peer, uses_tls
from hsm_dicom.node.plan import ListenerPlan, PeerPlan, RoutePlan, join_names
from hsm_dicom.node.problems import ProblemCollector
from hsm_dicom.node.tables.holding import HoldingTable

_MIB = 1 << 20
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


class RouteCompiler:
    """Compiles the plain devices and the routes of one configuration.

    `peers` and `listeners` are the plans of those that can be used.
    """

    def __init__(
        self,
        reading: Reading,
        identities: dict[str, IdentityAccess],
        peers: Mapping[str, PeerPlan],
        listeners: Mapping[str, ListenerPlan],
        problems: ProblemCollector,
    ) -> None:
        self._configuration = reading.configuration
        self._identities = identities
        self._peers = peers
        self._listeners = listeners
        self._problems = problems
        self._devices: dict[str, PlainDevice] = {}

    def compile_devices(self) -> dict[str, PlainDevice]:
        """Return all plain devices that can be used. Called before `compile_all`."""
        for name, section in self._configuration.plain.items():
            device = self._problems.attempt(("plain", name), lambda: _create_device(name, section))  # noqa: B023
            if name in self._configuration.peers:
                what = f"'{name}' is the name of a peer, too, so that a route cannot name one of the two."
                self._problems.add(("plain", name), what, "Give each a name of its own.")
            elif device is not None:
                self._devices[name] = device
        return self._devices

    def compile_all(self) -> dict[str, RoutePlan]:
        """Return the plans of all routes that can be used."""
        plans = {name: self._compile(name, section) for name, section in self._configuration.routes.items()}
        return {name: plan for name, plan in plans.items() if plan is not None}

    def _compile(self, name: str, section: RouteSection) -> RoutePlan | None:
        place, problems = ("routes", name), self._problems
        sources = [self._find_side((*place, "from"), one) for one in dict.fromkeys(section.sources)]
        target = self._find_side((*place, "to"), section.to)
        listener = self._find_listener((*place, "listener"), section.listener)
        if target is None or None in sources or (section.listener is not None and listener is None):
            problems.mark_unresolved(place)
            return None
        holding, signer = HoldingTable(name, section, self._configuration, self._identities, problems).compile()
        if problems.is_unresolved(*place):
            return None
        settings = problems.attempt(
            place, lambda: _create_settings(name, section, [one for one in sources if one is not None], target, holding)
        )
        if settings is None:
            return None
        if isinstance(settings.target, PlainDevice) and settings.plain_sources:
            problems.add(
                (*place, "to"),
                f"Both sides speak plain DICOM, so that nothing would be secured: '{settings.target.name}' is a plain "
                "device, too.",
                "Name a peer on one side; plain devices reach each other without this node.",
            )
        peer = self._peers.get(section.to)
        if peer is not None:
            self._check_connection((*place, "to"), peer)
        if listener is not None:
            self._check_listener(place, section, settings, listener)
        if problems.is_unresolved(*place):
            return None
        return RoutePlan(settings=settings, target=peer, listener=listener, signer=signer)

    def _find_side(self, place: KeyPath, name: str) -> PlainDevice | Peer | None:
        """Return a device or peer that a route names; None, and a problem, if the file has none such."""
        if name in self._devices:
            return self._devices[name]
        if name in self._peers:
            return self._peers[name].peer
        if name in self._configuration.plain or name in self._configuration.peers:
            return None
        known = join_names((*self._configuration.plain, *self._configuration.peers))
        remedy = f"Write [plain.{name}] or [peers.{name}], or name one of: {known}."
        self._problems.add(place, f"There is no plain device and no peer '{name}' in the configuration.", remedy)
        return None

    def _find_listener(self, place: KeyPath, name: str | None) -> ListenerPlan | None:
        if name is not None and name not in self._configuration.listeners:
            remedy = f"Write [listeners.{name}], or name one of: {join_names(self._configuration.listeners)}."
            self._problems.add(place, f"There is no listener '{name}' in the configuration.", remedy)
        return None if name is None else self._listeners.get(name)

    def _check_connection(self, place: KeyPath, target: PeerPlan) -> None:
        """Report what keeps this node from connecting to the peer."""
        missing = target.identity_problem
        if missing is not None:
            self._problems.add(place, missing.text, missing.remedy)
        if uses_tls(target.peer.iscl) and not self._configuration.trust.anchors:
            what = f"The certificate of peer '{target.peer.name}' cannot be validated, because no CA is trusted."
            self._problems.add(place, what, 'Write [trust] with anchors = ["ca.pem"].')

    def _check_listener(
        self, place: KeyPath, section: RouteSection, settings: RouteSettings, listener: ListenerPlan
    ) -> None:
        """Report a listener that rejects the callers of the route, or accepts their associations itself."""
        accepted = [peer.name for peer in listener.settings.peers]
        for source in settings.sources:
            if source.name not in accepted:
                self._problems.add(
                    (*place, "from"),
                    f"Peer '{source.name}' may not call the listener '{listener.settings.name}'; its peers: "
                    f"{join_names(accepted)}.",
                    f"Add '{source.name}' to peers = in [listeners.{listener.settings.name}], or name another "
                    "listener.",
                )
        if listener.settings.ae_title in settings.called_ae_titles:
            self._problems.add(
                (*place, "called" if section.called else "to"),
                f"{listener.settings.ae_title} is the AE title of the listener '{listener.settings.name}' itself, "
                "which accepts the association instead of relaying it.",
                "Give the listener another ae_title, or the route another called.",
            )


def compile_gateway(reading: Reading, problems: ProblemCollector) -> GatewaySettings:
    """Return the settings of the whole gateway, without a status page or alarms that have a mistake."""
    configuration = reading.configuration
    status = None
    if (section := configuration.status) is not None:
        status = problems.attempt(("status", "listen"), lambda: _create_status(section))
        if section.socket is not None and not section.socket.parent.is_dir():
            what = f"The folder {section.socket.parent} does not exist."
            problems.warn(("status", "socket"), what, "Create it; in a systemd unit, with RuntimeDirectory=.")
    alarms = [_compile_alarm(name, alarm, problems) for name, alarm in configuration.alarms.items()]
    return GatewaySettings(
        drain_seconds=configuration.gateway.drain_seconds,
        status=status,
        alarms=tuple(alarm for alarm in alarms if alarm is not None),
    )


def _create_device(name: str, section: PlainSection) -> PlainDevice:
    return PlainDevice(
        name=name,
        ae_titles=section.ae_titles,
        addresses=section.addresses,
        host=section.host,
        port=section.port,
        reason=section.reason,
    )


def _create_status(section: StatusSection) -> StatusSettings:
    from hsm_dicom.gateway.pages.doors import check_place  # needed only if there is a page

    settings = StatusSettings(listen=section.listen, socket=section.socket, hosts=section.hosts)
    check_place(settings)
    return settings


def _create_settings(
    name: str,
    section: RouteSection,
    sources: Iterable[PlainDevice | Peer],
    target: PlainDevice | Peer,
    holding: HoldingSettings | None,
) -> RouteSettings:
    return RouteSettings(
        name=name,
        sources=tuple(sources),
        target=target,
        listen=section.listen,
        socket=section.socket,
        listener=section.listener,
        called=section.called,
        services=frozenset(map(Service, section.services)),
        objects=Objects(section.objects),
        holding=holding,
        called_ae_title=section.called_ae_title,
        calling_ae_title=section.calling_ae_title,
        limits=SourceLimits(
            associations=section.associations_per_source,
            associations_per_minute=section.associations_per_minute,
            bytes_per_second=None if section.mib_per_second is None else int(section.mib_per_second * _MIB),
        ),
        associations=section.associations,
        connect_seconds=section.connect_seconds,
        request_seconds=section.request_seconds,
        idle_seconds=section.idle_seconds,
    )


def _compile_alarm(name: str, section: AlarmSection, problems: ProblemCollector) -> AlarmSettings | None:
    place = ("alarms", name)
    alarm = problems.attempt(
        place,
        lambda: AlarmSettings(
            name=name,
            kind=AlarmKind.SYSLOG if section.command is None else AlarmKind.COMMAND,
            command=section.command or (),
            facility=section.syslog or "daemon",
            kinds=frozenset(map(ConditionKind, section.kinds)),
            seconds=section.seconds,
        ),
    )
    if alarm is not None and alarm.command:
        _check_program((*place, "command"), Path(alarm.command[0]), problems)
    return None if problems.is_unresolved(*place) else alarm


def _check_program(place: KeyPath, program: Path, problems: ProblemCollector) -> None:
    """Report a program that cannot be started, or that another user could replace."""
    with problems.report_errors(place):
        if not program.is_file():
            problems.add(place, f"There is no program {program}.", "Correct the path.")
        elif not program.stat().st_mode & _EXECUTABLE or not os.access(program, os.X_OK):
            problems.add(place, f"{program} cannot be executed by this user.", f"Run: chmod a+x {program}")
        elif (unsafe := find_write_risk(program)) is not None:
            problems.add(place, *unsafe)
