"""Names of tokens and keys for printed commands, so that a copied command selects the same token and key."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from hsm_dicom.config import Configuration
from hsm_dicom.config.devices import TokenAccess, format_key_name
from tokens.pins.sources import FromDescriptor, FromFile, PinSource, Prompt
from tokens.pkcs11.objects import KeyName
from tokens.pkcs11.search import TokenInfo
from tokens.uri import Pkcs11Uri


@dataclass(frozen=True)
class Reference:
    """A token that a command found, with the configuration, --module and --config that selected it.

    A configured token has its NAME, a key on it NAME/LABEL. Any other token has a URI with module-path, and with
    pin-source if one was given. A key whose label is not unique on the token has a URI with its id.
    """

    configuration: Configuration
    access: TokenAccess
    token: TokenInfo
    module: Path | None = None
    config: Path | None = None

    def token_word(self) -> str:
        """Return the token as one word for a shell."""
        return shlex.quote(self.access.name or str(self.uri()))

    def key_word(self, name: KeyName, among: Iterable[KeyName]) -> str:
        """Return a key as one word for a shell; `among` are the names of all keys on the token."""
        labels = Counter(other.label for other in among)
        if self.access.name is not None and name.label.isprintable() and name.label and labels[name.label] <= 1:
            return shlex.quote(format_key_name(self.access.name, name.label))
        return shlex.quote(str(self.key_uri(name, among)))

    def options(self) -> str:
        """Return the options that must follow the word, each with a blank before it."""
        if self.access.name is None:
            return repeat_options(None, None, self.config)
        return repeat_options(self._source(), self.module, self.config)

    def uri(self) -> Pkcs11Uri:
        """Return the URI of the token."""
        # The given path, not the target of a symbolic link, which an upgrade removes.
        module = self.access.uri.module_path or self.access.module_path or self.token.module_path
        return replace(self.token.uri, module_path=module.absolute(), pin_source=self._source())

    def key_uri(self, name: KeyName, among: Iterable[KeyName]) -> Pkcs11Uri:
        """Return the URI of a key, with its label, and with its id if there is no unique label."""
        labels = Counter(other.label for other in among)
        needs_id = not name.label or labels[name.label] > 1
        return replace(self.uri(), object=name.label or None, id=name.id if needs_id and name.id else None)

    def find_certificate_files(self, key: KeyName) -> dict[str, Path]:
        """Return the identities of this key whose certificate is in a file, each with the file."""
        return {
            name: section.certificate
            for name, section in self.configuration.identities.items()
            if section.certificate is not None
            and self.access.name in (section.token, *(section.tokens or ()))
            and self.access.name is not None
            and section.object in (None, key.label)
            and section.id in (None, key.id)
        }

    def _source(self) -> str | None:
        """Return the PIN source, unless it comes from the configuration or cannot be used a second time."""
        source = self.access.pin
        section = self.configuration.tokens[self.access.name] if self.access.name is not None else None
        if source is None or isinstance(source, Prompt | FromDescriptor) or (section and section.pin == source):
            return None
        return _absolute(source)


def repeat_options(pin: str | None, module: Path | None, config: Path | None) -> str:
    """Return common options as the next command must repeat them, each with a blank before it.

    A PIN from a file descriptor is used up by then: the option is omitted, and the next command prompts for the PIN.
    """
    given = {
        "--pin": None if pin is not None and pin.startswith("fd:") else pin,
        "--module": module,
        "--config": config,
    }
    return "".join(f" {option} {shlex.quote(str(value))}" for option, value in given.items() if value is not None)


def _absolute(source: PinSource) -> str:
    return f"file:{source.path.absolute()}" if isinstance(source, FromFile) else str(source)
