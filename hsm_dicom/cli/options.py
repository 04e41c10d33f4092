"""Options that many commands have, in the same words everywhere. No option ever takes a PIN itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hsm_dicom.cli import logs
from hsm_dicom.operators import OperatorNameError, use_operator

_COMMON = "Common options"
_SOURCES = "prompt, env:NAME, file:PATH, credential:NAME, fd:N or pinpad"


def _verbose(asked: bool) -> bool:
    if asked:
        logs.set_up(verbose=True)
    return asked


def _use_operator(context: typer.Context, name: str | None) -> str | None:
    # The program's own option comes first, and resets what an earlier run in this process was given.
    if name is not None or context.parent is None:
        try:
            use_operator(name)
        except OperatorNameError as error:
            raise typer.BadParameter(f"{error.message} {error.remedy}") from None
    return name


def token_names(incomplete: str) -> list[str]:
    """For completion: the tokens of the configuration."""
    return [name for name in _names("tokens") if name.startswith(incomplete)]


def identity_names(incomplete: str) -> list[str]:
    """For completion: the identities of the configuration."""
    return [name for name in _names("identities") if name.startswith(incomplete)]


def peer_names(incomplete: str) -> list[str]:
    """For completion: the peers of the configuration."""
    return [name for name in _names("peers") if name.startswith(incomplete)]


def listener_names(incomplete: str) -> list[str]:
    """For completion: the listeners of the configuration."""
    return [name for name in _names("listeners") if name.startswith(incomplete)]


def route_names(incomplete: str) -> list[str]:
    """For completion: the routes of the configuration."""
    return [name for name in _names("routes") if name.startswith(incomplete)]


def token_and_identity_names(incomplete: str) -> list[str]:
    """For completion: the tokens and the identities of the configuration."""
    return list(dict.fromkeys(token_names(incomplete) + identity_names(incomplete)))


def key_names(incomplete: str) -> list[str]:
    """For completion: the identities of the configuration, and its tokens, of which one key may be the only one."""
    return list(dict.fromkeys(identity_names(incomplete) + token_names(incomplete)))


def _names(table: str) -> list[str]:
    """For completion: the names in a table of the configuration that would be used."""
    return list(_table(table))


def _table(table: str) -> dict[str, Any]:
    from hsm_dicom.config import find_configuration, read_configuration

    file = find_configuration()
    return {} if file is None else getattr(read_configuration(file).configuration, table)


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        show_default=False,
        rich_help_panel=_COMMON,
        help="Configuration file; by default $HSM_DICOM_CONFIG, ./hsm-dicom.toml, /etc/hsm-dicom/hsm-dicom.toml.",
    ),
]
Module = Annotated[
    Path | None,
    typer.Option(
        "--module",
        metavar="PATH",
        show_default=False,
        rich_help_panel=_COMMON,
        help="PKCS#11 module (.so), if neither the URI nor the configuration names one.",
    ),
]
Pin = Annotated[
    str | None,
    typer.Option(
        "--pin",
        metavar="SOURCE",
        show_default=False,
        rich_help_panel=_COMMON,
        help=f"Where the user PIN comes from: {_SOURCES}.",
    ),
]
SoPin = Annotated[
    str,
    typer.Option("--so-pin", metavar="SOURCE", help=f"Where the security officer's PIN comes from: {_SOURCES}."),
]
Json = Annotated[
    bool,
    typer.Option("--json", rich_help_panel=_COMMON, help="JSON for programs; see docs/reference/json.md."),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        callback=_verbose,
        is_eager=True,
        rich_help_panel=_COMMON,
        help="Show the log and tracebacks.",
    ),
]
Operator = Annotated[
    str | None,
    typer.Option(
        "--operator",
        metavar="NAME",
        show_default=False,
        callback=_use_operator,
        rich_help_panel=_COMMON,
        help="Who does this, for events and records; by default, the user behind sudo, or who logged in.",
    ),
]
Record = Annotated[
    Path | None,
    typer.Option(
        "--record",
        metavar="FILE",
        show_default=False,
        rich_help_panel=_COMMON,
        help="Write a record of what was done: FILE.json for programs, and FILE.html beside it to print.",
    ),
]
Confirmed = Annotated[
    str | None,
    typer.Option("--yes", metavar="LABEL", show_default=False, help="Confirm the deletion by repeating the label."),
]
WarnDays = Annotated[
    int, typer.Option("--warn-days", min=0, help="Warn about certificates that expire within this number of days.")
]
Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="DICOM files, or folders of them.", show_default=False)
]
Only = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="PATTERN",
        help="In folders, only files whose names match, such as '*.dcm'.",
        show_default=False,
    ),
]
OutDir = Annotated[
    Path | None,
    typer.Option("--out-dir", metavar="FOLDER", help="Output folder; files keep their names.", show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, max=256, help="Number of processes.")]
TokenName = Annotated[
    str,
    typer.Argument(
        metavar="TOKEN",
        show_default=False,
        autocompletion=token_and_identity_names,
        help="A token: its NAME in the configuration, the NAME of an identity whose key is on it, or a pkcs11: URI.",
    ),
]
TokenOrGroup = Annotated[
    str,
    typer.Argument(
        metavar="TOKEN",
        show_default=False,
        autocompletion=token_and_identity_names,
        help="The NAME of a token or of an identity in the configuration, or a pkcs11: URI of a token.",
    ),
]
KeyToDelete = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        show_default=False,
        autocompletion=identity_names,
        help="A key: the NAME of an identity of the configuration, TOKEN/LABEL of a key on one of its tokens, or a "
        "pkcs11: URI with its object or id.",
    ),
]
KeyName = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        show_default=False,
        autocompletion=key_names,
        help="A key: the NAME of an identity of the configuration, TOKEN/LABEL of a key on one of its tokens, or a "
        "pkcs11: or card: URI. If a token has one key, its NAME is enough.",
    ),
]
