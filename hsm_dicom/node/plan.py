"""The plan of a node: what its configuration means, with every name resolved and every problem listed.

    plan = read_plan(find_configuration())
    for problem in plan.problems:
        print(problem)
    settings = plan.listener("main").settings

A plan is frozen and holds no open file or device: tokens, keys and trust are references, which
`hsm_dicom.node.opening` opens. A table that cannot be used is in no mapping here, but in `problems`; so is each table
that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from hsm_dicom.config.devices import KeyAccess, NotConfiguredError, TokenAccess
from hsm_dicom.config.lines import KeyPath
from hsm_dicom.config.loading import ConfigurationError
from hsm_dicom.config.problems import Problem, Severity
from hsm_dicom.gateway.settings import GatewaySettings, PlainDevice, RouteSettings
from hsm_dicom.identity import IdentityAccess, Succession
from hsm_dicom.iscl import Role
from hsm_dicom.network.settings import ListenerSettings, Peer, describe_transport
from hsm_dicom.node.trust import TrustPlan
from hsm_dicom.validation import VerificationPolicy
from tokens.pins.sources import PinSource

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class SecretKeysPlan:
    """Where the secret keys of one ISCL table are, their devices not opened yet.

    `authentication_device` holds the authentication keys, if they are not on `device`. `prefix` is how the labels of
    the keys begin on a PKCS#11 token, None for the default. `role` is this node's role in the authentication.
    """

    device: KeyAccess
    authentication_device: KeyAccess | None = None
    prefix: str | None = None
    host_session_keys: bool = False
    role: Role


@dataclass(frozen=True, kw_only=True)
class PeerPlan:
    """One peer. `identity` is the one that we show it, `keys` are for ISCL.

    `successor` is shown first, and `identity` where the peer refuses it (`next_in_tls = "auto"`).
    `identity_problem` and `title_problem` keep this node from connecting to the peer: its identity, or its calling AE
    title, is not given. They are no mistakes of the file, since a peer that only calls this node needs neither.
    """

    peer: Peer
    calling_ae_title: str = ""
    identity: IdentityAccess | None = None
    successor: IdentityAccess | None = None
    keys: SecretKeysPlan | None = None
    identity_problem: Problem | None = None
    title_problem: Problem | None = None

    @property
    def identities(self) -> tuple[IdentityAccess, ...]:
        """The identity, and its successor behind it, as far as there are any."""
        return tuple(one for one in (self.identity, self.successor) if one is not None)

    @property
    def connect_problems(self) -> tuple[Problem, ...]:
        """What keeps this node from connecting to the peer as a requestor of its own."""
        return tuple(problem for problem in (self.identity_problem, self.title_problem) if problem is not None)


@dataclass(frozen=True, kw_only=True)
class ListenerPlan:
    """One listener, with the identities that it shows; `keys` are for ISCL."""

    settings: ListenerSettings
    identities: tuple[IdentityAccess, ...] = ()
    keys: SecretKeysPlan | None = None


@dataclass(frozen=True, kw_only=True)
class RoutePlan:
    """One route of the gateway. `target` is None for a plain device, `listener` for a route with plain callers.

    `signer` is the identity that signs the objects which pass; None if the route signs none.
    """

    settings: RouteSettings
    target: PeerPlan | None = None
    listener: ListenerPlan | None = None
    signer: IdentityAccess | None = None

    @property
    def transport(self) -> str:
        """How its secured side is secured, such as "TLS"; "TLS to ISCL" if both sides are and differ."""
        sides = (
            None if self.listener is None else describe_transport(self.listener.settings),
            None if self.target is None else describe_transport(self.target.peer),
        )
        return " to ".join(dict.fromkeys(side for side in sides if side is not None))


@dataclass(frozen=True, kw_only=True)
class GatewayPlan:
    """What a gateway runs: its routes, and the listeners that they name."""

    settings: GatewaySettings
    routes: Mapping[str, RoutePlan]

    @property
    def listeners(self) -> Mapping[str, ListenerPlan]:
        """The secured listeners that the routes name."""
        named = (route.listener for route in self.routes.values())
        return {listener.settings.name: listener for listener in named if listener is not None}


@dataclass(frozen=True, kw_only=True)
class NodePlan:
    """A node as its configuration describes it. `hsm_dicom.node.compile_plan` makes one.

    `pin_sources` are those of all tokens, `tokens` the tokens whose module may be loaded.

    `problems` holds everything that is wrong, in the order of the file; `form_problems` those among them that are seen
    in the file alone. `unresolved` are the tables with an error, and those that name one of them. `unsafe` says that
    another user can write the file, so that nothing which it names may be loaded.
    """

    file: Path
    pin_sources: Mapping[str, PinSource | None] = field(default_factory=lambda: MappingProxyType({}))
    tokens: Mapping[str, TokenAccess] = field(default_factory=lambda: MappingProxyType({}))
    identities: Mapping[str, IdentityAccess] = field(default_factory=lambda: MappingProxyType({}))
    successions: Mapping[str, Succession] = field(default_factory=lambda: MappingProxyType({}))
    trust: TrustPlan = field(default_factory=TrustPlan)
    policies: Mapping[str, VerificationPolicy] = field(default_factory=lambda: MappingProxyType({}))
    peers: Mapping[str, PeerPlan] = field(default_factory=lambda: MappingProxyType({}))
    listeners: Mapping[str, ListenerPlan] = field(default_factory=lambda: MappingProxyType({}))
    plain: Mapping[str, PlainDevice] = field(default_factory=lambda: MappingProxyType({}))
    routes: Mapping[str, RoutePlan] = field(default_factory=lambda: MappingProxyType({}))
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    problems: tuple[Problem, ...] = ()
    form_problems: tuple[Problem, ...] = ()
    unresolved: tuple[KeyPath, ...] = ()
    unsafe: bool = False

    def peer(self, name: str) -> PeerPlan:
        """Return the peer `[peers.NAME]`.

        Raises `ConfigurationError` if this peer, or the form of the file, has an error; `NotConfiguredError` if the
        file has no such peer.
        """
        raise_errors(self.form_problems)
        if name not in self.peers:
            self._raise_unresolved("peers", name)
            raise NotConfiguredError(
                f"The configuration has no peer '{name}'; its peers: {join_names(self._names('peers'))}.",
                remedy=f"Give the name of one of these, or add the table [peers.{name}] to the file.",
            )
        return self.peers[name]

    def listener(self, name: str | None = None) -> ListenerPlan:
        """Return the listener `[listeners.NAME]`, or the only one there is.

        Raises `ConfigurationError` if anything in the configuration has an error, since a node does not listen on what
        check-config refuses; `NotConfiguredError` if there is no such listener.
        """
        raise_errors(self.problems)
        if name is None and len(self.listeners) == 1:
            return next(iter(self.listeners.values()))
        if name is None or name not in self.listeners:
            asked = f"has no listener '{name}'" if name else "does not have exactly one listener"
            raise NotConfiguredError(
                f"The configuration {asked}; its listeners: {join_names(self._names('listeners'))}.",
                remedy=f"Give the name of one of these, or add the table [listeners.{name or 'NAME'}] to the file.",
            )
        return self.listeners[name]

    def policy(self, name: str) -> VerificationPolicy:
        """Return the policy `[policies.NAME]`.

        Raises `ConfigurationError` if this policy, or the form of the file, has an error; `NotConfiguredError` if the
        file has no such policy.
        """
        raise_errors(self.form_problems)
        if name not in self.policies:
            self._raise_unresolved("policies", name)
            raise NotConfiguredError(
                f"The configuration has no policy '{name}'; its policies: {join_names(self._names('policies'))}.",
                remedy=f"Give the name of one of these, or add the table [policies.{name}] to the file.",
            )
        return self.policies[name]

    def require_gateway(self) -> GatewayPlan:
        """Return the gateway with all its routes.

        Raises `ConfigurationError` if anything in the configuration has an error; `NotConfiguredError` if there is no
        route.
        """
        raise_errors(self.problems)
        if not self.routes:
            raise NotConfiguredError(
                "The configuration has no route.",
                remedy="Add a table [routes.NAME] to the file; docs/howto/gateway.md shows how.",
            )
        return GatewayPlan(settings=self.gateway, routes=self.routes)

    def _raise_unresolved(self, kind: str, name: str) -> None:
        """Raise the problems of a table that cannot be used: its own, or else those of the tables that it names."""
        if (kind, name) not in self.unresolved:
            return
        own = [one for one in self.problems if f"{one.key}.".startswith(f"{kind}.{name}.")]
        raise_errors(own)
        raise_errors(self.problems)

    def _names(self, kind: str) -> Iterable[str]:
        return (*getattr(self, kind), *(path[1] for path in self.unresolved if path[0] == kind))


def raise_errors(problems: Iterable[Problem]) -> None:
    """Raise `ConfigurationError` with the errors among the problems, if there are any."""
    errors = tuple(problem for problem in problems if problem.severity is Severity.ERROR)
    if errors:
        raise ConfigurationError(errors)


def join_names(names: Iterable[str]) -> str:
    """Return names of the configuration as a list for a message."""
    return ", ".join(names) or "none"
