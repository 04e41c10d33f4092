"""Opens keys by URI: `open_key(uri)`, for PKCS#11 tokens (`pkcs11:` URIs) and smart cards (`card:` URIs).

Keys of one token share its connection, and with it the login, in one manager. The connection ends with the last key.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path

from tokens.card_uri import CardUri
from tokens.deadlines import DEFAULT_DEADLINES, CallDeadlines
from tokens.errors import Facts, PinSourceError, Reason, UriError
from tokens.keys import PrivateKey, private_key
from tokens.manager import DeviceManager, default_manager
from tokens.pins.credentials import CKU_USER, Credentials, DeviceFailure, is_user_type
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import PinSource, parse_pin_source, resolve_pin_source
from tokens.pkcs11.connections import SharedConnection
from tokens.pkcs11.isolation import Isolation
from tokens.pkcs11.key import Pkcs11Key
from tokens.pkcs11.module import Module
from tokens.pkcs11.search import find_token
from tokens.pkcs11.secret_keys.driver import Pkcs11Secrets
from tokens.pkcs11.sessions import DEFAULT_SESSIONS
from tokens.policy import KeyPolicy
from tokens.secrets import Secrets
from tokens.smartcard.opening import open_card, open_card_key, open_card_secrets
from tokens.smartcard.profiles import CardProfile
from tokens.uri import Pkcs11Uri


def open_key(
    uri: str | Pkcs11Uri | CardUri,
    *,
    pin: str | PinSource | None = None,
    module: Path | str | None = None,
    init_string: str | None = None,
    policy: KeyPolicy | None = None,
    memory: RefusalMemory | None = None,
    sessions: int = DEFAULT_SESSIONS,
    last_try: bool = False,
    device_failures: Set[DeviceFailure] = frozenset(DeviceFailure),
    user_type: int = CKU_USER,
    always_log_in: bool = False,
    deadlines: CallDeadlines | None = None,
    isolation: Isolation | str = Isolation.NONE,
    profiles: Mapping[str, CardProfile] | None = None,
    manager: DeviceManager | None = None,
) -> PrivateKey:
    """Open the private key of a `pkcs11:` or `card:` URI, log in, and check the key against the policy.

    `module` and `pin` are used where the URI has no module-path and no pin-source. `sessions` bounds how many
    threads a token serves at once; a card serves one. `device_failures`, `user_type`, `always_log_in`, `deadlines` and
    `isolation` are as for `open_token`; a card without deadlines has those of its profile. `profiles` are kinds of
    cards beside those that are known here. `manager` owns what is opened; the default manager does otherwise.
    The key is a context manager, and may be shared between threads. Raises the classes of `tokens.errors`, and
    TypeError or ValueError for an argument that is not as described.
    """
    wanted = parse_uri(uri)
    _check(sessions, manager, policy, deadlines)
    pin = resolve_pin_source(pin)
    if isinstance(wanted, CardUri):
        cards = (manager or default_manager()).cards
        opened = open_card(
            cards, wanted, pin=pin, memory=memory, last_try=last_try, profiles=profiles, deadlines=deadlines
        )
        return private_key(open_card_key(opened, wanted.key, policy or KeyPolicy()))
    shared = open_token(
        wanted,
        pin=pin,
        module=module,
        init_string=init_string,
        memory=memory,
        sessions=sessions,
        last_try=last_try,
        device_failures=device_failures,
        user_type=user_type,
        always_log_in=always_log_in,
        deadlines=deadlines,
        isolation=isolation,
        manager=manager,
    )
    try:
        return private_key(Pkcs11Key(shared.connection, wanted, policy or KeyPolicy(), shared.close))
    except BaseException:
        shared.close()
        raise


def open_secrets(
    uri: str | Pkcs11Uri | CardUri,
    *,
    pin: str | PinSource | None = None,
    module: Path | str | None = None,
    init_string: str | None = None,
    policy: KeyPolicy | None = None,
    memory: RefusalMemory | None = None,
    sessions: int = DEFAULT_SESSIONS,
    last_try: bool = False,
    device_failures: Set[DeviceFailure] = frozenset(DeviceFailure),
    user_type: int = CKU_USER,
    always_log_in: bool = False,
    deadlines: CallDeadlines | None = None,
    isolation: Isolation | str = Isolation.NONE,
    profiles: Mapping[str, CardProfile] | None = None,
    host_session_keys: bool = False,
    manager: DeviceManager | None = None,
) -> Secrets:
    """Open the secret keys on the token or card of a URI, and log in; see `tokens.secrets`.

    The `object` of a `pkcs11:` URI is the prefix of the secrets' labels ("secret" where it is not given). With
    `host_session_keys` a session key that the device cannot keep may come to this process's memory. The rest is as
    for `open_key`.
    """
    wanted = parse_uri(uri)
    _check(sessions, manager, policy, deadlines)
    pin = resolve_pin_source(pin)
    if isinstance(wanted, CardUri):
        cards = (manager or default_manager()).cards
        opened = open_card(
            cards, wanted, pin=pin, memory=memory, last_try=last_try, profiles=profiles, deadlines=deadlines
        )
        return Secrets(open_card_secrets(opened), host_session_keys=host_session_keys)
    shared = open_token(
        wanted.token_part(),
        pin=pin,
        module=module,
        init_string=init_string,
        memory=memory,
        sessions=sessions,
        last_try=last_try,
        device_failures=device_failures,
        user_type=user_type,
        always_log_in=always_log_in,
        deadlines=deadlines,
        isolation=isolation,
        manager=manager,
    )
    try:
        device = Pkcs11Secrets(shared.connection, wanted.object, policy or KeyPolicy(), shared.close)
    except BaseException:
        shared.close()
        raise
    return Secrets(device, host_session_keys=host_session_keys)


def parse_uri(uri: str | Pkcs11Uri | CardUri) -> Pkcs11Uri | CardUri:
    """Parse a URI by its scheme. Raises `UriError`, and TypeError for what is no URI."""
    if isinstance(uri, Pkcs11Uri | CardUri):
        return uri
    if not isinstance(uri, str):
        raise TypeError(f"uri must be the text of a pkcs11: or card: URI, not {type(uri).__name__}.")
    return CardUri.parse(uri) if uri.lower().startswith("card:") else Pkcs11Uri.parse(uri)


def open_token(
    uri: str | Pkcs11Uri,
    *,
    pin: str | PinSource | None = None,
    module: Path | str | None = None,
    init_string: str | None = None,
    memory: RefusalMemory | None = None,
    sessions: int = DEFAULT_SESSIONS,
    last_try: bool = False,
    device_failures: Set[DeviceFailure] = frozenset(DeviceFailure),
    user_type: int = CKU_USER,
    always_log_in: bool = False,
    deadlines: CallDeadlines | None = None,
    isolation: Isolation | str = Isolation.NONE,
    manager: DeviceManager | None = None,
) -> SharedConnection:
    """Open a share in the connection to the one token that matches; its first use logs in.

    `device_failures` are the answers to a login after which a PIN that was accepted before is presented once more.
    `user_type` (CK_USER_TYPE) is whose PIN it is: CKU_USER, or a number of the token's maker, such as 0x80000001 for
    the Crypto User of a Luna partition. `always_log_in` is for a token that hides its keys without a login though it
    does not report CKF_LOGIN_REQUIRED. `deadlines` are the seconds within which the token must answer; without them,
    those of an earlier share, or the default ones. With `isolation` "process" the module runs in a process of its own
    for this token, which is ended when it does not answer; see `tokens.pkcs11.isolation`.
    """
    _check(sessions, manager, deadlines=deadlines)
    if not is_user_type(user_type):
        raise ValueError(f"user_type must be 1 or from 0x80000000 to 0xFFFFFFFF, not {user_type!r}.")
    wanted = Pkcs11Uri.parse(uri) if isinstance(uri, str) else uri
    connections = (manager or default_manager()).tokens
    owner = find_module(wanted, module, init_string, manager, deadlines, isolation)
    try:
        token = find_token(owner, wanted)
    except BaseException:
        connections.release_module(owner)
        raise
    source = _pin_source(wanted, pin)
    credentials = (
        None
        if source is None
        else Credentials(
            source, memory or RefusalMemory(), last_try, frozenset(device_failures), user_type, always_log_in
        )
    )
    return connections.acquire(owner, token, credentials, sessions, deadlines)


def find_module(
    wanted: Pkcs11Uri,
    module: Path | str | None = None,
    init_string: str | None = None,
    manager: DeviceManager | None = None,
    deadlines: CallDeadlines | None = None,
    isolation: Isolation | str = Isolation.NONE,
) -> Module:
    """Return the module that the URI or the caller names, initialised for the manager.

    `deadlines` are those of the token that is searched for, and `isolation` is as for `open_token`. Raises `UriError`
    if neither names one, or `ModuleError`.
    """
    path = wanted.module_path or (Path(module) if module is not None else None)
    if path is None:
        raise UriError(
            f"'{wanted}' does not state which PKCS#11 module serves the token.",
            remedy="Add ?module-path=/path/of/the/module.so to it.",
            facts=Facts(reason=Reason.MODULE_NOT_GIVEN, uri=str(wanted)),
        )
    connections = (manager or default_manager()).tokens
    if Isolation(isolation) is Isolation.PROCESS:
        return connections.isolated_module(path, wanted, init_string, deadlines)
    return connections.module(path, init_string, deadlines or DEFAULT_DEADLINES)


def _pin_source(wanted: Pkcs11Uri, pin: str | PinSource | None) -> PinSource | None:
    if wanted.pin_source is not None:
        if wanted.pin_source.startswith("|"):
            raise PinSourceError(
                "A pin-source that runs a program ('|…') is not supported.", remedy="Use file:, env: or fd:."
            )
        return parse_pin_source(wanted.pin_source)
    return resolve_pin_source(pin)


def _check(sessions: object, manager: object, policy: object = None, deadlines: object = None) -> None:
    """Raise TypeError or ValueError for arguments that every function here takes."""
    if isinstance(sessions, bool) or not isinstance(sessions, int):
        raise TypeError(f"sessions must be a whole number, not {type(sessions).__name__}.")
    if sessions < 1:
        raise ValueError(f"sessions must be at least 1, not {sessions}.")
    if not isinstance(manager, DeviceManager | None):
        raise TypeError(f"manager must be a DeviceManager, not {type(manager).__name__}.")
    if not isinstance(policy, KeyPolicy | None):
        raise TypeError(f"policy must be a tokens.policy.KeyPolicy, not {type(policy).__name__}.")
    if not isinstance(deadlines, CallDeadlines | None):
        raise TypeError(f"deadlines must be tokens.deadlines.CallDeadlines, not {type(deadlines).__name__}.")
