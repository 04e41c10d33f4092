"""What the tests know of a device: where its token is, and which daemon answers for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tokens.uri import Pkcs11Uri

PIN_VARIABLE = "DEVICE_PIN"
"""The environment variable with the user PIN, in the processes that use a device."""


@dataclass(frozen=True)
class Place:
    """What a process needs to open a token."""

    module: str
    token: str
    init_string: str | None = None
    isolation: str = "none"

    def uri(self, label: str | None = None) -> Pkcs11Uri:
        """The URI of the token, or of an object on it."""
        return Pkcs11Uri(token=self.token, object=label)

    @property
    def options(self) -> dict[str, Any]:
        """What `tokens.open_key` and `tokens.open_token` take beside the URI."""
        return {
            "module": self.module,
            "init_string": self.init_string,
            "pin": f"env:{PIN_VARIABLE}",
            "isolation": self.isolation,
        }


class Daemon(Protocol):
    """A program without which the module does not answer."""

    def start(self) -> None:
        """Start it, and wait until it serves."""

    def kill(self) -> None:
        """End it at once, as a crash would."""

    def pause(self) -> None:
        """Stop it with SIGSTOP: it keeps its connections and does not answer."""

    def resume(self) -> None:
        """Let it go on."""


@dataclass(frozen=True)
class Device:
    """A token with the environment of the processes that use it."""

    name: str
    place: Place
    pin: str = field(repr=False)
    environment: Mapping[str, str]
    """Beside that of the tests."""
    enter: Sequence[str] = ()
    """The command before a program that has to be in the namespaces of the device."""
    daemon: Daemon | None = None

    def begin(self, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[str]:
        """Start a program that uses the token."""
        environment = {**os.environ, **self.environment, PIN_VARIABLE: self.pin}
        return subprocess.Popen([*self.enter, *command], env=environment, text=True, **options)
