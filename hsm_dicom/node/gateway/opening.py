"""Opening what the routes of a plan name: identities, trust, secret keys, transports and targets, each once.

Either everything is open afterwards, or nothing. An identity that several listeners and peers show is opened once, and
so is each token.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from cryptography import x509

from hsm_dicom.config.loading import read_configuration
from hsm_dicom.config.sections import Configuration
from hsm_dicom.events import ConfigurationRead
from hsm_dicom.gateway.emergency import EmergencySetting
from hsm_dicom.gateway.holding.holder import HoldingResources, open_holding
from hsm_dicom.gateway.settings import GatewaySettings, PlainDevice, RouteSettings
from hsm_dicom.gateway.targets import PeerTarget, PlainTarget, Target
from hsm_dicom.identity import Identity, IdentityAccess
from hsm_dicom.node.compiler import compile_plan
from hsm_dicom.node.gateway.emergencies import apply_to_route
from hsm_dicom.node.opening import (
    OpenedListener,
    Resources,
    make_transport,
    open_identity,
    open_listener_policy,
    open_secret_keys,
)
from hsm_dicom.node.plan import ListenerPlan, NodePlan, PeerPlan, RoutePlan
from hsm_dicom.node.policies import open_policy
from hsm_dicom.transport.port import SecureTransport
from hsm_dicom.trust import CertificateValidator, TrustFileError
from tokens.pins.sources import PinSource
from tokens.process.state_folder import default_state_folder

Endpoint = ListenerPlan | PeerPlan | RoutePlan
"""What keys are opened for: a listener, a peer, or a route that signs."""


@dataclass(frozen=True)
class OpenedRoute:
    """A route with its target. `settings` are those that hold now; `emergency` is what replaced configured ones."""

    settings: RouteSettings
    transport: str
    """How the secured side is secured, such as "TLS"."""
    target: Target = field(repr=False)
    configured: RouteSettings = field(repr=False)
    configured_target: Target | None = field(repr=False)
    """The target without an emergency setting; None if it is not open."""
    emergency: EmergencySetting | None = None
    holding: HoldingResources | None = field(default=None, repr=False)

    def change_emergency(self, emergency: EmergencySetting | None) -> OpenedRoute | None:
        """Return the route with another emergency setting, or without one; None if something would have to be opened.

        That is a target, or what the route needs to hold objects.
        """
        settings, used = apply_to_route(self.configured, emergency)
        if settings.objects.holds and self.holding is None:
            return None
        target: Target | None = self.configured_target
        if isinstance(settings.target, PlainDevice):
            target = PlainTarget(settings.target, settings.connect_seconds)
        return None if target is None else replace(self, settings=settings, target=target, emergency=used)


@dataclass(frozen=True)
class OpenedEntrance:
    """A secured listener with its transport."""

    opened: OpenedListener
    transport: SecureTransport = field(repr=False)


@dataclass(frozen=True)
class OpenedGateway:
    """What a gateway works with. `configuration` is the file as it was read: its path and its SHA-256."""

    settings: GatewaySettings
    configuration: ConfigurationRead = field(repr=False)
    routes: Mapping[str, OpenedRoute]
    listeners: Mapping[str, OpenedEntrance]
    endpoints: Sequence[tuple[Endpoint, Resources]] = field(repr=False)
    validator: CertificateValidator | None = field(default=None, repr=False)
    timestamp_anchors: Sequence[x509.Certificate] = field(default=(), repr=False)

    @property
    def identities(self) -> Sequence[Identity]:
        """The identities, each once."""
        return list({one.name: one for _, resources in self.endpoints for one in resources.identities}.values())

    @property
    def accesses(self) -> Sequence[IdentityAccess]:
        """Where the keys of the identities are."""
        return list({one.name: one for endpoint, _ in self.endpoints for one in list_accesses(endpoint)}.values())

    @property
    def devices(self) -> Iterator[object]:
        """The drivers of all keys, each once."""
        found = {id(device): device for _, resources in self.endpoints for device in resources.devices}
        yield from found.values()

    @property
    def longest_connect_seconds(self) -> float:
        """How long a connection that has begun, or an object that is held, may still use what is open here."""
        waits = [route.settings.connect_seconds for route in self.routes.values()]
        held = (route.settings.holding for route in self.routes.values())
        waits += [one.answer_seconds for one in held if one is not None]
        waits += [one.opened.settings.limits.handshake_seconds for one in self.listeners.values()]
        return max(waits, default=0.0)

    def close(self) -> None:
        """Release the devices; those of ISCL when the last connection has ended. Doing so twice is fine."""
        with contextlib.ExitStack() as stack:
            for _, resources in self.endpoints:
                stack.callback(resources.close)


def find_state_folder(configuration: Configuration) -> Path:
    """Return the state folder of a configuration: the one that it names, or the default one."""
    return configuration.state.folder or default_state_folder()


def open_gateway(
    file: Path, emergencies: Mapping[str, EmergencySetting] = MappingProxyType({}), *, pin: PinSource | None = None
) -> OpenedGateway:
    """Read a configuration and open everything that its routes need. The caller closes it.

    `emergencies` are the emergency settings that hold, by route. `pin` goes before the configured sources. Raises
    `ConfigurationError`, `NotConfiguredError`, and what opening a device raises.
    """
    reading = read_configuration(file)
    plan = compile_plan(reading)
    gateway = plan.require_gateway()
    with contextlib.ExitStack() as undo:
        opener = Opener(plan, undo, pin)
        listeners = {name: opener.open_listener(one) for name, one in gateway.listeners.items()}
        routes = {name: opener.open_route(one, emergencies.get(name)) for name, one in gateway.routes.items()}
        undo.pop_all()
    return OpenedGateway(
        settings=gateway.settings,
        configuration=ConfigurationRead(path=str(file), sha256=reading.sha256, problems=len(reading.problems)),
        routes=routes,
        listeners=listeners,
        endpoints=opener.endpoints,
        validator=opener.validator if plan.trust.anchors else None,
        timestamp_anchors=_read_timestamp_anchors(plan),
    )


def _read_timestamp_anchors(plan: NodePlan) -> Sequence[x509.Certificate]:
    """Return the anchors of time stamping authorities, for the status; a policy that needs them has read them itself.

    A file that cannot be read keeps nothing else from working, and check-config reports it.
    """
    try:
        return tuple(plan.trust.open_timestamp_store().anchors)
    except TrustFileError:
        return ()


class Opener:
    """Opens the listeners and peers of one plan; what it opens is released by `undo`."""

    def __init__(self, plan: NodePlan, undo: contextlib.ExitStack, pin: PinSource | None = None) -> None:
        self._plan, self._undo, self._pin = plan, undo, pin
        self._identities: dict[str, Identity] = {}
        self._peers: dict[str, SecureTransport] = {}
        self.validator = plan.trust.open()
        self.endpoints: list[tuple[Endpoint, Resources]] = []

    def open_listener(self, listener: ListenerPlan) -> OpenedEntrance:
        """Open a secured listener, which does not listen yet."""
        policy = open_listener_policy(listener, self._plan)
        opened = OpenedListener(listener.settings, self._open(listener), policy)
        return OpenedEntrance(opened, opened.transport())

    def open_route(self, route: RoutePlan, emergency: EmergencySetting | None = None) -> OpenedRoute:
        """Open the target of a route. A peer of several routes is opened once."""
        settings, used = apply_to_route(route.settings, emergency)
        target = self._make_target(route, settings)
        is_configured = settings.target == route.settings.target
        configured = target if is_configured else None
        holding = self._open_holding(route) if settings.objects.holds else None
        return OpenedRoute(settings, route.transport, target, route.settings, configured, used, holding)

    def open_transport(self, route: RoutePlan) -> SecureTransport:
        """Open the transport to the peer of a route. Raises `RuntimeError` for a route to a plain device."""
        peer = route.target
        if peer is None:
            raise RuntimeError(f"Route '{route.settings.name}' leads to no peer.")
        if peer.peer.name not in self._peers:
            self._peers[peer.peer.name] = make_transport(peer, self._open(peer), self._plan)
        return self._peers[peer.peer.name]

    def _make_target(self, route: RoutePlan, settings: RouteSettings) -> Target:
        target, seconds = settings.target, settings.connect_seconds
        if isinstance(target, PlainDevice):
            return PlainTarget(target, seconds)
        return PeerTarget(target, self.open_transport(route), seconds)

    def _open_holding(self, route: RoutePlan) -> HoldingResources | None:
        """Open what a route needs to hold objects."""
        settings = route.settings.holding
        if settings is None:
            return None
        identity = None
        if route.signer is not None:
            identity = self._open_identity(route.signer)
            self.endpoints.append((route, Resources([identity])))
        policy = settings.policy
        validator = None if policy is None else open_policy(self._plan, policy)
        opening = open_holding(
            route.settings.name, settings, identity, None if validator is None else lambda: validator
        )
        return self._undo.enter_context(opening)

    def _open(self, endpoint: ListenerPlan | PeerPlan) -> Resources:
        identities = [self._open_identity(access) for access in list_accesses(endpoint)]
        iscl = endpoint.peer.iscl if isinstance(endpoint, PeerPlan) else endpoint.settings.iscl
        keys = None
        if iscl is not None and endpoint.keys is not None:
            keys = open_secret_keys(endpoint.keys, iscl.settings, pin=self._pin)
            self._undo.callback(keys.close)
        resources = Resources(identities, self.validator if self._plan.trust.anchors else None, keys)
        self.endpoints.append((endpoint, resources))
        return resources

    def _open_identity(self, access: IdentityAccess) -> Identity:
        if access.name not in self._identities:
            identity = open_identity(access, pin=self._pin)
            self._undo.callback(identity.close)
            self._identities[access.name] = identity
        return self._identities[access.name]


def list_accesses(endpoint: Endpoint) -> tuple[IdentityAccess, ...]:
    """Return the identities that a listener shows, that this node shows a peer, or that signs on a route."""
    if isinstance(endpoint, ListenerPlan):
        return endpoint.identities
    if isinstance(endpoint, RoutePlan):
        return () if endpoint.signer is None else (endpoint.signer,)
    return endpoint.identities
