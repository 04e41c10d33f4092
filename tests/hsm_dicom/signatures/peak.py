"""Peak memory of signing and of verifying one file, in a fresh process that does nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SIGN = """
import sys
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hsm_dicom.signatures import SigningRequest, sign
source, target, key, certificate = sys.argv[1:]
with open(key, "rb") as k, open(certificate, "rb") as c:
    sign(source, target, load_pem_private_key(k.read(), None), SigningRequest(c.read()))
"""
_VERIFY = """
import sys
from hsm_dicom.signatures import check_integrity
assert all(signature.intact for signature in check_integrity(sys.argv[1]).signatures)
"""
# Not ru_maxrss, which a process inherits from the one that started it.
_PEAK = """
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def peak_of_signing(source: Path, target: Path, key: Path, certificate: Path) -> float:
    """Peak resident MiB of signing ``source``; the key is PEM, the certificate DER."""
    return _peak(_SIGN, source, target, key, certificate)


def peak_of_verifying(path: Path) -> float:
    """Peak resident MiB of verifying a file whose signatures are all intact."""
    return _peak(_VERIFY, path)


def _peak(job: str, *arguments: Path) -> float:
    command = [sys.executable, "-c", job + _PEAK, *map(str, arguments)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=600).stdout) / 1024
