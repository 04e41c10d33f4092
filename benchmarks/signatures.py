"""Signing and verifying files beside DCMTK's dcmsign (a key file, one process a file) and beside SHA-256 of the file.

Small files: 1,000 CTs of 40 KB, Creator RSA, SHA-256, on a SoftHSM key, with two worker processes; dcmsign's output is
flushed like ours. Each turn writes into a new folder, and nothing is removed before the end: ext4 does not reuse the
inode of a removed file for up to five minutes, and each new file costs a search past all of these. The large one: a
multi-frame of 200 MB. The huge one: an object of 2 GiB, each job in a process of its own whose peak memory counts. The
slow token: a key that takes 5 ms a signature, 8 sessions.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from itertools import count
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

import tokens
from benchmarks.rows import Row, in_turns
from hsm_dicom.parallel import worker_pool
from hsm_dicom.signatures import Profile, SigningRequest, check_files, check_integrity, sign
from hsm_dicom.signing import SigningJob, sign_jobs
from tests import softhsm
from tests.hsm_dicom.dataset.samples import data_set, encode, shipped
from tests.hsm_dicom.signatures.peak import peak_of_signing, peak_of_verifying
from tests.pki import Authority, Identity, new_key

FILES = 1000
FILES_FOR_SLOW_TOKEN = 500
FILES_FOR_DCMSIGN = 40
DELAY = 0.005
SESSIONS = 8
LARGE = 200 << 20
HUGE = 2 << 30
PEAK_MIB = 120


def run() -> Iterator[Row]:
    """Small files, a slow token, a large file, a huge one."""
    authority = Authority("Benchmark CA")
    signer = authority.issue("Signer", key=new_key("rsa2048"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "key.pem").write_bytes(signer.key_pem)
        (folder / "signer.pem").write_bytes(signer.pem)
        (folder / "ca.pem").write_bytes(authority.pem)
        # Started before a token is opened, so that no worker inherits its login.
        with worker_pool(2) as executor:
            yield from _small_files(folder, authority, executor)
            yield from _slow_token(folder, signer, executor)
        yield from _large_file(folder, signer)
        yield from _huge_file(folder, signer)


def _small_files(folder: Path, authority: Authority, executor: Executor) -> Iterator[Row]:
    (folder / "small").mkdir()
    sources = _copies(folder / "small", FILES)
    theirs = [SigningJob(str(source), f"{source}.theirs") for source in sources[:FILES_FOR_DCMSIGN]]
    turns = count()
    softhsm.provision(folder / "softhsm")
    os.environ["HSM_DICOM_STATE"] = str(folder / "state")
    token = softhsm.new_token()
    with tokens.open_key(token.generate("node")) as key:
        assert isinstance(key, rsa.RSAPrivateKey)
        request = SigningRequest(authority.issue("node", key=key).der, Profile.CREATOR)

        def ours() -> list[SigningJob]:
            jobs = _into_new_folder(sources, folder / f"signed-{next(turns)}")
            _all_good(sign_jobs(jobs, key, request, executor=executor))
            return jobs

        def dcmsign() -> None:
            for job in theirs:
                _dcmsign(folder, "+pc", job.source, str(job.target))

        def token_alone() -> None:
            for _ in range(FILES):
                key.sign(b"x" * 32, padding.PKCS1v15(), hashes.SHA256())

        signed = [str(job.target) for job in ours()]
        contents = [Path(path).read_bytes() for path in signed]

        def write_alone() -> None:
            bare = folder / f"bare-{next(turns)}"
            bare.mkdir()
            for number, data in enumerate(contents):
                _write_durably(bare / f"{number}.dcm", data)

        # With sync, no job waits for what the one before left to the disk.
        seconds = in_turns({"ours": ours, "token": token_alone, "write": write_alone}, rounds=9, prepare=os.sync)
        rate = {name: FILES / value for name, value in seconds.items()}
        dcmsign_rate = len(theirs) / in_turns({"dcmsign": dcmsign}, rounds=3)["dcmsign"]
    yield Row(
        "CTs of 40 KB signed a second, 2 workers, beside the lower of token (1 session) and write + fsync + rename",
        f"{rate['ours']:.0f}",
        f"token {rate['token']:.0f}, disk {rate['write']:.0f}",
        rate["ours"] / min(rate["token"], rate["write"]),
        ">= 0.8",
    )
    yield _rates(
        "CTs of 40 KB signed a second, 2 workers, beside dcmsign",
        {"ours": rate["ours"], "dcmsign": dcmsign_rate},
        ">= 10",
    )

    def verify_ours() -> None:
        _all_good(check_files(signed, executor=executor))

    def verify_dcmsign() -> None:
        for path in signed[:FILES_FOR_DCMSIGN]:
            _run("dcmsign", "--verify", "+rg", "+cf", folder / "ca.pem", path)

    verify_ours()
    seconds = in_turns({"ours": verify_ours, "dcmsign": verify_dcmsign}, rounds=3)
    per_second = {"ours": FILES / seconds["ours"], "dcmsign": FILES_FOR_DCMSIGN / seconds["dcmsign"]}
    yield _rates("CTs of 40 KB verified a second, 2 workers, beside dcmsign", per_second, ">= 15")


def _slow_token(folder: Path, signer: Identity, executor: Executor) -> Iterator[Row]:
    (folder / "slow").mkdir()
    sources = _copies(folder / "slow", FILES_FOR_SLOW_TOKEN)
    turns = count()
    request = SigningRequest(signer.der, Profile.CREATOR)

    def with_key(key: rsa.RSAPrivateKey) -> Callable[[], None]:
        def sign_all() -> None:
            jobs = _into_new_folder(sources, folder / f"slow-{next(turns)}")
            _all_good(sign_jobs(jobs, key, request, executor=executor, sessions=SESSIONS))

        return sign_all

    with_key(signer.key)()
    seconds = in_turns({"slow": with_key(Slow(signer.key)), "fast": with_key(signer.key)}, rounds=3)
    token_bound, cpu_bound = SESSIONS / DELAY, len(sources) / seconds["fast"]
    rate = len(sources) / seconds["slow"]
    yield Row(
        f"CTs signed a second, token of {DELAY * 1000:.0f} ms, {SESSIONS} sessions, beside the lower bound",
        f"{rate:.0f}",
        f"token {token_bound:.0f}, CPU {cpu_bound:.0f}",
        rate / min(token_bound, cpu_bound),
        ">= 0.9",
    )


def _large_file(folder: Path, signer: Identity) -> Iterator[Row]:
    source, signed, theirs = (folder / f"large-{name}.dcm" for name in ("source", "signed", "theirs"))
    ds = data_set()
    ds.Rows = ds.Columns = 512
    ds.NumberOfFrames = LARGE // (512 * 512 * 2)
    ds.PixelData = os.urandom(LARGE)
    ds["PixelData"].VR = "OW"
    source.write_bytes(encode(ds))
    del ds
    request = SigningRequest(signer.der, Profile.CREATOR)
    seconds = in_turns(
        {
            "sha": lambda: _sha256(source),
            "copy": lambda: _durable_copy(source, folder / "copy"),
            "sign": lambda: sign(source, signed, signer.key, request, overwrite=True),
            "dcmsign": lambda: _dcmsign(folder, "+pc", source, theirs),
            "verify": lambda: check_integrity(signed),
            "dcmsign verifies": lambda: _run("dcmsign", "--verify", "+rg", "+cf", folder / "ca.pem", signed),
        },
        rounds=5,
    )
    bound = seconds["sha"] + seconds["copy"]
    yield _times("200 MB signed, beside SHA-256 and a durable copy", seconds["sign"], bound, "<= 1.3")
    yield _times("200 MB signed, beside dcmsign", seconds["sign"], seconds["dcmsign"], "<= 1.0")
    yield _times("200 MB verified, beside SHA-256", seconds["verify"], seconds["sha"], "<= 1.2")
    yield _times("200 MB verified, beside dcmsign", seconds["verify"], seconds["dcmsign verifies"])


def _huge_file(folder: Path, signer: Identity) -> Iterator[Row]:
    source, signed = folder / "huge.dcm", folder / "huge-signed.dcm"
    ds = data_set()
    ds.PixelData = b""
    head = encode(ds)[:-4]
    with source.open("wb") as out:
        out.write(head + HUGE.to_bytes(4, "little"))
        out.truncate(len(head) + 4 + HUGE)
    (folder / "certificate.der").write_bytes(signer.der)
    peaks = {
        "signed": peak_of_signing(source, signed, folder / "key.pem", folder / "certificate.der"),
        "verified": peak_of_verifying(signed),
    }
    for what, peak in peaks.items():
        yield Row(f"peak MiB, 2 GiB {what}", f"{peak:.0f}", f"{PEAK_MIB}", peak / PEAK_MIB, "<= 1.0")


class Slow(rsa.RSAPrivateKey):
    """A key in memory that takes as long as a slow token."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key

    def sign(self, data: Any, padding: Any, algorithm: Any) -> bytes:
        time.sleep(DELAY)
        return self._key.sign(data, padding, algorithm)

    def public_key(self) -> rsa.RSAPublicKey:
        return self._key.public_key()

    @property
    def key_size(self) -> int:
        return self._key.key_size

    def decrypt(self, ciphertext: Any, padding: Any) -> bytes:
        raise NotImplementedError

    def private_numbers(self) -> rsa.RSAPrivateNumbers:
        raise NotImplementedError

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> bytes:
        raise NotImplementedError

    def __copy__(self) -> Slow:
        return self

    def __deepcopy__(self, memo: Any) -> Slow:
        return self


