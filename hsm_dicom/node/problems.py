"""Collection of the problems of one configuration: nothing is raised, and one problem hides no other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from hsm_dicom.config.dependents import get_table
from hsm_dicom.config.lines import KeyPath
from hsm_dicom.config.loading import Reading
from hsm_dicom.config.problems import Problem, Severity
from hsm_dicom.config.sections import IdentitySection, TokenSection
from hsm_dicom.errors import Error
from hsm_dicom.identity.errors import CertificateMismatchError, NoCertificateError
from hsm_dicom.network.errors import SettingsError
from tokens.errors import KeyPolicyError, NoSuchKeyError, NoSuchTokenError, SeveralKeysError, SeveralTokensError

T = TypeVar("T")

_NO_KEYS: Mapping[type[Error], str] = MappingProxyType({})


def list_token_keys(section: TokenSection) -> dict[type[Error], str]:
    """Return which key of a token's table an error is about, by the error's class."""
    key = "label" if section.serial is None else "serial"
    return {NoSuchTokenError: key, SeveralTokensError: key}


def list_identity_keys(section: IdentitySection) -> dict[type[Error], str]:
    """Return which key of an identity's table an error is about, by the error's class."""
    key = next(one for one in ("key", "object", "id", "token", "tokens") if getattr(section, one) is not None)
    about_key: dict[type[Error], str] = dict.fromkeys((NoSuchKeyError, SeveralKeysError, KeyPolicyError), key)
    return {**about_key, CertificateMismatchError: "certificate", NoCertificateError: "certificate"}


class ProblemCollector:
    """Problems of a configuration file, each once, and the tables that cannot be used because of them."""

    def __init__(self, reading: Reading, problems: Sequence[Problem] = ()) -> None:
        self._reading = reading
        self._problems = list(problems)
        self._unresolved: dict[KeyPath, None] = {}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems, in the order of the file."""
        return tuple(sorted(self._problems, key=lambda problem: problem.line or 0))

    @property
    def unresolved(self) -> tuple[KeyPath, ...]:
        """The tables with an error, and those that name one of them."""
        return tuple(self._unresolved)

    def add(self, place: KeyPath, what: str, remedy: str = "") -> None:
        """Report an error at a key of the file."""
        self._report(self._reading.problem(place, what, remedy))
        self.mark_unresolved(get_table(place))

    def warn(self, place: KeyPath, what: str, remedy: str = "") -> None:
        """Report a warning at a key of the file."""
        self._report(self._reading.problem(place, what, remedy, Severity.WARNING))

    def note(self, place: KeyPath, what: str, remedy: str = "") -> None:
        """Report what cannot be checked here, at a key of the file."""
        self._report(self._reading.problem(place, what, remedy, Severity.NOTE))

    def mark_unresolved(self, table: KeyPath) -> None:
        """Leave a table out without reporting it, because it names another one with an error."""
        self._unresolved[table] = None

    def is_unresolved(self, *table: str) -> bool:
        """Return whether a table has an error, or names one that has."""
        return table in self._unresolved

    def keep_resolved(self, kind: str, tables: Mapping[str, T]) -> Mapping[str, T]:
        """Return the tables of a kind, such as "peers", that can be used."""
        return MappingProxyType({name: one for name, one in tables.items() if not self.is_unresolved(kind, name)})

    @contextlib.contextmanager
    def report_errors(self, place: KeyPath, keys: Mapping[type[Error], str] = _NO_KEYS) -> Iterator[None]:
        """Report what ends the block early: at a place of the file, or at the key under it that an error is about.

        The error itself names the key, or its class does in `keys`.
        """
        try:
            yield
        except SettingsError as error:
            for mistake in error.mistakes:
                self.add((*place, mistake.key) if mistake.key else place, mistake.message, mistake.remedy)
            if not error.mistakes:
                self.add(place, error.message, error.remedy or "")
        except Error as error:
            about = next((key for kind, key in keys.items() if isinstance(error, kind)), None)
            self.add(place if about is None else (*place, about), error.message, error.remedy or "")
        except OSError as error:
            self.add(place, f"{error.filename}: {error.strerror}.", "Correct the path, or the rights of this user.")

    def attempt(self, place: KeyPath, job: Callable[[], T]) -> T | None:
        """Return what the job returns; None, and a problem at the place, if it fails."""
        with self.report_errors(place):
            return job()
        return None

    def _report(self, problem: Problem) -> None:
        if problem not in self._problems:
            self._problems.append(problem)
