"""Shared steps of commands: open the configuration or the plan with its event file, and access tokens and keys."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hsm_dicom.cli.pin_sources import pin_source_of
from hsm_dicom.config import Configuration, TokenAccess, find_configuration, find_token_access
from hsm_dicom.config.devices import CardAccess, NotConfiguredError, find_key_access
from hsm_dicom.config.groups import GroupAccess, IdentityKeyAccess, choose_pin
from hsm_dicom.config.opening import open_configuration as open_configuration
from hsm_dicom.config.opening import open_reading
from hsm_dicom.errors import DicomError
from hsm_dicom.identity import Identity, find_identity_access, load_identity, locate_key, open_identity
from tokens.card_uri import CardUri
from tokens.pins.sources import PinSource, Prompt
from tokens.policy import Weakness

if TYPE_CHECKING:
    from hsm_dicom.node.plan import NodePlan


class NotOnTokenError(DicomError):
    """The command is for one PKCS#11 token or for a smart card, and the key is elsewhere or on several tokens."""


def require_configuration(file: Path | None) -> Path:
    """Return the configuration file that is used. Raises `typer.BadParameter` if there is none."""
    found = find_configuration(file)
    if found is None:
        raise typer.BadParameter(
            "There is no configuration file: $HSM_DICOM_CONFIG is not set, and neither ./hsm-dicom.toml nor "
            "/etc/hsm-dicom/hsm-dicom.toml exists. Write one, or give its path with --config.",
            param_hint="--config",
        )
    return found


@contextlib.contextmanager
def open_plan(file: Path | None) -> Iterator[NodePlan]:
    """Read the configuration as a plan of the network, and record events meanwhile."""
    from hsm_dicom.node.compiler import compile_plan

    with open_reading(file) as reading:
        yield compile_plan(reading)


def get_token_access(
    configuration: Configuration,
    token: str,
    *,
    pin: str | None,
    module: Path | None,
    last_try: bool = False,
    select_key: bool = False,
) -> TokenAccess:
    """Return access to the token with a NAME or a URI, or to the one that holds the key of an identity.

    With `select_key`, the NAME of an identity selects its key on the token too, as a URI with an object does. The PIN
    is prompted for if it has no other source. Raises `NotOnTokenError` for an identity whose key is not on one token.
    """
    section = configuration.identities.get(token) if token not in configuration.tokens else None
    if section is not None and section.tokens is not None:
        raise NotOnTokenError(
            f"'{token}' is an identity whose key is on several tokens, and this command is for one token.",
            remedy=f"Name one of them: {' or '.join(section.tokens)}.",
        )
    source = parse_pin_option(pin)
    if section is None:
        with _list_identities(configuration, token):
            access = find_token_access(configuration, token, pin=source, module=module, last_try=last_try)
    else:
        found = find_identity_access(configuration, token, section, pin=source)
        if not isinstance(found, TokenAccess):
            raise NotOnTokenError(
                f"The key of identity '{token}' is on a smart card, and this command is for tokens.",
                remedy=f"hsm-dicom card info {shlex.quote(token)} shows the card.",
            )
        access = replace(found if select_key else found.select_object(None, None), last_try=last_try)
    return replace(access, pin=access.pin or choose_pin_prompt())


def get_card_access(configuration: Configuration, card: str, *, pin: str | None = None) -> CardAccess:
    """Return access to the card with a URI, or to the one that holds the key of an identity.

    Raises `NotOnTokenError` for an identity whose key is on a token.
    """
    section = configuration.identities.get(card)
    source = parse_pin_option(pin)
    if section is None:
        found: IdentityKeyAccess = find_key_access(configuration, CardUri.parse(card), pin=source)
    else:
        found = find_identity_access(configuration, card, section, pin=source)
    if not isinstance(found, CardAccess):
        raise NotOnTokenError(
            f"The key of identity '{card}' is on a token, and this command is for smart cards.",
            remedy=f"hsm-dicom token info {shlex.quote(card)} shows the token.",
        )
    return replace(found, pin=found.pin or choose_pin_prompt())


def find_card_access(configuration: Configuration, named: str) -> CardAccess | None:
    """Return access to the card that a URI or an identity names; None if it is a token."""
    section = configuration.identities.get(named) if named not in configuration.tokens else None
    key = section.key if section is not None else None
    on_card = named.lower().startswith("card:") or (key is not None and str(key).lower().startswith("card:"))
    return get_card_access(configuration, named) if on_card else None


def get_key_access(
    configuration: Configuration, key: str, *, pin: str | None, module: Path | None
) -> tuple[IdentityKeyAccess, frozenset[Weakness]]:
    """Return access to a key, and the weaknesses that the configuration allows of it."""
    with _list_identities(configuration, key):
        access, allowed = locate_key(configuration, key, pin=parse_pin_option(pin), module=module)
    return choose_pin(access, None, choose_pin_prompt()), allowed


@contextlib.contextmanager
def _list_identities(configuration: Configuration, wanted: str) -> Iterator[None]:
    """List the identities too, if a name is neither one of them nor a token's."""
    try:
        yield
    except NotConfiguredError as error:
        if wanted.lower().startswith("pkcs11:") or not configuration.identities:
            raise
        known = ", ".join(configuration.identities)
        raise NotConfiguredError(f"{error.message} The identities of the configuration: {known}.") from error


def open_named_identity(
    configuration: Configuration, wanted: str, *, pin: str | None, module: Path | None, certificate: Path | None = None
) -> Identity:
    """Open the identity with a NAME, or the key with a URI and the certificate of its device.

    The certificate in a file, if one is given, replaces either.
    """
    if wanted in configuration.identities and certificate is None:
        return load_identity(
            wanted, configuration, pin=parse_pin_option(pin), default_pin=choose_pin_prompt(), use=None
        )
    access, allowed = get_key_access(configuration, wanted, pin=pin, module=module)
    return open_identity(access, certificate, weaknesses=allowed)


def require_token(access: IdentityKeyAccess) -> TokenAccess:
    """Return access to a key that must be on one PKCS#11 token. Raises `NotOnTokenError`."""
    if isinstance(access, TokenAccess):
        return access
    if isinstance(access, GroupAccess):
        raise NotOnTokenError(
            f"The key of identity '{access.identity}' is on several tokens, and this command is for one.",
            remedy=f"Name the key on one of them: {' or '.join(access.key_names)}.",
        )
    raise NotOnTokenError(
        f"'{access.uri}' is on a smart card, and keys and certificates on cards are managed with the vendor's tools.",
        remedy='For a certificate, give its identity a file instead: certificate = "node.pem".',
    )


def parse_pin_option(source: str | None) -> PinSource | None:
    """Return the PIN source that --pin names. Raises `typer.BadParameter`."""
    return None if source is None else pin_source_of(source, "--pin")


def choose_pin_prompt() -> PinSource | None:
    """Return a prompt on the terminal; None if there is no terminal."""
    return Prompt("--pin") if sys.stdin.isatty() else None
