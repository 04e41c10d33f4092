"""How long a device may take to answer, by kind of call."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class CallDeadlines:
    """The seconds within which a token must return from a call. A caller leaves a call that takes longer.

    Raises ValueError for a deadline that is not a positive number.
    """

    session: float = 2.0
    """Open and close sessions, and read what a token reports: its flags, mechanisms, objects and attributes."""
    sign: float = 2.0
    """Use a key: sign, decrypt, encrypt, make a MAC, derive a key."""
    login: float = 10.0
    """Present a PIN, store or delete an object, and initialise the module."""
    person: float = 60.0
    """Wait for a person: a PIN on the device's own keypad, or a touch."""
    generate: float = 300.0
    """Generate a key pair, and initialise a token."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ValueError(f"The deadline '{field.name}' must be a positive number of seconds, not {value!r}.")

    def extend(self, others: CallDeadlines) -> CallDeadlines:
        """Return the longer deadline of each kind."""
        return CallDeadlines(
            **{field.name: max(getattr(self, field.name), getattr(others, field.name)) for field in fields(self)}
        )


DEFAULT_DEADLINES = CallDeadlines()
