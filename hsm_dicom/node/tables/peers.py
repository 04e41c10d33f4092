"""Peers in the plan: each `[peers.NAME]` with its profile, its certificate, its ISCL, and what this node shows it."""

from __future__ import annotations

from hsm_dicom.config import Configuration
from hsm_dicom.config.groups import GroupAccess
from hsm_dicom.config.lines import KeyPath
from hsm_dicom.config.loading import Reading
from hsm_dicom.config.network_sections import LegacySection, PeerSection
from hsm_dicom.config.problems import Problem
from hsm_dicom.identity import IdentityAccess, Use, choose_identity, find_successions
from hsm_dicom.iscl import PORT as ISCL_PORT
from hsm_dicom.iscl import Role
from hsm_dicom.iscl.entity import decode_entity
from hsm_dicom.network.settings import DICOM_TLS_PORT, CertificateMatch, ISCLExemption, Peer, check_ae_title, uses_tls
from hsm_dicom.node.plan import PeerPlan, SecretKeysPlan, join_names
from hsm_dicom.node.problems import ProblemCollector
from hsm_dicom.node.tables.iscl import ISCLTable
from hsm_dicom.tls import DEFAULT, AuthenticationMode, TLSProfile, get_profile
from hsm_dicom.tls.settings import LegacyExemption

_PLACEHOLDER = CertificateMatch(pins=frozenset({"0" * 64}))
"""Stands for a match with a mistake, so that the other mistakes of the same peer are found, too."""

DEFAULT_NAME = "hsm-dicom"
"""The authentication data of this node in ISCL, where neither an AE title nor the peer's table has any."""


class PeerCompiler:
    """Compiles the peers of one configuration."""

    def __init__(self, reading: Reading, identities: dict[str, IdentityAccess], problems: ProblemCollector) -> None:
        self._reading = reading
        self._configuration = reading.configuration
        self._identities = identities
        self._problems = problems
        self._our_titles = {section.ae_title for section in self._configuration.listeners.values()}

    def compile_all(self) -> dict[str, PeerPlan]:
        """Return the plans of all peers that can be used."""
        plans = {name: self._compile(name, section) for name, section in self._configuration.peers.items()}
        return {name: plan for name, plan in plans.items() if plan is not None}

    def _compile(self, name: str, section: PeerSection) -> PeerPlan | None:
        place = ("peers", name)
        iscl: ISCLExemption | None = None
        keys: SecretKeysPlan | None = None
        if section.iscl is not None:
            table = ISCLTable(self._configuration, place, section.iscl, self._problems)
            iscl = table.compile_settings(our_name=self._choose_our_name(section), their_name=section.ae_titles[0])
            # The one who calls is the client; a peer without a host only calls us.
            keys = table.compile_keys(Role.SERVER if section.host is None else Role.CLIENT)
            if iscl is None or keys is None:
                self._problems.mark_unresolved(place)
        peer = self._compile_settings(name, section, iscl)
        identity, missing = self._find_identity(name, section)
        if section.legacy is not None:
            check_legacy_identity((*place, "identity"), identity, self._problems)
        if section.calling_ae_title is not None:
            with self._problems.report_errors(place):
                check_ae_title("calling_ae_title", section.calling_ae_title)
        if peer is None or self._problems.is_unresolved(*place):
            self._problems.mark_unresolved(place)
            return None
        needs_identity = uses_tls(iscl) and peer.authentication is AuthenticationMode.MUTUAL
        title = self._find_calling_ae_title(section)
        untitled = (
            None
            if title
            else self._reading.problem(
                place,
                f"The AE title that this node uses towards peer '{name}' is not given.",
                f"Write calling_ae_title = in [peers.{name}].",
            )
        )
        return PeerPlan(
            peer=peer,
            calling_ae_title=title or "",
            identity=identity if needs_identity else None,
            successor=self._find_successor(peer, identity) if needs_identity else None,
            keys=keys,
            identity_problem=missing if needs_identity else None,
            title_problem=untitled,
        )

    def _compile_settings(self, name: str, section: PeerSection, iscl: ISCLExemption | None) -> Peer | None:
        place, problems = ("peers", name), self._problems
        profile = compile_profile(place, section.profile, problems)
        legacy = compile_legacy(place, section.legacy, problems)
        match = problems.attempt(
            place, lambda: CertificateMatch(names=section.names, subject=section.subject, pins=section.pins)
        )
        told = iscl.settings.peer_authentication_data if iscl else None
        uncertain = section.iscl is not None and iscl is None
        peer = problems.attempt(
            place,
            lambda: Peer(
                name=name,
                ae_titles=section.ae_titles,
                host=section.host,
                port=choose_port(section.port, iscl),
                # Whether a certificate is needed at all, nobody knows before the ISCL table is right.
                certificate=_PLACEHOLDER if match is None or uncertain else match,
                profile=profile or DEFAULT,
                authentication=AuthenticationMode(section.authentication),
                legacy=legacy,
                iscl=iscl,
                entity=None if told is None else decode_entity(told),
                answer_seconds=section.answer_seconds,
            ),
        )
        return None if match is None or profile is None else peer

    def _find_identity(self, name: str, section: PeerSection) -> tuple[IdentityAccess | None, Problem | None]:
        """Return the identity that we show the peer; or the problem that keeps this node from connecting."""
        place = ("peers", name)
        if section.identity is not None:
            return find_named_identity(
                (*place, "identity"), section.identity, self._configuration, self._identities, self._problems
            ), None
        successors = {one.successor for one in find_successions(self._configuration).values()}
        named = [one for one in self._configuration.identities if one not in successors]
        if len(named) == 1:
            return find_named_identity(place, named[0], self._configuration, self._identities, self._problems), None
        known = self._configuration.identities
        return None, self._reading.problem(
            place,
            f"The identity that this node shows to peer '{name}' is not given.",
            f"Write identity = in [peers.{name}], one of: {join_names(known)}."
            if known
            else f'Write [identities.NAME], and identity = "NAME" in [peers.{name}].',
        )

    def _find_successor(self, peer: Peer, identity: IdentityAccess | None) -> IdentityAccess | None:
        """Return the successor that this peer is shown first; None if TLS does not switch by itself."""
        one = None if identity is None else find_successions(self._configuration).get(identity.name)
        if one is None or not one.is_automatic or peer.iscl is not None or peer.legacy is not None:
            return None
        return self._identities.get(one.successor)

    def _find_calling_ae_title(self, section: PeerSection) -> str | None:
        if section.calling_ae_title is not None:
            return section.calling_ae_title
        return next(iter(self._our_titles)) if len(self._our_titles) == 1 else None

    def _choose_our_name(self, section: PeerSection) -> str:
        """Return our authentication data in ISCL towards a peer, unless its table has other ones."""
        return self._find_calling_ae_title(section) or DEFAULT_NAME


