"""Routes that judge or sign the objects that pass, in the plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hsm_dicom.config.gateway_sections import RouteSection
from hsm_dicom.config.holding_section import HOLDING_KEYS
from hsm_dicom.config.sections import Configuration
from hsm_dicom.gateway.holding.settings import (
    AlreadySigned,
    HoldingSettings,
    OnConflict,
    SigningSettings,
    Unsigned,
)
from hsm_dicom.gateway.services import Service
from hsm_dicom.gateway.settings import Objects
from hsm_dicom.identity import IdentityAccess
from hsm_dicom.network.settings import Quarantine
from hsm_dicom.node.plan import join_names
from hsm_dicom.node.problems import ProblemCollector
from hsm_dicom.node.tables.peers import find_named_identity

_JUDGING = ("policy", "on_unmet", "quarantine", "quarantine_answer")
_SIGNING = (
    "identity",
    "signature_profile",
    "mac",
    "purpose",
    "already_signed",
    "on_conflict",
    "unsigned",
    "keep_hours",
)


@dataclass(frozen=True)
class HoldingTable:
    """The table of one route, for its keys about held objects."""

    name: str
    section: RouteSection
    configuration: Configuration
    identities: dict[str, IdentityAccess]
    problems: ProblemCollector

    def compile(self) -> tuple[HoldingSettings | None, IdentityAccess | None]:
        """Return how the route holds objects, and the identity that signs; None for what it does not do."""
        objects = Objects(self.section.objects)
        self._report_useless(objects)
        if not objects.holds:
            return None, None
        self._report_missing(objects)
        identity = self._find_identity() if objects.signs else None
        folder = self.section.folder
        if folder is None or self.problems.is_unresolved("routes", self.name):
            return None, None
        settings = self.problems.attempt(self._place, lambda: self._make_settings(objects, folder))
        return settings, identity

    @property
    def _place(self) -> tuple[str, str]:
        return "routes", self.name

    def _report_useless(self, objects: Objects) -> None:
        """Report keys that mean nothing with this value of `objects`, or without another key."""
        needs = {
            **dict.fromkeys(HOLDING_KEYS, objects.holds),
            **dict.fromkeys(_JUDGING, objects.judges),
            **dict.fromkeys(_SIGNING, objects.signs),
        }
        for key in self.section.model_fields_set & needs.keys():
            if not needs[key]:
                what = f'{key} is without effect, because the route has objects = "{objects}".'
                wanted = "verify" if key in _JUDGING else "sign" if key in _SIGNING else 'verify" or "sign'
                self.problems.add((*self._place, key), what, f'Write objects = "{wanted}", or remove {key}.')
        for key in ("quarantine", "quarantine_answer"):
            if getattr(self.section, key) is not None and self.section.on_unmet != "quarantine" and objects.judges:
                what = f"{key} is without effect, because the route does not put objects into quarantine."
                self.problems.add((*self._place, key), what, f'Write on_unmet = "quarantine", or remove {key}.')

    def _report_missing(self, objects: Objects) -> None:
        section, problems = self.section, self.problems
        if section.folder is None:
            what = f'The route has objects = "{objects}", and no folder for the objects that it holds.'
            problems.add((*self._place, "objects"), what, 'Write folder = "/var/spool/hsm-dicom/held".')
        elif section.folder.exists() and not section.folder.is_dir():
            remedy = "Name a folder; it is created if it does not exist."
            problems.add((*self._place, "folder"), f"{section.folder} is not a folder.", remedy)
        elif section.folder.is_relative_to(Path("/tmp")):  # noqa: S108
            what = f"{section.folder} is in /tmp, which may be in memory, and which other users can write."
            problems.warn((*self._place, "folder"), what, "Name a folder on the file system of your data.")
        if objects.judges and section.policy is None:
            what = f'The route has objects = "{objects}", and no policy.'
            problems.add((*self._place, "objects"), what, 'Write policy = "NAME", with a [policies.NAME].')
        elif section.policy is not None and section.policy not in self.configuration.policies:
            what = f"There is no policy '{section.policy}' in the configuration."
            known = join_names(self.configuration.policies)
            problems.add((*self._place, "policy"), what, f"Write [policies.{section.policy}], or name one of: {known}.")
        elif section.policy is not None and problems.is_unresolved("policies", section.policy):
            problems.mark_unresolved(self._place)
        if objects.signs and section.identity is None:
            what = f'The route has objects = "{objects}", and no identity.'
            problems.add((*self._place, "objects"), what, 'Write identity = "NAME", with an [identities.NAME].')
        if not {Service.STORAGE, Service.ANY} & frozenset(map(Service, section.services)):
            what = "The route admits no storage, so that there is no object to judge or to sign."
            problems.add((*self._place, "services"), what, "Add storage to services, or remove objects.")

    def _find_identity(self) -> IdentityAccess | None:
        if self.section.identity is None:
            return None
        place = (*self._place, "identity")
        return find_named_identity(place, self.section.identity, self.configuration, self.identities, self.problems)

    def _make_settings(self, objects: Objects, folder: Path) -> HoldingSettings:
        section = self.section
        return HoldingSettings(
            folder=folder,
            policy=section.policy if objects.judges else None,
            quarantine=self._make_quarantine(folder),
            signing=self._make_signing() if objects.signs else None,
            largest_object_mib=section.largest_object_mib,
            minimum_free_mib=section.minimum_free_mib,
            answer_seconds=section.answer_seconds,
            far_idle_seconds=section.far_idle_seconds,
        )

    def _make_quarantine(self, folder: Path) -> Quarantine | None:
        section = self.section
        if section.on_unmet != "quarantine":
            return None
        place = section.quarantine or folder / "quarantine"
        return Quarantine(folder=place, answers_success=section.quarantine_answer == "success")

    def _make_signing(self) -> SigningSettings:
        section = self.section
        unsigned = section.unsigned
        return SigningSettings(
            identity=section.identity or "",
            profile=section.signature_profile,
            mac=section.mac,
            purpose=section.purpose,
            already_signed=AlreadySigned(section.already_signed),
            on_conflict=OnConflict(section.on_conflict),
            unsigned=None if unsigned is None else Unsigned(until=unsigned.until, reason=unsigned.reason),
            keep_hours=section.keep_hours,
        )
