"""Decide who may use a route. Pure functions of the connection's facts, the request and the settings.

A plain device is identified by its calling AE title and its source address, both of which anyone on its network can
imitate. A peer is identified by its certificate or its authentication data, as everywhere (`network.authorisation`).
The codes of a refusal are those of PS3.8, 9.3.4.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from hsm_dicom.gateway.settings import PlainDevice, RouteSettings
from hsm_dicom.gateway.status import RefusalKind
from hsm_dicom.network.authorisation import (
    CALLED_NOT_RECOGNISED,
    CALLING_NOT_RECOGNISED,
    LOCAL_LIMIT_EXCEEDED,
    REJECTED_TRANSIENT,
    SOURCE_PRESENTATION,
    UNKNOWN_VERSION,
    Refusal,
    check_caller,
)
from hsm_dicom.network.settings import Peer
from hsm_dicom.network.upper_layer.negotiation import AssociateRequest
from hsm_dicom.transport.port import ConnectionFacts

TEMPORARY_CONGESTION = 1

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class RouteRefusal:
    """Why a route refuses an association: the word of `RelayRefused.kind`, and the refusal for the caller."""

    kind: RefusalKind
    refusal: Refusal


VERSION_REFUSED = RouteRefusal("version", UNKNOWN_VERSION)


def refuse_for_limit(text: str) -> RouteRefusal:
    """Return the refusal of a caller that has reached a limit; it may try again later."""
    return RouteRefusal("limit", Refusal(text, LOCAL_LIMIT_EXCEEDED, REJECTED_TRANSIENT, SOURCE_PRESENTATION))


def refuse_for_now(kind: RefusalKind, text: str) -> RouteRefusal:
    """Return the refusal of a caller whose target is not reached, or whose route drains."""
    return RouteRefusal(kind, Refusal(text, TEMPORARY_CONGESTION, REJECTED_TRANSIENT, SOURCE_PRESENTATION))


def refuse_called(called: str, known: Sequence[str]) -> RouteRefusal:
    """Return the refusal of a caller whose called AE title belongs to no route."""
    text = (
        f"it called the AE title '{called}', and the routes here have {_join(known)}. Correct the AE title that it "
        "calls, or called in its route."
    )
    return RouteRefusal("called", Refusal(text, CALLED_NOT_RECOGNISED))


def find_source(
    facts: ConnectionFacts, address: str, request: AssociateRequest, settings: RouteSettings
) -> PlainDevice | Peer | RouteRefusal:
    """Return the source of a route that a caller is, or why it may not use the route.

    A plain connection can only be that of a plain device, and a secured one only that of a peer.
    """
    calling = request.calling_ae_title
    if facts.is_secured:
        peers = [source for source in settings.sources if isinstance(source, Peer)]
        refusal = check_caller(facts, calling, "", "", peers)
        if refusal is not None:
            return RouteRefusal("calling", refusal)
        named_peers = [peer for peer in peers if calling in peer.ae_titles]
        return next(peer for peer in named_peers if check_caller(facts, calling, "", "", [peer]) is None)
    devices = [source for source in settings.sources if isinstance(source, PlainDevice)]
    named = [device for device in devices if calling in device.ae_titles]
    if not named:
        text = (
            f"no plain device of the route has the AE title '{calling}'. If it may call, write its AE title in "
            f"[plain.NAME], and list that NAME in from of [routes.{settings.name}]."
        )
        return RouteRefusal("calling", Refusal(text, CALLING_NOT_RECOGNISED))
    for device in named:
        if is_address_of(device, address):
            return device
    text = (
        f"'{calling}' is the AE title of plain device '{named[0].name}', which may call from "
        f"{', '.join(named[0].addresses) or 'nowhere'} and not from {address}. Correct its addresses, or find out who "
        "uses its AE title."
    )
    return RouteRefusal("address", Refusal(text, CALLING_NOT_RECOGNISED))


def is_address_of(device: PlainDevice, address: str) -> bool:
    """Return whether a plain device may call from an IP address."""
    try:
        caller = parse_address(address)
    except ValueError:
        return False
    return any(caller in network for network in device.networks)


def parse_address(text: str) -> IPAddress:
    """Return an IP address without its zone; an IPv4 address that is mapped into IPv6 as IPv4 (RFC 4291, 2.5.5.2).

    Raises `ValueError`.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _join(titles: Sequence[str]) -> str:
    return ", ".join(f"'{title}'" for title in titles) or "none"
