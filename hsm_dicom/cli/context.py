"""Shared steps of commands: open the configuration or the plan with its event file, and access tokens and keys."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hsm_dicom.cli.pin_sources import pin_source_of
from hsm_dicom.config import Configuration, TokenAccess, find_configuration, find_token_access
from hsm_dicom.config.groups import GroupAccess, IdentityKeyAccess, choose_pin
from hsm_dicom.config.opening import open_configuration as open_configuration
from hsm_dicom.config.opening import open_reading
from hsm_dicom.errors import DicomError
from hsm_dicom.identity import Identity, load_identity, locate_key, open_identity
from tokens.pins.sources import PinSource, Prompt
from tokens.policy import Weakness

if TYPE_CHECKING:
    from hsm_dicom.node.plan import NodePlan


class NotOnTokenError(DicomError):
    """The command is for one PKCS#11 token, and the key is on a smart card or on several tokens."""


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
    configuration: Configuration, token: str, *, pin: str | None, module: Path | None, last_try: bool = False
) -> TokenAccess:
    """Return access to the token with a NAME or a URI. Its PIN is prompted for if it has no other source.

    Raises `NotOnTokenError` for the name of an identity whose key is on several tokens.
    """
    section = configuration.identities.get(token)
    if section is not None and section.tokens is not None and token not in configuration.tokens:
        raise NotOnTokenError(
            f"'{token}' is an identity whose key is on several tokens, and this command is for one token.",
            remedy=f"Name one of them: {' or '.join(section.tokens)}.",
        )
    access = find_token_access(configuration, token, pin=parse_pin_option(pin), module=module, last_try=last_try)
    return replace(access, pin=access.pin or choose_pin_prompt())


def get_key_access(
    configuration: Configuration, key: str, *, pin: str | None, module: Path | None
) -> tuple[IdentityKeyAccess, frozenset[Weakness]]:
    """Return access to a key, and the weaknesses that the configuration allows of it."""
    access, allowed = locate_key(configuration, key, pin=parse_pin_option(pin), module=module)
    return choose_pin(access, None, choose_pin_prompt()), allowed


def open_named_identity(
    configuration: Configuration, wanted: str, *, pin: str | None, module: Path | None, certificate: Path | None = None
) -> Identity:
    """Open the identity with a NAME, or the key with a URI and the certificate of its device.

    The certificate in a file, if one is given, replaces either.
    """
    if wanted in configuration.identities and certificate is None:
        return load_identity(wanted, configuration, pin=parse_pin_option(pin), default_pin=choose_pin_prompt())
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
    raise NotOnTokenError(f"'{access.uri}' is on a smart card, which is managed with its vendor's tools.")


def parse_pin_option(source: str | None) -> PinSource | None:
    """Return the PIN source that --pin names. Raises `typer.BadParameter`."""
    return None if source is None else pin_source_of(source, "--pin")


def choose_pin_prompt() -> PinSource | None:
    """Return a prompt on the terminal; None if there is no terminal."""
    return Prompt("--pin") if sys.stdin.isatty() else None
