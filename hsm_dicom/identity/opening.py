"""Find an identity in the configuration, and open it."""

from __future__ import annotations

import os
from collections.abc import Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from cryptography import x509

from hsm_dicom.arguments import kind_of, path_text
from hsm_dicom.config.devices import NotConfiguredError, TokenAccess, find_key_access, find_token_access
from hsm_dicom.config.groups import GroupAccess, IdentityKeyAccess, choose_pin, find_group_access
from hsm_dicom.config.loading import ENVIRONMENT, LOCAL, SYSTEM, find_configuration
from hsm_dicom.config.opening import open_configuration
from hsm_dicom.config.sections import Configuration, IdentitySection
from hsm_dicom.identity.assembly import assemble_identity, read_stored_certificates
from hsm_dicom.identity.errors import IdentityError
from hsm_dicom.identity.files import read_certificates, read_key_file
from hsm_dicom.identity.record import Identity
from hsm_dicom.identity.siblings import open_siblings
from hsm_dicom.identity.succession import Use, choose_identity, find_successions
from tokens.card_uri import CardUri
from tokens.pins.sources import PinSource, parse_pin_source
from tokens.policy import Weakness


@dataclass(frozen=True)
class IdentityAccess:
    """The key, certificate and chain of an identity, as configured; nothing is opened yet.

    `key` is access to a device or to several, or the path of a PEM file. `certificate` None means the one on the
    device. `weaknesses` are the weaknesses that the configuration allows.
    """

    name: str
    key: IdentityKeyAccess | Path
    certificate: Path | None = None
    chain: Path | None = None
    weaknesses: frozenset[Weakness] = frozenset()

    @property
    def tokens(self) -> tuple[TokenAccess, ...]:
        """Access to the key on each token that holds it; empty for a key on a card or in a file."""
        return (self.key,) if isinstance(self.key, TokenAccess) else getattr(self.key, "tokens", ())

    @property
    def uses_stored_chain(self) -> bool:
        """Whether peers get the chain that is stored on the token, because no file is named."""
        return bool(self.tokens) and self.certificate is None and self.chain is None

    def open(self, *, pin: PinSource | None = None, default_pin: PinSource | None = None) -> Identity:
        """Open the device and check that key and certificate match.

        `pin` replaces the configured PIN source; `default_pin` is used if none is configured. Raises the errors of
        `hsm_dicom.identity`, and those of `tokens.errors`.
        """
        chain = read_certificates(self.chain) if self.chain else ()
        if isinstance(self.key, Path):
            key = read_key_file(self.key)
            return assemble_identity(self.name, key, _certificates_in(self.certificate, self.name), chain)
        access = choose_pin(self.key, pin, default_pin)
        return open_identity(access, self.certificate, chain=chain, weaknesses=self.weaknesses, name=self.name)


def find_identity(name: str, configuration: Configuration) -> IdentityAccess:
    """Find the identity `[identities.NAME]`, without opening its device.

    Raises `NotConfiguredError`, `UnsafeModuleError`, and `PinSourceError` for a pin-source of a URI.
    """
    section = configuration.identities.get(name)
    if section is None:
        known = ", ".join(configuration.identities) or "none"
        raise NotConfiguredError(
            f"There is no identity '{name}' in the configuration; there: {known}.",
            remedy=f"Give the name of one of these, or add the table [identities.{name}] to the file.",
        )
    key = section.key if isinstance(section.key, Path) else find_identity_access(configuration, name, section)
    return IdentityAccess(name, key, section.certificate, section.chain, section.weaknesses)