def _copies(folder: Path, files: int) -> list[Path]:
    """Copies of a CT of 40 KB."""
    return [Path(shutil.copyfile(shipped("CT_small.dcm"), folder / f"{number}.dcm")) for number in range(files)]


def _into_new_folder(sources: list[Path], folder: Path) -> list[SigningJob]:
    """Jobs that sign the sources into a new folder."""
    folder.mkdir()
    return [SigningJob(str(source), str(folder / source.name)) for source in sources]


def _all_good(outcomes: Any) -> None:
    assert not [outcome.error for outcome in outcomes if outcome.error]


def _dcmsign(folder: Path, *arguments: str | Path) -> None:
    _run("dcmsign", "+s", folder / "key.pem", folder / "signer.pem", "+m2", *arguments)
    with Path(arguments[-1]).open("rb") as written:
        os.fsync(written.fileno())


def _run(*command: str | Path) -> None:
    subprocess.run([*map(str, command)], check=True, capture_output=True)


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _write_durably(path: Path, data: bytes) -> None:
    """Write one file beside its target, flush it and rename it: what any program does for a whole, durable file."""
    part = path.with_suffix(".part")
    with part.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)


def _durable_copy(source: Path, target: Path) -> None:
    part = target.with_suffix(".part")
    with source.open("rb") as read, part.open("wb") as write:
        left = os.fstat(read.fileno()).st_size
        while left:
            left -= os.copy_file_range(read.fileno(), write.fileno(), left)
        os.fsync(write.fileno())
    part.replace(target)


def _rates(what: str, per_second: dict[str, float], wanted: str) -> Row:
    ours, theirs = per_second["ours"], per_second["dcmsign"]
    return Row(what, f"{ours:.0f}", f"{theirs:.1f}", ours / theirs, wanted)


def _times(what: str, ours: float, theirs: float, wanted: str = "") -> Row:
    return Row(what, f"{ours:.3f} s", f"{theirs:.3f} s", ours / theirs, wanted)
