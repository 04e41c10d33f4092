"""Everything that is wrong with a configuration, all at once: the file, the files that it names, tokens, identities.

    report = check_configuration(find_configuration())
    for problem in report.problems:
        print(problem)

One problem hides no other. A PIN is presented at most once for each token, under all the rules of a login, and not at
all where its source is already known to be unusable.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from hsm_dicom.config.devices import KeyAccess, access_to
from hsm_dicom.config.lines import KeyPath
from hsm_dicom.config.loading import Reading, read_configuration
from hsm_dicom.config.permissions import writable_by_others
from hsm_dicom.config.problems import Problem, Severity
from hsm_dicom.config.sections import IdentitySection, TokenSection
from hsm_dicom.errors import DicomError
from hsm_dicom.identity import (
    EXPIRY_WARNING,
    Identity,
    expiry_remark,
    identity_access,
    load_identity,
    read_certificates,
)
from hsm_dicom.node.configured import verifier
from hsm_dicom.node.iscl_check import is_sound, iscl_tables, try_iscl
from hsm_dicom.node.iscl_configured import access_to_device
from hsm_dicom.node.problems import problems
from hsm_dicom.trust import order_chain, review_trust
from tokens.errors import TokenError
from tokens.opening import module_of
from tokens.pins.sources import FromCredential, FromEnvironment, FromFile, PinPad, Prompt
from tokens.pkcs11.search import find_token


@dataclass(frozen=True)
class CheckedIdentity:
    """An identity that works: what was read of it."""

    name: str
    subject: str
    not_after: datetime


@dataclass(frozen=True)
class ConfigurationReport:
    """What was found: the tokens that took their PIN, and the identities and secrets that work.

    `secrets` tells for each ISCL table ("peers.archive.iscl") which keys are there. `not_looked_at` names the
    identities and ISCL tables whose keys were not looked at, since nobody logged in to their token.
    """

    file: Path
    problems: tuple[Problem, ...]
    tokens: tuple[str, ...]
    identities: tuple[CheckedIdentity, ...]
    secrets: dict[str, str]
    not_looked_at: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Whether there is no error; warnings may be left."""
        return all(problem.severity is Severity.WARNING for problem in self.problems)


def check_configuration(
    file: Path,
    *,
    log_in: bool = True,
    warning: timedelta = EXPIRY_WARNING,
    progress: Callable[[str], None] = lambda _: None,
) -> ConfigurationReport:
    """Look at everything that a configuration names. Never raises for what it finds.

    Without `log_in` no PIN is presented, so that keys are not looked at. A module is not loaded, nor a PIN presented,
    where somebody else could have written the file or the module. `progress` is told, in words, what is next.
    """
    with contextlib.ExitStack() as logins:
        check = _Check(read_configuration(file), log_in, warning, progress, logins)
        return check.run()