def load_identity(
    name: str,
    configuration: Configuration | str | os.PathLike[str] | None = None,
    *,
    pin: PinSource | str | None = None,
    default_pin: PinSource | str | None = None,
    use: Use | str | None = Use.SIGNING,
) -> Identity:
    """Open the identity `[identities.NAME]` of the configuration: key on its device, certificate, chain.

        with hsm_dicom.load_identity("node") as node: ...

    `configuration` is a loaded configuration, or the path of its file. None selects the first of these files that
    exists: $HSM_DICOM_CONFIG, ./hsm-dicom.toml, /etc/hsm-dicom/hsm-dicom.toml. If this function reads the
    configuration, it also writes events to the configured event file until the identity is closed.

    `pin` replaces the configured PIN source: "prompt", "file:PATH", "env:NAME", "fd:N", or a `PinSource`; never the PIN
    itself. `default_pin`, in the same form, is used if none is configured. `use` is "signing" or "tls": if the identity
    has a successor that serves this use by now, the successor is opened; None opens the named identity in any case.

    Raises `NotConfiguredError`, `ConfigurationError`, the errors of `hsm_dicom.identity` and `tokens.errors`, and
    TypeError or ValueError for invalid arguments.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be the name of an identity in the configuration, not {type(name).__name__}.")
    pin, default_pin = _pin_source("pin", pin), _pin_source("default_pin", default_pin)
    if use is not None and use not in tuple(Use):
        raise ValueError(f"use must be {' or '.join(repr(one.value) for one in Use)}, or None, not {use!r}.")
    served = None if use is None else Use(use)
    if isinstance(configuration, Configuration):
        return _find_for_use(name, configuration, served).open(pin=pin, default_pin=default_pin)
    if not isinstance(configuration, str | os.PathLike | None):
        raise TypeError(
            f"configuration must be a Configuration, the path of its file, or None, not {type(configuration).__name__}."
        )
    with ExitStack() as stack:
        file = find_configuration(None if configuration is None else Path(path_text("configuration", configuration)))
        if file is None:
            raise NotConfiguredError(
                f"There is no configuration for identity '{name}'. Name its file, set {ENVIRONMENT}, or write {LOCAL} "
                f"or {SYSTEM}."
            )
        found = _find_for_use(name, stack.enter_context(open_configuration(file)), served)
        identity = found.open(pin=pin, default_pin=default_pin)
        return replace(identity, resources=stack.pop_all())


def _find_for_use(name: str, configuration: Configuration, use: Use | None) -> IdentityAccess:
    chosen = name if use is None else choose_identity(find_successions(configuration), name, use)
    return find_identity(chosen, configuration)


def _pin_source(name: str, value: object) -> PinSource | None:
    """Return the source of a PIN. Errors do not contain the value, because it may be a PIN."""
    if value is None:
        return None
    if isinstance(value, str):
        return parse_pin_source(value)
    if not (hasattr(value, "attended") and callable(getattr(value, "read", None))):
        raise TypeError(
            f"{name} must be a source of a PIN, such as 'prompt' or 'file:PATH', or a PinSource, not {kind_of(value)}."
        )
    return cast(PinSource, value)


def open_identity(
    access: IdentityKeyAccess,
    certificate: Path | None = None,
    *,
    chain: Sequence[x509.Certificate] = (),
    weaknesses: Set[Weakness] = frozenset(),
    name: str = "",
) -> Identity:
    """Open the key of `access`, with its certificate from a PEM file or, for None, from the token or card.

    The file may also contain the chain, in any order. It is used if `chain` is empty.
    """
    certificates = read_certificates(certificate) if certificate else ()
    if isinstance(access, GroupAccess) and access.siblings:
        return open_siblings(access, certificates, chain, weaknesses)
    if isinstance(access, GroupAccess):
        wanted = [one.public_key() for one in certificates]
        key = access.open_key(weaknesses, accepts=wanted.__contains__ if wanted else None)
    else:
        key = access.open_key(weaknesses)
    try:
        shown = name or str(key.device.description)
        certificates = certificates or read_stored_certificates(key)
        return assemble_identity(shown, key, certificates, chain)
    except BaseException:
        key.close()
        raise


def find_identity_access(
    configuration: Configuration, name: str, section: IdentitySection, *, pin: PinSource | None = None
) -> IdentityKeyAccess:
    """Return access to the key of an identity, on a token, on several, or on a card."""
    if section.tokens is not None:
        return find_group_access(configuration, name, section, pin=pin)
    if section.token is not None:
        return find_token_access(configuration, section.token, pin=pin).select_object(section.object, section.id)
    if section.key is None or isinstance(section.key, Path):
        raise IdentityError("The identity's key is in a file, not on a token or a card.")
    return find_key_access(configuration, section.key, pin=pin)


def locate_key(
    configuration: Configuration, wanted: str, *, pin: PinSource | None = None, module: Path | None = None
) -> tuple[IdentityKeyAccess, frozenset[Weakness]]:
    """Return access to the key of a configured identity or of a URI, and the allowed weaknesses."""
    section = configuration.identities.get(wanted)
    if section is None and wanted.lower().startswith("card:"):
        return find_key_access(configuration, CardUri.parse(wanted), pin=pin), frozenset()
    if section is None:
        return find_token_access(configuration, wanted, pin=pin, module=module), frozenset()
    return find_identity_access(configuration, wanted, section, pin=pin), section.weaknesses


def _certificates_in(path: Path | None, name: str) -> tuple[x509.Certificate, ...]:
    if path is None:
        raise IdentityError(f"The key of identity '{name}' is a file, so its certificate must be one too.")
    return read_certificates(path)
