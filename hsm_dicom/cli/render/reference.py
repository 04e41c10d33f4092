"""Tokens and keys in the commands that are printed: each can be copied, and means the same token and key again."""

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
    """One token that a command found, and how it was told to find it: the configuration, --module and --config.

    A configured token goes by its NAME, a key on it by NAME/LABEL. Any other goes by a URI with module-path, and with
    pin-source where one was named. A key whose label is not the only one of its kind goes by a URI with its id.
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
        # The name by which it was told, not the file behind a link, which an upgrade removes.
        module = self.access.uri.module_path or self.access.module_path or self.token.module_path
        return replace(self.token.uri, module_path=module.absolute(), pin_source=self._source())

    def key_uri(self, name: KeyName, among: Iterable[KeyName]) -> Pkcs11Uri:
        """Return the URI of a key: with its label where it has one, and its id where the label does not tell it."""
        labels = Counter(other.label for other in among)
        needs_id = not name.label or labels[name.label] > 1
        return replace(self.uri(), object=name.label or None, id=name.id if needs_id and name.id else None)

    def _source(self) -> str | None:
        """The PIN source that was named besides the configuration and can be named again."""
        source = self.access.pin
        section = self.configuration.tokens[self.access.name] if self.access.name is not None else None
        if source is None or isinstance(source, Prompt | FromDescriptor) or (section and section.pin == source):
            return None
        return _absolute(source)


def repeat_options(pin: str | None, module: Path | None, config: Path | None) -> str:
    """Return common options as the next command must repeat them, each with a blank before it.

    A PIN that came from a file descriptor is gone by then, and is asked for.
    """
    given = {
        "--pin": None if pin is not None and pin.startswith("fd:") else pin,
        "--module": module,
        "--config": config,
    }
    return "".join(f" {option} {shlex.quote(str(value))}" for option, value in given.items() if value is not None)


def _absolute(source: PinSource) -> str:
    return f"file:{source.path.absolute()}" if isinstance(source, FromFile) else str(source)
