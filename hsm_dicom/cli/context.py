"""What a command works in: the configuration that was read, and the file that its events go to."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hsm_dicom.cli.pin_sources import named_source
from hsm_dicom.config import Configuration, TokenAccess, find_token_access
from hsm_dicom.config.devices import KeyAccess
from hsm_dicom.config.opening import open_reading
from hsm_dicom.errors import DicomError
from hsm_dicom.identity import access_to_key
from tokens.pins.sources import PinSource, Prompt
from tokens.policy import Weakness

if TYPE_CHECKING:
    from hsm_dicom.node.plan import NodePlan


class NotOnTokenError(DicomError):
    """A ceremony step that is for PKCS#11 tokens was asked of a smart card."""


@contextlib.contextmanager
def open_configuration(named: Path | None) -> Iterator[Configuration]:
    """Read the configuration, an empty one if none is named and none is found, and record events meanwhile."""
    with open_reading(named) as reading:
        yield reading.configuration


@contextlib.contextmanager
def open_plan(named: Path | None) -> Iterator[NodePlan]:
    """Read the configuration as a plan of the network, and record events meanwhile."""
    from hsm_dicom.node.compiler import compile_plan

    with open_reading(named) as reading:
        yield compile_plan(reading)


def get_token_access(
    configuration: Configuration, token: str, *, pin: str | None, module: Path | None, last_try: bool = False
) -> TokenAccess:
    """Access to the token that a NAME or a URI means; its PIN is asked for where nothing says where it is."""
    access = find_token_access(configuration, token, pin=parse_pin_option(pin), module=module, last_try=last_try)
    return replace(access, pin=access.pin or choose_pin_prompt())


def get_key_access(
    configuration: Configuration, key: str, *, pin: str | None, module: Path | None
) -> tuple[KeyAccess, frozenset[Weakness]]:
    """The same for a key, with what the configuration allows of it."""
    access, allowed = access_to_key(configuration, key, pin=parse_pin_option(pin), module=module)
    return replace(access, pin=access.pin or choose_pin_prompt()), allowed


def require_token(access: KeyAccess) -> TokenAccess:
    """Access to a key that must be on a PKCS#11 token. Raises `NotOnTokenError`."""
    if isinstance(access, TokenAccess):
        return access
    raise NotOnTokenError(f"'{access.uri}' is on a smart card, which is managed with the tools of its maker.")


def parse_pin_option(source: str | None) -> PinSource | None:
    """The source that --pin names. Raises `typer.BadParameter`."""
    return None if source is None else named_source(source, "--pin")


def choose_pin_prompt() -> PinSource | None:
    """Asking on the terminal, if there is one."""
    return Prompt("--pin") if sys.stdin.isatty() else None
