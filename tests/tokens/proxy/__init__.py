"""SoftHSM behind a module of our own that notes each PIN it is given: what really was presented, not what was said.

The module is built from `module.c` when it is first asked for (needs gcc). It is loaded in processes of its own only,
since a module that forwards to SoftHSM and SoftHSM itself are one library to a process.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.softhsm import MODULE
from tokens.uri import Pkcs11Uri

SOURCE = Path(__file__).parent / "module.c"


@dataclass(frozen=True)
class Proxy:
    """The built module, and the file that one test has it write PINs to."""

    module: Path
    pins: Path

    def serving(self, uri: Pkcs11Uri) -> Pkcs11Uri:
        """The same URI, served by this module."""
        return dataclasses.replace(uri, module_path=self.module)

    def presented(self) -> list[str]:
        """Each PIN so far, as `C_Login 1234` or `C_SetPIN 1234`."""
        return self.pins.read_text().splitlines() if self.pins.exists() else []

    def environment(self, *, login_takes: float = 0, sign_takes: float = 0) -> dict[str, str]:
        """The environment of a process that uses this module; seconds."""
        return {
            **os.environ,
            "PROXY_PINS": str(self.pins),
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
