#!/usr/bin/env python3
"""Run the DICOM files that Python packages contain through sign, dcmsign --verify, verify and remove, and count.

    tools/run_corpora.py FOLDER                                  what is installed: pydicom, pynetdicom
    tools/run_corpora.py FOLDER highdicom dicom-validator deid-data    these too, downloaded into FOLDER

FOLDER takes the downloads and what is signed; it may be removed afterwards. Each file is signed with a software key of
this run, as it is or, if it is refused, as a clean copy (--repair). `dcmsign` of DCMTK and `verify` look at the result,
which must be the original again, byte for byte, when the signature is removed. Exit status 1 if our own verification,
or the removal, fails for any file.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hsm_dicom.dataset import DicomFileError
from hsm_dicom.dataset.repair.copy import make_clean_copy
from hsm_dicom.signatures import SignatureError, SigningReport, SigningRequest, check_integrity, remove_all, sign
from hsm_dicom.signatures.errors import UncoveredContentError
from tests.pki import Authority, Identity

INSTALLED = ("pydicom", "pynetdicom")
LARGEST = 256 << 20
"""Octets of the largest file that is taken: dcmsign reads each as a whole."""


def main(arguments: list[str]) -> int:
    """Run all files, print a line for each that is noteworthy, and the counts."""
    if not arguments:
        print(__doc__)
        return 2
    folder, *packages = arguments
    work = Path(folder)
    work.mkdir(parents=True, exist_ok=True)
    authority = Authority("Corpora CA")
    signer = authority.issue("Corpora", key=rsa.generate_private_key(65537, 2048))
    (work / "ca.pem").write_bytes(authority.pem)
    roots = [Path(spec.origin).parent for name in INSTALLED if (spec := find_spec(name)) and spec.origin]
    roots += [download(name, work) for name in packages]
    counts: Counter[str] = Counter()
    for root in roots:
        for path in find_files(root):
            for outcome in run_one(path, work, signer):
                counts[outcome] += 1
    for outcome in sorted(counts):
        print(f"{counts[outcome]:6}  {outcome}")
    return 1 if any(outcome.startswith("WRONG") for outcome in counts) else 0


def download(package: str, work: Path) -> Path:
    """Download and unpack one package without what it depends on, and without running anything of it."""
    into = work / "packages" / package
    if not into.exists():
        into.mkdir(parents=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(into), package]
        subprocess.run(command, check=True, timeout=600)
    for archive in (path for path in into.iterdir() if path.is_file()):
        shutil.unpack_archive(archive, into / "content", **_format_of(archive))
    return into / "content"


def _format_of(archive: Path) -> dict[str, str]:
    return {"format": "zip"} if archive.suffix == ".whl" else {"filter": "data"}


def find_files(root: Path) -> Iterator[Path]:
    """The files that look like DICOM files: the prefix in its place, or a name that says so."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.stat().st_size <= LARGEST:
            with path.open("rb") as file:
                head = file.read(132)
            if head[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom"):
                yield path


def run_one(path: Path, work: Path, signer: Identity) -> Iterator[str]:
    """Yield how the file came out in each step."""
    yield "files"
    signed, bare = work / "signed.dcm", work / "removed.dcm"
    report = sign_one(path, signed, signer)
    if not isinstance(report, SigningReport):
        print(f"{path}: {report}")
        yield f"not signed: {type(report).__name__}"
        return
    yield "signed as a clean copy" if report.repaired else "signed as it is"
    if report.repaired:
        print(f"{path}: {'; '.join(report.repaired)}")
    if report.uncovered:
        yield "signed without all of identity and content"
    verified = {signature.uid: signature for signature in check_integrity(signed).signatures}
    intact = verified[report.uid].intact
    yield "verify: intact" if intact else "WRONG verify: not intact"
    if not intact:
        print(f"{path}: our own signature is not intact")
    agrees = dcmsign_accepts(signed, work / "ca.pem", report.uid)
    foreseen = report.dcmsign_disagrees
    yield f"dcmsign: {'OK' if agrees else 'not OK'}{', as foreseen' if agrees is not foreseen else ''}"
    if agrees is foreseen:
        print(f"{path}: dcmsign says {'OK' if agrees else 'not OK'}, which was not foreseen")
    try:
        remove_all(signed, bare, overwrite=True)
    except SignatureError as refusal:
        print(f"{path}: {refusal}")
        yield f"not removed: {type(refusal).__name__}"
        return
    original = make_clean_copy(str(path)).content if report.repaired else path.read_bytes()
    if len(verified) > 1:
        yield "remove: together with signatures that were there before"
        return
    same = bare.read_bytes() == original or is_deflated(report, path)
    yield "remove: the original again" if same else "WRONG remove: not the original"
    if not same:
        print(f"{path}: without its signature it is not the original again")


def sign_one(path: Path, target: Path, signer: Identity) -> SigningReport | Exception:
    """Sign as it is, else as a clean copy, else without what cannot be covered; the error where nothing helps."""
    error: Exception = RuntimeError()
    for options in ({}, {"repair": True}, {"repair": True, "allow_uncovered": True}):
        try:
            return sign(path, target, signer.key, SigningRequest(signer.der, **options), overwrite=True)
        except (DicomFileError, SignatureError) as refusal:
            error = refusal if not isinstance(error, UncoveredContentError) else error
    return error


def is_deflated(report: SigningReport, path: Path) -> bool:
    """Whether the Data Set is deflated: the same octets deflate to others elsewhere."""
    return not report.repaired and b"1.2.840.10008.1.2.1.99" in path.read_bytes()[:1024]


def dcmsign_accepts(signed: Path, ca: Path, uid: str) -> bool:
    """Whether dcmsign says OK to the signature; others in the file are not asked for."""
    command = ["dcmsign", "--verify", "+cf", str(ca), str(signed)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120)
    said = done.stdout + done.stderr
    at = said.find(uid)
    return at >= 0 and "OK" in said[at:].split("UID=")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
