"""The tables of the configuration file, as frozen models. Each field is documented under it.

Unknown keys are refused, so that a misspelt key does not silently have its default. Relative paths are relative to the
folder of the file that names them. Nothing here opens a file or a device.

A refused value raises an error with a type and without a text: `mistakes` has the sentences, and none repeats a value,
which may be a PIN.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from hsm_dicom.config.base import FilePath, Section, Text, resolve_path
from hsm_dicom.config.gateway_sections import AlarmSection, GatewaySection, PlainSection, RouteSection, StatusSection
from hsm_dicom.config.iscl_section import ISCLSection
from hsm_dicom.config.network_sections import ListenerSection, PeerSection, TrustSection
from hsm_dicom.config.policy_sections import PolicySection
from tokens.card_uri import CardUri
from tokens.deadlines import DEFAULT_DEADLINES, CallDeadlines
from tokens.errors import PinSourceError, UriError
from tokens.opening import parse_uri
from tokens.pins.credentials import CKU_USER, DeviceFailure, is_user_type
from tokens.pins.sources import FromCredential, FromFile, PinSource, parse_pin_source
from tokens.pkcs11.isolation import Isolation
from tokens.pkcs11.key_pairs import pack_attribute
from tokens.policy import Weakness
from tokens.smartcard.profile_table import validate_profile
from tokens.smartcard.profiles import CardProfile
from tokens.uri import Pkcs11Uri

FILE_KEY = "file-key"
"""The entry of `allow` that enables a private key in a file."""

ALLOWABLE = (*(weakness.value for weakness in Weakness), FILE_KEY)
"""All entries that `allow` of an identity can have."""


KeyAttributes = Mapping[int, bytes]
"""Attributes of a template: the value by the type."""


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise PydanticCustomError("string_type", "")
    return value


def _pin_source(value: object, info: ValidationInfo) -> PinSource:
    # Any value may be a PIN, a number too: only a text that is a source is parsed.
    try:
        source = parse_pin_source(value if isinstance(value, str) else "")
    except PinSourceError:
        raise PydanticCustomError("pin_source", "") from None
    if isinstance(source, FromFile):
        source = replace(source, path=resolve_path(source.path, info))
    if info.data.get("group_readable") and isinstance(source, FromFile | FromCredential):
        source = replace(source, group_readable=True)
    return source


def _key_location(value: object, info: ValidationInfo) -> Pkcs11Uri | CardUri | Path:
    text = _text(value)
    if text.startswith("file:"):
        return resolve_path(Path(text.removeprefix("file:")), info)
    try:
        return parse_uri(text)
    except UriError as error:
        raise PydanticCustomError("key_uri", "{reason}", {"reason": str(error)}) from None


def _card_profile(value: object) -> CardProfile:
    if not isinstance(value, dict):
        raise PydanticCustomError("model_type", "")
    return validate_profile("", value)


def _set_names(cards: dict[str, CardProfile]) -> dict[str, CardProfile]:
    return {name: replace(profile, name=name) for name, profile in cards.items()}


def _certificate(value: object, info: ValidationInfo) -> Path | None:
    text = _text(value)
    return None if text == "token" else resolve_path(Path(text), info)


def _key_id(value: object) -> bytes:
    try:
        return bytes.fromhex(_text(value))
    except ValueError:
        raise PydanticCustomError("key_id", "") from None


def _tls_switch(value: bool | str) -> bool | str:
    if isinstance(value, bool) or value == "auto":
        return value
    raise PydanticCustomError("tls_switch", "")


def _login_failures(value: object) -> frozenset[DeviceFailure]:
    if not isinstance(value, list):
        raise PydanticCustomError("frozen_set_type", "")
    names = {failure.name: failure for failure in DeviceFailure}
    if not all(isinstance(name, str) and name in names for name in value):
        raise PydanticCustomError("login_failure", "")
    return frozenset(names[name] for name in value)


def _user_type(value: object) -> object:
    if not is_user_type(value):
        raise PydanticCustomError("user_type", "")
    return value


def _key_attributes(value: object) -> KeyAttributes:
    try:
        return dict(pack_attribute(name, one) for name, one in value.items())  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        raise PydanticCustomError("key_attributes", "") from None


def _check_allowable(name: str) -> str:
    if name not in ALLOWABLE:
        raise PydanticCustomError("weakness", "")
    return name


Deadline = Annotated[float, Field(strict=True, gt=0, le=3600, allow_inf_nan=False)]


class DeadlinesSection(Section):
    """`[tokens.NAME.deadlines]`: the seconds within which the token must answer a call.

    A command or listener stops waiting for a call that takes longer: [When a device does not
    answer](../explanation/devices-that-hang.md).
    """

    session: Deadline = DEFAULT_DEADLINES.session
    """Opening and closing sessions, and reading the token's flags, mechanisms, objects and attributes."""
    sign: Deadline = DEFAULT_DEADLINES.sign
    """Using a key: signing, decrypting, encrypting, message authentication codes, deriving a key."""
    login: Deadline = DEFAULT_DEADLINES.login
    """Presenting a PIN, storing an object, and initialising the module."""
    person: Deadline = DEFAULT_DEADLINES.person
    """Waiting for a person, who types a PIN on the device's own keypad or touches the device."""
    generate: Deadline = DEFAULT_DEADLINES.generate
    """Generating a key pair, and initialising the token."""

    @property
    def of_calls(self) -> CallDeadlines:
        """The deadlines as `tokens` takes them."""
        return CallDeadlines(**self.model_dump())


