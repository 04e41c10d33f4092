"""Take the inventory of a node: read its configuration, its devices, and the files that it names."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as day_time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from hsm_dicom.config.devices import CardAccess, format_key_name
from hsm_dicom.config.loading import read_configuration
from hsm_dicom.config.opening import use_token_names
from hsm_dicom.config.problems import Severity
from hsm_dicom.errors import Error
from hsm_dicom.identity import (
    EXPIRY_WARNING,
    CertificateState,
    IdentityAccess,
    choose_certificate,
    find_stored_chain,
    read_certificates,
)
from hsm_dicom.node.compiler import compile_plan
from hsm_dicom.node.identities.succession import is_awaited, is_retired
from hsm_dicom.node.inventory.devices import Devices, explain_missing_key, find_certificates, read_devices
from hsm_dicom.node.inventory.entries import (
    Entry,
    Inventory,
    Kind,
    Urgency,
    assess_span,
    count_days,
    format_size,
    sort_entries,
)
from hsm_dicom.node.inventory.uses import Uses, describe_failure, name_device
from hsm_dicom.node.plan import NodePlan
from hsm_dicom.trust import RevocationPolicy
from hsm_dicom.trust.certificates import name_text
from hsm_dicom.trust.clock import current_time
from hsm_dicom.trust.revocation.crl import crl_span

RENEW = "Have a new one issued: hsm-dicom key csr makes the request."
FIND_CERTIFICATE = "See the row of its device; hsm-dicom key list shows the certificates on a token."
FIND_KEY = (
    "Compare the token's serial number with the record of the key. Another key needs another certificate: hsm-dicom "
    "key generate, key csr."
)


def take_inventory(
    file: Path,
    *,
    log_in: bool = True,
    in_readers: bool = False,
    warning: timedelta = EXPIRY_WARNING,
    now: datetime | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Inventory:
    """Return everything that a configuration names or its tokens hold. Raises nothing for what it finds.

    `warning` is the time before an end from which it needs attention. Without `log_in` no PIN is presented, and tokens
    show their public objects only; a PIN that a person would type is never asked for. If another user could have
    written the file, no module is loaded. `progress` is called with the name of each step.
    With `in_readers`, cards in readers and other tokens of its modules are listed, too, that the file does not name.
    """
    reading = read_configuration(file)
    use_token_names(reading.configuration, file)
    plan = compile_plan(reading)
    at = now or current_time()
    if plan.unsafe:
        plan = replace(plan, tokens={})
    uses = Uses(plan)
    profiles = reading.configuration.cards if in_readers and not plan.unsafe else None
    devices = read_devices(plan, uses, log_in=log_in and not plan.unsafe, progress=progress, profiles=profiles)
    progress("certificates and CRLs")
    collector = _Collector(plan, uses, devices, at, warning)
    return Inventory(
        file=file,
        taken=at,
        warning=warning,
        entries=sort_entries([*_list_mistakes(plan), *devices.rows, *collector.collect()]),
        not_logged_in=tuple(devices.not_logged_in),
    )


def _list_mistakes(plan: NodePlan) -> Iterator[Entry]:
    """Yield a row for each error of the file, since what it names is in no other row."""
    for problem in plan.problems:
        if problem.severity is Severity.ERROR:
            yield Entry(
                kind=Kind.CONFIGURATION,
                name=problem.key or str(problem.file),
                holder=problem.place.partition(": ")[0],
                urgency=Urgency.PROBLEM,
                problem=problem.text,
                remedy=problem.remedy,
            )


@dataclass
class _Collector:
    plan: NodePlan
    uses: Uses
    devices: Devices
    now: datetime
    warning: timedelta

    def collect(self) -> Iterator[Entry]:
        """Yield the rows of identities, certificates on tokens, trust, peers and exceptions."""
        for name, identity in self.plan.identities.items():
            yield from self._list_identity(name, identity)
        yield from self._list_stored_certificates()
        yield from self._list_trust()
        yield from self._list_peers()

    # -- identities -------------------------------------------------------------------------------------------

    def _list_identity(self, name: str, identity: IdentityAccess) -> Iterator[Entry]:
        uses = self.uses.of_identity(name)
        holder = _name_key_holder(identity)
        try:
            own = () if identity.certificate is None else read_certificates(identity.certificate)
            chain = (*own[1:], *(() if identity.chain is None else read_certificates(identity.chain)))
        except Error as error:
            yield _report_error(Kind.IDENTITY, name, holder, error, uses)
            return
        certificates = list(own[:1]) or self._find_on_device(identity)
        consequence = describe_failure(uses)
        problem, remedy = explain_missing_key(identity, self.devices), FIND_KEY
        if problem:
            certificates = []
        elif not certificates:
            problem, remedy = "Its certificate was not found.", FIND_CERTIFICATE
        if problem:
            yield Entry(
                kind=Kind.IDENTITY,
                name=name,
                holder=holder,
                uses=uses,
                consequence=consequence,
                urgency=Urgency.PROBLEM,
                problem=problem,
                remedy=remedy,
            )
        for certificate in certificates:
            row = self._describe(Kind.IDENTITY, name, certificate, holder, uses, consequence, RENEW)
            if is_awaited(self.plan, name) and certificate.not_valid_before_utc > self.now:
                row = replace(row, urgency=Urgency.FINE, problem="", consequence="", remedy="")
                yield replace(row, state=CertificateState.LATER)
                continue
            if is_retired(self.plan, name, certificate, self.now):
                successor = self.plan.successions[name].successor
                consequence = f"Nothing: {successor} serves in its place. hsm-dicom identity status says what is left."
                row = replace(row, urgency=Urgency.FINE, problem="", consequence=consequence, remedy="")
                yield replace(row, state=CertificateState.OLD)
                continue
            yield replace(row, state=CertificateState.IN_USE)
        what = f"As soon as a peer checks the chain: {consequence[0].lower()}{consequence[1:]}"
        remedy = "Ask the CA for its new certificate, and replace it in the file."
        for certificate in chain:
            place = str(identity.chain or identity.certificate)
            yield self._describe(Kind.CHAIN, name, certificate, place, (f"identities.{name}",), what, remedy)
        remedy = "Ask the CA for its new certificate, and store it: hsm-dicom key import-cert."
        for token, certificate in self._find_stored_chain(identity):
            yield self._describe(Kind.CHAIN, name, certificate, f"token {token}", (f"identities.{name}",), what, remedy)

    def _find_on_device(self, identity: IdentityAccess) -> list[x509.Certificate]:
        """Return the certificate that is used now: of each token with a key of its own, one."""
        if isinstance(identity.key, CardAccess):
            keys = self.devices.cards.get(name_device(identity.key), ())
            wanted = identity.key.uri.key
            return [one.certificate for one in keys if one.certificate and wanted in (None, one.key.name)][:1]
        chosen = []
        for access in identity.tokens:
            stored = self.devices.stored.get(access.name or "")
            found = [] if stored is None else find_certificates(access, stored)
            certificates = [one.certificate for one in found if one.certificate is not None]
            if certificates:
                chosen.append(choose_certificate(certificates, self.now))
        return list(dict.fromkeys(chosen))

    def _find_stored_chain(self, identity: IdentityAccess) -> list[tuple[str, x509.Certificate]]:
        """Return the chain that peers get from a token, each certificate with the token's name."""
        if not identity.uses_stored_chain:
            return []
        found = []
        own = self._find_on_device(identity)
        for token in dict.fromkeys(access.name or "" for access in identity.tokens):
            stored = self.devices.stored.get(token)
            there = [one.certificate for one in stored.certificates if one.certificate] if stored else []
            found += [(token, link) for certificate in own for link in find_stored_chain(certificate, there)]
        return list(dict.fromkeys(found))

    def _list_stored_certificates(self) -> Iterator[Entry]:
        """Yield the certificates on tokens that no identity uses now; the others are in the row of the identity."""
        identities = self.plan.identities
        used = [(one, name) for name, identity in identities.items() for one in self._find_in_use(identity)]
        in_use = [one for one, _ in used]
        in_use += [one for identity in identities.values() for _, one in self._find_stored_chain(identity)]
        for token, stored in self.devices.stored.items():
            for one in stored.certificates:
                if one.certificate is None or one.certificate in in_use:
                    continue
                label = one.name.label or one.name.id.hex()
                row = self._describe(Kind.CERTIFICATE, label, one.certificate, f"token {token}", (), "", "")
                key = one.certificate.public_key()
                current = next(((other, name) for other, name in used if other.public_key() == key), None)
                state = CertificateState.OLD if current else None
                consequence, remedy = "Nothing: no identity uses it.", ""
                if current and one.certificate.not_valid_before_utc > self.now:
                    state = CertificateState.LATER
                    consequence = (
                        f"Identity {current[1]} uses it from {one.certificate.not_valid_before_utc:%Y-%m-%d} on."
                    )
                elif current:
                    until = f"{current[0].not_valid_after_utc:%Y-%m-%d}"
                    consequence = f"Nothing: identity {current[1]} uses another one, until {until}."
                    word = shlex.quote(format_key_name(token, one.name.label))
                    remedy = f"hsm-dicom key delete-cert {word} --serial {one.certificate.serial_number:x} deletes it."
                yield replace(
                    row, urgency=Urgency.FINE, problem="", consequence=consequence, remedy=remedy, state=state or ""
                )

    def _find_in_use(self, identity: IdentityAccess) -> list[x509.Certificate]:
        """Return the certificates that an identity uses, from its file or its device; none if they cannot be read."""
        if identity.certificate is None:
            return self._find_on_device(identity)
        with contextlib.suppress(Error):  # the row of the identity reports it
            return list(read_certificates(identity.certificate)[:1])
        return []

    # -- trust ------------------------------------------------------------------------------------------------

    def _list_trust(self) -> Iterator[Entry]:
        trust, uses = self.plan.trust, self.uses.of_trust()
        refused = "No certificate that rests on it is accepted."
        files = (
            (Kind.ANCHOR, trust.anchors, uses, refused),
            (Kind.INTERMEDIATE, trust.intermediates, uses, refused),
            (Kind.TIMESTAMP_ANCHOR, trust.timestamp_anchors, (), "No time stamp that rests on it proves a time."),
        )
        for kind, paths, needed_by, consequence in files:
            for path in paths:
                yield from self._list_file(kind, path, needed_by, consequence)
        try:
            lists = trust.open_store().crls
        except Error as error:
            yield _report_error(Kind.CRL, "[trust]", "", error, uses)
            return
        enforced = trust.revocation is not RevocationPolicy.IF_AVAILABLE
        consequence = "No certificate of this CA is accepted." if enforced else "Revocations are not noticed."
        for sourced in lists:
            begins, ends = crl_span(sourced.crl)
            urgency, problem = assess_span(begins, ends, self.now, self.warning, is_crl=True)
            yield Entry(
                kind=Kind.CRL,
                name=Path(sourced.source).name,
                holder=sourced.source,
                subject=name_text(sourced.crl.issuer),
                uses=uses,
                begins=begins,
                ends=ends,
                days_left=count_days(ends, self.now),
                urgency=urgency,
                problem=problem,
                consequence=consequence,
                remedy="Fetch the CA's new CRL, and reload." if urgency is not Urgency.FINE else "",
            )

    def _list_file(self, kind: Kind, path: Path, uses: tuple[str, ...], consequence: str) -> Iterator[Entry]:
        remedy = "Ask the CA for its new certificate, and replace it in the file."
        try:
            for certificate in read_certificates(path):
                name = name_text(certificate.subject)
                yield self._describe(kind, name, certificate, str(path), uses, consequence, remedy)
        except Error as error:
            yield _report_error(kind, path.name, str(path), error, uses)

    # -- peers ------------------------------------------------------------------------------------------------

    def _list_peers(self) -> Iterator[Entry]:
        for name, plan in self.plan.peers.items():
            uses = self.uses.of_peer(name)
            match = plan.peer.match
            facts = (*match.names, *((match.subject,) if match.subject else ()), *_format_pins(match.pins))
            if plan.peer.iscl is not None and not plan.peer.iscl.over_tls:
                facts = (f"ISCL entity {plan.peer.iscl_entity}",)
            yield Entry(kind=Kind.PEER, name=name, holder=", ".join(facts), uses=uses)
            if plan.peer.legacy is not None:
                legacy = plan.peer.legacy
                yield self._describe_exception(f"peers.{name}", legacy.profile, legacy.until, legacy.reason)
        for name, listener in self.plan.listeners.items():
            if listener.settings.legacy is not None:
                legacy = listener.settings.legacy
                yield self._describe_exception(f"listeners.{name}", legacy.profile, legacy.until, legacy.reason)

    def _describe_exception(self, table: str, profile: str, until: date, reason: str) -> Entry:
        ends = datetime.combine(until, day_time.max, UTC)
        urgency, problem = assess_span(None, ends, self.now, self.warning)
        return Entry(
            kind=Kind.EXCEPTION,
            name=profile,
            holder=reason,
            uses=(table,),
            ends=ends,
            days_left=count_days(ends, self.now),
            urgency=urgency,
            problem=problem,
            consequence=f"No connection of {table} by this profile.",
            remedy="Replace the device, or decide on a new end date." if urgency is not Urgency.FINE else "",
        )

    # -- rows -------------------------------------------------------------------------------------------------

    def _describe(
        self,
        kind: Kind,
        name: str,
        certificate: x509.Certificate,
        holder: str,
        uses: tuple[str, ...],
        consequence: str,
        remedy: str,
    ) -> Entry:
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        urgency, problem = assess_span(begins, ends, self.now, self.warning)
        return Entry(
            kind=kind,
            name=name,
            holder=holder,
            subject=name_text(certificate.subject),
            uses=uses,
            size=format_size(certificate),
            begins=begins,
            ends=ends,
            days_left=count_days(ends, self.now),
            urgency=urgency,
            problem=problem,
            consequence=consequence,
            remedy=remedy if urgency is not Urgency.FINE else "",
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        )


def _report_error(kind: Kind, name: str, holder: str, error: Error, uses: tuple[str, ...]) -> Entry:
    return Entry(
        kind=kind,
        name=name,
        holder=holder,
        uses=uses,
        urgency=Urgency.PROBLEM,
        problem=error.message,
        remedy=error.remedy or "",
    )


def _name_key_holder(identity: IdentityAccess) -> str:
    if isinstance(identity.key, Path):
        return f"file {identity.key}"
    if isinstance(identity.key, CardAccess):
        return f"card {identity.key.uri.card_part()}"
    return ", ".join(f"token {name_device(one)}" for one in identity.tokens)


def _format_pins(pins: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"pin {pin[:16]}…" for pin in sorted(pins))
