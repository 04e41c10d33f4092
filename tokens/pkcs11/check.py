"""Self-test of a token with real operations: the acceptance test of a hospital's HSM.

The token carries out each operation with the mechanisms that an application would use, and the host verifies the
result. If the token has no key yet, the test generates temporary ones (session objects), which end with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pkcs11 import Attribute, Mechanism
from pkcs11 import exceptions as p11

from tokens.errors import TokenError
from tokens.keys import private_key
from tokens.pkcs11.ceremony import KeyKind, generate_temporary_key, read_keys
from tokens.pkcs11.connection import Connection
from tokens.pkcs11.key import Pkcs11Key
from tokens.pkcs11.objects import find_private_key
from tokens.pkcs11.search import TokenInfo
from tokens.pkcs11.secret_keys.check import SecretCheck, check_secrets
from tokens.pkcs11.sessions import Worker
from tokens.policy import Finding, KeyAttributes, KeyPolicy, Weakness, assess_key
from tokens.trials import OperationCheck, list_trials, measure_rate, run_trials
from tokens.uri import Pkcs11Uri


@dataclass(frozen=True)
class KeyCheck:
    """The result for one key. `readable`: the token revealed a private value. Rates are signatures per second."""

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
    def allowed(self) -> bool:
        """Whether the policy allows the key and the token does not reveal it."""
        return not self.readable and not any(finding.refusal for finding in self.findings)


@dataclass(frozen=True)
class TokenCheck:
    """The result for a token. `secrets` is None if secret keys were not tested."""

    token: TokenInfo
    module: str
    mechanisms: tuple[str, ...]
    keys: tuple[KeyCheck, ...]
    secrets: SecretCheck | None


def check_token(
    connection: Connection,
    wanted: Pkcs11Uri,
    policy: KeyPolicy,
    progress: Callable[[str], None] = lambda _: None,
    *,
    secrets: bool | None = None,
) -> TokenCheck:
    """Test the keys that the URI names, or all keys. Raises what opening a token raises.

    `secrets` is whether to test secret keys too; by default only if the URI names no key. `progress` is called with a
    description of each next test. Takes about three seconds for each key, and two for secrets.
    """
    listed = sorted(connection.capabilities().listed)
    names = tuple(mechanism_name(mechanism) for mechanism in listed)
    chosen = [
        Pkcs11Uri(object=entry.name.label or None, id=entry.name.id or None)
        for entry in read_keys(connection)
        if wanted.selects(entry.name.label, entry.name.id)
    ]
    checks = []
    if chosen or wanted.names_an_object:
        for uri in chosen or [wanted]:
            checks.append(_check_key(connection, uri, policy, progress, temporary=False))
    else:
        with _temporary_keys(connection, progress) as temporary:
            for uri in temporary:
                checks.append(_check_key(connection, uri, policy, progress, temporary=True))
    wants_secrets = not wanted.names_an_object if secrets is None else secrets
    secret_check = check_secrets(connection, policy, progress) if wants_secrets else None
    return TokenCheck(connection.token, connection.module.description, names, tuple(checks), secret_check)


def mechanism_name(mechanism: int) -> str:
    """Return the name, such as CKM_RSA_PKCS, or the number of a vendor's mechanism."""
    try:
        return "CKM_" + Mechanism(mechanism).name.lstrip("_")
    except ValueError:
        return f"0x{mechanism:08X}"


def reveals_private_value(connection: Connection, wanted: Pkcs11Uri) -> bool:
    """Return whether the token reveals the private value of a key, which it must not."""

    def ask(worker: Worker) -> bool:
        objects = connection.objects(worker.session)
        key = find_private_key(objects, wanted, connection.token.description)
        private = (Attribute.PRIVATE_EXPONENT, Attribute.PRIME_1, Attribute.VALUE)
        return any(objects.read(key, [attribute]).octets(attribute) for attribute in private)

    return connection.run(ask, "answer whether a private value can be read")


@contextlib.contextmanager
def _temporary_keys(connection: Connection, progress: Callable[[str], None]) -> Iterator[list[Pkcs11Uri]]:
    progress("the token has no key: generating temporary ones")
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
    done = run_trials(list_trials(key))
    operations = tuple(check for _, check in done)
    progress(f"key {device.name}: rate")
    fastest = next((trial.job for trial, check in done if check.works), None)
    # A temporary key has every usage that the token allows, so that every operation is tested.
    ours = {Weakness.SIGNS_AND_DECRYPTS} if temporary else set()
    return KeyCheck(
        label=device.name.label,
        id=device.name.id,
        temporary=temporary,
        attributes=device.attributes,
        findings=tuple(finding for finding in assess_key(device.attributes, policy) if finding.weakness not in ours),
        readable=reveals_private_value(connection, uri),
        operations=operations,
        rate_with_1_session=measure_rate(fastest, 1),
        rate_with_4_sessions=measure_rate(fastest, 4),
    )
