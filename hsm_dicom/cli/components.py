"""The components of a secret as officers hand them over: typed without echo, read from files, drawn and shown.

A component is 16 hexadecimal digits; spaces and hyphens between them are ignored. It is held in a `bytearray` that
whoever asked for it wipes. Python copies what is typed, read or shown into objects that cannot be wiped; they are gone
when the process ends, which is at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from string import hexdigits

from hsm_dicom.cli.render import output
from tokens.algorithms.des_keys import KEY_LENGTH, check_value, require_strong
from tokens.errors import CeremonyError, PinSourceError
from tokens.pins.sources import FromDescriptor, FromFile, PinSource, Prompt, parse_pin_source

_DIGITS = {ord(digit): int(digit, 16) for digit in hexdigits}
_BETWEEN = b" -"


def component_source(named: str) -> PinSource:
    """Where a component comes from. Raises `CeremonyError`, which never repeats the text: it may be the component."""
    with suppress(PinSourceError):
        source = parse_pin_source(named)
        if isinstance(source, Prompt):
            return Prompt("--component")
        if isinstance(source, FromFile | FromDescriptor):
            return source
    raise CeremonyError(
        "A component comes from prompt, file:PATH or fd:N. "
        "The component itself is never written in its place (what stood there is not repeated here)."
    )


@contextmanager
def components_from(sources: Sequence[PinSource]) -> Iterator[list[bytearray]]:
    """The components, asked for one after the other, each answered with its check value; wiped with the block.

    Raises `CeremonyError` for what is no component, and `PinSourceError` for a source that cannot be read.
    """
    components: list[bytearray] = []
    try:
        for number, source in enumerate(sources, 1):
            name = f"component {number} of {len(sources)}"
            components.append(_read(source, name))
            tell_check_value(name.capitalize(), components[-1])
        yield components
    finally:
        for component in components:
            wipe(component)


def tell_check_value(of: str, key: bytearray) -> None:
    """The check value of a key or a component, on standard error: a word among officers, not the command's result."""
    output.note(f"{of} has the check value {shown_check_value(check_value(key))}.")


def shown_check_value(value: bytes | None) -> str:
    """As officers write it: D5D44F."""
    return "not told" if value is None else value.hex().upper()


def show_to_officers(components: Sequence[bytearray]) -> None:
    """Show each component alone on a cleared screen, from which it is gone when its officer has written it down."""
    console = output.errors()
    for number, component in enumerate(components, 1):
        console.input(f"Officer {number} of {len(components)}, alone at the screen, presses Enter: ")
        with console.screen(hide_cursor=False):
            console.print(f"Component {number} of {len(components)}: {_written(component)}")
            tell_check_value(f"Component {number}", component)
            console.input("Write both down, then press Enter: ")


@contextmanager
def written_to(files: Sequence[Path], components: Sequence[bytearray]) -> Iterator[None]:
    """A new file for each component, readable by its owner only; removed again if the block fails."""
    made: list[Path] = []
    try:
        for path, component in zip(files, components, strict=True):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            made.append(path)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{_written(component)}\n")
        yield
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def wipe(octets: bytearray) -> None:
    """Overwrite with zeros, in place."""
    octets[:] = bytes(len(octets))


def _read(source: PinSource, name: str) -> bytearray:
    typed = source.read(name.capitalize() if isinstance(source, Prompt) else name)
    if typed is None:
        raise CeremonyError(f"There is no {name}.")
    try:
        component = _octets(typed.octets(), name)
    finally:
        typed.wipe()
    try:
        # A component of zeros would leave the other officer with the whole key.
        require_strong(component)
    except CeremonyError as error:
        wipe(component)
        raise CeremonyError(f"{name.capitalize()}: {error}") from None
    return component


def _octets(digits: bytearray, name: str) -> bytearray:
    component, count = bytearray(KEY_LENGTH), 0
    for character in digits:
        if character in _BETWEEN:
            continue
        value = _DIGITS.get(character)
        if value is None or count == 2 * KEY_LENGTH:
            count = -1
            break
        component[count // 2] |= value << (0 if count % 2 else 4)
        count += 1
    if count != 2 * KEY_LENGTH:
        wipe(component)
        raise CeremonyError(f"{name.capitalize()} is not {2 * KEY_LENGTH} hexadecimal digits. Nothing was imported.")
    return component


def _written(component: bytearray) -> str:
    """0123 4567 89AB CDEF."""
    return component.hex(" ", 2).upper()
