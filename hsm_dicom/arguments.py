"""Checks of a caller's arguments. Each error states the accepted values and the value received."""

from __future__ import annotations

import os
import threading
from enum import Enum
from typing import TypeVar

E = TypeVar("E", bound=Enum)


def kind_of(value: object) -> str:
    """Return the name of a value's type, for an error message."""
    return "None" if value is None else type(value).__name__


def choose(kind: type[E], value: object, name: str) -> E:
    """Return the member of an enum for the member or its value (any case). Raises TypeError or ValueError."""
    if isinstance(value, kind):
        return value
    choices = ", ".join(repr(member.value) for member in kind)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {choices}, not {kind_of(value)}.")
    try:
        return kind(value.lower())
    except ValueError:
        raise ValueError(f"{name} must be one of {choices}, not {value!r}.") from None


def require_bool(name: str, value: object) -> None:
    """Raise TypeError unless the argument is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {kind_of(value)}.")


def require_stop(value: object) -> None:
    """Raise TypeError unless the argument is a threading.Event or None."""
    if value is not None and not isinstance(value, threading.Event):
        raise TypeError(f"stop must be a threading.Event, not {kind_of(value)}.")


def require_count(name: str, value: object) -> None:
    """Raise TypeError or ValueError unless the argument is a whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {kind_of(value)}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}.")


def path_text(name: str, value: object) -> str:
    """Return a path as text. Raises TypeError if it is not a path, and ValueError if it is empty or has a NUL.

    An empty text would mean the current folder, but often comes from a variable that was not set.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str):
        raise TypeError(f"{name} must be a path, not {kind_of(value)}.")
    if not path:
        raise ValueError(f"{name} must be a path, not an empty text; for the current folder, give '.'.")
    if "\0" in path:
        raise ValueError(f"{name} must be a path, and a path has no NUL character: {path!r}.")
    return path
