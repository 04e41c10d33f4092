"""SoftHSM behind a module of our own: it notes each PIN and each call, and misbehaves where a test asks for that.

The module is built from `module.c` when it is first asked for (needs gcc). It is loaded in processes of its own only,
since a module that forwards to SoftHSM and SoftHSM itself are one library to a process.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.softhsm import MODULE
from tokens.uri import Pkcs11Uri

SOURCE = Path(__file__).parent / "module.c"


@dataclass(frozen=True)
class Presentation:
    """One PIN that was presented, and the answer."""

    call: str
    """C_Login, C_SetPIN or C_InitToken."""
    pin: str
    rv: int
    """The CK_RV that the caller got."""
    forwarded: bool
    """Whether SoftHSM was asked; false if a rule answered before."""


@dataclass(frozen=True)
class Proxy:
    """The built module, and the files of one test: PINs and calls that it notes, rules by which it misbehaves."""

    module: Path
    folder: Path
    real: Path | None = None
    """The module behind a second proxy of the same process; None: SoftHSM itself."""
    configuration: Path | None = None
    """The configuration file of the SoftHSM behind it; None: that of the process."""

    @property
    def pins(self) -> Path:
        """The file of PINs."""
        return self.folder / "pins"

    @property
    def notes(self) -> Path:
        """The file of calls."""
        return self.folder / "calls"

    def another(self, name: str, configuration: Path | None = None) -> Proxy:
        """Another vendor's module for the same process, with rules and notes of its own.

        Its file is NAME.so. It forwards to a SoftHSM of its own, which has the same tokens unless it gets another
        configuration file. Name it in `environment(beside=…)` of the first one.
        """
        folder = self.folder / name
        folder.mkdir()
        module = shutil.copy(self.module, folder / f"{name}.so")
        return Proxy(module, folder, shutil.copy(MODULE, folder / f"softhsm-{name}.so"), configuration)

    def serving(self, uri: Pkcs11Uri) -> Pkcs11Uri:
        """The same URI, served by this module."""
        return dataclasses.replace(uri, module_path=self.module)

    def presented(self) -> list[str]:
        """Each PIN that reached SoftHSM so far, as `C_Login 1234` or `C_SetPIN 1234`."""
        return [f"{one.call} {one.pin}" for one in self.presentations() if one.forwarded]

    def presentations(self) -> list[Presentation]:
        """Each PIN so far, with its answer, those included that a rule answered."""
        lines = self.pins.read_text().splitlines() if self.pins.exists() else []
        return [_presentation(line) for line in lines]

    def calls(self) -> Counter[str]:
        """How often each function was called so far, by all processes."""
        return Counter(self.notes.read_text().splitlines() if self.notes.exists() else [])

    def rule(self, *rules: str) -> None:
        """From now on answer by these rules only (see `rules.h`), in processes that run already too."""
        fresh = self.folder / "rules.new"
        fresh.write_text("".join(f"{rule}\n" for rule in rules))
        fresh.rename(self.folder / "rules")

    def environment(
        self, *, login_takes: float = 0, sign_takes: float = 0, counted: bool = False, beside: tuple[Proxy, ...] = ()
    ) -> dict[str, str]:
        """The environment of a process that uses this module, and others `beside` it.

        Args:
            login_takes: Seconds by which each login takes longer.
            sign_takes: Seconds by which each signature takes longer.
            counted: Whether calls are noted.
            beside: Modules that `another` made.
        """
        environment = dict(os.environ)
        for proxy in (self, *beside):
            name = f"_{proxy.module.stem}" if proxy.real else ""
            environment[f"PROXY_PINS{name}"] = str(proxy.pins)
            environment[f"PROXY_RULES{name}"] = str(proxy.folder / "rules")
            if counted:
                environment[f"PROXY_CALLS{name}"] = str(proxy.notes)
            if proxy.real:
                environment[f"PROXY_MODULE{name}"] = str(proxy.real)
            if proxy.configuration:
                environment[f"PROXY_CONF{name}"] = str(proxy.configuration)
        return environment | {"PROXY_LOGIN_TAKES": str(login_takes), "PROXY_SIGN_TAKES": str(sign_takes)}


def build(folder: Path) -> Path:
    """Compile the module; returns its path."""
    module = folder / "proxy.so"
    subprocess.run(
        ["gcc", "-Wall", "-Werror", "-O1", "-shared", "-fPIC", f'-DREAL_MODULE="{MODULE}"', "-o", module, SOURCE],
        check=True,
    )
    return module


def _presentation(line: str) -> Presentation:
    start, rv, reached = line.rsplit(" ", 2)
    call, pin = start.split(" ", 1)
    return Presentation(call, pin, int(rv, 16), reached == "forwarded")
