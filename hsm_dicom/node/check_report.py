"""What the check of a configuration reports: problems, and what works."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hsm_dicom.config.problems import Problem, Severity


@dataclass(frozen=True)
class CheckedIdentity:
    """An identity that works: what was read of it. `unfit_roles` are the roles that its certificate cannot fill."""

    name: str
    subject: str
    not_after: datetime
    unfit_roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckedRoute:
    """A route of the gateway. `is_ready` is None if keys that it needs were not checked.

    `entrance` is where callers reach it, as the file has it: `key` ("listen", "socket" or "listener") and value.
    `plain_readers` are the plain devices that can read patients' data by `reading_services`, and with them whoever
    takes their address and AE title.
    """

    name: str
    sources: tuple[str, ...]
    entrance: tuple[str, str]
    target: str
    transport: str
    called: tuple[str, ...]
    services: tuple[str, ...]
    objects: str
    plain_readers: tuple[str, ...]
    reading_services: tuple[str, ...]
    is_ready: bool | None


@dataclass(frozen=True)
class ConfigurationReport:
    """What the check found: the tokens that accepted their PIN, and the identities and secret keys that work.

    `is_expiring` is True if a certificate or CRL has expired, or will within the given time. `secret_keys` lists for
    each ISCL table ("peers.archive.iscl") which keys are on its devices. `not_checked` lists the identities and ISCL
    tables whose keys were not checked, since nobody logged in to their token.
    """

    file: Path
    problems: tuple[Problem, ...]
    tokens: tuple[str, ...]
    identities: tuple[CheckedIdentity, ...]
    secret_keys: dict[str, str]
    not_checked: tuple[str, ...]
    routes: tuple[CheckedRoute, ...] = ()
    is_expiring: bool = False

    @property
    def is_usable(self) -> bool:
        """Whether there is no error; warnings and notes may be left."""
        return self.count(Severity.ERROR) == 0

    def count(self, severity: Severity) -> int:
        """Return how many problems are of this severity."""
        return sum(problem.severity is severity for problem in self.problems)
