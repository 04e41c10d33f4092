"""Reference of the Python API: the public names of a package, in Markdown, as their docstrings are written."""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from markdown import documented, field_texts

import hsm_dicom
import tokens

FENCE = ":" * 4
PROGRAMS = ("hsm_dicom.cli", "hsm_dicom.__main__")
"""What is run, and has no names for developers."""
LONGEST = 60
"""Characters of the longest default that is printed; of a longer one the docstring says what matters."""


def package_names() -> list[str]:
    """Return the packages, and the modules beside them, whose public names are listed: those that have `__all__`."""
    names = ["hsm_dicom", "tokens"]
    for package in (hsm_dicom, tokens):
        names += [one.name for one in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
    public = [name for name in names if name not in PROGRAMS and hasattr(importlib.import_module(name), "__all__")]
    return sorted(public)


def write_package(name: str) -> str:
    """Return the docstring of a package and the reference of each name that it exports."""
    package = importlib.import_module(name)
    about = _prose(inspect.getdoc(package) or "")
    parts = [f"{about}\n\n:::{{py:module}} {name}\n:::\n"]
    constants = field_texts_of_module(package)
    for exported in sorted(package.__all__):
        parts.append(_write(exported, getattr(package, exported), constants.get(exported, "")))
    return "\n".join(parts)


def field_texts_of_module(module: Any) -> dict[str, str]:
    """Return the texts under the constants of a module, and of those that it imports them from."""
    texts: dict[str, str] = {}
    tree = ast.parse(inspect.getsource(module))
    for line in tree.body:
        if isinstance(line, ast.ImportFrom) and line.module and line.module.startswith(("tokens", "hsm_dicom")):
            source = ast.parse(inspect.getsource(importlib.import_module(line.module)))
            texts |= dict(documented(source.body))
    return texts | dict(documented(tree.body))


def _write(path: str, thing: Any, constant_text: str) -> str:
    if inspect.isclass(thing):
        kind = "exception" if issubclass(thing, BaseException) else "class"
        body = "\n\n".join([_prose(_own_doc(thing)), *_members(thing)])
        return _directive(kind, path, _signature(thing) if kind == "class" else "", body)
    if callable(thing):
        return _directive("function", path, _signature(thing), _prose(inspect.getdoc(thing) or ""))
    return _directive("data", path, "", _prose(constant_text))


def _directive(kind: str, path: str, signature: str, body: str, fence: str = FENCE) -> str:
    return f"{fence}{{py:{kind}}} {path}{signature}\n\n{body}\n{fence}\n"


def _members(kind: type) -> Iterator[str]:
    texts = field_texts(kind)
    if issubclass(kind, enum.Enum):
        for one in kind:
            value = f"`{one.value!r}`. " if isinstance(one.value, str | int) else ""
            yield _directive("attribute", one.name, "", _prose(value + texts.get(one.name, "")), ":::")
    elif dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            if field.name in texts:
                yield _directive("attribute", field.name, "", _prose(texts[field.name]), ":::")
    for name, member in vars(kind).items():
        if name.startswith("_") or name in texts:
            continue
        if isinstance(member, property):
            yield _directive("property", name, "", _prose(inspect.getdoc(member) or ""), ":::")
        elif isinstance(member, classmethod | staticmethod) or inspect.isfunction(member):
            function = getattr(kind, name)
            if inspect.getdoc(function):
                yield _directive("method", name, _signature(function), _prose(inspect.getdoc(function) or ""), ":::")


def _own_doc(kind: type) -> str:
    """Return the docstring of a class, unless it is inherited or the one that `dataclass` makes of the signature."""
    text = inspect.cleandoc(kind.__doc__ or "")
    return "" if re.fullmatch(rf"{kind.__name__}\(.*\)", text, re.DOTALL) else text


def _signature(thing: Any) -> str:
    if inspect.isclass(thing) and issubclass(thing, enum.Enum):
        return ""
    signature = inspect.signature(thing)
    parameters = [
        one.replace(annotation=_annotation(one.annotation), default=_default(one.default))
        for one in signature.parameters.values()
        if one.name not in ("self", "cls")
    ]
    return str(signature.replace(parameters=parameters, return_annotation=_annotation(signature.return_annotation)))


class _Written:
    """A default or an annotation, printed as the source has it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _annotation(value: Any) -> Any:
    if value is inspect.Signature.empty:
        return value
    if get_origin(value) is Annotated:
        return _annotation(get_args(value)[0])
    if isinstance(value, str) or get_origin(value):
        short = re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", str(value))
        return _Written(re.sub(r"Annotated\[(\w+), \w+\(func=<[^>]*>\)\]", r"\1", short))
    return _Written(getattr(value, "__name__", str(value)))


def _default(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return value
    if isinstance(value, enum.Enum):
        return _Written(f"{type(value).__name__}.{value.name}")
    if isinstance(value, frozenset) and value:
        # Sorted, so that each build prints the same.
        value = _Written(f"frozenset({{{', '.join(sorted(map(repr, value)))}}})")
    text = value.__name__ if inspect.isclass(value) else repr(value)
    return _Written("..." if text.startswith("<") or " object at " in text or len(text) > LONGEST else text)


def _prose(text: str) -> str:
    """Turn a docstring into Markdown: doctests and examples become blocks of code."""
    text = text.replace("::\n\n", ":\n\n").replace("``", "`")
    lines: list[str] = []
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith(">>>") or (block and line.strip()):
            block.append(line)
            continue
        if block:
            lines += ["```pycon", *block, "```"]
            block = []
        lines.append(line)
    return "\n".join(lines).strip()
