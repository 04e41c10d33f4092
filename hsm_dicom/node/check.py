"""Check of a configuration: its plan, and the files, tokens, certificates and keys that it names, all at once.

    report = check_configuration(find_configuration())
    for problem in report.problems:
        print(problem)

One problem hides no other. A PIN is presented at most once for each token, under all the rules of a login, and not at
all where its source is already known to be unusable.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from hsm_dicom.config import Configuration
from hsm_dicom.config.devices import CardAccess, TokenAccess
from hsm_dicom.config.groups import GroupAccess, IdentityKeyAccess
from hsm_dicom.config.lines import KeyPath
from hsm_dicom.config.loading import read_configuration
from hsm_dicom.config.opening import use_token_names
from hsm_dicom.gateway.services import Service
from hsm_dicom.gateway.settings import RouteSettings
from hsm_dicom.identity import EXPIRY_WARNING, Identity, IdentityAccess, find_expiry_remark, read_certificates
from hsm_dicom.iscl import ISCLContext, ISCLSettings
from hsm_dicom.network.addresses import format_address
from hsm_dicom.network.settings import ISCLExemption
from hsm_dicom.node.check_report import CheckedIdentity, CheckedRoute, ConfigurationReport
from hsm_dicom.node.compiler import compile_plan
from hsm_dicom.node.identities.roles import review_roles
from hsm_dicom.node.identities.succession import is_awaited, is_retired, review_successions
from hsm_dicom.node.opening import make_transport, open_identity, open_resources, open_secret_keys
from hsm_dicom.node.plan import ListenerPlan, NodePlan, PeerPlan, RoutePlan, SecretKeysPlan
from hsm_dicom.node.policies import check_policies
from hsm_dicom.node.problems import ProblemCollector, list_identity_keys, list_token_keys
from hsm_dicom.node.tables.clashes import find_missing_addresses
from hsm_dicom.tls.settings import today
from hsm_dicom.trust import TrustStore, review_trust
from hsm_dicom.trust.certificates import is_ca
from hsm_dicom.trust.clock import current_time
from hsm_dicom.trust.roles import find_unfit_roles
from tokens.errors import KeyMismatchError, PinSourceError, Reason
from tokens.group import KeyGroup
from tokens.group.vendors import find_vendor_group
from tokens.keys import TokenECPrivateKey, TokenRSAPrivateKey
from tokens.pins.sources import FromCredential, FromEnvironment, FromFile, PinPad, PinSource, Prompt
from tokens.pkcs11.search import TokenInfo


def check_configuration(
    file: Path,
    *,
    log_in: bool = True,
    warning: timedelta = EXPIRY_WARNING,
    progress: Callable[[str], None] = lambda _: None,
) -> ConfigurationReport:
    """Check everything that a configuration names. Raises nothing for what it finds.

    Without `log_in` no PIN is presented, so that keys are not checked. A module is not loaded, nor a PIN presented, if
    another user could have written the file or the module. Certificates that end within `warning` are a warning.
    `progress` is called with the name of each step.
    """
    reading = read_configuration(file)
    use_token_names(reading.configuration, file)
    plan = compile_plan(reading)
    with contextlib.ExitStack() as logins:
        problems = ProblemCollector(reading, plan.problems)
        return _Check(reading.configuration, plan, problems, log_in, warning, progress, logins).run()


@dataclass
class _Check:
    configuration: Configuration
    plan: NodePlan
    problems: ProblemCollector
    log_in: bool
    warning: timedelta
    progress: Callable[[str], None]
    # Logins last until the end, so that a PIN is typed, or presented, once for each token.
    logins: contextlib.ExitStack
    logged_in: list[str] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    found: dict[str, TokenInfo] = field(default_factory=dict)
    certificates: list[x509.Certificate] = field(default_factory=list)
    own_certificates: dict[str, x509.Certificate] = field(default_factory=dict)
    is_expiring: bool = False

    def run(self) -> ConfigurationReport:
        for name, source in self.plan.pin_sources.items():
            self.progress(f"token {name}")
            pin_is_there = self._can_read_pin(("tokens", name, "pin"), source)
            if name in self.plan.tokens and not self.plan.unsafe:
                self._check_token(name, self.plan.tokens[name], pin_is_there)
        identities = []
        for name, identity in self.plan.identities.items():
            self.progress(f"identity {name}")
            identities += self._check_identity(name, identity)
        for remark in review_successions(self.plan, self.own_certificates):
            report = self.problems.add if remark.is_error else self.problems.warn
            report(("identities", remark.name, remark.key), remark.text, remark.remedy)
        self.not_checked += [path[1] for path in self.plan.unresolved if path[0] == "identities"]
        self._check_trust()
        self._check_exemptions()
        find_missing_addresses(self.plan, self.problems)
        secret_keys = self._check_secret_keys()
        routes = tuple(self._check_route(name, route) for name, route in self.plan.routes.items())
        return ConfigurationReport(
            file=self.plan.file,
            problems=self.problems.problems,
            tokens=tuple(self.logged_in),
            identities=tuple(identities),
            secret_keys=secret_keys,
            not_checked=tuple(self.not_checked),
            routes=routes,
            is_expiring=self.is_expiring,
        )

    # -- tokens -----------------------------------------------------------------------------------------------

    def _check_token(self, name: str, token: TokenAccess, pin_is_there: bool) -> None:
        place = ("tokens", name)
        if self.problems.attempt((*place, "module"), token.module) is None:
            return
        with self.problems.report_errors(place, list_token_keys(self.configuration.tokens[name])):
            _, self.found[name] = token.find_token()
            if pin_is_there and self.log_in:
                self._log_in(name, token)

    def _can_read_pin(self, place: KeyPath, source: PinSource | None) -> bool:
        """Return whether the source gives a PIN."""
        match source:
            case None:
                return False
            case Prompt() | PinPad():
                return sys.stdin.isatty()
            case FromFile() | FromEnvironment() | FromCredential():
                with self.problems.report_errors(place):
                    return self._read_pin(place, source)
                return False
        return True

    def _read_pin(self, place: KeyPath, source: PinSource) -> bool:
        """Read a PIN and forget it; note a credential that only a unit has, which is no mistake of the file."""
        try:
            pin = source.read("PIN")
        except PinSourceError as error:
            if error.facts is None or error.facts.reason is not Reason.CREDENTIAL_OUTSIDE_UNIT:
                raise
            self.problems.note(place, error.message, "Check it in such a unit, as the page on services shows.")
            return False
        if pin is not None:
            pin.wipe()
        return True

    def _log_in(self, name: str, token: TokenAccess) -> None:
        with self.problems.report_errors(("tokens", name, "pin")):
            connection = self.logins.enter_context(token.open())
            connection.connect()
            self.logged_in.append(name)

    # -- identities -------------------------------------------------------------------------------------------

    def _check_identity(self, name: str, access: IdentityAccess) -> list[CheckedIdentity]:
        place = ("identities", name)
        chain_is_read = self._check_certificate_file((*place, "chain"), access.chain)
        certificate_is_read = self._check_certificate_file((*place, "certificate"), access.certificate)
        if access.certificate is not None and certificate_is_read:
            own = [one for one in read_certificates(access.certificate) if not is_ca(one)]
            for certificate in own[:1]:
                self._check_roles(name, certificate)
        if isinstance(access.key, GroupAccess):
            self._check_vendors(name, access.key)
            access = replace(access, key=self._keep_members_to_open(access.key))
        if not isinstance(access.key, Path) and not self._may_open(access.key):
            self.not_checked.append(name)
            return []
        if not (chain_is_read and certificate_is_read):
            return []
        keys = list_identity_keys(self.configuration.identities[name])
        with self.problems.report_errors(place, keys), open_identity(access) as identity:
            if isinstance(access.key, CardAccess):
                access.key.check_pins()
            for finding in identity.findings:
                allowed = finding.weakness in access.weaknesses
                remedy = "It is allowed explicitly." if allowed else "Consider a key that was generated on the token."
                self.problems.warn(place, f"About its key: {finding.text}.", remedy)
            self._check_members((*place, "tokens"), identity)
            self.certificates += [one.certificate for one in identity.all]
            self.own_certificates[name] = identity.certificate
            if access.certificate is None:
                for one in identity.all:
                    self._check_dates((*place, "certificate"), one.certificate)
                    self._check_roles(name, one.certificate)
            return [
                CheckedIdentity(
                    name,
                    identity.subject,
                    identity.certificate.not_valid_after_utc,
                    tuple(one.role.value for one in find_unfit_roles(identity.certificate)),
                )
            ]
        return []

    def _check_vendors(self, name: str, group: GroupAccess) -> None:
        """Report tokens whose maker combines several devices into one token."""
        for token in group.tokens:
            found = self.found.get(token.name or "")
            module = token.uri.module_path or token.module_path
            vendor = None if module is None else find_vendor_group(module, found)
            if vendor is not None:
                self.problems.warn(
                    ("identities", name, "tokens"),
                    f"Token '{token.name}' is a {vendor.product}, whose module combines several devices by itself.",
                    f"Use that function, and write token = instead of tokens =. {vendor.advice}",
                )
                return

    def _keep_members_to_open(self, group: GroupAccess) -> GroupAccess:
        """Return the group without the tokens that did not accept their PIN, which are reported already."""
        return replace(group, tokens=tuple(token for token in group.tokens if self._may_open(token)))

    def _check_members(self, place: KeyPath, identity: Identity) -> None:
        """Report each token of a group that cannot be used: it has no such key, or another one."""
        keys = [one.key for one in identity.all]
        groups = [
            key.device
            for key in keys
            if isinstance(key, TokenRSAPrivateKey | TokenECPrivateKey) and isinstance(key.device, KeyGroup)
        ]
        for member in groups[0].all_members if groups else ():
            if member.fault is not None:
                remedy = member.fault.remedy or f"Test it: hsm-dicom token check {shlex.quote(member.name)}"
                if issubclass(member.fault.kind, KeyMismatchError):
                    table = f"[identities.{place[1]}]"
                    remedy = f"Put a copy of the key on it, or take '{member.name}' out of tokens of {table}."
                self.problems.add(place, f"Token '{member.name}' is not used: {member.fault.message}", remedy)
        public = [key.public_key() for key in keys]
        if any(one in public[:number] for number, one in enumerate(public)):
            what = "The tokens hold copies of one key, and siblings = true is for a key of its own on each."
            self.problems.warn(place, what, "Remove siblings = true: then no handshake fails if a token is lost.")

    def _may_open(self, device: IdentityKeyAccess) -> bool:
        """Return False for a token that refused its PIN: it would refuse again, for each table that names it."""
        if isinstance(device, GroupAccess):
            return bool(device.tokens)
        if device.name is None:
            return self.log_in and not self.plan.unsafe
        return device.name in self.logged_in

    def _check_certificate_file(self, place: KeyPath, path: Path | None) -> bool:
        if path is None:
            return True
        with self.problems.report_errors(place):
            for certificate in read_certificates(path):
                self._check_dates(place, certificate)
            return True
        return False

    def _check_dates(self, place: KeyPath, certificate: x509.Certificate) -> None:
        remark = find_expiry_remark(certificate, warning=self.warning)
        if remark is None:
            return
        if is_awaited(self.plan, place[1]) and certificate.not_valid_before_utc > current_time():
            return
        if is_retired(self.plan, place[1], certificate):
            return
        self.is_expiring = True
        report = self.problems.add if remark.expired else self.problems.warn
        report(place, remark.text, "Have a new one issued: hsm-dicom key csr makes the request.")

    def _check_roles(self, name: str, certificate: x509.Certificate) -> None:
        for remark in review_roles(self.plan, name, certificate):
            self.problems.warn(("identities", name, "certificate"), remark.text, remark.remedy)

    # -- trust ------------------------------------------------------------------------------------------------

    def _check_trust(self) -> None:
        """Report what in [trust] cannot be read, refuses peers, or will soon."""
        for key in ("anchors", "intermediates", "crls", "ocsp_responses", "timestamp_anchors"):
            files = {"anchors": (), key.removeprefix("timestamp_"): getattr(self.plan.trust, key)}
            with self.problems.report_errors(("trust", key)):
                TrustStore.from_files(**files)
        if self.problems.is_unresolved("trust"):
            return
        with self.problems.report_errors(("trust",)):
            for remark in review_trust(self.plan.trust.open(), warning=self.warning):
                self.is_expiring |= remark.expires
                report = self.problems.add if remark.refuses else self.problems.warn
                report(("trust", remark.key), remark.text, remark.remedy)
            check_policies(self.plan, self.problems, self.certificates)

    # -- retired profiles -------------------------------------------------------------------------------------

    def _check_exemptions(self) -> None:
        """Report the exceptions for retired profiles that have ended: no connection is made with them any more."""
        exemptions = {("peers", name): plan.peer.legacy for name, plan in self.plan.peers.items()}
        exemptions |= {("listeners", name): plan.settings.legacy for name, plan in self.plan.listeners.items()}
        for place, exemption in exemptions.items():
            if exemption is not None:
                with self.problems.report_errors((*place, "legacy")):
                    exemption.require_valid(today())

    # -- secret keys ------------------------------------------------------------------------------------------

    def _check_secret_keys(self) -> dict[str, str]:
        """Return which secret keys the devices of each ISCL table hold; report those that are missing or unfit."""
        there = {}
        for place, iscl, keys in self._iscl_tables():
            name = ".".join(place)
            self.progress(f"secret keys of {name}")
            devices = [device for device in (keys.device, keys.authentication_device) if device is not None]
            if not all(self._may_open(device) for device in devices):
                self.not_checked.append(name)
                continue
            with self.problems.report_errors(place):
                for card in (one for one in devices if isinstance(one, CardAccess)):
                    card.check_pins()
                opened = open_secret_keys(keys, iscl.settings)
                try:
                    ISCLContext(iscl.settings, opened.secrets, authentication=opened.authentication)
                finally:
                    opened.close()
                there[name] = _describe_keys(iscl.settings)
        return there

    def _iscl_tables(self) -> Iterator[tuple[KeyPath, ISCLExemption, SecretKeysPlan]]:
        for name, peer in self.plan.peers.items():
            if peer.peer.iscl is not None and peer.keys is not None:
                yield ("peers", name, "iscl"), peer.peer.iscl, peer.keys
        for name, listener in self.plan.listeners.items():
            if listener.settings.iscl is not None and listener.keys is not None:
                yield ("listeners", name, "iscl"), listener.settings.iscl, listener.keys

    # -- routes -----------------------------------------------------------------------------------------------

    def _check_route(self, name: str, route: RoutePlan) -> CheckedRoute:
        """Open what the secured sides of a route need, with the functions that the gateway opens it with."""
        self.progress(f"route {name}")
        settings = route.settings
        sides = []
        if route.listener is not None:
            owner = ("listeners", route.listener.settings.name)
            sides.append(self._check_side(("routes", name, "listener"), owner, route.listener))
        if route.target is not None:
            sides.append(self._check_side(("routes", name, "to"), ("peers", route.target.peer.name), route.target))
        reading = settings.reading_services
        return CheckedRoute(
            name=name,
            sources=tuple(source.name for source in settings.sources),
            entrance=_describe_entrance(settings),
            target=settings.target.name,
            transport=route.transport,
            called=settings.called_ae_titles,
            services=_order(settings.services),
            objects=settings.objects.value,
            plain_readers=tuple(source.name for source in settings.plain_sources) if reading else (),
            reading_services=_order(reading),
            is_ready=False if False in sides else None if None in sides else True,
        )

    def _check_side(self, place: KeyPath, owner: KeyPath, side: ListenerPlan | PeerPlan) -> bool | None:
        """Return whether a listener or peer can be opened; None if nobody logged in to its tokens."""
        shown = side.identities
        for table in (*(("identities", one.name) for one in shown), owner, ("trust",)):
            if self.problems.is_unresolved(*table):
                what = f"The route cannot be used until [{'.'.join(table)}] is corrected."
                self.problems.add(place, what, f"See the errors of [{'.'.join(table)}].")
                return False
        if {*(one.name for one in shown), f"{'.'.join(owner)}.iscl"} & set(self.not_checked):
            return None
        with self.problems.report_errors(place), open_resources(side, self.plan) as resources:
            make_transport(side, resources, self.plan)
            return True
        return False


def _describe_entrance(settings: RouteSettings) -> tuple[str, str]:
    if settings.listen is not None:
        return "listen", format_address(settings.listen)
    return ("listener", settings.listener) if settings.listener is not None else ("socket", settings.socket or "")


def _order(services: Set[Service]) -> tuple[str, ...]:
    return tuple(service.value for service in Service if service in services)


def _describe_keys(settings: ISCLSettings) -> str:
    indexes = {"authentication": settings.authentication_keys, "encryption": settings.encryption_keys}
    return ", ".join(
        f"{use} {'key' if len(keys) == 1 else 'keys'} {' and '.join(map(str, keys))}"
        for use, keys in indexes.items()
        if keys
    )
