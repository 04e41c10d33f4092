"""Self-test of a key with real operations, whose results the host verifies.

The checks of tokens and cards share this module, which uses only the key object and not the kind of device. It reports
which operation works and by which mechanism. The callers decide what an operation is needed for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import padding as paddings
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from tokens.algorithms.hashing import RIPEMD160, digest, hash_name
from tokens.errors import TokenError
from tokens.events import KeyUse, KeyUseSummary, subscribe
from tokens.keys import PrivateKey, TokenECPrivateKey, TokenRSAPrivateKey

_HASHES: tuple[hashes.HashAlgorithm, ...] = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
_RETIRED_HASHES: tuple[hashes.HashAlgorithm, ...] = (
    hashes.SHA1(),  # noqa: S303 -- to report whether old protocols would work, not to protect anything
    hashes.MD5(),  # noqa: S303
    RIPEMD160(),
)

_MESSAGE = b"check"
_SECONDS = 1.0


@dataclass(frozen=True)
class OperationCheck:
    """The result of one operation. `mechanism` names the candidate; `problem` is empty if the host verified it."""

    operation: str
    mechanism: str
    problem: str

    @property
    def works(self) -> bool:
        """Whether the result was verified on the host."""
        return not self.problem


@dataclass(frozen=True)
class Trial:
    """An operation to test; `job` raises unless its result was verified.

    If the job has several `KeyUse` events, `told_as` is the operation of the one with the mechanism. `mechanism` is
    the mechanism of a job that uses no key.
    """

    operation: str
    job: Callable[[], None]
    told_as: str = ""
    mechanism: str = ""
    instead_of: str = ""
    """A preferred operation: the trial runs only if that operation fails."""


def list_trials(key: PrivateKey) -> list[Trial]:
    """Return every operation of a key of this kind."""
    return list(_rsa_trials(key) if isinstance(key, TokenRSAPrivateKey) else _ec_trials(key))


def _rsa_trials(key: TokenRSAPrivateKey) -> Iterator[Trial]:
    public = key.public_key()
    if key.device.attributes.sign is not False:
        for algorithm in (*_HASHES, *_RETIRED_HASHES):
            job = partial(_pkcs1, key, Prehashed(algorithm), algorithm)
            yield Trial(f"RSASSA-PKCS1-v1_5, {hash_name(algorithm).upper()}", job)
        for algorithm in _HASHES:
            # A TPM's key that may only sign works this way.
            operation = f"RSASSA-PKCS1-v1_5, {hash_name(algorithm).upper()}"
            job = partial(_pkcs1_of_data, key, algorithm)
            yield Trial(f"{operation}, hashed by the device", job, instead_of=operation)
        for algorithm in _HASHES:
            padding = paddings.PSS(paddings.MGF1(algorithm), algorithm.digest_size)
            yield Trial(f"RSASSA-PSS, {hash_name(algorithm).upper()}", partial(_pss, key, padding, algorithm))
    if key.device.attributes.decrypt:
        sha1, sha256 = hashes.SHA1(), hashes.SHA256()  # noqa: S303 -- OAEP does not depend on collision resistance
        schemes: Sequence[tuple[str, paddings.AsymmetricPadding]] = (
            ("RSAES-PKCS1-v1_5 decryption", paddings.PKCS1v15()),
            ("OAEP decryption, SHA1", paddings.OAEP(paddings.MGF1(sha1), sha1, None)),
            ("OAEP decryption, SHA256", paddings.OAEP(paddings.MGF1(sha256), sha256, None)),
        )
        for operation, scheme in schemes:
            yield Trial(operation, partial(_decrypt, key, public.encrypt(_MESSAGE, scheme), scheme))


def _ec_trials(key: TokenECPrivateKey) -> Iterator[Trial]:
    for algorithm in _HASHES:
        yield Trial(f"ECDSA, {hash_name(algorithm).upper()}", partial(_ecdsa, key, algorithm))


def _pkcs1(key: TokenRSAPrivateKey, hashed: Prehashed, algorithm: hashes.HashAlgorithm) -> None:
    value = digest(algorithm, _MESSAGE)
    signature = key.sign(value, paddings.PKCS1v15(), hashed)
    key.public_key().verify(signature, value, paddings.PKCS1v15(), hashed)


def _pkcs1_of_data(key: TokenRSAPrivateKey, algorithm: hashes.HashAlgorithm) -> None:
    signature = key.sign(_MESSAGE, paddings.PKCS1v15(), algorithm)
    key.public_key().verify(signature, _MESSAGE, paddings.PKCS1v15(), algorithm)


def _pss(key: TokenRSAPrivateKey, padding: paddings.PSS, algorithm: hashes.HashAlgorithm) -> None:
    key.public_key().verify(key.sign(_MESSAGE, padding, algorithm), _MESSAGE, padding, algorithm)


def _decrypt(key: TokenRSAPrivateKey, ciphertext: bytes, padding: paddings.AsymmetricPadding) -> None:
    require_verified(key.decrypt(ciphertext, padding) == _MESSAGE)


def _ecdsa(key: TokenECPrivateKey, algorithm: hashes.HashAlgorithm) -> None:
    key.public_key().verify(key.sign(_MESSAGE, ec.ECDSA(algorithm)), _MESSAGE, ec.ECDSA(algorithm))


def require_verified(verified: bool) -> None:
    """Raise `InvalidSignature` in a job unless the host has verified its result."""
    if not verified:
        raise InvalidSignature


def run_trial(trial: Trial) -> OperationCheck:
    """Carry out the operation and return its result."""
    uses: list[str] = []

    def note(event: KeyUse) -> None:
        if trial.told_as in ("", event.operation):
            uses.append(event.mechanism)

    problem = ""
    with subscribe(note, KeyUse):
        try:
            trial.job()
        except TokenError as error:
            problem = str(error)
        except InvalidSignature:
            problem = "The token's answer is wrong: the host could not verify it."
        except ValueError as error:
            problem = f"The token refused: {error}"
    mechanism = uses[-1] if uses else trial.mechanism
    return OperationCheck(trial.operation, "" if problem else mechanism, problem)


def run_trials(trials: Sequence[Trial]) -> list[tuple[Trial, OperationCheck]]:
    """Test each operation, but alternatives only if the preferred operation fails."""
    done: list[tuple[Trial, OperationCheck]] = []
    for trial in trials:
        if not any(check.works and check.operation == trial.instead_of for _, check in done):
            done.append((trial, run_trial(trial)))
    return done


def measure_rate(job: Callable[[], object] | None, sessions: int) -> float:
    """Measure jobs per second with this many threads for about a second. Key uses are reported as a sum."""
    if job is None:
        return 0.0
    started = time.perf_counter()
    deadline = started + _SECONDS

    uses = KeyUseSummary()

    def repeat(_: int) -> int:
        count = 0
        with uses.collect():
            # At least once, even if a busy machine starts the thread late.
            while not count or time.perf_counter() < deadline:
                job()
                count += 1
        return count

    try:
        with ThreadPoolExecutor(sessions) as threads:
            # One job may take longer than a second, so the rate uses the measured total time.
            return sum(threads.map(repeat, range(sessions))) / (time.perf_counter() - started)
    finally:
        uses.emit()
