"""TLS handshakes with the key on SoftHSM, and memory over 10,000 of them.

Handshakes are full and mutual, in memory, both ends in one thread of this process. Beside them are the same with the
node's key in a file, once in an ordinary `ssl.SSLContext`, once in a context that differs only in the key. How near the
token can come to it, its own signature decides: SoftHSM takes twice as long for one as OpenSSL, and the host verifies
it. Both are measured after each handshake, where they find the processor's caches as in a handshake. The ratios are of
processor time, which other work on the machine disturbs less.

Where OpenSSL's pkcs11-provider is installed (Debian 12: from bookworm-backports), `benchmarks.tls_provider` compares
with the same key through it.
"""

from __future__ import annotations

import gc
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from pkcs11 import MGF, Mechanism, ObjectClass

from benchmarks import tls_provider
from benchmarks.bare import open_bare_session
from benchmarks.deadlines import direct_calls
from benchmarks.hospital import new_hospital
from benchmarks.rows import Row, processor_seconds
from hsm_dicom.tls import client_context, server_context
from tests import pki
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.hsm_dicom.tls.handshakes import handshake

HANDSHAKES = 40
TURNS = 21  # many and short: the difference is small beside what a busy machine does to one turn
WANTED = ">= 0.75"
VERSIONS = {"TLS 1.3": ssl.TLSVersion.TLSv1_3, "TLS 1.2": ssl.TLSVersion.TLSv1_2}
SIGNED, SALT = bytes(32), 32
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), SALT)
SOAK = 10_000
THREADS = 16


def run() -> Iterator[Row]:
    """Handshakes, and what many of them leave in memory."""
    with new_hospital() as (folder, hospital, uri, pin):
        yield from _handshakes(hospital)
        yield from tls_provider.run(folder, hospital, uri, pin)
        yield _soak(hospital)


# -- handshakes -----------------------------------------------------------------------------------------------


def _handshakes(hospital: Hospital) -> Iterator[Row]:
    in_file = hospital.peer("node", key=pki.new_key("rsa2048", 1))
    on_token = server_context([hospital.rsa], hospital.validator())
    same = server_context([in_file], hospital.validator())
    same.load_cert_chain(*hospital.files(in_file))  # in the place of the identity that signs through Python
    ordinary = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ordinary.load_cert_chain(*hospital.files(in_file))
    ordinary.load_verify_locations(hospital.ca_file)
    ordinary.verify_mode = ssl.CERT_REQUIRED
    sign_on_token = _bare_signature(hospital)
    sign_with_file = partial(in_file.key.sign, SIGNED, PSS, Prehashed(hashes.SHA256()))
    peer = hospital.peer("CT 1")
    for name, version in VERSIONS.items():
        client = client_context(peer, hospital.validator())
        client.maximum_version = version
        # A signature that follows a handshake finds the processor's caches as one in a handshake does.
        spent = _measure(
            {
                "token": [partial(handshake, on_token, client)],
                "without deadlines": [partial(_handshake_without_deadlines, hospital, on_token, client)],
                "same": [partial(handshake, same, client)],
                "ordinary": [partial(handshake, ordinary, client)],
                "and token": [partial(handshake, same, client), sign_on_token],
                "and file": [partial(handshake, same, client), sign_with_file],
            }
        )
        longer = spent["and token"] - spent["and file"]
        what = f"mutual handshakes, {name}, one thread, a processor second"
        ours = f"{1 / spent['token']:.0f}"
        for seconds, beside in (
            (spent["ordinary"], "with a key file and an ordinary context"),
            (spent["same"], "with a key file and the same context"),
        ):
            yield Row(what, ours, f"{1 / seconds:.0f} {beside}", seconds / spent["token"])
        yield Row(
            what,
            ours,
            f"{1 / spent['without deadlines']:.0f} without deadlines",
            spent["without deadlines"] / spent["token"],
            ">= 0.95",
        )
        limit = spent["same"] + longer
        yield Row(
            what,
            ours,
            f"{1 / limit:.0f} if nothing came on top but the token's signature and its verification, which take "
            f"{longer * 1e6:.0f} µs more than OpenSSL's signature",
            limit / spent["token"],
            WANTED,
        )


def _handshake_without_deadlines(hospital: Hospital, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    with direct_calls(hospital.rsa.key.device._connection.module):
        handshake(server, client)


def _measure(sides: dict[str, list[Callable[[], object]]]) -> dict[str, float]:
    """The median seconds of processor time of one handshake, and of what follows it, for each side."""

    def turn(side: str) -> None:
        for _ in range(HANDSHAKES):
            for job in sides[side]:
                job()

    spent = processor_seconds({side: partial(turn, side) for side in sides}, TURNS)
    return {side: seconds / HANDSHAKES for side, seconds in spent.items()}


def _bare_signature(hospital: Hospital) -> Callable[[], None]:
    """A signature for a handshake by the token's key through python-pkcs11 alone, and its verification on the host."""
    device = hospital.rsa.key.device
    key = open_bare_session(device._connection).get_key(object_class=ObjectClass.PRIVATE_KEY, label=device.name.label)
    public_key, hashed = hospital.rsa.key.public_key(), Prehashed(hashes.SHA256())
    parameter = (Mechanism.SHA256, MGF.SHA256, SALT)

    def sign() -> None:
        signature = key.sign(SIGNED, mechanism=Mechanism.RSA_PKCS_PSS, mechanism_param=parameter)
        public_key.verify(signature, SIGNED, PSS, hashed)

    return sign


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
