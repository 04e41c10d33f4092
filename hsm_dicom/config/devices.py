"""Access to tokens and cards by name or URI, with module, PIN source and the rest from the configuration.

access = find_token_access(configuration, "ct-room")
access = find_token_access(configuration, "pkcs11:token=CT%20room")  # the same, if a [tokens.NAME] has this label
with access.open() as connection: ...
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509

from hsm_dicom.config.permissions import find_write_risk
from hsm_dicom.config.sections import Configuration, TokenSection
from hsm_dicom.errors import DicomError
from tokens import open_key, open_secrets, open_token
from tokens.card_uri import CardUri
from tokens.deadlines import CallDeadlines
from tokens.keys import PrivateKey
from tokens.opening import find_module
from tokens.pins.credentials import CKU_USER, DeviceFailure
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import PinSource, parse_pin_source
from tokens.pkcs11.connections import SharedConnection
from tokens.pkcs11.isolation import Isolation
from tokens.pkcs11.module import Module
from tokens.pkcs11.public_certificates import read_public_certificates
from tokens.pkcs11.search import TokenInfo, find_token
from tokens.pkcs11.sessions import DEFAULT_SESSIONS
from tokens.policy import KeyPolicy, Weakness
from tokens.secrets import Secrets
from tokens.smartcard.profiles import CardProfile
from tokens.uri import Pkcs11Uri


class NotConfiguredError(DicomError):
    """The configuration has no token, identity, peer or listener of this name."""


class UnsafeModuleError(DicomError):
    """Another user can change a PKCS#11 module, so it is not loaded."""


@dataclass(frozen=True)
class TokenAccess:
    """Everything that opening a token, or a key on it, needs. `name` is that of its `[tokens.NAME]`, if it has one."""

    name: str | None
    uri: Pkcs11Uri
    module_path: Path | None
    pin: PinSource | None
    init_string: str | None
    sessions: int
    memory: RefusalMemory
    last_try: bool = False
    login_failures: frozenset[DeviceFailure] = frozenset(DeviceFailure)
    user_type: int = CKU_USER
    always_log_in: bool = False
    private_key_attributes: tuple[tuple[int, bytes], ...] = ()
    public_key_attributes: tuple[tuple[int, bytes], ...] = ()
    deadlines: CallDeadlines | None = None
    isolation: Isolation = Isolation.NONE

    def module(self) -> Module:
        """Load the module. Raises `UriError` if none is named, or `ModuleError`."""
        return find_module(
            self.uri, self.module_path, self.init_string, deadlines=self.deadlines, isolation=self.isolation
        )

    def find_token(self) -> tuple[Module, TokenInfo]:
        """Return the module and the token in it, whose calls have their configured deadlines from now on.

        Presents no PIN. Raises as `module` and `tokens.pkcs11.search.find_token`.
        """
        module = self.module()
        token = find_token(module, self.uri)
        if self.deadlines is not None:
            module.use_deadlines(token.slot_id, self.deadlines)
        return module, token

    def read_public_certificates(self) -> tuple[x509.Certificate, ...]:
        """Return the certificates that the token shows without a PIN. Raises as `find_token`."""
        return read_public_certificates(*self.find_token())

    def open(self) -> SharedConnection:
        """Open a share of the connection to the token; see `tokens.open_token`."""
        return open_token(
            self.uri,
            pin=self.pin,
            module=self.module_path,
            init_string=self.init_string,
            memory=self.memory,
            sessions=self.sessions,
            last_try=self.last_try,
            device_failures=self.login_failures,
            user_type=self.user_type,
            always_log_in=self.always_log_in,
            deadlines=self.deadlines,
            isolation=self.isolation,
        )

    def open_key(self, allow: Set[Weakness] = frozenset()) -> PrivateKey:
        """Open the private key that the URI names; see `tokens.open_key`."""
        return open_key(
            self.uri,
            pin=self.pin,
            module=self.module_path,
            init_string=self.init_string,
            policy=KeyPolicy(allow=frozenset(allow)),
            memory=self.memory,
            sessions=self.sessions,
            last_try=self.last_try,
            device_failures=self.login_failures,
            user_type=self.user_type,
            always_log_in=self.always_log_in,
            deadlines=self.deadlines,
            isolation=self.isolation,
        )

    def open_secrets(self, prefix: str | None = None, *, host_session_keys: bool = False) -> Secrets:
        """Open the secret keys whose labels begin with the prefix; see `tokens.open_secrets`."""
        return open_secrets(
            replace(self.uri, object=prefix or self.uri.object),
            pin=self.pin,
            module=self.module_path,
            init_string=self.init_string,
            memory=self.memory,
            sessions=self.sessions,
            last_try=self.last_try,
            device_failures=self.login_failures,
            user_type=self.user_type,
            always_log_in=self.always_log_in,
            deadlines=self.deadlines,
            isolation=self.isolation,
            host_session_keys=host_session_keys,
        )

    def select_object(self, label: str | None, key_id: bytes | None) -> TokenAccess:
        """Return access to a key on this token."""
        return replace(self, uri=replace(self.uri, object=label, id=key_id))


