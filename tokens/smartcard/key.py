"""The smart card driver of a private key, which carries out the candidates of `tokens.mechanisms`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Mechanism

from tokens.card_uri import CardUri
from tokens.errors import KeyPolicyError, NoSuchKeyError, TokenLostError, UnsupportedKeyError
from tokens.events.reporting import KeyUseReport
from tokens.keys import CURVES, CiphertextRejectedError, compute_spki_sha256
from tokens.mechanisms import Candidate
from tokens.policy import Finding, KeyAttributes, KeyPolicy, enforce
from tokens.smartcard.apdu.status import NOT_AUTHORISED, StatusError
from tokens.smartcard.card import CardApplication
from tokens.smartcard.families.table import CardFamily, PublicKey
from tokens.smartcard.profiles import CardKey, CardProfile, KeyUsage
from tokens.smartcard.session import CardSession

T = TypeVar("T")


class SmartCardKey:
    """One private key on a card, for any number of threads. Satisfies `tokens.keys.DeviceKey`."""

    def __init__(
        self, application: CardApplication, key: CardKey, policy: KeyPolicy, release: Callable[[], None]
    ) -> None:
        self.application = application
        self.key = key
        self._release: Callable[[], None] | None = release
        self.certificate: x509.Certificate | None = None
        self.awaits_touch = False
        """Whether the card waits for a touch during each use."""
        self.public_key = application.run(self._read, f"open key {key.name}")
        self._fingerprint = compute_spki_sha256(self.public_key)
        self.certificate_serial = "" if self.certificate is None else f"{self.certificate.serial_number:x}"
        self.offered: frozenset[Mechanism] = application.family.list_mechanisms(key, self.public_key)
        self.findings: tuple[Finding, ...] = enforce(f"Key {self.description}", self.attributes, policy)

    @property
    def description(self) -> str:
        """The key and its card, for messages."""
        return f"{self.key.name} of {self.application.description}"

    @property
    def uri(self) -> CardUri:
        """The URI that opens this key again in any reader."""
        return replace(self.application.uri, key=self.key.name)

    def sign(self, candidate: Candidate, data: bytes) -> bytes:
        """Return the card's signature over the candidate's input."""
        self._require(KeyUsage.SIGN)
        application, family = self.application, self.application.family

        def job(session: CardSession) -> bytes:
            with session.awaiting_touch(self.awaits_touch):
                return family.sign(session, self.key, self.public_key, candidate.mechanism, data)

        with self._report("sign", candidate):
            return application.run(lambda session: self._authorise(session, job), f"sign with key {self.key.name}")

    def decrypt(self, candidate: Candidate, ciphertext: bytes) -> bytes:
        """Return the plaintext. Raises `CiphertextRejectedError` for every answer about the ciphertext."""
        self._require(KeyUsage.DECRYPT)
        application, family = self.application, self.application.family

        def job(session: CardSession) -> bytes | CiphertextRejectedError:
            try:
                with session.awaiting_touch(self.awaits_touch):
                    return family.decrypt(session, self.key, ciphertext)
            except CiphertextRejectedError as rejected:
                return rejected

        with self._report("decrypt", candidate):
            result = application.run(lambda session: self._authorise(session, job), f"decrypt with key {self.key.name}")
        # Raised outside the report, so that the log is no oracle.
        if isinstance(result, CiphertextRejectedError):
            raise result
        return result

    def invalidate(self) -> None:
        """Do nothing: each use checks the identity of the card."""

    def cancel(self) -> None:
        """Cancel the current command, which raises `CardCancelledError`. May be called from any thread."""
        self.application.cancel()

    def close(self) -> None:
        """Release the card, which is disconnected with its last user."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def _authorise(self, session: CardSession, job: Callable[[CardSession], T]) -> T:
        if self.key.pin is not None:
            self.application.verify(session, self.key.pin, again=self._pin_each_time)
        try:
            return job(session)
        except StatusError as error:
            if error.status != NOT_AUTHORISED or self.key.pin is None:
                raise
        # The card forgot the PIN, for example after a reset that was not reported. Present it again.
        self.application.verify(session, self.key.pin, again=True)
        return job(session)

    def _read(self, session: CardSession) -> PublicKey:
        family = self.application.family
        self.certificate = family.certificate(session, self.key)
        public = family.public_key(session, self.key)
        if public is None and self.certificate is not None:
            public = require_supported(self.certificate.public_key(), self.key)
        if public is None:
            raise NoSuchKeyError(
                f"There is no key {self.key.name} on {self.application.description}, "
                "or no certificate that contains its public half."
            )
        public = require_supported(public, self.key)
        self._pin_each_time = self.key.pin is not None and family.pin_each_time(session, self.key)
        self.awaits_touch = family.awaits_touch(session, self.key)
        self.attributes = read_attributes(session, family, self.key, public, self._pin_each_time)
        return public

    def _require(self, usage: KeyUsage) -> None:
        if self._release is None:
            raise TokenLostError(f"Key {self.description} was closed.")
        if self.key.usage is not usage:
            raise KeyPolicyError(
                f"Key {self.description} may only {self.key.usage}, not {usage}.",
                remedy="Use another key of the card.",
            )

    def _report(self, operation: str, candidate: Candidate) -> AbstractContextManager[None]:
        application = self.application
        # The duration of a decryption could distinguish a good ciphertext from a bad one.
        timed = operation != "decrypt"
        names = application.serial, application.label, self.key.name, operation, candidate.name
        known = {"spki_sha256": self._fingerprint, "certificate_serial": self.certificate_serial}
        return KeyUseReport(*names, **known, timed=timed)


def find_key(profile: CardProfile, name: str | None, description: str) -> CardKey:
    """Return the key of the profile that a URI names. Raises `NoSuchKeyError`, which lists the keys of the profile."""
    if not profile.keys:
        raise NoSuchKeyError(
            f"The profile {profile.name} of {description} has no keys except secret keys.",
            remedy="Give another profile.",
        )
    key = profile.key(name)
    if key is None:
        names = ", ".join(known.name for known in profile.keys)
        asked = f"no key '{name}'" if name else "more than one key"
        raise NoSuchKeyError(
            f"The profile {profile.name} of {description} has {asked}. Its keys are: {names}.",
            remedy="Add key=… to the URI.",
        )
    return key


def read_attributes(
    session: CardSession, family: CardFamily, key: CardKey, public: PublicKey, pin_each_time: bool
) -> KeyAttributes:
    """Return the attributes of a key on a card. The card's specification ensures that the key cannot be read."""
    made_on_card = family.is_made_on_card(session, key)
    return KeyAttributes(
        key_type="RSA" if isinstance(public, rsa.RSAPublicKey) else public.curve.name,
        size_bits=public.key_size,
        sensitive=True,
        extractable=False,
        always_sensitive=made_on_card,
        never_extractable=made_on_card,
        local=made_on_card,
        sign=key.usage is KeyUsage.SIGN,
        decrypt=key.usage is KeyUsage.DECRYPT,
        unwrap=False,
        always_authenticate=pin_each_time,
    )


def require_supported(public: object, key: CardKey) -> PublicKey:
    """Return the public key if its kind is supported. Raises `UnsupportedKeyError`."""
    if isinstance(public, rsa.RSAPublicKey):
        return public
    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in CURVES:
        return public
    raise UnsupportedKeyError(
        f"Key {key.name} on the card is neither RSA nor on P-256 or P-384, so it is not supported."
    )
