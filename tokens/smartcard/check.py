"""Description of a card without a PIN, and self-test of its keys with real operations.

The card carries out each operation as it does for an application, and the host verifies the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from cryptography import x509

from tokens.card_uri import CardUri
from tokens.errors import NoSuchKeyError, PinError, TokenError, UnsupportedKeyError
from tokens.keys import private_key
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import PinSource
from tokens.policy import Finding, KeyAttributes, KeyPolicy, Weakness, assess_key
from tokens.secrets import Secrets, Use
from tokens.smartcard.apdu.status import StatusError
from tokens.smartcard.card import CardApplication
from tokens.smartcard.cards import Cards
from tokens.smartcard.families.table import CardFamily
from tokens.smartcard.key import read_attributes, require_supported
from tokens.smartcard.opening import OpenedCard, open_card, open_card_key, open_card_secrets
from tokens.smartcard.profiles import CardKey, CardProfile
from tokens.smartcard.readers import pinpad
from tokens.smartcard.session import CardSession
from tokens.trials import OperationCheck, list_trials, measure_rate, run_trials

_ANYTHING = KeyPolicy(allow=frozenset(Weakness), minimum_rsa_bits=0)


@dataclass(frozen=True)
class CardPin:
    """A PIN of the card. `retries_left` is None if the card does not report it or considers the PIN verified."""

    reference: int
    retries_left: int | None
    limit: int


@dataclass(frozen=True)
class CardKeyInfo:
    """A key of the profile. `attributes` and `certificate` are None if the card has no such key."""

    key: CardKey
    attributes: KeyAttributes | None
    certificate: x509.Certificate | None
    problem: str


@dataclass(frozen=True)
class CardDetails:
    """A card as described without a PIN. `secrets` are the secret keys of the profile, by use and index."""

    reader: str
    atr: bytes
    profile: CardProfile
    serial: str
    pin_pad: bool
    pins: tuple[CardPin, ...]
    keys: tuple[CardKeyInfo, ...]
    secrets: tuple[tuple[Use, int], ...]
    uri: CardUri


@dataclass(frozen=True)
class CardKeyCheck:
    """The self-test of one key. `rate` is signatures per second; a card does one at a time."""

    name: str
    attributes: KeyAttributes
    findings: tuple[Finding, ...]
    operations: tuple[OperationCheck, ...]
    rate: float

    @property
    def allowed(self) -> bool:
        """Whether the policy lets the key be used."""
        return not any(finding.refusal for finding in self.findings)


@dataclass(frozen=True)
class CardSecretCheck:
    """The self-test of one secret key. If it failed, `check_value` is empty and `problem` is the reason."""

    use: Use
    index: int
    check_value: bytes
    problem: str


@dataclass(frozen=True)
class CardCheck:
    """The self-test of a card.

    `handshake_rate` is the number of authentications per second: the card answers a challenge and draws one.
    """

    details: CardDetails
    keys: tuple[CardKeyCheck, ...]
    secrets: tuple[CardSecretCheck, ...]
    handshake_rate: float


def card_info(
    cards: Cards, uri: str | CardUri, *, profiles: Mapping[str, CardProfile] | None = None, wait: float = 5.0
) -> CardDetails:
    """Describe the card that matches, without a PIN. Raises as `open_card` does."""
    wanted = CardUri.parse(uri) if isinstance(uri, str) else uri
    with open_card(cards, wanted, profiles=profiles, wait=wait) as application:
        return application.run(partial(_describe, application), "be described")


def check_card(
    cards: Cards,
    uri: str | CardUri,
    *,
    pin: str | PinSource | None = None,
    policy: KeyPolicy | None = None,
    memory: RefusalMemory | None = None,
    last_try: bool = False,
    profiles: Mapping[str, CardProfile] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> CardCheck:
    """Test the key that the URI names, or every key and secret key of the card's profile.

    `progress` is called with the name of each test before it begins. Raises as `open_card` does, and `PinError`.
    """
    wanted = CardUri.parse(uri) if isinstance(uri, str) else uri
    opened = partial(open_card, cards, wanted, pin=pin, memory=memory, last_try=last_try, profiles=profiles)
    # This share lasts for the whole test: no other program uses the card, and a person types a PIN once.
    with opened() as application:
        details = application.run(partial(_describe, application), "be described")
        there = [known.key for known in details.keys if known.attributes is not None]
        chosen = [key for key in there if wanted.key in (None, key.name)]
        if wanted.key is not None and not chosen:
            raise NoSuchKeyError(f"There is no key {wanted.key} on {application.description}.")
        for key in chosen:
            # A refused PIN is one error, not a failure of every operation.
            application.run(partial(_verify, application, key), "check its PIN")
        keys = tuple(_check_key(opened(), key, policy or KeyPolicy(), progress) for key in chosen)
        if wanted.key is not None or application.profile.secrets is None:
            return CardCheck(details, keys, (), 0.0)
        progress("secret keys for authentication")
        with Secrets(open_card_secrets(opened())) as secrets:
            checks = tuple(_check_secret(secrets, use, index) for use, index in details.secrets)
            return CardCheck(details, keys, checks, _handshake_rate(secrets, checks))


def check_card_pins(
    cards: Cards,
    uri: str | CardUri,
    *,
    pin: str | PinSource,
    memory: RefusalMemory | None = None,
    profiles: Mapping[str, CardProfile] | None = None,
    wait: float = 5.0,
) -> None:
    """Check that a PIN would be presented to the card, without presenting it: no PIN is locked, and none was refused.

    Checks the PIN of the key that the URI names, or of every key and secret key that the card has. Raises `PinError`,
    and as `open_card` does.
    """
    wanted = CardUri.parse(uri) if isinstance(uri, str) else uri
    with open_card(cards, wanted, pin=pin, memory=memory, profiles=profiles, wait=wait) as application:
        application.run(partial(_check_pins, application, wanted.key), "be asked for its retry counter")


def _check_pins(application: CardApplication, key_name: str | None, session: CardSession) -> None:
    profile = application.profile
    pins = [key.pin for key in profile.keys if key_name in (None, key.name)]
    if key_name is None and profile.secrets is not None:
        pins.append(profile.secrets.pin)
    for pin in {pin.reference: pin for pin in pins if pin is not None}.values():
        application.login.check(session, pin)


def _describe(application: CardApplication, session: CardSession) -> CardDetails:
    profile = application.profile
    key_pins = [key.pin for key in profile.keys]
    secret_pins = [profile.secrets.pin] if profile.secrets is not None else []
    pins = {pin.reference: pin for pin in [*key_pins, *secret_pins] if pin is not None}
    secrets = [] if profile.secrets is None else [(Use.AUTHENTICATION, i) for i in profile.secrets.authentication]
    secrets += [] if profile.secrets is None else [(Use.ENCRYPTION, i) for i in profile.secrets.encryption]
    serial = application.identity.serial if application.identity else ""
    return CardDetails(
        reader=session.connection.reader,
        atr=session.channel.atr,
        profile=profile,
        serial=serial,
        pin_pad=pinpad.has_pin_pad(session.channel),
        pins=tuple(
            CardPin(reference, application.family.read_retries_left(session, pin), pin.limit)
            for reference, pin in pins.items()
        ),
        keys=tuple(_describe_key(session, application.family, key) for key in profile.keys),
        secrets=tuple(secrets),
        uri=CardUri(serial=serial or None, reader=None if serial else session.connection.reader, profile=profile.name),
    )


def _describe_key(session: CardSession, family: CardFamily, key: CardKey) -> CardKeyInfo:
    try:
        certificate = family.certificate(session, key)
        public = family.public_key(session, key) or (certificate.public_key() if certificate else None)
        if public is None:
            return CardKeyInfo(key, None, certificate, "no key, or no certificate with its public half")
        pin_each_time = key.pin is not None and family.pin_each_time(session, key)
        return CardKeyInfo(
            key, read_attributes(session, family, key, require_supported(public, key), pin_each_time), certificate, ""
        )
    except (StatusError, UnsupportedKeyError) as error:
        return CardKeyInfo(key, None, None, str(error))


def _verify(application: CardApplication, key: CardKey, session: CardSession) -> None:
    if key.pin is not None:
        application.verify(session, key.pin)


def _check_key(opened: OpenedCard, key: CardKey, policy: KeyPolicy, progress: Callable[[str], None]) -> CardKeyCheck:
    progress(f"key {key.name}")
    with private_key(open_card_key(opened, key.name, _ANYTHING)) as private:
        done = run_trials(list_trials(private))
        operations = tuple(check for _, check in done)
        progress(f"key {key.name}: rate")
        works = next((trial.job for trial, check in done if check.works), None)
        attributes = private.device.attributes
        return CardKeyCheck(key.name, attributes, assess_key(attributes, policy), operations, measure_rate(works, 1))


def _check_secret(secrets: Secrets, use: Use, index: int) -> CardSecretCheck:
    try:
        return CardSecretCheck(use, index, secrets.check_value(use, index), "")
    except PinError:
        raise
    except TokenError as error:
        return CardSecretCheck(use, index, b"", str(error))


def _handshake_rate(secrets: Secrets, checks: tuple[CardSecretCheck, ...]) -> float:
    index = next((c.index for c in checks if c.use is Use.AUTHENTICATION and not c.problem), None)
    if index is None:
        return 0.0

    def handshake() -> None:
        with secrets.authentication(index) as held:
            held.internal_authenticate(bytes(range(8)))
            _ = held.challenge

    return measure_rate(handshake, 1)
