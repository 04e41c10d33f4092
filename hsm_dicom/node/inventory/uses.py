"""Which identity, listener, peer and route of a plan uses a key, a certificate or a peer, and what fails without it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hsm_dicom.config.devices import CardAccess, KeyAccess
from hsm_dicom.node.plan import NodePlan, SecretKeysPlan


@dataclass(frozen=True)
class Uses:
    """The uses in one plan, each as its table in the file, such as "listeners.main"."""

    plan: NodePlan

    def of_identity(self, name: str) -> tuple[str, ...]:
        """Return the listeners, peers and routes that show an identity."""
        listeners = {
            one for one, plan in self.plan.listeners.items() if name in (identity.name for identity in plan.identities)
        }
        peers = {
            one for one, plan in self.plan.peers.items() if name in (identity.name for identity in plan.identities)
        }
        routes = {
            one
            for one, route in self.plan.routes.items()
            if (route.listener is not None and route.listener.settings.name in listeners)
            or (route.target is not None and route.target.peer.name in peers)
        }
        return (*_tables("listeners", listeners), *_tables("peers", peers), *_tables("routes", routes))

    def of_peer(self, name: str) -> tuple[str, ...]:
        """Return the listeners that accept a peer, and the routes that lead to it."""
        listeners = [
            one for one, plan in self.plan.listeners.items() if name in (peer.name for peer in plan.settings.peers)
        ]
        routes = [
            one
            for one, route in self.plan.routes.items()
            if route.target is not None and route.target.peer.name == name
        ]
        return (*_tables("listeners", listeners), *_tables("routes", routes))

    def of_secret_keys(self, device: str) -> tuple[str, ...]:
        """Return the ISCL tables whose secret keys are on the token or card with this name or URI."""
        peers = [one for one, plan in self.plan.peers.items() if _is_on(plan.keys, device)]
        listeners = [one for one, plan in self.plan.listeners.items() if _is_on(plan.keys, device)]
        return (*_tables("listeners", listeners), *_tables("peers", peers))

    def of_trust(self) -> tuple[str, ...]:
        """Return the listeners and peers whose certificates are validated."""
        listeners = [one for one, plan in self.plan.listeners.items() if plan.settings.iscl is None]
        peers = [one for one, plan in self.plan.peers.items() if plan.peer.iscl is None]
        return (*_tables("listeners", listeners), *_tables("peers", peers))


def describe_failure(uses: Iterable[str]) -> str:
    """Return what fails when the certificate of an identity with these uses ends."""
    named: dict[str, list[str]] = {}
    for use in uses:
        kind, _, name = use.partition(".")
        named.setdefault(kind, []).append(name)
    what = [
        f"{sentence} {', '.join(named[kind])}"
        for kind, sentence in (
            ("listeners", "peers refuse listener"),
            ("peers", "no connection to peer"),
            ("routes", "no association on route"),
        )
        if kind in named
    ]
    text = "; ".join(what) or "no signature can be made with it"
    return f"{text[0].upper()}{text[1:]}."


def name_device(access: KeyAccess) -> str:
    """Return the NAME of a configured token, or the URI of any other device without its key."""
    if isinstance(access, CardAccess):
        return str(access.uri.card_part())
    return access.name or str(access.uri)


def _is_on(keys: SecretKeysPlan | None, device: str) -> bool:
    return keys is not None and device in (
        name_device(one) for one in (keys.device, keys.authentication_device) if one is not None
    )


def _tables(kind: str, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{kind}.{name}" for name in sorted(names))
