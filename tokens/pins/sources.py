"""Sources of a PIN, which is never the value of an argument or of a setting, or part of a URI.

A source is written as one short text, in every setting of an application and in the `pin-source` attribute of a
`pkcs11:` URI (RFC 7512, 2.4):

| text              | the PIN is                                                                          |
|-------------------|-------------------------------------------------------------------------------------|
| `prompt`          | typed on the terminal, without echo                                                 |
| `env:NAME`        | the value of an environment variable                                                |
| `file:PATH`       | the first line of a file that only its owner may read, or a group (`FromFile`)      |
| `credential:NAME` | the first line of a systemd credential: the file NAME in $CREDENTIALS_DIRECTORY     |
| `fd:N`            | the first line read from an open file descriptor, once                              |
| `pinpad`          | typed on the device (protected authentication path): this program never sees it     |
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import stat
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast, final
from urllib.parse import unquote

from tokens.errors import Facts, PinSourceError, Reason
from tokens.pins.readers import has_access_list, may_others_use
from tokens.printable import printable

_CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")

MAXIMUM_LENGTH = 1024
"""The longest PIN in bytes. A longer one is a mistake, such as the path of another file."""


@final
class Pin:
    """A PIN in memory, which has no text form, cannot be compared, and can be wiped.

    Python may still hold copies that it made while reading the PIN; wiping is a best effort.
    """

    __slots__ = ("_changing", "_lent", "_octets", "_wiped")

    def __init__(self, octets: bytes | bytearray) -> None:
        self._octets = bytearray(octets)
        self._changing = threading.Lock()
        self._lent = 0
        self._wiped = False

    def octets(self) -> bytearray:
        """Return the PIN as UTF-8 bytes, for C_Login. The caller must not copy it."""
        return self._octets

    @contextlib.contextmanager
    def lend(self) -> Iterator[None]:
        """Keep the PIN in memory during the block, in which a call reads it that nobody may be waiting for any longer.

        A device would otherwise be given the zeros of a PIN that was wiped during the call.
        """
        with self._changing:
            self._lent += 1
        try:
            yield
        finally:
            with self._changing:
                self._lent -= 1
                if self._wiped and not self._lent:
                    self._overwrite()

    def wipe(self) -> None:
        """Overwrite the PIN with zeros and discard it; if it is lent, when the last block ends."""
        with self._changing:
            self._wiped = True
            if not self._lent:
                self._overwrite()

    def _overwrite(self) -> None:
        octets, self._octets = self._octets, bytearray()
        for index in range(len(octets)):
            octets[index] = 0
        with contextlib.suppress(BufferError):  # a traceback may still refer to the buffer
            octets.clear()

    def __repr__(self) -> str:
        return "<PIN>"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("A PIN cannot be pickled.")


class PinSource(Protocol):
    """The interface of a PIN source."""

    @property
    def attended(self) -> bool:
        """Whether a person enters the PIN, and may use the last retries of a token."""

    @property
    def repeatable(self) -> bool:
        """Whether `read` can be called again, to log in after a reconnection."""

    def read(self, purpose: str) -> Pin | None:
        """Return the PIN, or None if the device asks for it itself. Raises `PinSourceError`."""


@dataclass(frozen=True)
class Prompt:
    """The terminal, where a person types the PIN.

    `setting` is what the caller calls the setting that holds the source, for the message where there is no terminal.
    """

    setting: str = ""
    attended = True
    repeatable = False

    def read(self, purpose: str) -> Pin | None:
        if not sys.stdin.isatty():
            raise PinSourceError(
                f"The {purpose} should be typed, but there is no terminal.",
                remedy="Use another source, such as file:PATH.",
                facts=Facts(reason=Reason.NO_TERMINAL, setting=self.setting),
            )
        try:
            return _check_pin(getpass.getpass(f"{printable(purpose)}: ").encode("utf-8"), purpose, "what was typed")
        except UnicodeError:
            # The error itself would show what was typed.
            raise PinSourceError(f"What was typed as the {purpose} is not text in this terminal's encoding.") from None

    def __str__(self) -> str:
        return "prompt"


@dataclass(frozen=True)
class FromEnvironment:
    """The value of an environment variable."""

    name: str
    attended = False
    repeatable = True

    def read(self, purpose: str) -> Pin | None:
        value = os.environb.get(self.name.encode())
        if value is None:
            raise PinSourceError(
                f"The {purpose} should be in the environment variable {self.name}, which is not set.",
                remedy="Set it in the environment of this process.",
            )
        return _check_pin(value, purpose, f"the environment variable {self.name}")

    def __str__(self) -> str:
        return f"env:{self.name}"


@dataclass(frozen=True)
class FromFile:
    """The first line of a file that only its owner may read.

    With `group_readable` the members of this process's groups may read it too, as they may a secret that Kubernetes
    mounts (owner root, mode 0440). Others may not read it, and nobody but the owner may write it.
    """

    path: Path
    group_readable: bool = False
    attended = False
    repeatable = True

    def read(self, purpose: str) -> Pin | None:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise PinSourceError(f"The {purpose} cannot be read from {self.path}: {error.strerror}.") from error
        try:
            self._check(descriptor, purpose)
            line = os.read(descriptor, MAXIMUM_LENGTH + 2).partition(b"\n")[0]
            return _check_pin(line, purpose, str(self.path))
        finally:
            os.close(descriptor)

    def _check(self, descriptor: int, purpose: str) -> None:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PinSourceError(f"{self.path}, which should hold the {purpose}, is not a regular file.")
        if may_others_use(descriptor, status, group_readable=self.group_readable):
            raise self._refuse(descriptor, status, purpose)
        if status.st_uid not in (0, os.geteuid()):
            raise PinSourceError(
                f"{self.path}, which holds the {purpose}, belongs to another user (uid {status.st_uid})."
            )

    def _refuse(self, descriptor: int, status: os.stat_result, purpose: str) -> PinSourceError:
        """Return the error for a file that others may use."""
        mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
        if not self.group_readable:
            return PinSourceError(
                f"{self.path}, which holds the {purpose}, may be read by others ({mode}).",
                remedy=f"Run: chmod 600 {self.path}; or, if a group of this process should read it: "
                f"chmod 440 {self.path}, and use group_readable.",
                facts=Facts(reason=Reason.PIN_FILE_SHARED, path=str(self.path)),
            )
        commands = [f"setfacl -b {self.path}"] if has_access_list(descriptor) else []
        if status.st_gid not in (os.getegid(), *os.getgroups()):
            commands.append(f"chgrp {os.getegid()} {self.path}")
        return PinSourceError(
            f"{self.path}, which holds the {purpose}, may be used by more than a group of this process that reads it "
            f"({mode}, group {status.st_gid}).",
            remedy=f"Run: {' && '.join([*commands, f'chmod 440 {self.path}'])}; group_readable permits no more.",
        )

    def __str__(self) -> str:
        return f"file:{self.path}"


CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""The environment variable in which systemd names the folder of a unit's credentials (systemd.exec(5))."""


