"""A node that listens: Verification and Storage SCP on one address, reloaded without dropping an association.

    service = Service(lambda: open_listener(read_plan(file), "main"))
    with service:
        service.reload()             # after a renewed certificate, a new CRL, another peer

Open associations continue with the settings that they began with; the next handshake uses the new ones. If reloading
fails, the old settings stay active, and an event gives the reason.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom.events import emit
from hsm_dicom.network.acceptor import Acceptor
from hsm_dicom.network.addresses import Address
from hsm_dicom.network.listener import Listener
from hsm_dicom.network.receive import Receiver
from hsm_dicom.network.settings import ListenerSettings, Peer, StorageSettings
from hsm_dicom.network.storage.policy_check import CheckFile, check_integrity_only, make_policy_check
from hsm_dicom.node.opening import OpenedListener
from hsm_dicom.node.readiness import Readiness
from hsm_dicom.node.reloading import explain_failure
from hsm_dicom.node.replaced import ReplacedResources
from hsm_dicom.node.systemd.sockets import PassedSockets
from hsm_dicom.node.validity.ends import list_retired_profiles
from hsm_dicom.node.validity.watch import INTERVAL_SECONDS, ValidityWatch, Watched
from hsm_dicom.transport.events import CertificatesReloaded, log
from hsm_dicom.validation import PolicyValidator


class Service:
    """One listener with its application entity. A context manager: it listens while the block runs."""

    def __init__(
        self,
        open_anew: Callable[[], OpenedListener],
        sockets: PassedSockets | None = None,
        *,
        look_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        """Open the listener for the first time. Raises what `open_anew` raises, and `ListenError`.

        A socket in `sockets` with the listener's name is used instead of its address. `look_seconds` is the time
        between two looks at the dates of certificates and CRLs.
        """
        self._open_anew = open_anew
        self._replaced = ReplacedResources()
        self._opened = open_anew()
        try:
            settings = self._opened.settings
            self._acceptor = make_acceptor(settings, self._peers, lambda: self._opened.policy)
            transport = self._opened.transport()
            self._listener = Listener(
                settings.name,
                (settings.host, settings.port),
                transport,
                self._acceptor.begin,
                settings.limits,
                sockets.take(settings.name) if sockets else None,
            )
        except BaseException:
            self._opened.close()
            raise
        self._reloading = threading.Lock()
        host, port = self.address
        self._watch = ValidityWatch(settings.name, f"{host}:{port}", self._list_watched, interval=look_seconds)
        self._readiness = Readiness(settings.name, f"{host}:{port}", self._list_devices)

    @property
    def address(self) -> Address:
        """Host and port of the listener."""
        return self._listener.address

    @property
    def settings(self) -> ListenerSettings:
        """The active settings."""
        return self._opened.settings

    @property
    def listener(self) -> Listener:
        """The listener, with its counts."""
        return self._listener

    @property
    def problem(self) -> str:
        """Why the listener cannot use a key now, as a sentence; empty if it can use all of them."""
        return self._readiness.problem

    def ping(self, seconds: float) -> bool:
        """Return whether the accept loop goes round within so many seconds, whatever the tokens do."""
        return self._listener.ping(seconds)

    def reload(self) -> bool:
        """Read certificates, trust, revocation data and peers again. Return False, and emit an event, if that fails.

        Address, AE title, limits and storage folder do not change until a restart.
        """
        with self._reloading:
            name = self._opened.settings.name
            try:
                opened = self._open_anew()
                try:
                    transport = opened.transport()
                except BaseException:
                    opened.close()
                    raise
            except Exception as error:
                why = explain_failure(name, error)
                self._report_reload(False, f"{name}: reloading failed, and the old settings stay active: {why}")
                return False
            before, self._opened = self._opened, opened
            self._listener.transport = transport
            self._replaced.close_later(before, name, self._listener.limits.handshake_seconds)
            self._report_reload(True, f"{name}: certificates, trust and peers were reloaded.")
            self._watch.check(repeat=True)
            return True

    def __enter__(self) -> Self:
        self._listener.start()
        host, port = self.address
        self._watch.start()
        self._readiness.start()
        log.info("%s: '%s' listens on %s port %d.", self.settings.name, self.settings.ae_title, host, port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self._opened.close)
            stack.callback(self._replaced.close)
            stack.callback(self._acceptor.stop)
            stack.callback(self._listener.stop)
            stack.callback(self._readiness.stop)
            stack.callback(self._watch.stop)

    def _list_watched(self) -> Watched:
        resources, settings = self._opened.resources, self._opened.settings
        exceptions = list_retired_profiles([settings], settings.peers)
        return Watched(resources.identities, resources.validator, exceptions=exceptions)

    def _list_devices(self) -> list[object]:
        return list(self._opened.resources.devices)

    def _peers(self) -> Sequence[Peer]:
        return self._opened.settings.peers

    def _report_reload(self, succeeded: bool, text: str) -> None:
        host, port = self.address
        name = self._opened.settings.name
        emit(CertificatesReloaded(name=name, address=f"{host}:{port}", text=text, succeeded=succeeded))


def make_acceptor(
    settings: ListenerSettings,
    peers: Callable[[], Sequence[Peer]],
    policy: Callable[[], PolicyValidator | None] = lambda: None,
) -> Acceptor:
    """Return what serves the associations of a listener's own application entity.

    It accepts Verification, and Storage if the settings name a folder. `peers` is called for each association, and
    `policy` for each instance: it returns the validator of the policy that the settings name.
    """
    storage = settings.storage
    receiver = None if storage is None else Receiver(settings.name, storage, _make_check(storage, policy))
    ae = AE(settings.ae_title)
    ae.add_supported_context(Verification)
    return Acceptor(
        settings.name,
        ae,
        peers,
        receiver.handlers if receiver else (),
        settings.limits,
        receiver.start_storing if receiver else None,
        settings.storage.sop_classes if settings.storage else None,
    )


def _make_check(settings: StorageSettings, policy: Callable[[], PolicyValidator | None]) -> CheckFile | None:
    """Return the check of received instances that the settings ask for."""
    if settings.policy is None and settings.check_signatures:
        log.warning("check_signatures is deprecated, and accepts signatures by any certificate; use policy instead.")
        return check_integrity_only
    if settings.policy is None:
        return None

    def open_validator() -> PolicyValidator:
        validator = policy()
        if validator is None:
            raise RuntimeError(f"The policy '{settings.policy}' is not open.")
        return validator

    return make_policy_check(open_validator)
