"""TLS handshakes with the key on SoftHSM, and memory over 10,000 of them.

Handshakes are full and mutual, in memory, both ends in this process; beside them the same with the node's key in a
file, and the token's own rate of signatures. Where OpenSSL's pkcs11-provider is installed (Debian 12: from
bookworm-backports), `benchmarks.tls_provider` compares with the same key through it.
"""

from __future__ import annotations

import gc
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from benchmarks import tls_provider
from benchmarks.hospital import new_hospital
from benchmarks.rows import Row, in_turns
from hsm_dicom.tls import client_context, server_context
from tests import pki
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.hsm_dicom.tls.handshakes import handshake

HANDSHAKES = 300
SOAK = 10_000
THREADS = 16
ROUNDS = 3


def run() -> Iterator[Row]:
    """Handshakes, and what many of them leave in memory."""
    with new_hospital() as (folder, hospital, uri, pin):
        yield from _handshakes(hospital)
        yield from tls_provider.run(folder, hospital, uri, pin)
        yield _soak(hospital)


# -- handshakes -----------------------------------------------------------------------------------------------


def _handshakes(hospital: Hospital) -> Iterator[Row]:
    peer = hospital.peer("CT 1")
    in_file = hospital.peer("node", key=pki.new_key("rsa2048", 1))
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    plain.load_cert_chain(*hospital.files(in_file))
    plain.load_verify_locations(hospital.ca_file)
    plain.verify_mode = ssl.CERT_REQUIRED
    server = server_context([hospital.rsa], hospital.validator())
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        client = client_context(peer, hospital.validator())
        client.maximum_version = version
        seconds = in_turns(
            {
                "ours": _times(HANDSHAKES, lambda client=client: handshake(server, client)),
                "file": _times(HANDSHAKES, lambda client=client: handshake(plain, client)),
            },
            ROUNDS,
        )
        yield Row(
            f"mutual handshakes, {version.name.replace('_', '.', 1).replace('TLSv1.', 'TLS 1.')}, one thread",
            f"{HANDSHAKES / seconds['ours']:.0f} a second",
            f"{HANDSHAKES / seconds['file']:.0f} with a key file",
            seconds["file"] / seconds["ours"],
        )
    key = hospital.rsa.key
    signing = in_turns({"sign": _times(HANDSHAKES, lambda: key.sign(b"x", padding.PKCS1v15(), hashes.SHA256()))})
    yield Row("the token alone", f"{HANDSHAKES / signing['sign']:.0f} signatures a second", "")


def _times(count: int, job: Callable[[], object]) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(count):
            job()

    return repeated


def _soak(hospital: Hospital) -> Row:
    growth, errors, seconds = soak(hospital, SOAK, THREADS)
    return Row(
        f"{SOAK} handshakes from {THREADS} threads: memory, last fifth over first",
        f"{growth:.2f} MiB ({SOAK / seconds:.0f} a second)",
        f"{errors} errors",
        growth if not errors else float("inf"),
        "<= 2.0",
    )


def soak(hospital: Hospital, count: int, threads: int) -> tuple[float, int, float]:
    """So many handshakes from so many threads: growth of memory in MiB, errors, seconds."""
    server = server_context([hospital.rsa], hospital.validator())
    client = client_context(hospital.peer("CT 1"), hospital.validator())
    remaining, lock = [count], threading.Lock()
    memory: list[tuple[int, float]] = []
    errors: list[Exception] = []

    def work() -> None:
        while True:
            with lock:
                if not remaining[0]:
                    return
                remaining[0] -= 1
                done = count - remaining[0]
                if done % max(1, count // 50) == 0:
                    gc.collect()
                    memory.append((done, _resident_mebibytes()))
            try:
                handshake(server, client)
            except Exception as error:
                errors.append(error)

    started = time.monotonic()
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    first = [mebibytes for done, mebibytes in memory if done <= count * 0.4 and done > count * 0.2]
    last = [mebibytes for done, mebibytes in memory if done > count * 0.8]
    return sum(last) / len(last) - sum(first) / len(first), len(errors), time.monotonic() - started


def _resident_mebibytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