@dataclass(frozen=True)
class FromCredential:
    """The first line of a systemd credential, which exists only while the unit runs.

    `group_readable` is as for `FromFile`: another supervisor than systemd may have made the folder.
    """

    name: str
    group_readable: bool = False
    attended = False
    repeatable = True

    def read(self, purpose: str) -> Pin | None:
        folder = os.environ.get(CREDENTIALS)
        if not folder:
            raise PinSourceError(
                f"The {purpose} is the systemd credential {self.name}, which exists only inside a unit that loads it, "
                f"and {CREDENTIALS} is not set here.",
                remedy=f"Run the program in such a unit; or, if this is one, add "
                f"LoadCredentialEncrypted={self.name}:PATH to it.",
                facts=Facts(reason=Reason.CREDENTIAL_OUTSIDE_UNIT, setting=self.name),
            )
        return FromFile(Path(folder, self.name), self.group_readable).read(purpose)

    def __str__(self) -> str:
        return f"credential:{self.name}"


_read_descriptors: set[int] = set()
"""Descriptors from which a PIN was read. They are closed, and their numbers may belong to other files now."""


@dataclass(frozen=True)
class FromDescriptor:
    """The first line from an open file descriptor, which is then closed."""

    number: int
    attended = False
    repeatable = False

    def read(self, purpose: str) -> Pin | None:
        if self.number in _read_descriptors:
            # Another file may have got its number since.
            raise PinSourceError(f"The {purpose} was read from file descriptor {self.number} already.")
        try:
            with os.fdopen(self.number, "rb") as file:
                _read_descriptors.add(self.number)
                return _check_pin(file.readline(MAXIMUM_LENGTH + 2), purpose, f"file descriptor {self.number}")
        except OSError as error:
            raise PinSourceError(
                f"The {purpose} cannot be read from file descriptor {self.number}: {error.strerror}."
            ) from error

    def __str__(self) -> str:
        return f"fd:{self.number}"