@dataclass
class _Check:
    reading: Reading
    log_in: bool
    warning: timedelta
    progress: Callable[[str], None]
    # Logins last until the end, so that a PIN is typed, or presented, once for each token.
    logins: contextlib.ExitStack
    problems: list[Problem] = field(default_factory=list)
    logged_in: list[str] = field(default_factory=list)
    not_looked_at: list[str] = field(default_factory=list)

    def run(self) -> ConfigurationReport:
        self.problems += self.reading.problems
        configuration = self.reading.configuration
        for name, token in configuration.tokens.items():
            self.progress(f"token {name}")
            self._token(name, token)
        identities = []
        for name, identity in configuration.identities.items():
            self.progress(f"identity {name}")
            identities += self._identity(name, identity)
        self._places()
        for place, what, remedy in problems(configuration):
            self._add(place, what, remedy)
        self._trust()
        secrets = self._secrets()
        return ConfigurationReport(
            file=self.reading.file,
            problems=tuple(sorted(self.problems, key=lambda problem: problem.line or 0)),
            tokens=tuple(self.logged_in),
            identities=tuple(identities),
            secrets=secrets,
            not_looked_at=tuple(self.not_looked_at),
        )

    # -- tokens -----------------------------------------------------------------------------------------------

    def _token(self, name: str, token: TokenSection) -> None:
        place = ("tokens", name)
        pin_is_there = self._pin((*place, "pin"), token)
        with self._reported((*place, "module")):
            unsafe = writable_by_others(token.module)
            if unsafe:
                self._add((*place, "module"), *unsafe)
            if unsafe or self.reading.unsafe:
                return
            module = module_of(token.uri, init_string=token.init_string)
            with self._reported(place):
                find_token(module, token.uri)
                if pin_is_there and self.log_in:
                    self._log_in(name)

    def _pin(self, place: KeyPath, token: TokenSection) -> bool:
        """Whether the PIN can be had."""
        match token.pin:
            case None:
                self._warn(place, "No source of the PIN is named.", "Write pin = …; else each command needs --pin.")
                return False
            case Prompt() | PinPad():
                return sys.stdin.isatty()
            case FromFile() | FromEnvironment() | FromCredential() as source:
                with self._reported(place):
                    pin = source.read("PIN")
                    if pin is not None:
                        pin.wipe()
                    return True
                return False
        return True

    def _log_in(self, name: str) -> None:
        with self._reported(("tokens", name, "pin")):
            connection = self.logins.enter_context(access_to(self.reading.configuration, name).open())
            connection.connect()
            self.logged_in.append(name)

    # -- identities -------------------------------------------------------------------------------------------

    def _identity(self, name: str, section: IdentitySection) -> list[CheckedIdentity]:
        place = ("identities", name)
        chain_fits = self._certificate_file((*place, "chain"), section.chain)
        certificate_fits = self._certificate_file((*place, "certificate"), section.certificate)
        if not self._can_open(place, section):
            self.not_looked_at.append(name)
            return []
        if not (chain_fits and certificate_fits):
            return []
        with self._reported(place), load_identity(name, self.reading.configuration) as identity:
            for finding in identity.findings:
                allowed = finding.weakness in section.weaknesses
                remedy = "It is allowed by name." if allowed else "Consider a key that was generated on the token."
                self._warn(place, f"About its key: {finding.sentence}.", remedy)
            if section.certificate is None:
                self._dates((*place, "certificate"), identity.certificate)
            self._all_in_chain((*place, "chain"), section.chain, identity)
            return [CheckedIdentity(name, identity.subject, identity.certificate.not_valid_after_utc)]
        return []

    def _can_open(self, place: KeyPath, section: IdentitySection) -> bool:
        """Whether opening the identity's token can tell anything new."""
        if isinstance(section.key, Path):
            return True
        with self._reported(place):
            return self._may_open(identity_access(self.reading.configuration, section))
        return False

    def _may_open(self, device: KeyAccess) -> bool:
        """Not a token that refused its PIN: it would say so again, for each table that names it."""
        if device.name is None:
            return self.log_in and not self.reading.unsafe
        return device.name in self.logged_in

    def _certificate_file(self, place: KeyPath, path: Path | None) -> bool:
        if path is None:
            return True
        with self._reported(place):
            for certificate in read_certificates(path):
                self._dates(place, certificate)
            return True
        return False

    def _dates(self, place: KeyPath, certificate: x509.Certificate) -> None:
        remark = expiry_remark(certificate, warning=self.warning)
        if remark is None:
            return
        say = self._add if remark.expired else self._warn
        say(place, remark.sentence, "Have a new one issued: hsm-dicom key csr makes the request.")

    def _all_in_chain(self, place: KeyPath, path: Path | None, identity: Identity) -> None:
        """Report the certificates of the chain's file that lead nowhere."""
        if path is None:
            return
        _, others = order_chain(identity.certificate, read_certificates(path))
        for other in others:
            self._add(
                place,
                f"'{other.subject.rfc4514_string()}' does not certify '{identity.subject}', even with the others.",
                "Remove it, or add the certificates of the issuers in between.",
            )

    # -- trust ------------------------------------------------------------------------------------------------

    def _trust(self) -> None:
        """What in [trust] refuses peers, or will soon. Files that cannot be read were reported with the network."""
        with contextlib.suppress(DicomError):
            for remark in review_trust(verifier(self.reading.configuration), warning=self.warning):
                report = self._add if remark.refuses else self._warn
                report(("trust", remark.key), remark.sentence, remark.remedy)

    # -- secrets ----------------------------------------------------------------------------------------------

    def _secrets(self) -> dict[str, str]:
        """Which secrets each ISCL table finds. Tables that cannot work, as was said, are left out."""
        there = {}
        for place, section in iscl_tables(self.reading.configuration):
            if section.token is None or not is_sound(self.reading.configuration, place):
                continue
            name = ".".join(place)
            self.progress(f"secrets of {name}")
            with self._reported(place):
                wanted = filter(None, (section.token, section.authentication_token))
                devices = [access_to_device(self.reading.configuration, device) for device in wanted]
                if not all(map(self._may_open, devices)):
                    self.not_looked_at.append(name)
                    continue
                there[name] = try_iscl(self.reading.configuration, place, section)
        return there

    # -- the other tables -------------------------------------------------------------------------------------

    def _places(self) -> None:
        """Whether what must be written can be. The state folder is made when it is needed; the events' is not."""
        state, events = self.reading.configuration.state.folder, self.reading.configuration.events.file
        if state is not None:
            self._writable(("state", "folder"), next(path for path in (state, *state.parents) if path.exists()))
        if events is not None:
            if events.parent.is_dir():
                self._writable(("events", "file"), events if events.exists() else events.parent)
            else:
                remedy = f"Run: mkdir -m 700 {events.parent}"
                self._add(("events", "file"), f"The folder {events.parent} does not exist.", remedy)

    def _writable(self, place: KeyPath, path: Path) -> None:
        if not os.access(path, os.W_OK):
            self._add(place, f"{path} cannot be written by this user.", "Change its owner, or name another.")

    # -- reporting --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reported(self, place: KeyPath) -> Iterator[None]:
        """Report what ends the block early, at a place of the file."""
        try:
            yield
        except (TokenError, DicomError) as error:
            self._add(place, str(error))
        except OSError as error:
            self._add(place, f"{error.filename}: {error.strerror}.", "Correct the path, or the rights of this user.")

    def _add(self, place: KeyPath, what: str, remedy: str = "") -> None:
        self.problems.append(self.reading.problem(place, what, remedy))

    def _warn(self, place: KeyPath, what: str, remedy: str = "") -> None:
        self.problems.append(self.reading.problem(place, what, remedy, Severity.WARNING))
