"""A PACS that accepts DICOM over TLS only, for the demonstration: DCMTK's storescp with a key in a file."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hsm_dicom.cli.commands.demo.authority import DemonstrationAuthority
from hsm_dicom.errors import DicomError

AE_TITLE = "PACS"
_START_SECONDS = 10.0


class NoDcmtkError(DicomError):
    """A program of DCMTK that the demonstration needs is not installed, or did not start."""


def find_program(name: str) -> str:
    """Return the path of a program of DCMTK. Raises `NoDcmtkError`."""
    # pynetdicom installs programs with the same names beside this Python.
    ours = str(Path(sys.executable).parent)
    places = [place for place in os.get_exec_path() if place != ours]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise NoDcmtkError(f"DCMTK's {name} is not installed.", remedy="On Debian and Ubuntu: apt-get install dcmtk")
    return found


def choose_port() -> int:
    """Return a port of the loopback address that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def run_pacs(folder: Path, authority: DemonstrationAuthority, port: int) -> Iterator[None]:
    """Run the PACS while the block runs; what it receives is in a folder of its AE title. Raises `NoDcmtkError`."""
    program = find_program("storescp")
    received = folder / AE_TITLE
    received.mkdir()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Demonstration PACS")])
    key_file, certificate_file = folder / "pacs.key", folder / "pacs.pem"
    key_file.touch(mode=0o600)
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate_file.write_bytes(authority.certify_for_tls(subject, key.public_key()).public_bytes(Encoding.PEM))
    tls = ["+tls", str(key_file), str(certificate_file), "+cf", str(folder / "ca.pem")]
    with (folder / "pacs.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-v", "-aet", AE_TITLE, "-od", str(received), *tls, str(port)], stdout=log, stderr=log
        )
    try:
        _await_listening(process, port)
        yield
    finally:
        process.terminate()
        process.wait(_START_SECONDS)


def _await_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise NoDcmtkError("DCMTK's storescp did not start; pacs.log in the folder of the demonstration gives the reason.")
