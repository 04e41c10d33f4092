"""What a token can really do: the acceptance test of a hospital's own HSM.

Each operation is planned as it would be in earnest, carried out by the token, and its result verified on the host.
Where the token has no key yet, temporary ones (session objects) are made in it, and vanish with the test.
"""

from __future__ import annotations

import contextlib
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
from pkcs11 import Attribute, Mechanism
from pkcs11 import exceptions as p11

from tokens.errors import TokenError
from tokens.events import DeviceEvent, KeyUse, subscribed
from tokens.hashing import RIPEMD160, digest, hash_name
from tokens.keys import TokenECPrivateKey, TokenRSAPrivateKey, private_key
from tokens.pkcs11.ceremony import KeyKind, generate_temporary_key, keys_of
from tokens.pkcs11.connection import Connection, Worker
from tokens.pkcs11.key import Pkcs11Key
from tokens.pkcs11.objects import find_private_key
from tokens.pkcs11.search import TokenInfo
from tokens.policy import Finding, KeyAttributes, KeyPolicy, Weakness, judge
from tokens.uri import Pkcs11Uri

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

_MESSAGE = b"token check"
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
class KeyCheck:
    """One key. `readable` says that the token gave away a private value; rates are signatures per second."""

    label: str
    id: bytes
    temporary: bool
    attributes: KeyAttributes
    findings: tuple[Finding, ...]
    readable: bool
    operations: tuple[OperationCheck, ...]
    rate_with_1_session: float
    rate_with_4_sessions: float

    @property
    def signs_dicom(self) -> bool:
        """Whether the profiles of PS3.15 Annex C can be met with this key: RSA, PKCS#1 v1.5, SHA-256."""
        allowed = not self.readable and not any(finding.refusal for finding in self.findings)
        return allowed and any(o.needed_for == DICOM and o.works for o in self.operations)


@dataclass(frozen=True)
class TokenCheck:
    """All that was found out about a token."""

    token: TokenInfo
    module: str
    mechanisms: tuple[str, ...]
    keys: tuple[KeyCheck, ...]

    @property
    def dicom_ready(self) -> bool:
        """Whether at least one key will do the DICOM jobs."""
        return any(key.signs_dicom for key in self.keys)


@dataclass(frozen=True)
class _Trial:
    """An operation to try; `job` raises unless its result was verified."""

    operation: str
    needed_for: str
    job: Callable[[], None]


def check_token(
    connection: Connection,
    wanted: Pkcs11Uri,
    policy: KeyPolicy,
    progress: Callable[[str], None] = lambda _: None,
) -> TokenCheck:
    """Try the keys that the URI names (all of them, if it names none). Raises what opening a token raises.

    `progress` is told, in words, what is tried next. Takes about three seconds for each key.
    """
    listed = sorted(connection.capabilities().listed)
    names = tuple(mechanism_name(mechanism) for mechanism in listed)
    chosen = [
        Pkcs11Uri(object=entry.name.label or None, id=entry.name.id or None)
        for entry in keys_of(connection)
        if (wanted.object in (None, entry.name.label)) and (wanted.id in (None, entry.name.id))
    ]
    checks = []
    if chosen or wanted.names_an_object:
        for uri in chosen or [wanted]:
            checks.append(_check_key(connection, uri, policy, progress, temporary=False))
    else:
        with _temporary_keys(connection, progress) as temporary:
            for uri in temporary:
                checks.append(_check_key(connection, uri, policy, progress, temporary=True))
    return TokenCheck(connection.token, connection.module.description, names, tuple(checks))


def mechanism_name(mechanism: Mechanism | int) -> str:
    """CKM_RSA_PKCS, or the number of a vendor's own."""
    if isinstance(mechanism, Mechanism):
        return "CKM_" + mechanism.name.lstrip("_")
    return f"0x{mechanism:08X}"


def gives_away_private_value(connection: Connection, wanted: Pkcs11Uri) -> bool:
    """Ask the token for the private value of a key, which it must refuse."""

    def ask(worker: Worker) -> bool:
        key = find_private_key(worker.session, wanted, connection.token.description)
        for attribute in (Attribute.PRIVATE_EXPONENT, Attribute.PRIME_1, Attribute.VALUE):
            with contextlib.suppress(p11.AttributeSensitive, p11.AttributeTypeInvalid, p11.FunctionFailed, ValueError):
                if key[attribute]:
                    return True
        return False

    return connection.run(ask, "answer whether a private value can be read")


@contextlib.contextmanager
def _temporary_keys(connection: Connection, progress: Callable[[str], None]) -> Iterator[list[Pkcs11Uri]]:
    progress("the token has no key: making temporary ones in it")
    made: list[Pkcs11Uri] = []
    with contextlib.ExitStack() as stack:
        for kind in (KeyKind.RSA_2048, KeyKind.P_256):
            with contextlib.suppress(TokenError, p11.PKCS11Error):
                name = stack.enter_context(generate_temporary_key(connection, kind))
                made.append(Pkcs11Uri(object=name.label, id=name.id))
        yield made


def _check_key(
    connection: Connection, uri: Pkcs11Uri, policy: KeyPolicy, progress: Callable[[str], None], *, temporary: bool
) -> KeyCheck:
    anything = KeyPolicy(allow=frozenset(Weakness), minimum_rsa_bits=0)
    device = Pkcs11Key(connection, uri, anything, release=lambda: None)
    key = private_key(device)
    progress(f"key {device.name}")
    trials = list(_rsa_trials(key) if isinstance(key, TokenRSAPrivateKey) else _ec_trials(key))
    operations = tuple(_tried(trial) for trial in trials)
    progress(f"key {device.name}: how fast it is")
    fastest = next((t.job for t, o in zip(trials, operations, strict=True) if o.works), None)
    return KeyCheck(
        label=device.name.label,
        id=device.name.id,
        temporary=temporary,
        attributes=device.attributes,
        findings=judge(device.attributes, policy),
        readable=gives_away_private_value(connection, uri),
        operations=operations,
        rate_with_1_session=_rate(fastest, 1),
        rate_with_4_sessions=_rate(fastest, 4),
    )


def _rsa_trials(key: TokenRSAPrivateKey) -> Iterator[_Trial]:
    public = key.public_key()
    if key.device.attributes.sign is not False:
        for algorithm in MAC_ALGORITHMS:
            name = hash_name(algorithm).upper()
            needed_for = DICOM if name == "SHA256" else ""
            yield _Trial(
                f"RSASSA-PKCS1-v1_5, {name}", needed_for, partial(_pkcs1, key, Prehashed(algorithm), algorithm)
            )
        for algorithm in MAC_ALGORITHMS[:3]:
            padding = paddings.PSS(paddings.MGF1(algorithm), algorithm.digest_size)
            yield _Trial(
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
            yield _Trial(operation, needed_for, partial(_decrypt, key, public.encrypt(_MESSAGE, scheme), scheme))


def _ec_trials(key: TokenECPrivateKey) -> Iterator[_Trial]:
    for algorithm in MAC_ALGORITHMS[:3]:
        yield _Trial(f"ECDSA, {hash_name(algorithm).upper()}", "TLS", partial(_ecdsa, key, algorithm))


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


def _tried(trial: _Trial) -> OperationCheck:
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


def _rate(job: Callable[[], None] | None, sessions: int) -> float:
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
