"""Exchange of the components of a secret key with officers on a terminal; `tokens` computes the components."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from hsm_dicom.cli.render import output
from tokens.algorithms.des_keys import check_value
from tokens.errors import CeremonyError, PinSourceError
from tokens.pins.sources import FromDescriptor, FromFile, PinSource, Prompt, parse_pin_source
from tokens.pkcs11.secret_keys.components import format_component


def component_source(text: str) -> PinSource:
    """Return the source of a component.

    Raises `CeremonyError`, which never repeats the text: it may be the component.
    """
    with suppress(PinSourceError):
        source = parse_pin_source(text)
        if isinstance(source, Prompt):
            return Prompt("--component")
        if isinstance(source, FromFile | FromDescriptor):
            return source
    raise CeremonyError(
        "A component comes from prompt, file:PATH or fd:N. "
        "The component itself is never written in its place (what stood there is not repeated here)."
    )


def print_check_value(of: str, key: bytearray) -> None:
    """Print the check value of a key or a component on standard error, for officers to compare."""
    output.note(f"{of} has the check value {format_check_value(check_value(key))}.")


def format_check_value(value: bytes | None) -> str:
    """Return a check value as officers write it: D5D44F."""
    return "not reported" if value is None else value.hex().upper()


def show_to_officers(components: Sequence[bytearray]) -> None:
    """Show each component alone on a cleared screen, until its officer has written it down."""
    console = output.errors()
    for number, component in enumerate(components, 1):
        console.input(f"Officer {number} of {len(components)}, alone at the screen, presses Enter: ")
        with console.screen(hide_cursor=False):
            console.print(f"Component {number} of {len(components)}: {format_component(component)}")
            print_check_value(f"Component {number}", component)
            console.input("Write both down, then press Enter: ")
