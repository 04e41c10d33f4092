"""Components of a DES key: drawn on a token, read from officers, written for them, and combined.

    with read_components([FromFile(first), FromFile(second)]) as components, combine_key(components) as key:
        import_secret(connection, Use.ENCRYPTION, 1, key)

A component is 16 hexadecimal digits; spaces and hyphens between them are ignored. Components and keys are `bytearray`
objects that are overwritten when their context ends. Python copies what is typed or read into objects that cannot be
overwritten; these are gone when the process ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import hexdigits

from tokens.algorithms.des_keys import KEY_LENGTH, combine, require_strong, set_odd_parity
from tokens.errors import CeremonyError
from tokens.pins.sources import PinSource, Prompt
from tokens.pkcs11.connection import Connection

_DIGITS = {ord(digit): int(digit, 16) for digit in hexdigits}
_BETWEEN = b" -"


@contextmanager
def draw_components(connection: Connection, count: int) -> Iterator[list[bytearray]]:
    """Yield `count` components from the token's random generator (C_GenerateRandom), with odd parity."""
    components: list[bytearray] = []
    try:
        for _ in range(count):
            components.append(_draw(connection))
        yield components
    finally:
        for component in components:
            wipe(component)


@contextmanager
def read_components(
    sources: Sequence[PinSource], confirm: Callable[[str, bytearray], object] = lambda name, component: None
) -> Iterator[list[bytearray]]:
    """Yield the components from the sources, which are read in order.

    `confirm` is called with the name of each component and the component as soon as it was read, so that its officer
    can compare its check value. Raises `CeremonyError` for a malformed or weak component, and `PinSourceError` for a
    source that cannot be read. No error contains a digit of a component.
    """
    components: list[bytearray] = []
    try:
        for number, source in enumerate(sources, 1):
            name = f"Component {number} of {len(sources)}"
            components.append(_read(source, name))
            confirm(name, components[-1])
        yield components
    finally:
        for component in components:
            wipe(component)


@contextmanager
def combine_key(components: Sequence[bytearray]) -> Iterator[bytearray]:
    """Yield the key that the components make by exclusive or. Raises `CeremonyError` for a weak key."""
    key = combine(components)
    try:
        require_strong(key)
        yield key
    finally:
        wipe(key)


@contextmanager
def write_components(files: Sequence[Path], components: Sequence[bytearray]) -> Iterator[None]:
    """Write each component to a new file that only its owner may read; remove the files if the block fails."""
    made: list[Path] = []
    try:
        for path, component in zip(files, components, strict=True):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            made.append(path)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{format_component(component)}\n")
        yield
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def format_component(component: bytearray) -> str:
    """Return a component as officers write it, for example 0123 4567 89AB CDEF."""
    return component.hex(" ", 2).upper()


def wipe(octets: bytearray) -> None:
    """Overwrite a key or component with zeros, in place."""
    octets[:] = bytes(len(octets))


def _draw(connection: Connection) -> bytearray:
    component = connection.run(
        lambda worker: bytearray(connection.module.queries.random(worker.session, KEY_LENGTH)), "draw a random number"
    )
    set_odd_parity(component)
    return component


def _read(source: PinSource, name: str) -> bytearray:
    typed = source.read(name if isinstance(source, Prompt) else name.lower())
    if typed is None:
        raise CeremonyError(f"The source of {name.lower()} gave nothing.")
    try:
        component = _parse(typed.octets(), name)
    finally:
        typed.wipe()
    try:
        # With a component of zeros, the other officer would know the whole key.
        require_strong(component)
    except CeremonyError as error:
        wipe(component)
        raise CeremonyError(f"{name}: {error}") from None
    return component


def _parse(digits: bytearray, name: str) -> bytearray:
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
        raise CeremonyError(f"{name} is not {2 * KEY_LENGTH} hexadecimal digits. Nothing was imported.")
    return component
