"""The configuration in use: read, with its event file open as long as it is used."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hsm_dicom.config.loading import LOCAL, Reading, find_configuration, read_configuration
from hsm_dicom.config.sections import Configuration
from hsm_dicom.events import ConfigurationRead, EventFile, emit
from hsm_dicom.remedies import name_tokens


@contextmanager
def open_configuration(file: Path | None = None) -> Iterator[Configuration]:
    """Yield the configuration in ``file``, else the one that `find_configuration` finds, else an empty one.

    Until the context ends, events are written to the event file that it names. Raises `ConfigurationError`.
    """
    with open_reading(file) as reading:
        yield reading.configuration


@contextmanager
def open_reading(file: Path | None = None) -> Iterator[Reading]:
    """Yield what `open_configuration` reads, with the lines of its keys."""
    found = find_configuration(file)
    if found is None:
        yield Reading(LOCAL)
        return
    reading = read_configuration(found)
    configuration = reading.require_sound()
    use_token_names(configuration, file)
    with ExitStack() as stack:
        if configuration.events.file is not None:
            stack.enter_context(EventFile(configuration.events.file).record())
        emit(ConfigurationRead(path=str(found), sha256=reading.sha256, problems=len(reading.problems)))
        yield reading


def use_token_names(configuration: Configuration, file: Path | None) -> None:
    """Name the tokens in remedies as the configuration does, with the option that selects a file which was named."""
    option = "" if file in (None, find_configuration()) else f" --config {shlex.quote(str(file.absolute()))}"
    name_tokens({one.uri: f"{shlex.quote(name)}{option}" for name, one in configuration.tokens.items()})
