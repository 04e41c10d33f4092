"""DCMTK's dcmsign, the other implementation of PS3.15 Annex C."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.pki import Authority, Identity

MACS = {"SHA256": "+m2", "SHA384": "+m3", "SHA512": "+m5", "SHA1": "+ms", "RIPEMD160": "+mr", "MD5": "+mm"}
PROFILES = {
    "none": "-pf",
    "base": "+pb",
    "creator": "+pc",
    "authorization": "+pa",
    "sr": "+pr",
    "sr-verification": "+pv",
}


class Dcmsign:
    """dcmsign with one signer's key and the CA that issued its certificate, in a folder of its own."""

    def __init__(self, folder: Path, authority: Authority, signer: Identity) -> None:
        self.key, self.certificate, self.ca = folder / "key.pem", folder / "signer.pem", folder / "ca.pem"
        self.key.write_bytes(signer.key_pem)
        self.certificate.write_bytes(signer.pem)
        self.ca.write_bytes(authority.pem)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["dcmsign", *map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=30
        )

    def verify(self, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Exit code 0: every signature is good; a file without one is not."""
        return self.run("--verify", "+rg", "+cf", self.ca, *options, path)

    def accepts(self, path: Path, *options: str) -> bool:
        result = self.verify(path, *options)
        assert result.returncode in (0, 100, 101, 102), result.stderr
        return result.returncode == 0

    def sign(self, source: Path, target: Path, *options: str | Path, mac: str = "SHA256", item: str = "") -> bytes:
        """Sign, and return the byte stream that went into the MAC."""
        dump = target.with_suffix(".dump")
        command: list[str | Path] = (
            ["+si", self.key, self.certificate, item] if item else ["+s", self.key, self.certificate]
        )
        result = self.run(*command, MACS[mac], "+d", dump, *options, source, target)
        assert result.returncode == 0, result.stderr
        return dump.read_bytes()
