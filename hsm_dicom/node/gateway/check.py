"""A C-ECHO to the target of each route of a plan, and which side fails and why.

The target is reached with the route's own transport, identity and AE titles. The other side is the address at which
callers arrive: whether this machine has it, and whether it is free, unless a running gateway has it already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom.config.loading import read_configuration
from hsm_dicom.errors import DicomError
from hsm_dicom.gateway.settings import PlainDevice, RouteSettings
from hsm_dicom.gateway.targets import PlainTarget
from hsm_dicom.network.addresses import Address, can_bind, format_address, open_listening_socket
from hsm_dicom.network.authorisation import CALLED_NOT_RECOGNISED, CALLING_NOT_RECOGNISED
from hsm_dicom.network.echo import echo
from hsm_dicom.network.errors import (
    AssociationLostError,
    AssociationRejectedError,
    ConnectError,
    ListenError,
    PeerNotAuthorisedError,
)
from hsm_dicom.network.requestor import Timeouts
from hsm_dicom.node.compiler import compile_plan
from hsm_dicom.node.gateway.entrances import Place, find_place
from hsm_dicom.node.gateway.lock import find_running_gateway
from hsm_dicom.node.gateway.opening import Opener, find_state_folder
from hsm_dicom.node.plan import GatewayPlan, NodePlan, RoutePlan
from hsm_dicom.tls import FailureReason, HandshakeError
from hsm_dicom.transport.port import ConnectionFacts
from tokens.errors import TokenError
from tokens.pins.sources import PinSource

_CERTIFICATE_REASONS = (
    FailureReason.CERTIFICATE_REFUSED,
    FailureReason.NO_CERTIFICATE,
    FailureReason.WRONG_NAME,
    FailureReason.REFUSED_BY_PEER,
)


class Failure(StrEnum):
    """What fails, and on which side of a route. The values are for programs and do not change."""

    ENTRANCE = "entrance"
    """The address at which callers arrive cannot be listened on."""
    OWN_KEY = "own-key"
    """This node's key, its certificate or what it trusts cannot be used."""
    TARGET_DOWN = "target-down"
    """No connection to the target came about."""
    CERTIFICATE = "certificate"
    """The target proved no identity, or that of another one; or it did not accept ours."""
    HANDSHAKE = "handshake"
    """The handshake with the target failed for another reason."""
    AE_TITLE = "ae-title"
    """The target does not know the calling or the called AE title."""
    REFUSED = "refused"
    """The target rejected the association for another reason, or answered no C-ECHO."""

    def describe(self) -> str:
        """Return which side fails, as the beginning of a sentence."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    Failure.ENTRANCE: "callers cannot connect",
    Failure.OWN_KEY: "this node's key or trust cannot be used",
    Failure.TARGET_DOWN: "the target cannot be reached",
    Failure.CERTIFICATE: "the certificate of the target, or ours, is not accepted",
    Failure.HANDSHAKE: "the handshake with the target fails",
    Failure.AE_TITLE: "the target refuses an AE title",
    Failure.REFUSED: "the target refuses the association",
}


@dataclass(frozen=True, kw_only=True)
class RouteCheck:
    """One route. `failure` is None if the target answered; `text` says what was found, `facts` what the connection is.

    `seconds` is from the connection to the answer. `remark` is about the entrance, where that is no failure.
    """

    route: str
    target: str
    calling_ae_title: str
    called_ae_title: str
    failure: Failure | None
    text: str
    remark: str = ""
    seconds: float | None = None
    facts: ConnectionFacts | None = None


def check_gateway(
    file: Path, *, pin: PinSource | None = None, progress: Callable[[str], None] = lambda _: None
) -> Iterator[RouteCheck]:
    """Check each route of a configuration. Raises as `NodePlan.require_gateway` does, but nothing for a route."""
    reading = read_configuration(file)
    plan = compile_plan(reading)
    gateway = plan.require_gateway()
    running = find_running_gateway(find_state_folder(reading.configuration))
    taken = f"the running gateway (process {running.process}) uses it" if running else ""
    for name, route in gateway.routes.items():
        progress(name)
        yield _check_route(plan, gateway, route, taken, pin)


def _check_route(
    plan: NodePlan, gateway: GatewayPlan, route: RoutePlan, taken: str, pin: PinSource | None
) -> RouteCheck:
    settings = route.settings
    result = RouteCheck(
        route=settings.name,
        target=settings.target.name,
        calling_ae_title=settings.calling_ae_title or settings.sources[0].ae_titles[0],
        called_ae_title=settings.called_ae_title or settings.called_ae_titles[0],
        failure=None,
        text="",
    )
    listeners = {name: listener.settings for name, listener in gateway.listeners.items()}
    failed, remark = _check_entrance(find_place(settings, listeners), taken)
    result = replace(result, remark=remark)
    if failed:
        return replace(result, failure=Failure.ENTRANCE, text=failed)
    began = time.monotonic()
    try:
        facts = _ask_target(plan, route, result, pin)
    except (DicomError, TokenError) as error:
        return replace(result, failure=_classify(error), text=str(error))
    seconds = time.monotonic() - began
    return replace(result, text=f"answered in {seconds * 1000:.0f} ms", seconds=seconds, facts=facts)


def _check_entrance(place: Place, taken: str) -> tuple[str, str]:
    """Return why callers cannot arrive, and a remark on the place; both may be empty."""
    if place.kind == "socket":
        return "", f"systemd passes the socket '{place.name}', which is not checked here"
    return check_address(place.address, taken)


def check_address(address: Address, taken: str = "") -> tuple[str, str]:
    """Return why an address cannot be listened on, and a remark on it; both may be empty.

    `taken` says who may have it.
    """
    where = format_address(address)
    if not can_bind(address[0]):
        return "", f"no interface of this machine has the address {address[0]} now"
    try:
        open_listening_socket(address).close()
    except ListenError as error:
        return ("", f"{where}: {taken}") if taken else (str(error), "")
    return "", f"{where} is free: no gateway runs"


def _ask_target(plan: NodePlan, route: RoutePlan, wanted: RouteCheck, pin: PinSource | None) -> ConnectionFacts:
    target, seconds = route.settings.target, route.settings.connect_seconds
    if isinstance(target, PlainDevice):
        return _echo_plain(target, route.settings, wanted)
    with ExitStack() as closing:
        transport = Opener(plan, closing, pin).open_transport(route)
        called = replace(target, ae_titles=(wanted.called_ae_title,))
        timeouts = Timeouts(connect=seconds, handshake=seconds, answer=route.settings.request_seconds)
        answer = echo(called, transport, wanted.calling_ae_title, timeouts)
    if not answer.done:
        raise AssociationLostError(f"'{target.name}' answered C-ECHO with the status {answer.status:04X}.")
    return answer.facts


def _echo_plain(device: PlainDevice, settings: RouteSettings, wanted: RouteCheck) -> ConnectionFacts:
    """Ask a plain device. Raises `ConnectError`, `AssociationRejectedError` and `AssociationLostError`."""
    secured = PlainTarget(device, settings.connect_seconds).connect()
    secured.socket.close()
    ae = AE(wanted.calling_ae_title)
    ae.connection_timeout = settings.connect_seconds
    ae.acse_timeout = ae.dimse_timeout = settings.request_seconds
    ae.add_requested_context(Verification)
    association = ae.associate(device.host or "", device.port, ae_title=wanted.called_ae_title)
    primitive = association.acceptor.primitive
    if association.is_rejected and primitive is not None:
        codes = (primitive.result or 0, int(primitive.result_source or 0), primitive.diagnostic or 0)
        raise AssociationRejectedError(
            f"'{device.name}' rejected the association of '{wanted.calling_ae_title}' with '{wanted.called_ae_title}' "
            f"({primitive.reason_str}).",
            *codes,
        )
    if not association.is_established:
        raise AssociationLostError(f"'{device.name}' did not answer the request for an association.")
    answer = association.send_c_echo()
    association.release()
    if "Status" not in answer or answer.Status != 0:
        raise AssociationLostError(f"'{device.name}' did not answer C-ECHO with success.")
    return secured.facts


def _classify(error: Exception) -> Failure:
    match error:
        case ConnectError():
            return Failure.TARGET_DOWN
        case HandshakeError(reason=FailureReason.OWN_KEY):
            return Failure.OWN_KEY
        case PeerNotAuthorisedError():
            return Failure.CERTIFICATE
        case HandshakeError():
            return Failure.CERTIFICATE if error.reason in _CERTIFICATE_REASONS else Failure.HANDSHAKE
        case AssociationRejectedError(reason=reason) if reason in (CALLING_NOT_RECOGNISED, CALLED_NOT_RECOGNISED):
            return Failure.AE_TITLE
        case AssociationRejectedError() | AssociationLostError():
            return Failure.REFUSED
    return Failure.OWN_KEY