@dataclass(frozen=True)
class CardAccess:
    """Everything that opening a key on a smart card needs. A card has no name: it is searched for each time."""

    uri: CardUri
    pin: PinSource | None
    memory: RefusalMemory
    profiles: Mapping[str, CardProfile]
    name: None = None

    def open_key(self, allow: Set[Weakness] = frozenset()) -> PrivateKey:
        """Open the private key that the URI names; see `tokens.open_key`."""
        policy = KeyPolicy(allow=frozenset(allow))
        return open_key(self.uri, pin=self.pin, policy=policy, memory=self.memory, profiles=self.profiles)

    def open_secrets(self) -> Secrets:
        """Open the card's secret keys; see `tokens.open_secrets`."""
        return open_secrets(self.uri, pin=self.pin, memory=self.memory, profiles=self.profiles)

    def check_pins(self, wait: float = 5.0) -> None:
        """Check that the PIN would be presented to the card, without presenting it. A PIN of a person is not checked.

        `wait` is how many seconds to wait for a card in use. Raises as `tokens.smartcard.check.check_card_pins` does.
        """
        from tokens.manager import default_manager
        from tokens.smartcard.check import check_card_pins  # most commands use no card

        if self.pin is not None and not self.pin.attended:
            cards = default_manager().cards
            check_card_pins(cards, self.uri, pin=self.pin, memory=self.memory, profiles=self.profiles, wait=wait)


KeyAccess = TokenAccess | CardAccess
"""Access to a key, on a token or on a card."""


def find_key_access(
    configuration: Configuration,
    wanted: Pkcs11Uri | CardUri,
    *,
    pin: PinSource | None = None,
    module: Path | None = None,
) -> KeyAccess:
    """Return access to the key that a URI names. `pin` overrides a pin-source of the URI."""
    if isinstance(wanted, Pkcs11Uri):
        return find_token_access(configuration, wanted, pin=pin, module=module)
    uri_pin = None if wanted.pin_source is None else parse_pin_source(wanted.pin_source)
    return CardAccess(
        uri=replace(wanted, pin_source=None),
        pin=pin or uri_pin,
        memory=RefusalMemory(configuration.state.folder),
        profiles=configuration.cards,
    )


def find_token_access(
    configuration: Configuration,
    wanted: str | Pkcs11Uri,
    *,
    pin: PinSource | None = None,
    module: Path | None = None,
    last_try: bool = False,
) -> TokenAccess:
    """Return access to the token with a NAME of the configuration, or with a `pkcs11:` URI.

    If a URI has the label or serial of a configured token, the settings of that token are used. The URI's own
    attributes override them, and `pin` overrides both; `module` is used if the URI has no module-path.
    Raises `NotConfiguredError`, `UnsafeModuleError`, and `PinSourceError` for an unsupported pin-source in the URI.
    """
    uri, name = _resolve(configuration, wanted)
    section = configuration.tokens[name] if name is not None else None
    uri_pin = None if uri.pin_source is None else parse_pin_source(uri.pin_source)
    known_module, init_string = (section.module, section.init_string) if section else _find_only_module(configuration)
    named_module = uri.module_path or (known_module if module is None else None)
    if named_module is not None:
        check_module_safe(named_module)
    return TokenAccess(
        name=name,
        uri=replace(uri, pin_source=None),
        module_path=module or known_module,
        pin=pin or uri_pin or (section.pin if section else None),
        init_string=init_string if module in (None, known_module) else None,
        sessions=section.sessions if section else DEFAULT_SESSIONS,
        memory=RefusalMemory(configuration.state.folder),
        last_try=last_try,
        login_failures=section.login_failures if section else frozenset(DeviceFailure),
        user_type=section.user_type if section else CKU_USER,
        always_log_in=section.always_log_in if section else False,
        private_key_attributes=tuple(section.private_key_attributes.items()) if section else (),
        public_key_attributes=tuple(section.public_key_attributes.items()) if section else (),
        deadlines=section.deadlines.of_calls if section else None,
        isolation=section.isolation if section else Isolation.NONE,
    )