def find_named_identity(
    place: KeyPath,
    name: str,
    configuration: Configuration,
    identities: dict[str, IdentityAccess],
    problems: ProblemCollector,
) -> IdentityAccess | None:
    """Return an identity that a table names, or the successor that TLS shows in its place.

    Returns None, and reports a problem at the place, if the file has no such table.
    """
    with problems.report_errors(place):
        name = choose_identity(find_successions(configuration), name, Use.TLS)
    if name in identities:
        return identities[name]
    if name in configuration.identities:
        problems.mark_unresolved(place[:2])
    else:
        remedy = f"Write the table, or name one that is there: {join_names(configuration.identities)}."
        problems.add(place, f"There is no [identities.{name}] in this file.", remedy)
    return None


def check_legacy_identity(place: KeyPath, identity: IdentityAccess | None, problems: ProblemCollector) -> None:
    """Report an identity with siblings at a retired profile, which uses one key for all connections."""
    if identity is not None and isinstance(identity.key, GroupAccess) and identity.key.siblings:
        what = f"Identity '{identity.name}' has a key of its own on each token, and a retired profile uses one key."
        problems.add(place, what, "Put copies of one key on the tokens, or name an identity on one token.")


def choose_port(written: int | None, iscl: ISCLExemption | None) -> int:
    """Return the port that is written, or the registered one of the protocol."""
    return written or (DICOM_TLS_PORT if iscl is None else ISCL_PORT)


def compile_profile(place: KeyPath, name: str | None, problems: ProblemCollector) -> TLSProfile | None:
    """Return the TLS profile of a table, the default if none is named; None, and a problem, if there is none such."""
    return DEFAULT if name is None else problems.attempt((*place, "profile"), lambda: get_profile(name))


def compile_legacy(place: KeyPath, section: LegacySection | None, problems: ProblemCollector) -> LegacyExemption | None:
    """Return the retired profile that a table enables; None, and a problem, if there is none such."""
    return None if section is None else problems.attempt((*place, "legacy"), lambda: create_exemption(section))


def create_exemption(section: LegacySection) -> LegacyExemption:
    """Return the exception that a table makes, whether or not it has ended. Raises `TLSError`."""
    from hsm_dicom.tls.legacy import get_profile as get_retired_profile

    get_retired_profile(section.profile)
    return LegacyExemption(profile=section.profile, reason=section.reason, until=section.until, dh_bits=section.dh_bits)
