"""Whether a client learns from the time of a retired profile's key exchange if its padding was right (Bleichenbacher).

Good and bad ciphertexts of premaster secrets, in random order and each once, go through the server's side of the key
exchange: the token (SoftHSM), the padding, the choice of a random secret. Welch's t over 100,000 of them (unless
HSM_DICOM_TRIALS says otherwise) stays below 4.5, the bound of dudect and ISO/IEC 17825, for all of them and for those
that nothing interrupted (below the 95th percentile of both). Beside it, what a token adds that looks at the padding
itself.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pkcs11 import Mechanism
from tlslite.keyexchange import RSAKeyExchange  # type: ignore[import-untyped]
from tlslite.messages import ClientHello, ClientKeyExchange, ServerHello  # type: ignore[import-untyped]

from benchmarks.rows import Row
from hsm_dicom.tls.legacy.keys import Decrypter
from tests import softhsm
from tokens import open_key

TRIALS = int(os.environ.get("HSM_DICOM_TRIALS", "100000"))
BOUND = 4.5
VERSION = (3, 1)
_3DES = 0x000A


def run() -> Iterator[Row]:
    """The bare operation and our look at the padding; then the token's own."""
    with tempfile.TemporaryDirectory() as name:
        softhsm.provision(Path(name))
        os.environ["HSM_DICOM_STATE"] = str(Path(name) / "state")
        uri = softhsm.new_token().generate("decrypt", "rsa-2048", "decrypt")
        with open_key(uri) as key:
            times = measure(Decrypter(key), key.public_key(), TRIALS)
            yield _row("good and bad padding, looked at by the host", times, f"<= {BOUND}")
        with open_key(uri) as key:
            key.device.offered = frozenset({Mechanism.RSA_PKCS})
            times = measure(Decrypter(key), key.public_key(), TRIALS // 10)
            yield _row("the same, looked at by the token (SoftHSM)", times, "")


Times = tuple[list[float], list[float]]


def measure(make_decrypter: Decrypter, public: RSAPublicKey, trials: int) -> Times:
    """The microseconds that the key exchange took with good ciphertexts, and with bad ones."""
    exchange = RSAKeyExchange(_3DES, _hello(ClientHello()), _hello(ServerHello()), make_decrypter)
    # All made before: what makes a ciphertext would leave the processor's caches in another state for each kind.
    prepared = [(kind, make(public)) for kind, make in enumerate((good, bad)) for _ in range(trials // 2)]
    random.shuffle(prepared)
    times: Times = ([], [])
    for kind, ciphertext in prepared:
        message = ClientKeyExchange(_3DES, VERSION)
        message.encryptedPreMasterSecret = bytearray(ciphertext)
        started = time.perf_counter_ns()
        exchange.processClientKeyExchange(message)
        times[kind].append((time.perf_counter_ns() - started) / 1000)
    return times


def good(public: RSAPublicKey) -> bytes:
    """A premaster secret as a client encrypts it."""
    return public.encrypt(bytes(VERSION) + os.urandom(46), PKCS1v15())


def bad(public: RSAPublicKey) -> bytes:
    """Something else below the modulus, of which one in 40,000 is well padded by chance."""
    numbers = public.public_numbers()
    return random.SystemRandom().randrange(numbers.n).to_bytes((numbers.n.bit_length() + 7) // 8, "big")


def welch(one: Sequence[float], other: Sequence[float]) -> float:
    """Welch's t of two samples."""
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return float((statistics.fmean(one) - statistics.fmean(other)) / spread**0.5)


def worst(times: Times) -> float:
    """The larger |t|: of all, and of those below the 95th percentile of both together."""
    limit = statistics.quantiles([*times[0], *times[1]], n=20)[-1]
    quick = tuple([one for one in kind if one <= limit] for kind in times)
    return max(abs(welch(*times)), abs(welch(quick[0], quick[1])))


def _hello(hello: ClientHello | ServerHello) -> ClientHello | ServerHello:
    hello.client_version = hello.server_version = VERSION
    return hello


def _row(what: str, times: Times, wanted: str) -> Row:
    medians = [statistics.median(kind) for kind in times]
    figures = f"{medians[0]:.1f} µs good, {medians[1]:.1f} µs bad"
    return Row(what, figures, f"|t| of {sum(map(len, times))} trials", worst(times), wanted)