class TokenSection(Section):
    """`[tokens.NAME]`: one PKCS#11 token."""

    module: FilePath
    """The PKCS#11 module, a shared library."""
    label: Text | None = None
    """The token's label, given when it was initialised."""
    serial: Text | None = None
    """The token's serial number. Label or serial is required; both are possible."""
    group_readable: bool = False  # before pin, whose value it becomes a part of
    """Whether a group of the process may read the file of `pin`, as in Kubernetes (mode 0440). Others never may."""
    pin: Annotated[PinSource | None, PlainValidator(_pin_source)] = None
    """Where the PIN comes from: prompt, env:NAME, file:PATH, credential:NAME, fd:N or pinpad. Never the PIN itself."""
    init_string: Text | None = None
    """The string that the module needs at C_Initialize, as NSS softokn does."""
    sessions: Annotated[int, Field(ge=1, le=256)] = 8
    """The number of threads that can use the token at the same time."""
    login_failures: Annotated[frozenset[DeviceFailure], PlainValidator(_login_failures)] = frozenset(DeviceFailure)
    """Return values of a login that mean a failed device, not a wrong PIN; other unclear ones count as refusals."""
    user_type: Annotated[int, PlainValidator(_user_type)] = CKU_USER
    """Whose PIN it is (CK_USER_TYPE of C_Login): 1 for the user, or a number of the token's maker, from 0x80000000 on,
    such as 0x80000001 for the Crypto User of a Luna partition."""
    always_log_in: bool = False
    """Whether to log in though the token does not report that it requires a login (CKF_LOGIN_REQUIRED)."""
    private_key_attributes: Annotated[KeyAttributes, PlainValidator(_key_attributes)] = Field(default_factory=dict)
    """Attributes that the token wants in the template of a private key that it generates, such as
    { CKA_MODIFIABLE = false, 0x80000001 = "0x01ff" }: true, false, a number, a text, or bytes as "0x…". They cannot
    change what hsm-dicom sets."""
    public_key_attributes: Annotated[KeyAttributes, PlainValidator(_key_attributes)] = Field(default_factory=dict)
    """The same for the public key."""
    isolation: Isolation = Isolation.NONE
    """Where the module runs: in this process (none), or in a process of its own that can be ended (process)."""

    deadlines: DeadlinesSection = DeadlinesSection()
    """How long the token may take to answer."""

    @model_validator(mode="after")
    def _is_named(self) -> Self:
        if self.label is None and self.serial is None:
            raise PydanticCustomError("unnamed", "")
        return self

    @model_validator(mode="after")
    def _has_a_pin_in_a_file(self) -> Self:
        if self.group_readable and not isinstance(self.pin, FromFile | FromCredential):
            raise PydanticCustomError("group_readable", "")
        return self

    @property
    def uri(self) -> Pkcs11Uri:
        """The token as an RFC 7512 URI."""
        return Pkcs11Uri(token=self.label, serial=self.serial, module_path=self.module)


