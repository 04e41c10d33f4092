"""Opening what a plan names: identities, trust and secret keys of one listener or peer, owned until they are closed.

with Service(lambda: open_listener(read_plan(file), "main")) as service: ...

with open_peer(read_plan(file), "pacs") as (peer, transport, calling_ae_title):
    result = echo(peer, transport, calling_ae_title)

What is refused here, check-config refuses with the same functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import NamedTuple, Self

from hsm_dicom.config.devices import KeyAccess, TokenAccess
from hsm_dicom.identity import (
    Identity,
    IdentityAccess,
    IdentityError,
    find_stored_chain,
    read_certificates,
    read_token_chains,
)
from hsm_dicom.iscl import ISCLHooks, ISCLSettings, Role
from hsm_dicom.iscl.wire.profile import ResponseCode
from hsm_dicom.network.assembly import make_listener_transport, make_peer_transport
from hsm_dicom.network.errors import SettingsError
from hsm_dicom.network.settings import ListenerSettings, Peer
from hsm_dicom.node.plan import ListenerPlan, NodePlan, PeerPlan, SecretKeysPlan, raise_errors
from hsm_dicom.node.policies import open_policy
from hsm_dicom.transport.iscl_keys import ISCLKeys
from hsm_dicom.transport.port import SecureTransport
from hsm_dicom.trust import CertificateValidator, order_chain
from hsm_dicom.validation import PolicyValidator
from tokens.pins.sources import PinSource
from tokens.pkcs11.secret_keys.ceremony import list_secrets
from tokens.secrets import Secrets, Use

PARTING_SECONDS = 3.0
"""How long a peer may take to answer the disconnection of ISCL before we go without."""


@dataclass(frozen=True)
class Resources:
    """The opened identities, trust and secret keys of one listener or peer. A context manager that closes them.

    `validator` is None where nothing is trusted, `keys` where there is no ISCL.
    """

    identities: Sequence[Identity] = field(default=(), repr=False)
    validator: CertificateValidator | None = field(default=None, repr=False)
    keys: ISCLKeys | None = field(default=None, repr=False)

    @property
    def devices(self) -> Iterator[object]:
        """The drivers of the keys; for a key in a file, None; for siblings, all of them as one."""
        for identity in self.identities:
            yield getattr(identity.key, "device", None) if identity.siblings is None else identity.siblings
        for secrets in (self.keys.secrets, self.keys.authentication) if self.keys else ():
            yield getattr(secrets, "device", None)

    def close(self) -> None:
        """Release the devices; doing so twice is fine."""
        with contextlib.ExitStack() as stack:
            for device in (*self.identities, self.keys):
                if device is not None:
                    stack.callback(device.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class OpenedListener:
    """What a listener works with: its settings, its resources, and its policy for received instances."""

    settings: ListenerSettings
    resources: Resources = field(repr=False)
    policy: PolicyValidator | None = field(default=None, repr=False)

    def transport(self) -> SecureTransport:
        """Return the transport for its connections; see `hsm_dicom.network.assembly.make_listener_transport`."""
        opened = self.resources
        return make_listener_transport(self.settings, opened.identities, opened.validator, opened.keys)

    def close(self) -> None:
        """Release the devices."""
        self.resources.close()


class OpenedPeer(NamedTuple):
    """What a connection to a peer needs."""

    peer: Peer
    transport: SecureTransport
    calling_ae_title: str


def open_listener(plan: NodePlan, name: str | None = None, *, pin: PinSource | None = None) -> OpenedListener:
    """Open what the listener `[listeners.NAME]`, or the only one there is, works with. The caller closes it.

    `pin` goes before the configured source. Raises as `NodePlan.listener` does, and what opening a device raises.
    """
    found = plan.listener(name)
    policy = open_listener_policy(found, plan)
    return OpenedListener(found.settings, open_resources(found, plan, pin=pin), policy)


def open_listener_policy(listener: ListenerPlan, plan: NodePlan) -> PolicyValidator | None:
    """Return the validator of a listener's policy, or None. Raises as `open_policy` does."""
    storage = listener.settings.storage
    return None if storage is None or storage.policy is None else open_policy(plan, storage.policy)


@contextlib.contextmanager
def open_peer(
    plan: NodePlan, name: str, *, pin: PinSource | None = None, hooks: ISCLHooks | None = None
) -> Iterator[OpenedPeer]:
    """Open what a connection to the peer `[peers.NAME]` needs, until the block ends. `hooks` are for ISCL.

    Raises as `NodePlan.peer` does, `ConfigurationError` if the configuration lacks what a connection needs, and what
    opening a device raises.
    """
    found = plan.peer(name)
    raise_errors(found.connect_problems)
    with open_resources(found, plan, pin=pin) as resources, contextlib.ExitStack() as parting:
        if resources.keys is not None:
            parting.callback(resources.keys.wait, PARTING_SECONDS)
        transport = make_transport(found, resources, plan, hooks)
        yield OpenedPeer(found.peer, transport, found.calling_ae_title)


