"""The tokens of a gateway, as its own use of them shows: no call is made to find out more.

Uses are counted from the events of the tokens. A token counts as logged in while its last login or use succeeded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hsm_dicom.config.devices import KeyAccess, TokenAccess
from hsm_dicom.config.groups import GroupAccess
from hsm_dicom.gateway.status import TokenStatus
from hsm_dicom.identity import Identity
from hsm_dicom.identity.siblings import Siblings
from hsm_dicom.node.gateway.opening import OpenedGateway
from hsm_dicom.node.plan import RoutePlan
from tokens.errors import TokenError
from tokens.events import Event, KeyUse, Login, OperationOutcome
from tokens.group import BreakerState, KeyGroup
from tokens.keys import MayHang


@dataclass
class _Count:
    """The counts of one token, from its events."""

    uses: int = 0
    failures: int = 0
    seconds: float = 0.0
    problem: str = ""


class TokenCounts:
    """Counts the uses of each token by its serial number and label; a subscriber of `Login` and `KeyUse`."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], _Count] = {}
        self._counting = threading.Lock()

    def take(self, event: Event) -> None:
        """Count a use, or a login."""
        if not isinstance(event, KeyUse | Login):
            return
        succeeded = event.outcome is OperationOutcome.SUCCEEDED
        with self._counting:
            count = self._counts.setdefault((event.token_serial, event.token_label), _Count())
            count.problem = "" if succeeded else event.reason
            if isinstance(event, KeyUse):
                count.uses += event.count
                count.failures += 0 if succeeded else event.count
                count.seconds += event.duration

    def find(self, access: KeyAccess) -> _Count:
        """Return the counts of the token that an access is for."""
        with self._counting:
            fitting = [count for (serial, label), count in self._counts.items() if _fits(access, serial, label)]
        return fitting[0] if fitting else _Count()


@dataclass(frozen=True)
class _Used:
    """One token with what uses it: the identity's name, its driver, and the state of its breaker, if it has one."""

    access: KeyAccess
    user: str
    device: object
    breaker: str = ""
    fault: str = ""


def list_tokens(opened: OpenedGateway, counts: TokenCounts) -> tuple[TokenStatus, ...]:
    """Return the state of every token of a gateway, once each, in the order of the configuration."""
    used: dict[str, list[_Used]] = {}
    for one in _list_used(opened):
        used.setdefault(_name(one), []).append(one)
    return tuple(_make_status(name, uses, counts) for name, uses in used.items())


def _make_status(name: str, uses: Sequence[_Used], counts: TokenCounts) -> TokenStatus:
    count = counts.find(uses[0].access)
    breaker = next((one.breaker for one in uses if one.breaker), "")
    if breaker:
        problem = next((one.fault for one in uses if one.fault), "") if breaker != BreakerState.CLOSED else ""
    else:
        problem = next(filter(None, (_find_hang(one.device) for one in uses)), count.problem)
    return TokenStatus(
        name=name,
        identities=tuple(dict.fromkeys(one.user for one in uses)),
        logged_in=not problem,
        breaker=breaker,
        uses=count.uses,
        failures=count.failures,
        seconds=count.seconds,
        problem=problem,
    )


def _list_used(opened: OpenedGateway) -> Iterator[_Used]:
    identities = {one.name: one for one in opened.identities}
    for access in opened.accesses:
        identity = identities[access.name]
        if isinstance(access.key, GroupAccess):
            yield from _list_members(access.key, identity)
        elif isinstance(access.key, KeyAccess):
            yield _Used(access.key, access.name, getattr(identity.key, "device", None))
    for endpoint, resources in opened.endpoints:
        if isinstance(endpoint, RoutePlan) or endpoint.keys is None or resources.keys is None:
            continue
        user = endpoint.peer.name if hasattr(endpoint, "peer") else endpoint.settings.name
        yield _Used(endpoint.keys.device, user, getattr(resources.keys.secrets, "device", None))
        if endpoint.keys.authentication_device is not None:
            device = getattr(resources.keys.authentication, "device", None)
            yield _Used(endpoint.keys.authentication_device, user, device)


def _list_members(group: GroupAccess, identity: Identity) -> Iterator[_Used]:
    """Yield the tokens of a group with their breakers: those of copies, or those of siblings."""
    if isinstance(identity.siblings, Siblings):
        found = [(one.name, one.state, one.breaker.fault) for one in identity.siblings.pool.members]
    else:
        device = getattr(identity.key, "device", None)
        reports = device.all_members if isinstance(device, KeyGroup) else ()
        found = [(one.name, one.state, one.fault) for one in reports]
    states = {name: (state, fault) for name, state, fault in found}
    for token in group.tokens:
        state, fault = states.get(token.name or str(token.uri), (BreakerState.CLOSED, None))
        yield _Used(token, identity.name, None, state.value, fault.text if fault else "")


def _find_hang(device: object) -> str:
    if isinstance(device, MayHang):
        try:
            device.check_answers()
        except TokenError as error:
            return error.message
    return ""


def _name(used: _Used) -> str:
    """Return the NAME of a token; for a card, which has none, that of what uses it."""
    return used.access.name or f"card of {used.user}"


def _fits(access: KeyAccess, serial: str, label: str) -> bool:
    if not isinstance(access, TokenAccess):
        return False
    uri = access.uri
    return uri.serial in (None, serial) and uri.token in (None, label) and (uri.serial or uri.token) is not None
