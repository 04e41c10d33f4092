"""The person on whose behalf this process works, and the host: they are in every line of an event file, and in records.

A name that is given is a claim: `Operator.login` is beside it, which the kernel keeps from the login on, also through
sudo (the audit loginuid), where it has one.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from hsm_dicom.errors import DicomError

LONGEST_NAME = 100
"""Characters of a name."""

_LOGIN_UID = Path("/proc/self/loginuid")
_NEVER_LOGGED_IN = 2**32 - 1
"""The loginuid of a service, and of every process in a container that was not given one."""


class OperatorNameError(DicomError):
    """The name of an operator is empty, too long, or not one line of text."""


@dataclass(frozen=True)
class Operator:
    """Who works: `name` as given, else as `login`; `login` is the user who logged in, else the user of the process."""

    name: str
    login: str
    host: str


_operator: Operator | None = None


def current_operator() -> Operator:
    """Return the operator of this process."""
    global _operator
    if _operator is None:
        _operator = _find_operator(None)
    return _operator


def use_operator(name: str | None) -> None:
    """Make this the operator's name from now on; None means the user behind sudo, else the login's user.

    Raises `OperatorNameError`.
    """
    global _operator
    if name is not None and (not name.strip() or len(name) > LONGEST_NAME or not name.isprintable()):
        raise OperatorNameError(
            f"The operator's name is empty, longer than {LONGEST_NAME} characters, or not one line of text.",
            remedy="Write it like --operator 'J. Kim'.",
        )
    _operator = _find_operator(name)


def _find_operator(name: str | None) -> Operator:
    login = _find_login()
    return Operator(name or os.environ.get("SUDO_USER") or login, login, os.uname().nodename)


def _find_login() -> str:
    try:
        uid = int(_LOGIN_UID.read_text())
    except (OSError, ValueError):
        uid = _NEVER_LOGGED_IN
    if uid == _NEVER_LOGGED_IN:
        uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container often has no entry for its user
        return f"uid {uid}"