class IdentitySection(Section):
    """`[identities.NAME]`: a private key with its certificate.

    The key is named by `token` or `tokens` with `object`, `id` or both, or by `key`.
    """

    token: Text | None = None
    """The NAME of a `[tokens.NAME]`."""
    tokens: Annotated[tuple[Text, ...] | None, Field(min_length=1)] = None
    """Instead of `token`: the NAMEs of several tokens, in order. Each holds a copy of the key with this label or id."""
    mode: Literal["failover", "balance"] | None = None
    """With `tokens`: use the first token that works (failover, the default), or the one with the fewest operations."""
    siblings: bool | None = None
    """With `tokens`: each holds a key of its own with this label or id, and a certificate for the same subject."""
    probe_seconds: Annotated[float | None, Field(ge=0.1, le=3600, allow_inf_nan=False)] = None
    """With `tokens`: seconds after which a token that failed is probed with a signature; 5 by default."""
    object: Text | None = None
    """The key's label on the token (CKA_LABEL)."""
    id: Annotated[bytes | None, PlainValidator(_key_id)] = None
    """The key's id on the token (CKA_ID), in hexadecimal."""
    key: Annotated[Pkcs11Uri | CardUri | Path | None, PlainValidator(_key_location)] = None
    """Instead of the three: a pkcs11: or card: URI, or file:PATH of a PEM key if `allow` names "file-key"."""
    certificate: Annotated[Path | None, PlainValidator(_certificate)] = None
    """A PEM file; None, written as "token", if the certificate is on the token."""
    chain: FilePath | None = None
    """A PEM, DER or PKCS#7 file with the certificates between this one and the root, in any order. If neither this key
    nor a file in `certificate` is given, TLS sends those that `hsm-dicom key import-cert` stored on the token."""
    allow: frozenset[Annotated[str, AfterValidator(_check_allowable)]] = frozenset()
    """Weaknesses of this key that the security officer allows explicitly: those of `tokens.policy`, and "file-key"."""
    next: Text | None = None
    """The NAME of the identity that succeeds this one, with another key: [Replace a key](../howto/replace-a-key.md)."""
    next_signs_from: datetime.date | None = None
    """With `next`: the day from which the successor signs instead of this identity, in UTC, such as 2030-01-15."""
    next_in_tls: Annotated[bool | Literal["auto"] | None, PlainValidator(_tls_switch)] = None
    """With `next`: listeners and peers show the successor instead of this identity, from the next start or reload. With
    "auto", a peer that this node calls is shown the successor first, and this identity where it refuses that."""

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        on_token = [name for name in ("token", "tokens", "object", "id") if getattr(self, name) is not None]
        if self.key is not None and on_token:
            raise PydanticCustomError("two_keys", "")
        if self.token is not None and self.tokens is not None:
            raise PydanticCustomError("token_and_tokens", "")
        if self.key is None and ((self.token is None and self.tokens is None) or len(on_token) == 1):
            raise PydanticCustomError("no_key", "")
        if isinstance(self.key, Path):
            if FILE_KEY not in self.allow:
                raise PydanticCustomError("file_key", "")
            if self.certificate is None:
                raise PydanticCustomError("no_certificate", "")
        return self

    @model_validator(mode="after")
    def _has_several_tokens(self) -> Self:
        if self.tokens is None:
            for name in ("mode", "siblings", "probe_seconds"):
                if getattr(self, name) is not None:
                    raise PydanticCustomError("without_tokens", "{key}", {"key": name})
        elif len(self.tokens) == 1:
            raise PydanticCustomError("one_token", "")
        elif len(set(self.tokens)) < len(self.tokens):
            raise PydanticCustomError("token_twice", "")
        return self

    @model_validator(mode="after")
    def _has_a_successor(self) -> Self:
        if self.next is None:
            for name in ("next_signs_from", "next_in_tls"):
                if getattr(self, name) is not None:
                    raise PydanticCustomError("without_next", "{key}", {"key": name})
        return self

    @property
    def weaknesses(self) -> frozenset[Weakness]:
        """The weaknesses in `allow` that the key policy knows."""
        return frozenset(Weakness(name) for name in self.allow if name != FILE_KEY)


class StateSection(Section):
    """`[state]`: data that must survive a restart."""

    folder: FilePath | None = None
    """The folder in which refused PINs are remembered; see `hsm_dicom.product` for the default."""


class EventsSection(Section):
    """`[events]`: the record of what was done with keys."""

    file: FilePath | None = None
    """A JSON-lines file that every event is appended to; see `hsm_dicom.events`."""


class Configuration(Section):
    """The whole file. Each table has a default, so that an empty file is valid."""

    tokens: dict[str, TokenSection] = Field(default_factory=dict)
    identities: dict[str, IdentitySection] = Field(default_factory=dict)
    cards: Annotated[dict[str, Annotated[CardProfile, PlainValidator(_card_profile)]], AfterValidator(_set_names)] = (
        Field(default_factory=dict)
    )
    """`[cards.NAME]`: kinds of smart cards that are not built in; see `tokens.smartcard.profile_table`."""
    trust: TrustSection = TrustSection()
    policies: dict[str, PolicySection] = Field(default_factory=dict)
    iscl: ISCLSection | None = None
    peers: dict[str, PeerSection] = Field(default_factory=dict)
    listeners: dict[str, ListenerSection] = Field(default_factory=dict)
    plain: dict[str, PlainSection] = Field(default_factory=dict)
    routes: dict[str, RouteSection] = Field(default_factory=dict)
    gateway: GatewaySection = GatewaySection()
    status: StatusSection | None = None
    alarms: dict[str, AlarmSection] = Field(default_factory=dict)
    state: StateSection = StateSection()
    events: EventsSection = EventsSection()