def open_resources(endpoint: ListenerPlan | PeerPlan, plan: NodePlan, *, pin: PinSource | None = None) -> Resources:
    """Open the identities, the trust and the secret keys of one listener or peer, all or none of them."""
    shown: tuple[IdentityAccess, ...]
    if isinstance(endpoint, PeerPlan):
        iscl, shown = endpoint.peer.iscl, endpoint.identities
    else:
        iscl, shown = endpoint.settings.iscl, endpoint.identities
    with contextlib.ExitStack() as undo:
        validator = plan.trust.open()
        identities = []
        for access in shown:
            identities.append(open_identity(access, pin=pin))
            undo.callback(identities[-1].close)
        keys = None
        if iscl is not None and endpoint.keys is not None:
            keys = open_secret_keys(endpoint.keys, iscl.settings, pin=pin)
        undo.pop_all()
    return Resources(identities, validator if plan.trust.anchors else None, keys)


def make_transport(
    endpoint: ListenerPlan | PeerPlan, resources: Resources, plan: NodePlan, hooks: ISCLHooks | None = None
) -> SecureTransport:
    """Return the transport of a listener or to a peer, with what `open_resources` has opened. `hooks` are for ISCL."""
    if isinstance(endpoint, ListenerPlan):
        return OpenedListener(endpoint.settings, resources).transport()
    identity, successor = (*resources.identities, None, None)[:2]
    validator = resources.validator or plan.trust.open()
    return make_peer_transport(endpoint.peer, identity, validator, resources.keys, hooks, successor=successor)


def open_identity(access: IdentityAccess, *, pin: PinSource | None = None) -> Identity:
    """Open an identity for the network, with the chain of its file or of its token.

    Raises `IdentityError` for a file with certificates of somebody else.
    """
    identity = access.open(pin=pin)
    try:
        if access.uses_stored_chain and identity.siblings is None:
            stored = find_stored_chain(identity.certificate, read_token_chains(access.tokens))
            identity = replace(identity, chain=stored)
        if access.chain is not None:
            given = read_certificates(access.chain)
            apart = [set(order_chain(one.certificate, given)[1]) for one in identity.all]
            strangers = [one for one in given if all(one in others for others in apart)]
            if strangers:
                subjects = ", ".join(f"'{one.subject.rfc4514_string()}'" for one in strangers)
                raise IdentityError(
                    f"{access.chain} has certificates that do not certify '{identity.subject}', even with the others: "
                    f"{subjects}.",
                    remedy="Remove them, or add the certificates of the issuers in between.",
                )
    except BaseException:
        identity.close()
        raise
    return identity


def open_secret_keys(keys: SecretKeysPlan, settings: ISCLSettings, *, pin: PinSource | None = None) -> ISCLKeys:
    """Open the devices with the secret keys of ISCL, and check that each key can do its part.

    Raises `SettingsError` for a key that cannot, and what opening a device raises.
    """
    with contextlib.ExitStack() as undo:
        secrets = _open_device(keys.device, keys, pin)
        undo.callback(secrets.close)
        authentication = None
        if keys.authentication_device is not None:
            authentication = _open_device(keys.authentication_device, keys, pin)
            undo.callback(authentication.close)
        _check_directions(keys, settings, pin)
        undo.pop_all()
    return ISCLKeys(secrets, authentication)


def _open_device(device: KeyAccess, keys: SecretKeysPlan, pin: PinSource | None) -> Secrets:
    access = override_pin(device, pin)
    if isinstance(access, TokenAccess):
        return access.open_secrets(keys.prefix, host_session_keys=keys.host_session_keys)
    return access.open_secrets()


def override_pin(access: KeyAccess, pin: PinSource | None) -> KeyAccess:
    """Return the access with another source of the PIN, if one is given."""
    return access if pin is None else replace(access, pin=pin)


def _check_directions(keys: SecretKeysPlan, settings: ISCLSettings, pin: PinSource | None) -> None:
    """Raise `SettingsError` for an authentication key whose usage does not let it do its part at this end.

    A card reports nothing of its keys before they are used.
    """
    access = override_pin(keys.authentication_device or keys.device, pin)
    if not isinstance(access, TokenAccess):
        return
    with access.open() as connection:
        there = {
            entry.index: entry.info
            for entry in list_secrets(connection, keys.prefix or access.uri.object)
            if entry.use is Use.AUTHENTICATION
        }
    # A response by decryption needs the other usage of each key.
    by_decryption = settings.profile.response_code is ResponseCode.DECRYPTED_CHALLENGE
    client, server = settings.authentication_keys[0], settings.authentication_keys[-1]
    answering, verifying = (client, server) if keys.role is Role.CLIENT else (server, client)
    for index, does, encrypts in (
        (answering, "answer challenges", not by_decryption),
        (verifying, "verify answers", by_decryption),
    ):
        info = there.get(index)  # a key that is missing is reported by the context that needs it
        if info is not None and not (info.encrypts if encrypts else info.decrypts):
            raise SettingsError(
                f"Authentication key {index} must {does} at this end, and was imported for the other direction.",
                remedy="See directional_keys, authentication_key and server_authentication_key in docs/howto/iscl.md.",
            )
