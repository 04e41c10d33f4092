"""Finding and reading the configuration file: its sound tables as models, and all mistakes in its form.

`hsm_dicom.node.compiler` checks what the tables mean together, `hsm_dicom.node.check` the devices and certificates.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hsm_dicom.config.dependents import drop_dependents, get_table
from hsm_dicom.config.lines import KeyPath, find_line, index_lines
from hsm_dicom.config.mistakes import Words, describe_mistake, drop_consequences
from hsm_dicom.config.permissions import find_write_risk
from hsm_dicom.config.problems import Problem, Severity
from hsm_dicom.config.sections import Configuration
from hsm_dicom.config.toml_text import TomlTextError, decode_toml, parse_toml
from hsm_dicom.errors import DicomError

ENVIRONMENT = "HSM_DICOM_CONFIG"
LOCAL = Path("hsm-dicom.toml")
SYSTEM = Path("/etc/hsm-dicom/hsm-dicom.toml")


class ConfigurationError(DicomError):
    """The configuration cannot be used. `problems` lists every reason."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        more = len(problems) - 1
        hint = f" (And {more} more: hsm-dicom check-config lists all.)" if more else ""
        super().__init__(f"{problems[0]}{hint}")


@dataclass(frozen=True)
class Reading:
    """The result of reading a file: its sound tables, and the mistakes of the others.

    `configuration` lacks the tables that have mistakes, and those that name such a one. `sha256` is that of the file's
    bytes, in hexadecimal, empty if they could not be read. `lines` has the line of each key. `unsafe` is True if
    another user can write the file.
    """

    file: Path
    configuration: Configuration = field(default_factory=Configuration)
    problems: tuple[Problem, ...] = ()
    sha256: str = ""
    lines: dict[KeyPath, int] = field(default_factory=dict, repr=False)
    unsafe: bool = False

    def require_sound(self) -> Configuration:
        """Return the configuration if it has no error. Raises `ConfigurationError`."""
        errors = tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)
        if errors:
            raise ConfigurationError(errors)
        return self.configuration

    def problem(self, path: KeyPath, what: str, remedy: str, severity: Severity = Severity.ERROR) -> Problem:
        """Return a problem at a key of this file."""
        return Problem(self.file, _join_key_path(path), what, remedy, find_line(self.lines, path), severity)


def find_configuration(named: Path | None = None) -> Path | None:
    """Return the file to read: the named one, else $HSM_DICOM_CONFIG, ./hsm-dicom.toml, /etc/hsm-dicom/hsm-dicom.toml.

    None if no file is named and none of these exists. Raises `ConfigurationError` if this user may not look for one:
    another file, or none, would then be used in its place.
    """
    if named is not None:
        return named
    if os.environ.get(ENVIRONMENT):
        return Path(os.environ[ENVIRONMENT])
    for path in (LOCAL, SYSTEM):
        try:
            if path.exists():
                return path
        except OSError as error:
            folder = Path.cwd() if path is LOCAL else path.parent
            what = f"The configuration cannot be looked for in {folder} ({error.strerror})."
            step = "Change to a folder that this user may read" if path is LOCAL else "Run as a user who may read it"
            remedy = f"{step}, or name a file with --config or in $HSM_DICOM_CONFIG."
            raise ConfigurationError((Problem(path, "", what, remedy),)) from error
    return None


def load_configuration(file: Path | None) -> Configuration:
    """Return the configuration in a file; an empty one for None. Raises `ConfigurationError` with every mistake."""
    if file is None:
        return Configuration()
    return read_configuration(file).require_sound()


def read_configuration(file: Path) -> Reading:
    """Read the sound tables of a file. Raises nothing, neither for its content nor if it is missing."""
    try:
        content = file.read_bytes()
        unsafe = find_write_risk(file)
    except OSError as error:
        what = f"The configuration cannot be read ({error.strerror})."
        remedy = "Name another file with --config or in $HSM_DICOM_CONFIG."
        return Reading(file, problems=(Problem(file, "", what, remedy),))
    problems = [Problem(file, "", *unsafe)] if unsafe else []
    try:
        text = decode_toml(content)
        raw = parse_toml(text)
    except TomlTextError as error:
        problems.append(Problem(file, "", error.message, error.remedy or "", error.line, column=error.column))
        return Reading(file, problems=tuple(problems))
    lines = index_lines(text)
    configuration, mistakes = _extract_sound_part(raw, file.parent)
    for path, words in mistakes:
        problems.append(Problem(file, _join_key_path(path), *words, find_line(lines, path)))
    reading = Reading(file, configuration, lines=lines, unsafe=unsafe is not None)
    dangling = _find_dangling_references(configuration, raw)
    problems += [reading.problem(path, *words) for path, words in dangling]
    problems.sort(key=lambda problem: problem.line or 0)
    wrong = {get_table(path) for path, _ in (*mistakes, *dangling)}
    return replace(
        reading,
        configuration=drop_dependents(configuration, wrong),
        problems=tuple(problems),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _extract_sound_part(raw: dict[str, Any], folder: Path) -> tuple[Configuration, list[tuple[KeyPath, Words]]]:
    """Return the tables without mistakes, and the mistakes of the others."""
    context = {"folder": folder}
    try:
        return Configuration.model_validate(raw, context=context), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    mistakes = [(_path(detail["loc"]), describe_mistake(detail)) for detail in drop_consequences(details)]
    sound = {name: dict(table) if isinstance(table, dict) else table for name, table in raw.items()}
    for path, _ in mistakes:
        table = sound.get(path[0])
        if len(path) > 1 and isinstance(table, dict):
            table.pop(path[1], None)
        else:
            sound.pop(path[0], None)
    return Configuration.model_validate(sound, context=context), mistakes


def _find_dangling_references(configuration: Configuration, raw: dict[str, Any]) -> list[tuple[KeyPath, Words]]:
    # Searched in the raw tables, since a token with a mistake of its own is not missing.
    tokens = raw.get("tokens")
    tokens = tokens if isinstance(tokens, dict) else {}
    known = ", ".join(tokens) or "none"
    found: list[tuple[KeyPath, Words]] = []
    for name, identity in configuration.identities.items():
        key, named = ("token", (identity.token,)) if identity.tokens is None else ("tokens", identity.tokens)
        for one in named:
            if one is not None and one not in tokens:
                remedy = f"Write the table, or name one that is there: {known}."
                found.append((("identities", name, key), (f"There is no [tokens.{one}] in this file.", remedy)))
    return found


def _path(place: tuple[int | str, ...]) -> KeyPath:
    return tuple(str(part) for part in place)


def _join_key_path(path: KeyPath) -> str:
    return ".".join(path)
