"""SoftHSM behind a module of our own: it notes each PIN and each call, and answers wrongly where a test asks for that.

The module is built from `module.c` when it is first asked for (needs gcc). It is loaded in processes of its own only,
since a module that forwards to SoftHSM and SoftHSM itself are one library to a process.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.softhsm import MODULE
from tokens.uri import Pkcs11Uri

SOURCE = Path(__file__).parent / "module.c"


@dataclass(frozen=True)
class Proxy:
    """The built module, and the files of one test: PINs and calls that it notes, rules by which it answers wrongly."""

    module: Path
    folder: Path

    @property
    def pins(self) -> Path:
        """The file of PINs."""
        return self.folder / "pins"

    @property
    def notes(self) -> Path:
        """The file of calls."""
        return self.folder / "calls"

    def serving(self, uri: Pkcs11Uri) -> Pkcs11Uri:
        """The same URI, served by this module."""
        return dataclasses.replace(uri, module_path=self.module)

    def presented(self) -> list[str]:
        """Each PIN so far, as `C_Login 1234` or `C_SetPIN 1234`."""
        return self.pins.read_text().splitlines() if self.pins.exists() else []

    def calls(self) -> Counter[str]:
        """How often each function was called so far, by all processes."""
        return Counter(self.notes.read_text().splitlines() if self.notes.exists() else [])

    def rule(self, *rules: str) -> None:
        """From now on answer by these rules only (see `rules.h`), in processes that run already too."""
        fresh = self.folder / "rules.new"
        fresh.write_text("".join(f"{rule}\n" for rule in rules))
        fresh.rename(self.folder / "rules")

    def environment(self, *, login_takes: float = 0, sign_takes: float = 0, counted: bool = False) -> dict[str, str]:
        """The environment of a process that uses this module; seconds. Calls are noted where they are to be counted."""
        return {
            **os.environ,
            "PROXY_PINS": str(self.pins),
            **({"PROXY_CALLS": str(self.notes)} if counted else {}),
            "PROXY_RULES": str(self.folder / "rules"),
            "PROXY_LOGIN_TAKES": str(login_takes),
            "PROXY_SIGN_TAKES": str(sign_takes),
        }


def build(folder: Path) -> Path:
    """Compile the module; returns its path."""
    module = folder / "proxy.so"
    subprocess.run(
        ["gcc", "-Wall", "-Werror", "-O1", "-shared", "-fPIC", f'-DREAL_MODULE="{MODULE}"', "-o", module, SOURCE],
        check=True,
    )
    return module
