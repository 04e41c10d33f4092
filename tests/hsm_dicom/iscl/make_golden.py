"""Writes the golden exchanges anew: `python -m tests.hsm_dicom.iscl.make_golden`.

Each is a whole exchange between our two ends with keys on SoftHSM, in one mode, and its explanation. They are kept so
that a later change of a single octet on the wire is seen.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hsm_dicom.iscl import ISCLHooks
from hsm_dicom.iscl.tracing.recording import read_exchange
from hsm_dicom.iscl.tracing.trace import explain
from tests import softhsm
from tests.hsm_dicom.iscl.lines import MODES, Ends, Mode, line, meanwhile, settings
from tests.tokens.secrets.devices import softhsm_device

GOLDEN = Path(__file__).parent / "golden"

BLOCK_DATA = 600
FROM_CLIENT = b"The client's message has more than one data block. " * 20
FROM_SERVER = b"The server's is 1 block."
"""24 octets: three blocks of DES exactly, to which padding adds a fourth."""


def record(ends: Ends, mode: Mode) -> list[str]:
    """The lines of one exchange: a message each way, and the client ends it."""
    lines: list[str] = []
    hooks = ISCLHooks(packet=lambda sender, octets: lines.append(f"{sender} {octets.hex()}"))
    server = settings(mode, authentication_data=b"golden server", max_block_data=BLOCK_DATA)
    client = settings(mode, authentication_data=b"golden client")
    with line(ends, server, client, server_hooks=hooks) as (serving, asking):
        with meanwhile(lambda: serving.recv(10_000)):
            asking.sendall(FROM_CLIENT)
        with meanwhile(lambda: asking.recv(10_000)):
            serving.sendall(FROM_SERVER)
        with meanwhile(lambda: serving.recv(1)):
            asking.close()
    return lines


def explanation(lines: list[str]) -> str:
    """What `hsm-dicom iscl trace` says of it."""
    return "\n".join(map(str, explain(read_exchange(lines)))) + "\n"


def main() -> None:
    """Write all of them."""
    with tempfile.TemporaryDirectory() as folder:
        softhsm.provision(Path(folder))
        os.environ["HSM_DICOM_STATE"] = folder
        device = softhsm_device()
        with device.open() as ours, device.open() as theirs:
            for mode in MODES:
                lines = record(Ends(ours, theirs), mode)
                (GOLDEN / f"{mode}.txt").write_text("\n".join(lines) + "\n")
                (GOLDEN / f"{mode}.explained.txt").write_text(explanation(lines))


if __name__ == "__main__":
    main()
