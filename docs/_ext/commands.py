"""Reference of the command line, from the Typer program itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from markdown import write_table
from typer.main import get_command

from hsm_dicom.cli import exits
from hsm_dicom.cli.program import app


def command_names() -> list[str]:
    """Return the commands and groups that `hsm-dicom --help` lists, in its order."""
    return list(visible_commands(get_command(app)))


def write_command(name: str) -> str:
    """Return the reference of one command, or of each command of a group, without the page's title."""
    command = get_command(app).commands[name]
    inner = visible_commands(command)
    if not inner:
        return _write(name, command)
    parts = [f"{_markup(command.help or '')}\n"]
    for word, one in inner.items():
        parts.append(f"## {name} {word}\n\n{_write(f'{name} {word}', one)}")
    return "\n".join(parts)


def visible_commands(group: Any) -> dict[str, Any]:
    """Return the commands of a group that its help shows, by name; nothing for a command."""
    return {word: one for word, one in getattr(group, "commands", {}).items() if not one.hidden}


def _write(name: str, command: Any) -> str:
    shown = [one for one in command.params if not getattr(one, "hidden", False)]
    options = [one for one in shown if one.param_type_name == "option"]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    usage = " ".join([f"hsm-dicom {name}", *(["[OPTIONS]"] if options else []), *map(_argument, arguments)])
    parts = [f"```text\n{usage}\n```\n", f"{_markup(command.help or '')}\n"]
    parts.append(write_table(["argument", "meaning"], ([f"`{_argument(one)}`", _meaning(one)] for one in arguments)))
    for panel in dict.fromkeys(one.rich_help_panel for one in options):
        rows = ([_option(one), _meaning(one)] for one in options if one.rich_help_panel == panel)
        parts.append(write_table([(panel or "option").lower(), "meaning"], rows))
    statuses = exits.statuses_of(tuple(name.split()))
    parts.append(write_table(["exit status", "meaning"], ([str(status), meaning] for status, meaning in statuses)))
    if command.epilog:
        parts.append(_example(command.epilog))
    return "\n".join(part for part in parts if part)


def _argument(one: Any) -> str:
    word = one.metavar or one.name.upper()
    return word if one.required else f"[{word}]"


def _option(one: Any) -> str:
    names = ", ".join(f"`{name}`" for name in sorted([*one.opts, *one.secondary_opts], key=lambda name: -len(name)))
    return names if one.is_flag else f"{names} `{one.metavar or '|'.join(_choices(one)) or one.name.upper()}`"


def _choices(one: Any) -> list[str]:
    annotation = one.type_descriptor.annotation
    return [str(choice.value) for choice in annotation] if hasattr(annotation, "__members__") else []


def _meaning(one: Any) -> str:
    return "".join([_markup(one.help or ""), *_additions(one)])


def _additions(one: Any) -> Iterator[str]:
    choices = _choices(one)
    if choices and one.metavar:
        yield f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    if one.param_type_name == "option" and one.required:
        yield " Required."
    default = getattr(one.default, "value", one.default)
    if one.show_default and default not in (None, False, [], ()) and not callable(default):
        yield f" Default: `{one.show_default if isinstance(one.show_default, str) else default}`."


def _markup(text: str) -> str:
    """Turn Rich markup into Markdown: what stands in brackets as styles goes, options become code."""
    text = re.sub(r"\[/?(?:bold|cyan|dim|green|yellow|red|italic)\]", "", text).replace("\\[", "[").replace("\b\n", "")
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)(?![\w`])", r"`\1`", text)


def _example(epilog: str) -> str:
    title, _, example = epilog.partition(": ")
    return f"{title}:\n\n```sh\n{example}\n```\n" if example.startswith("hsm-dicom") else f"{_markup(epilog)}\n"
