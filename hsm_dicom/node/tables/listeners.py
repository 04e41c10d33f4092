"""Listeners in the plan: each `[listeners.NAME]` with its identities, and the peers that may call it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from hsm_dicom.config.lines import KeyPath
from hsm_dicom.config.loading import Reading
from hsm_dicom.config.network_sections import ListenerSection, PeerSection
from hsm_dicom.identity import IdentityAccess
from hsm_dicom.iscl import Role
from hsm_dicom.network.settings import (
    ISCLExemption,
    Limits,
    ListenerSettings,
    Peer,
    Quarantine,
    StorageSettings,
    uses_tls,
)
from hsm_dicom.network.storage.sop_classes import SopClasses
from hsm_dicom.node.plan import ListenerPlan, PeerPlan, SecretKeysPlan, join_names
from hsm_dicom.node.problems import ProblemCollector
from hsm_dicom.node.tables.iscl import ISCLTable, describe_protocol, identify_authentication_keys
from hsm_dicom.node.tables.peers import (
    check_legacy_identity,
    choose_port,
    compile_legacy,
    compile_profile,
    find_named_identity,
)
from hsm_dicom.tls import DEFAULT, AuthenticationMode

_RETIRED = "a retired TLS profile"


class ListenerCompiler:
    """Compiles the listeners of one configuration."""

    def __init__(
        self,
        reading: Reading,
        identities: dict[str, IdentityAccess],
        peers: dict[str, PeerPlan],
        problems: ProblemCollector,
    ) -> None:
        self._configuration = reading.configuration
        self._identities = identities
        self._peers = peers
        self._problems = problems

    def compile_all(self) -> dict[str, ListenerPlan]:
        """Return the plans of all listeners that can be used."""
        plans = {name: self._compile(name, section) for name, section in self._configuration.listeners.items()}
        return {name: plan for name, plan in plans.items() if plan is not None}

    def _compile(self, name: str, section: ListenerSection) -> ListenerPlan | None:
        place, problems = ("listeners", name), self._problems
        iscl: ISCLExemption | None = None
        keys: SecretKeysPlan | None = None
        if section.iscl is not None:
            table = ISCLTable(self._configuration, place, section.iscl, problems)
            iscl = table.compile_settings(our_name=section.ae_title, their_name=None)
            keys = table.compile_keys(Role.SERVER)
            if iscl is None or keys is None:
                problems.mark_unresolved(place)
        identities = [
            find_named_identity((*place, "identities"), one, self._configuration, self._identities, problems)
            for one in section.identities
        ]
        if section.legacy is not None:
            for one in identities:
                check_legacy_identity((*place, "identities"), one, problems)
        if section.iscl is None or iscl is not None:
            self._check_certificates(name, section, iscl)
        settings = self._compile_settings(name, section, iscl)
        if settings is None or problems.is_unresolved(*place):
            problems.mark_unresolved(place)
            return None
        # An identity and its successor are one, once TLS has switched.
        shown = {one.name: one for one in identities if one is not None} if uses_tls(iscl) else {}
        return ListenerPlan(settings=settings, identities=tuple(shown.values()), keys=keys)

    def _compile_settings(
        self, name: str, section: ListenerSection, iscl: ISCLExemption | None
    ) -> ListenerSettings | None:
        place, problems = ("listeners", name), self._problems
        profile = compile_profile(place, section.profile, problems)
        legacy = compile_legacy(place, section.legacy, problems)
        storage = self._compile_storage(name, section)
        peers = self._find_callers(name, section)
        settings = problems.attempt(
            place,
            lambda: ListenerSettings(
                name=name,
                ae_title=section.ae_title,
                peers=peers or (),
                host=section.host,
                port=choose_port(section.port, iscl),
                profile=profile or DEFAULT,
                authentication=AuthenticationMode(section.authentication),
                legacy=None if peers is None else legacy,
                iscl=iscl,
                storage=storage,
                limits=Limits(**{limit.name: getattr(section, limit.name) for limit in fields(Limits)}),
            ),
        )
        return None if peers is None else settings

    def _compile_storage(self, name: str, section: ListenerSection) -> StorageSettings | None:
        place = ("listeners", name)
        self._check_policy(place, section)
        sop_classes = self._problems.attempt((*place, "sop_classes"), lambda: SopClasses.of(section.sop_classes))
        if section.store is None or sop_classes is None:
            return None
        return StorageSettings(
            folder=section.store,
            policy=section.policy,
            quarantine=_make_quarantine(section, section.store),
            check_signatures=section.check_signatures,
            largest_object_mib=section.largest_object_mib,
            sop_classes=sop_classes,
        )

    def _check_policy(self, place: KeyPath, section: ListenerSection) -> None:
        """Report a policy that does not exist, and keys that mean nothing without another one."""
        problems, policies = self._problems, self._configuration.policies
        if section.policy is not None and section.policy not in policies:
            what = f"There is no policy '{section.policy}' in the configuration."
            remedy = f"Write [policies.{section.policy}], or name one of: {join_names(policies)}."
            problems.add((*place, "policy"), what, remedy)
        elif section.policy is not None and problems.is_unresolved("policies", section.policy):
            problems.mark_unresolved(place)
        if section.check_signatures:
            what = "check_signatures is deprecated, and the next version refuses it: it accepts a signature by anyone."
            problems.warn((*place, "check_signatures"), what, 'Write policy = "NAME", with a [policies.NAME].')
            if section.policy is not None:
                what = "The listener has both policy and check_signatures."
                problems.add((*place, "check_signatures"), what, "Remove check_signatures.")
        for key, needed in (("policy", "store"), ("on_unmet", "policy"), ("quarantine", "policy")):
            if getattr(section, key) is not None and getattr(section, needed) is None:
                what = f"{key} is without effect, because the listener has no {needed}."
                problems.add((*place, key), what, f"Write {needed} = …, or remove {key}.")
        for key in ("quarantine", "quarantine_answer"):
            if getattr(section, key) is not None and section.on_unmet != "quarantine":
                what = f"{key} is without effect, because the listener does not put instances into quarantine."
                problems.add((*place, key), what, f'Write on_unmet = "quarantine", or remove {key}.')

    def _check_certificates(self, name: str, section: ListenerSection, iscl: ISCLExemption | None) -> None:
        """Report a listener with TLS that has no certificate of its own, or that can verify none of its callers'."""
        place = ("listeners", name)
        if not uses_tls(iscl):
            return
        if not section.identities:
            remedy = f'Write identities = ["NAME"], with one of: {join_names(self._configuration.identities)}.'
            self._problems.add(place, f"The listener '{name}' has no certificate to show.", remedy)
        if section.authentication == "mutual" and not self._configuration.trust.anchors:
            what = "Callers must show a certificate, and no CA is trusted."
            self._problems.add(place, what, 'Write [trust] with anchors = ["ca.pem"].')

    # -- callers ----------------------------------------------------------------------------------------------

    def _find_callers(self, name: str, section: ListenerSection) -> tuple[Peer, ...] | None:
        """Return the peers that may call; None if one of them cannot be used, or must not share this listener.

        Retired profiles, current ones and ISCL never share a listener. A retired listener may serve peers with a
        current profile, since they have a certificate as well. A listener with ISCL asks for one authentication key,
        and each of its holders can send any name: so no peer with a key of its own is among its peers.
        """
        place, problems = ("listeners", name), self._problems
        if section.peers is None and section.legacy is not None:
            what = f"The listener '{name}' enables a retired profile."
            problems.add((*place, "legacy"), what, 'Name the peers that need it: peers = ["NAME"].')
            return None
        names = self._find_alike(section) if section.peers is None else section.peers
        for one in names:
            self._check_caller(name, section, one)
        if problems.is_unresolved(*place) or any(one not in self._peers for one in names):
            return None
        return tuple(self._peers[one].peer for one in names)

    def _find_alike(self, section: ListenerSection) -> tuple[str, ...]:
        """Return the peers with the listener's protocol and authentication keys."""
        wanted = self._protocol(section), self._keys(section)
        return tuple(
            name
            for name, peer in self._configuration.peers.items()
            if (self._protocol(peer), self._keys(peer)) == wanted
        )

    def _check_caller(self, name: str, section: ListenerSection, caller: str) -> None:
        place, problems = ("listeners", name, "peers"), self._problems
        found = self._configuration.peers.get(caller)
        if found is None:
            what = f"There is no peer '{caller}' in the configuration."
            problems.add(
                place, what, f"Write [peers.{caller}], or name one of: {join_names(self._configuration.peers)}."
            )
            return
        retired = section.legacy is not None
        ours, theirs = "TLS" if retired else self._protocol(section), self._protocol(found)
        if theirs != ours and not (retired and theirs == _RETIRED):
            what = f"Peer '{caller}' uses {theirs}, and the listener '{name}' {ours}."
            problems.add(place, what, f"Give '{caller}' a listener of its own.")
        elif self._keys(found) != self._keys(section):
            problems.add(
                place,
                f"Peer '{caller}' has another authentication key than the listener '{name}' asks for, and any holder "
                "of the listener's key could call under its name.",
                f"Give '{caller}' a listener of its own.",
            )

    def _protocol(self, section: PeerSection | ListenerSection) -> str:
        """Return what must not share a listener with others, for messages."""
        if section.legacy is not None:
            return _RETIRED
        return "TLS" if section.iscl is None else describe_protocol(self._configuration, section.iscl)

    def _keys(self, section: PeerSection | ListenerSection) -> tuple[object, ...]:
        return () if section.iscl is None else identify_authentication_keys(self._configuration, section.iscl)


def _make_quarantine(section: ListenerSection, store: Path) -> Quarantine | None:
    if section.on_unmet != "quarantine":
        return None
    return Quarantine(
        folder=section.quarantine or store / "quarantine", answers_success=section.quarantine_answer == "success"
    )
