"""Operations to try on a private key, as they are done in earnest, their results verified on the host.

What `token check` and `card check` share: it sees only the key object, not the kind of device.
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

from tokens.errors import TokenError
from tokens.events import DeviceEvent, KeyUse, subscribed
from tokens.hashing import RIPEMD160, digest, hash_name
from tokens.keys import PrivateKey, TokenECPrivateKey, TokenRSAPrivateKey

MAC_ALGORITHMS: tuple[hashes.HashAlgorithm, ...] = (
    hashes.SHA256(),
    hashes.SHA384(),
    hashes.SHA512(),
    hashes.SHA1(),  # noqa: S303 -- to verify that old profiles could be met, not to protect anything
    hashes.MD5(),  # noqa: S303
    RIPEMD160(),
)
"""The six MAC algorithms of PS3.15 C.1, newest first."""

DICOM = "DICOM signatures"

_MESSAGE = b"check"
_SECONDS = 1.0


@dataclass(frozen=True)
class OperationCheck:
    """One operation, tried. `mechanism` is the rung that was used; `problem` is empty if the host verified it."""

    operation: str
    needed_for: str
    mechanism: str
    problem: str

    @property
    def works(self) -> bool:
        """Whether the result was verified on the host."""
        return not self.problem


@dataclass(frozen=True)
class Trial:
    """An operation to try; `job` raises unless its result was verified."""

    operation: str
    needed_for: str
    job: Callable[[], None]


def trials_of(key: PrivateKey) -> list[Trial]:
    """Everything that a key of its kind may be asked to do."""
    return list(_rsa_trials(key) if isinstance(key, TokenRSAPrivateKey) else _ec_trials(key))


def _rsa_trials(key: TokenRSAPrivateKey) -> Iterator[Trial]:
    public = key.public_key()
    if key.device.attributes.sign is not False:
        for algorithm in MAC_ALGORITHMS:
            name = hash_name(algorithm).upper()
            needed_for = DICOM if name == "SHA256" else ""
            yield Trial(f"RSASSA-PKCS1-v1_5, {name}", needed_for, partial(_pkcs1, key, Prehashed(algorithm), algorithm))
        for algorithm in MAC_ALGORITHMS[:3]:
            padding = paddings.PSS(paddings.MGF1(algorithm), algorithm.digest_size)
            yield Trial(
                f"RSASSA-PSS, {hash_name(algorithm).upper()}", "TLS 1.3", partial(_pss, key, padding, algorithm)
            )
    if key.device.attributes.decrypt:
        sha1, sha256 = hashes.SHA1(), hashes.SHA256()  # noqa: S303 -- OAEP does not rest on collisions
        schemes: Sequence[tuple[str, str, paddings.AsymmetricPadding]] = (
            ("RSAES-PKCS1-v1_5 decryption", "retired TLS profiles", paddings.PKCS1v15()),
            ("OAEP decryption, SHA1", "", paddings.OAEP(paddings.MGF1(sha1), sha1, None)),
            ("OAEP decryption, SHA256", "", paddings.OAEP(paddings.MGF1(sha256), sha256, None)),
        )
        for operation, needed_for, scheme in schemes:
            yield Trial(operation, needed_for, partial(_decrypt, key, public.encrypt(_MESSAGE, scheme), scheme))


def _ec_trials(key: TokenECPrivateKey) -> Iterator[Trial]:
    for algorithm in MAC_ALGORITHMS[:3]:
        yield Trial(f"ECDSA, {hash_name(algorithm).upper()}", "TLS", partial(_ecdsa, key, algorithm))


def _pkcs1(key: TokenRSAPrivateKey, hashed: Prehashed, algorithm: hashes.HashAlgorithm) -> None:
    value = digest(algorithm, _MESSAGE)
    signature = key.sign(value, paddings.PKCS1v15(), hashed)
    key.public_key().verify(signature, value, paddings.PKCS1v15(), hashed)


def _pss(key: TokenRSAPrivateKey, padding: paddings.PSS, algorithm: hashes.HashAlgorithm) -> None:
    key.public_key().verify(key.sign(_MESSAGE, padding, algorithm), _MESSAGE, padding, algorithm)


def _decrypt(key: TokenRSAPrivateKey, ciphertext: bytes, padding: paddings.AsymmetricPadding) -> None:
    if key.decrypt(ciphertext, padding) != _MESSAGE:
        raise InvalidSignature


def _ecdsa(key: TokenECPrivateKey, algorithm: hashes.HashAlgorithm) -> None:
    key.public_key().verify(key.sign(_MESSAGE, ec.ECDSA(algorithm)), _MESSAGE, ec.ECDSA(algorithm))


def tried(trial: Trial) -> OperationCheck:
    """Do it, and say what came of it."""
    uses: list[str] = []

    def note(event: DeviceEvent) -> None:
        if isinstance(event, KeyUse):
            uses.append(event.mechanism)

    problem = ""
    with subscribed(note):
        try:
            trial.job()
        except TokenError as error:
            problem = str(error)
        except InvalidSignature:
            problem = "The token's answer is wrong: the host could not verify it."
        except ValueError as error:
            problem = f"The token refused: {error}"
    return OperationCheck(trial.operation, trial.needed_for, uses[-1] if uses and not problem else "", problem)


def rate(job: Callable[[], None] | None, sessions: int) -> float:
    """How often a second the job is done, by so many threads for about a second."""
    if job is None:
        return 0.0
    deadline = time.perf_counter() + _SECONDS

    def repeat(_: int) -> int:
        count = 0
        while time.perf_counter() < deadline:
            job()
            count += 1
        return count

    with ThreadPoolExecutor(sessions) as threads:
        return sum(threads.map(repeat, range(sessions))) / _SECONDS
