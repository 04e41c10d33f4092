"""The gateway that runs: its routes on their listeners, reloaded as a whole, and drained when it stops.

    service = GatewayService(partial(open_gateway, file), state_folder)
    with service:
        service.reload()
        ...
        service.drain()

A reload is all or nothing: everything new is opened and checked first, and if anything fails, nothing changes. Running
associations go on with the settings with which they began.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from hsm_dicom.errors import DicomError
from hsm_dicom.events import emit
from hsm_dicom.gateway.alarms import Alarms
from hsm_dicom.gateway.emergency import EmergencySetting, EmergencyStore
from hsm_dicom.gateway.emergency_watch import EmergencyWatch
from hsm_dicom.gateway.hold import MakeHolder
from hsm_dicom.gateway.inspect import Inspector
from hsm_dicom.gateway.pages import StatusServer
from hsm_dicom.gateway.route import Route
from hsm_dicom.gateway.status import Condition, GatewayStatus
from hsm_dicom.gateway.tap import MakeTap
from hsm_dicom.network.addresses import Address
from hsm_dicom.network.errors import ListenError
from hsm_dicom.node.clock import ClockWatch
from hsm_dicom.node.gateway.entrances import Entrances, run_at_once
from hsm_dicom.node.gateway.opening import OpenedGateway, OpenedRoute
from hsm_dicom.node.gateway.reporting import Reporter, list_open_exceptions
from hsm_dicom.node.readiness import Readiness
from hsm_dicom.node.reloading import explain_failure
from hsm_dicom.node.replaced import ReplacedResources
from hsm_dicom.node.systemd.sockets import PassedSockets
from hsm_dicom.node.validity.watch import ValidityWatch, Watched
from hsm_dicom.transport.events import CertificatesReloaded, log

NAME = "gateway"
"""The name of the gateway as a whole in events."""

_LOOK_SECONDS = 0.1
"""How often a gateway that drains looks whether all associations have ended."""

OpenAnew = Callable[[Mapping[str, EmergencySetting]], OpenedGateway]


class GatewayService:
    """The gateway of one node. A context manager: it serves while the block runs."""

    def __init__(
        self,
        open_anew: OpenAnew,
        folder: Path,
        *,
        sockets: PassedSockets | None = None,
    ) -> None:
        """Open everything and bind every address. Raises what `open_anew` raises, and `ListenError`.

        `folder` is the state folder.
        """
        self._open_anew, self._folder = open_anew, folder
        self._emergencies = EmergencyWatch(EmergencyStore(folder), self._lapse)
        self._replaced = ReplacedResources()
        self._retired: list[Route] = []
        self._reporter = Reporter()
        self._is_draining = False
        self._reloading = threading.RLock()
        self._opened = open_anew(self._emergencies.load())
        try:
            self._routes = {name: _make_route(one) for name, one in self._opened.routes.items()}
            self._entrances = Entrances(self._opened, self._routes, sockets or PassedSockets())
        except BaseException:
            self._opened.close()
            raise
        self._watch = ValidityWatch(NAME, "", self._list_watched)
        self._readiness = Readiness(NAME, "", lambda: list(self._opened.devices))
        self._clock = ClockWatch(folder)
        self._alarms = Alarms(self._opened.settings.alarms, self._find_conditions, folder / "alarms.json")
        settings = self._opened.settings.status
        self._page = None if settings is None else StatusServer(settings, self.status)
        self._serving = ExitStack()

    @property
    def addresses(self) -> Mapping[str, Address]:
        """The address of each listener, by its name."""
        return self._entrances.addresses

    @property
    def routes(self) -> Mapping[str, OpenedRoute]:
        """The routes with their active settings."""
        return self._opened.routes

    @property
    def page(self) -> StatusServer | None:
        """The status page, if there is one."""
        return self._page

    @property
    def problem(self) -> str:
        """Why a key cannot be used now, as a sentence; empty if all of them can."""
        return self._readiness.problem

    @property
    def associations(self) -> int:
        """The open associations: relayed ones, and those that this node itself answers."""
        return sum(route.status().associations for route in self._all_routes) + self._entrances.associations

    @property
    def stop_seconds(self) -> float:
        """How long open associations may go on when the gateway stops."""
        return max(self._opened.settings.drain_seconds, self._entrances.stop_seconds)

    def ping(self, seconds: float) -> bool:
        """Return whether every accept loop answers within `seconds`, whatever the tokens do."""
        return self._entrances.ping(seconds)

    def status(self) -> GatewayStatus:
        """Return the state of everything now."""
        return self._reporter.make_status(
            self._opened,
            self._routes,
            self._entrances.status(),
            problem=self.problem,
            is_draining=self._is_draining,
            clock=self._clock.status,
        )

    def reload(self) -> bool:
        """Read the configuration and everything that it names again. Return False if that fails, and change nothing.

        Emergency settings are used first, so that they hold although a device is broken and everything else fails. An
        event gives the reason of a failure. Addresses, sockets and AE titles of listeners, their limits and their
        storage folder, and the address of the status page change with a restart only.
        """
        with self._reloading:
            emergencies = self._emergencies.load()
            has_changed = self._use_emergencies(emergencies)
            try:
                opened = self._open_anew(emergencies)
                try:
                    self._entrances.check_unchanged(opened)
                    self._check_page(opened)
                except BaseException:
                    opened.close()
                    raise
            except Exception as error:
                self._emergencies.keep(
                    one.emergency for one in self._opened.routes.values() if one.emergency is not None
                )
                what = "only emergency settings were changed" if has_changed else "nothing was changed"
                self._report_reload(False, f"{NAME}: reloading failed, and {what}: {explain_failure(NAME, error)}")
                return False
            before = self._opened
            self._replace(opened)
            self._replaced.close_later(before, NAME, before.longest_connect_seconds)
        emit(opened.configuration)
        routes = f"{len(opened.routes)} route{'' if len(opened.routes) == 1 else 's'}"
        self._report_reload(True, f"{NAME}: the configuration was reloaded ({routes}).")
        self._watch.check(repeat=True)
        return True

    def drain(self, hurry: threading.Event | None = None, report: Callable[[int], None] = lambda _: None) -> None:
        """Stop accepting, let associations go on for `drain_seconds`, then abort those that are left (A-ABORT).

        It is over at once when nothing is open. `hurry` aborts them when it is set. `report` is called with the number
        of open associations when it changes.
        """
        self._is_draining = True
        for route in self._all_routes:
            route.close()
        self._entrances.stop()
        hurry, deadline = hurry or threading.Event(), time.monotonic() + self._opened.settings.drain_seconds
        own = threading.Thread(target=self._entrances.stop_acceptors, name="gateway-end")
        own.start()
        reported = -1
        while (left := self.associations) and time.monotonic() < deadline and not hurry.is_set():
            if left != reported:
                try:
                    report(left)
                except Exception:  # such as an output that nobody reads any more
                    log.exception("%s: the progress of draining could not be reported.", NAME)
                reported = left
            hurry.wait(_LOOK_SECONDS)
        if hurry.is_set():
            self._entrances.abort_associations()
        run_at_once([partial(route.drain, 0.0) for route in self._all_routes if not route.is_idle])
        own.join()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._reporter.subscribe())
            stack.callback(self._close)
            stack.enter_context(self._clock)
            self._entrances.start()
            self._watch.start()
            stack.callback(self._watch.stop)
            self._readiness.start()
            stack.callback(self._readiness.stop)
            stack.enter_context(self._emergencies)
            if self._page is not None:
                stack.enter_context(self._page)
            stack.enter_context(self._alarms)
            self._serving = stack.pop_all()
        for name, (host, port) in self.addresses.items():
            log.info("%s: '%s' listens on %s port %d.", NAME, name, host, port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain, unless that was done, and release everything."""
        self._serving.close()

    # -- inside -----------------------------------------------------------------------------------------------

    @property
    def _all_routes(self) -> Sequence[Route]:
        return [*self._routes.values(), *self._retired]

    def _close(self) -> None:
        with ExitStack() as stack:
            stack.callback(self._opened.close)
            stack.callback(self._replaced.close)
            if not self._is_draining:
                stack.callback(self.drain)

    def _replace(self, opened: OpenedGateway) -> None:
        """Use what was opened for new associations."""
        routes = {name: self._renew_route(name, one) for name, one in opened.routes.items()}
        removed = [route for name, route in self._routes.items() if name not in routes]
        for route in removed:
            route.close()
        self._retired = [route for route in (*self._retired, *removed) if not route.is_idle]
        self._opened, self._routes = opened, routes
        self._entrances.replace(opened, routes)
        self._alarms.replace(opened.settings.alarms)

    def _use_emergencies(self, emergencies: Mapping[str, EmergencySetting]) -> bool:
        """Use the emergency settings with what is open already, and return whether one has changed."""
        changed: dict[str, OpenedRoute] = {}
        for name, one in self._opened.routes.items():
            emergency = emergencies.get(name)
            other = None if emergency == one.emergency else one.change_emergency(emergency)
            if other is not None:
                changed[name] = other
        if changed:
            self._opened = replace(self._opened, routes={**self._opened.routes, **changed})
            self._routes = {**self._routes, **{name: self._renew_route(name, one) for name, one in changed.items()}}
            self._entrances.replace(self._opened, self._routes)
        return bool(changed)

    def _renew_route(self, name: str, opened: OpenedRoute) -> Route:
        """Return the route of a name with other settings; a new one in place of one that was closed."""
        route = self._routes.get(name)
        if route is None or route in self._retired:
            return _make_route(opened)
        route.replace(opened.settings, opened.target, _choose_tap(opened), _choose_holder(opened))
        return route

    def _check_page(self, opened: OpenedGateway) -> None:
        """Raise `ListenError` if the status page would be elsewhere."""
        if opened.settings.status != self._opened.settings.status:
            raise ListenError("[status] has changed.", remedy="Restart the gateway to change its status page.")

    def _lapse(self, emergency: EmergencySetting) -> None:
        """Run a route as configured again. If that fails, the route is closed: its emergency setting is over.

        Raises `DicomError` then, so that it is tried again.
        """
        with self._reloading:  # no other reload may change the route before it is closed
            is_reloaded = self.reload()
            route = self._routes.get(emergency.route)
            used = self._opened.routes.get(emergency.route)
            if is_reloaded or route is None or used is None or used.emergency is None:
                return
            route.close()
            self._retired = list({*self._retired, route})
        raise DicomError(
            f"Route '{emergency.route}' is closed, because it cannot run without its emergency setting.",
            remedy="Correct what the event of the reload names; the gateway tries again every minute.",
        )

    def _find_conditions(self) -> Iterable[Condition]:
        return self.status().conditions

    def _list_watched(self) -> Watched:
        opened = self._opened
        exceptions = list_open_exceptions(opened)
        return Watched(opened.identities, opened.validator, opened.timestamp_anchors, exceptions)

    def _report_reload(self, succeeded: bool, text: str) -> None:
        emit(CertificatesReloaded(name=NAME, address="", text=text, succeeded=succeeded))


def _make_route(opened: OpenedRoute) -> Route:
    return Route(opened.settings, opened.target, _choose_tap(opened), _choose_holder(opened))


def _choose_tap(opened: OpenedRoute) -> MakeTap | None:
    """Return what makes the taps of a route that inspects."""
    return partial(Inspector, opened.settings.name) if opened.settings.objects.inspects else None


def _choose_holder(opened: OpenedRoute) -> MakeHolder | None:
    """Return what holds the objects of a route that judges or signs them, unless an emergency setting passes them."""
    if not opened.settings.objects.holds:
        return None
    if opened.holding is None:
        raise RuntimeError(f"Nothing is open to hold the objects of route '{opened.settings.name}'.")
    return opened.holding.make_holder