@dataclass(frozen=True)
class PinPad:
    """The device itself, where a person types the PIN (CKF_PROTECTED_AUTHENTICATION_PATH)."""

    attended = True
    repeatable = True

    def read(self, purpose: str) -> Pin | None:
        return None

    def __str__(self) -> str:
        return "pinpad"


def parse_pin_source(text: str) -> PinSource:
    """Parse a PIN source. Raises `PinSourceError`, whose message never repeats the text: it may be the PIN."""
    kind, colon, rest = text.partition(":")
    match kind:
        case "prompt" if not colon:
            return Prompt()
        case "pinpad" if not colon:
            return PinPad()
        case "env" if rest.isidentifier():
            return FromEnvironment(rest)
        case "file" if rest:
            # RFC 7512 writes a file as a file: URI, which may begin with an empty authority.
            path = unquote(rest.removeprefix("//")) if rest.startswith("///") else rest
            return FromFile(Path(path).expanduser())
        case "credential" if _CREDENTIAL_NAME.fullmatch(rest):
            return FromCredential(rest)
        case "fd" if rest.isascii() and rest.isdigit():
            return FromDescriptor(int(rest))
    raise PinSourceError(
        "A PIN source is one of: prompt, env:NAME, file:PATH, credential:NAME, fd:N, pinpad. "
        "It is never the PIN itself (the given text is not repeated here)."
    )


def resolve_pin_source(pin: object) -> PinSource | None:
    """Return the PIN source that a caller passed: its text, an object, or None.

    Raises `PinSourceError` for other text, and TypeError for anything else. Neither repeats the value: it may be the
    PIN.
    """
    if isinstance(pin, str):
        return parse_pin_source(pin)
    if pin is not None and not callable(getattr(pin, "read", None)):
        raise TypeError(
            f"pin must be a PIN source, such as 'file:PATH', 'env:NAME' or 'prompt', not {type(pin).__name__}. It is "
            "never the PIN itself."
        )
    return cast(PinSource | None, pin)


def _check_pin(line: bytes, purpose: str, place: str) -> Pin:
    octets = bytearray(line)
    try:
        while octets.endswith((b"\n", b"\r")):
            octets.pop()
        if not octets:
            raise PinSourceError(f"There is no {purpose} in {place}: it is empty.")
        if len(octets) > MAXIMUM_LENGTH:
            raise PinSourceError(f"What is in {place} is too long for the {purpose} (over {MAXIMUM_LENGTH} bytes).")
        return Pin(octets)
    finally:
        octets[:] = bytes(len(octets))  # the PIN has a copy of its own
