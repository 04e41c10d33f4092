"""Canaries for internals of other libraries: each failure names the library, what changed, and the module to adapt."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from importlib.metadata import version
from types import ModuleType
from typing import Any


def explain(library: str, seam: ModuleType, what: str) -> str:
    """Return the sentence with which a canary fails."""
    return (
        f"{library} {version(library)} {what}; adapt {seam.__name__.replace('.', '/')}.py to it, "
        "or bound the version in pyproject.toml."
    )


def require_method(library: str, seam: ModuleType, owner: Any, name: str, parameters: Iterable[str]) -> None:
    """Fail unless a class or module has this function with these parameters."""
    where = f"{owner.__name__}.{name}"
    function = inspect.getattr_static(owner, name, None)
    assert function is not None, explain(library, seam, f"has no {where}")
    found = tuple(inspect.signature(getattr(owner, name)).parameters)
    assert found == tuple(parameters), explain(library, seam, f"has changed the parameters of {where} to {found}")


def require_attributes(library: str, seam: ModuleType, instance: object, names: Iterable[str]) -> None:
    """Fail unless an object has these attributes."""
    missing = [name for name in names if not hasattr(instance, name)]
    assert not missing, explain(library, seam, f"has no {type(instance).__name__}.{', '.join(missing)}")
