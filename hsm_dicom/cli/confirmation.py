"""Confirmation of a deletion: the user repeats the name of what will be deleted."""

from __future__ import annotations

import sys
from collections.abc import Callable

from hsm_dicom.cli.render.output import errors, note, shown
from hsm_dicom.errors import DicomError


class NotConfirmedError(DicomError):
    """The deletion was not confirmed."""


def require_confirmation(
    name: str, given: str | None, consequence: str, *, normalise: Callable[[str], str] = str
) -> None:
    """Return only if `given` (from --yes), or else what is typed, is `name`.

    Both are compared after `normalise`, for names that can be written in several ways. Raises `NotConfirmedError`.
    """
    if given is None:
        if not sys.stdin.isatty():
            raise NotConfirmedError(f"{consequence} Confirm it with --yes '{name}'.")
        out = errors()
        note(f"{consequence} This cannot be undone.")
        given = out.input(f"Type '{shown(name)}' to confirm: ").strip()
    if normalise(given) != normalise(name):
        raise NotConfirmedError(f"'{given}' is not '{name}': nothing was deleted.")
