"""Identities and their successors in a node: what each serves now, what is wrong with a switch, and what is left to do.

status = describe_succession(plan, "node", certificates)
print(status.stage, status.next_step)
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path

from cryptography import x509

from hsm_dicom.config.devices import TokenAccess, format_key_name
from hsm_dicom.config.groups import GroupAccess
from hsm_dicom.identity import Stage, Succession, Use
from hsm_dicom.node.plan import NodePlan
from hsm_dicom.trust import CertificatePurpose
from hsm_dicom.trust.clock import current_time
from hsm_dicom.trust.roles import find_unfit_roles


@dataclass(frozen=True)
class SuccessionRemark:
    """What is wrong with a switch: at a key of `[identities.NAME]`. `is_error`: it keeps the node from working."""

    name: str
    key: str
    text: str
    remedy: str
    is_error: bool = False


@dataclass(frozen=True, kw_only=True)
class SuccessionStatus:
    """An identity and its successor. `tables` are the listeners and peers that name either.

    `signs` and `in_tls` are the names of those that serve this now: of both, separated by a comma, if TLS switches by
    itself; `signs` is None if the identity is not for it.
    """

    succession: Succession
    stage: Stage
    signs: str | None
    in_tls: str
    tables: tuple[str, ...]
    next_step: str
    deletion: str
    """How the old key is deleted once it is retired, as a sentence."""


def find_tables(plan: NodePlan, *names: str) -> tuple[str, ...]:
    """Return the listeners and peers that show one of these identities, such as "listeners.main"."""
    listeners = [
        f"listeners.{one}"
        for one, listener in plan.listeners.items()
        if {*names} & {identity.name for identity in listener.identities}
    ]
    peers = [f"peers.{one}" for one, peer in plan.peers.items() if peer.identity and peer.identity.name in names]
    return (*listeners, *peers)


def is_awaited(plan: NodePlan, name: str) -> bool:
    """Return whether an identity is a successor that nothing uses yet, so that its certificate may still begin."""
    served = [one for one in plan.successions.values() if one.successor == name]
    switched = any(one.has_switched(use) for one in served for use in Use)
    return bool(served) and not switched and not find_tables(plan, name)


def is_retired(plan: NodePlan, name: str, certificate: x509.Certificate, now: datetime | None = None) -> bool:
    """Return whether a successor serves in the place of an identity, so that its certificate may end."""
    one = plan.successions.get(name)
    if one is None:
        return False
    tables = find_tables(plan, one.name, one.successor)
    return _find_stage(one, certificate, tables, now or current_time()) is Stage.RETIRED


def describe_succession(
    plan: NodePlan, name: str, certificates: Mapping[str, x509.Certificate], now: datetime | None = None
) -> SuccessionStatus:
    """Return the stage of an identity with a successor, and what is left to do. `certificates` are by identity."""
    one, moment = plan.successions[name], now or current_time()
    day, tables = moment.date(), find_tables(plan, one.name, one.successor)
    old = certificates.get(one.name)
    stage, signs = _find_stage(one, old, tables, moment), not tables or _may_sign(one, old)
    return SuccessionStatus(
        succession=one,
        stage=stage,
        signs=None if not signs else one.successor if one.has_switched(Use.SIGNING, day) else one.name,
        in_tls=_describe_tls(one),
        tables=tables,
        deletion=_describe_deletion(plan, one),
        next_step=_describe_retirement(one)
        if stage is Stage.RETIRED
        else _find_next_step(one, tables, certificates.get(one.successor), moment),
    )


def review_successions(
    plan: NodePlan, certificates: Mapping[str, x509.Certificate], now: datetime | None = None
) -> Iterator[SuccessionRemark]:
    """Yield what keeps a switch from working, by the certificates of the identities that could be opened."""
    moment = now or current_time()
    for name, one in plan.successions.items():
        old, new = certificates.get(name), certificates.get(one.successor)
        if one.signs_from is not None:
            yield from _review_signatures(one, one.signs_from, old, new, moment)
        if old is not None and new is not None and old.subject != new.subject:
            yield SuccessionRemark(
                name,
                "next",
                f"Its successor has another subject, '{new.subject.rfc4514_string()}'.",
                "Tell those who know this node by its subject; hsm-dicom key csr NEW --like OLD asks for the same one.",
            )


def _review_signatures(
    one: Succession, begins: date, old: x509.Certificate | None, new: x509.Certificate | None, now: datetime
) -> Iterator[SuccessionRemark]:
    key, switch = "next_signs_from", datetime.combine(begins, time.min, UTC)
    if old is not None and old.not_valid_after_utc < switch and now < switch:
        yield SuccessionRemark(
            one.name,
            key,
            f"Its certificate ends on {old.not_valid_after_utc:%Y-%m-%d}, and its successor signs from {begins} on: "
            "nothing can be signed in between.",
            "Write an earlier day.",
        )
    if new is None:
        return
    if not new.not_valid_before_utc <= max(switch, now) <= new.not_valid_after_utc:
        yield SuccessionRemark(
            one.name,
            key,
            f"Its successor signs from {begins} on, and the certificate of '{one.successor}' is valid from "
            f"{new.not_valid_before_utc:%Y-%m-%d %H:%M} to {new.not_valid_after_utc:%Y-%m-%d %H:%M} UTC.",
            "Write a day that begins within that time.",
            is_error=switch <= now,
        )
    for unfit in find_unfit_roles(new, [CertificatePurpose.SIGNING]):
        yield SuccessionRemark(
            one.name,
            key,
            f"The certificate of '{one.successor}' is not for signatures. {unfit.text}",
            f"Have one issued for them, or remove {key}.",
        )


def _describe_tls(one: Succession) -> str:
    if one.is_automatic:
        return f"{one.successor}, {one.name}"
    return one.successor if one.has_switched(Use.TLS) else one.name


def _find_stage(one: Succession, old: x509.Certificate | None, tables: tuple[str, ...], now: datetime) -> Stage:
    return one.find_stage(is_in_tls=bool(tables), may_sign=_may_sign(one, old), day=now.date())


def _may_sign(one: Succession, old: x509.Certificate | None) -> bool:
    """Return whether an identity is used for signatures, as far as the file and its certificate tell."""
    return one.signs_from is not None or old is None or not find_unfit_roles(old, [CertificatePurpose.SIGNING])


def _describe_retirement(one: Succession) -> str:
    return (
        f"Nothing uses {one.name} any more. Give its table the key of {one.successor}: hsm-dicom identity retire "
        f"{shlex.quote(one.name)} --write."
    )


def _describe_deletion(plan: NodePlan, one: Succession) -> str:
    access = plan.identities.get(one.name)
    match None if access is None else access.key:
        case TokenAccess(name=str(token), uri=uri) if uri.object is not None:
            how = f": hsm-dicom key delete {shlex.quote(format_key_name(token, uri.object))}"
        case GroupAccess() as group:
            how = f" on each token: hsm-dicom key delete {' and '.join(shlex.quote(name) for name in group.key_names)}"
        case Path() as file:
            how = f" in {file}."
        case _:
            how = " with the tools of its maker."
    return f"Remove the pin of the old key from the peers, and delete the old key{how}"


def _find_next_step(one: Succession, tables: tuple[str, ...], new: x509.Certificate | None, now: datetime) -> str:
    if new is None:
        return f"Have a certificate issued for {one.successor}: hsm-dicom key csr {one.successor} --like {one.name}."
    if new.not_valid_before_utc > now:
        return (
            f"Wait for the certificate of {one.successor}, which is valid from {new.not_valid_before_utc:%Y-%m-%d} on."
        )
    if tables and one.is_automatic:
        return (
            f"When no event successor-refused comes any more, and callers accept the pins of both, end the overlap: "
            f"hsm-dicom identity rollover {shlex.quote(one.name)} --write, and start or reload what uses "
            f"{', '.join(tables)}."
        )
    if tables and not one.in_tls:
        return (
            "Have the peers accept the pins of both, then switch TLS: hsm-dicom identity rollover "
            f"{shlex.quote(one.name)} --write, and start or reload what uses {', '.join(tables)}."
        )
    if one.signs_from is None:
        return (
            f"Choose the day from which {one.successor} signs: hsm-dicom identity rollover {shlex.quote(one.name)} "
            "--signs-from YYYY-MM-DD --write."
        )
    return f"Wait for {one.signs_from}, from which {one.successor} signs."