def check_module_safe(module: Path) -> None:
    """Raise `UnsafeModuleError` if another user can write the module, whose code runs with this user's rights."""
    try:
        unsafe = find_write_risk(module)
    except OSError:
        return  # loading it reports that it is missing
    if unsafe:
        what, remedy = unsafe
        raise UnsafeModuleError(what, remedy=remedy)


def list_modules(configuration: Configuration) -> dict[Path, str | None]:
    """Return the modules that the configuration names, each with its string for C_Initialize."""
    return {section.module: section.init_string for section in configuration.tokens.values()}


def _resolve(configuration: Configuration, wanted: str | Pkcs11Uri) -> tuple[Pkcs11Uri, str | None]:
    """Return the URI, and the name of the configured token that it fits."""
    if isinstance(wanted, str):
        if wanted in configuration.tokens:
            return replace(configuration.tokens[wanted].uri, module_path=None), wanted
        if not wanted.lower().startswith("pkcs11:"):
            key = _parse_key_name(configuration, wanted)
            if key is not None:
                return key
            known = ", ".join(configuration.tokens) or "none"
            raise NotConfiguredError(
                f"'{wanted}' is neither a token of the configuration (there: {known}), nor NAME/LABEL of a key on one, "
                "nor a pkcs11: URI; "
                "hsm-dicom token list shows the URIs of tokens."
            )
        wanted = Pkcs11Uri.parse(wanted)
    described = [name for name, section in configuration.tokens.items() if _is_described_by(section, wanted)]
    if len(described) > 1:
        raise NotConfiguredError(
            f"'{wanted}' fits the tokens {', '.join(described)} of the configuration; name its serial."
        )
    return wanted, described[0] if described else None


def format_key_name(token: str, label: str) -> str:
    """Return the short form of a key on a configured token: NAME/LABEL."""
    return f"{token}/{label}"


def _parse_key_name(configuration: Configuration, wanted: str) -> tuple[Pkcs11Uri, str] | None:
    """Return the key that NAME/LABEL means. Both may contain slashes: the longest NAME that fits counts."""
    names = [name for name in configuration.tokens if wanted.startswith(format_key_name(name, ""))]
    name = max(names, key=len, default=None)
    if name is None or wanted == format_key_name(name, ""):
        return None
    label = wanted.removeprefix(format_key_name(name, ""))
    return replace(configuration.tokens[name].uri, module_path=None, object=label), name


def _is_described_by(section: TokenSection, wanted: Pkcs11Uri) -> bool:
    """Return whether a URI names this token, and nothing that the table contradicts."""
    pairs = ((wanted.token, section.label), (wanted.serial, section.serial))
    both = [(asked, known) for asked, known in pairs if asked is not None and known is not None]
    modules_fit = wanted.module_path is None or _is_same_module(wanted.module_path, section.module)
    return modules_fit and bool(both) and all(asked == known for asked, known in both)


def _is_same_module(one: Path, other: Path) -> bool:
    """Return whether two paths lead to one file: a module often has a name that links to another one."""
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def _find_only_module(configuration: Configuration) -> tuple[Path | None, str | None]:
    modules = list(list_modules(configuration).items())
    return modules[0] if len(modules) == 1 else (None, None)
