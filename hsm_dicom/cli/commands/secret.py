"""`hsm-dicom secret`: import, generate, list and delete the secret keys of ISCL on a token."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from string import hexdigits
from typing import TYPE_CHECKING, Annotated

import typer

from hsm_dicom.cli.options import Config, Confirmed, Json, Module, Operator, Pin, Record, TokenName, Verbose

if TYPE_CHECKING:
    from hsm_dicom.cli.records import Ceremony
    from tokens.pkcs11.connection import Connection
    from tokens.pkcs11.secret_keys.ceremony import SecretEntry

app = typer.Typer(
    help="Secret keys for ISCL on a token: import, generate, list, delete. "
    "A URI with object=PREFIX selects the keys whose labels begin with PREFIX.",
    no_args_is_help=True,
)


class SecretUse(StrEnum):
    """`tokens.secrets.Use`, here too so that --help need not load a driver."""

    AUTHENTICATION = "authentication"
    ENCRYPTION = "encryption"


class Direction(StrEnum):
    """Operations that an authentication key may perform."""

    BOTH = "both"
    ANSWER = "answer"
    VERIFY = "verify"


UseOption = Annotated[SecretUse, typer.Option("--use", help="What it is for.", show_default=False)]
IndexOption = Annotated[int, typer.Option("--index", min=1, max=8, help="Its number in ISCL.", show_default=False)]
DirectionOption = Annotated[
    Direction,
    typer.Option("--direction", help="Let an authentication key only answer challenges, or only verify answers."),
]
ComponentSources = Annotated[
    list[str] | None,
    typer.Option(
        "--component",
        metavar="SOURCE",
        show_default=False,
        help="Where a component comes from: prompt, file:PATH or fd:N. Two or three; else two are typed.",
    ),
]
CheckValue = Annotated[
    str | None,
    typer.Option(
        "--check-value",
        metavar="HEX",
        show_default=False,
        help="The check value that the key must have; else it is shown and asked about on the terminal.",
    ),
]
ComponentCount = Annotated[int, typer.Option("--components", min=2, max=3, help="For how many officers.")]
ComponentFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        show_default=False,
        help="Write a component here instead of showing it; once for each.",
    ),
]


@app.command(
    "import", epilog="Example: hsm-dicom secret import 'pkcs11:token=CT%20room' --use authentication --index 1"
)
def import_(
    token: TokenName,
    use: UseOption,
    index: IndexOption,
    component: ComponentSources = None,
    check_value: CheckValue = None,
    direction: DirectionOption = Direction.BOTH,
    record: Record = None,
    operator: Operator = None,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Import a secret key from components that different officers type. No component is echoed or stored."""
    from hsm_dicom.cli.components import component_source, print_check_value
    from hsm_dicom.cli.context import get_token_access, open_configuration
    from hsm_dicom.cli.records import keep_record
    from tokens.pkcs11.secret_keys.components import combine_key, read_components

    named = component or ["prompt", "prompt"]
    if len(named) not in (2, 3):
        raise typer.BadParameter("A secret key has two or three components.", param_hint="--component")
    expected = _hexadecimal(check_value)
    _check_direction(use, direction)
    _require_terminal(component, check_value)
    sources = [component_source(source) for source in named]
    with keep_record("secret import", record) as ceremony, open_configuration(config) as configuration:
        access = get_token_access(configuration, token, pin=pin, module=module)
        with access.open() as connection:
            connection.connect()
            ceremony.set_token(connection.token)
            # Report a refused PIN or an index in use before officers type components.
            _require_free(connection, use, index, access.uri.object)
            with read_components(sources, print_check_value) as components, combine_key(components) as key:
                print_check_value("The key", key)
                _require_agreement(key, expected)
                entry = _import(connection, use, index, key, access.uri.object, direction)
            ceremony.set_secret(entry)
    _tell("secret-import", entry, ceremony, json)


@app.command(
    "generate", epilog="Example: hsm-dicom secret generate 'pkcs11:token=CT%20room' --use encryption --index 1"
)
def generate(
    token: TokenName,
    use: UseOption,
    index: IndexOption,
    components: ComponentCount = 2,
    out: ComponentFiles = None,
    direction: DirectionOption = Direction.BOTH,
    record: Record = None,
    operator: Operator = None,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Generate a secret key with the token's random generator, show its components to the officers, and import it."""
    from hsm_dicom.cli.components import print_check_value, show_to_officers
    from hsm_dicom.cli.context import get_token_access, open_configuration
    from hsm_dicom.cli.records import keep_record
    from tokens.pkcs11.secret_keys.components import combine_key, draw_components, write_components

    files = out or []
    if files and len(set(files)) != components:
        raise typer.BadParameter(
            f"Give --out {components} times, with a different file for each component.", param_hint="--out"
        )
    if not files and not sys.stdin.isatty():
        raise typer.BadParameter(
            "Without a terminal, write the components to files with --out FILE, once for each.", param_hint="--out"
        )
    _check_direction(use, direction)
    with keep_record("secret generate", record) as ceremony, open_configuration(config) as configuration:
        access = get_token_access(configuration, token, pin=pin, module=module)
        with access.open() as connection:
            connection.connect()
            ceremony.set_token(connection.token)
            _require_free(connection, use, index, access.uri.object)
            with ExitStack() as kept:
                drawn = kept.enter_context(draw_components(connection, components))
                key = kept.enter_context(combine_key(drawn))
                if files:
                    kept.enter_context(write_components(files, drawn))
                else:
                    show_to_officers(drawn)
                print_check_value("The key", key)
                entry = _import(connection, use, index, key, access.uri.object, direction)
            ceremony.set_secret(entry)
    _tell("secret-generate", entry, ceremony, json)


@app.command("list", epilog="Example: hsm-dicom secret list 'pkcs11:token=CT%20room' --pin prompt")
def list_secrets(
    token: TokenName,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List the secret keys on a token with their check values and remarks."""
    from hsm_dicom.cli.context import get_token_access, open_configuration
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.reference import Reference
    from hsm_dicom.cli.render.secret_report import print_secret, secret_json
    from tokens.pkcs11.secret_keys.ceremony import list_secrets

    with open_configuration(config) as configuration:
        access = get_token_access(configuration, token, pin=pin, module=module)
        with access.open() as connection:
            entries = list_secrets(connection, access.uri.object)
            known = Reference(configuration, access, connection.token, module, config)
    if json:
        content = {"token": str(known.uri()), "secret_keys": [secret_json(entry) for entry in entries]}
        output.write_json("secret-list", content)
        return
    if not entries:
        output.say(f"There is no secret key on {output.shown(known.token.description)}. Import one:")
        command = f"hsm-dicom secret import {known.token_word()} --use authentication --index 1{known.options()}"
        output.say_verbatim(command, indent=2)
    for entry in entries:
        print_secret(entry)


@app.command("delete", epilog="Example: hsm-dicom secret delete 'pkcs11:token=CT%20room' --use encryption --index 1")
def delete(
    token: TokenName,
    use: UseOption,
    index: IndexOption,
    yes: Confirmed = None,
    record: Record = None,
    operator: Operator = None,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Delete a secret key from a token. This cannot be undone."""
    from hsm_dicom.cli.confirmation import require_confirmation
    from hsm_dicom.cli.context import get_token_access, open_configuration
    from hsm_dicom.cli.records import keep_record
    from hsm_dicom.cli.render import output
    from tokens.pkcs11.secret_keys.ceremony import delete_secret, list_secrets
    from tokens.pkcs11.secret_keys.objects import DEFAULT_PREFIX, find_secret, label_of
    from tokens.secrets import Use

    with keep_record("secret delete", record) as ceremony, open_configuration(config) as configuration:
        access = get_token_access(configuration, token, pin=pin, module=module)
        with access.open() as connection:
            connection.connect()
            ceremony.set_token(connection.token)
            prefix = access.uri.object or DEFAULT_PREFIX
            label = label_of(prefix, Use(use.value), index)
            description = connection.token.description
            queries = connection.module.queries
            connection.run(lambda worker: find_secret(queries, worker.session, label, description), "find a secret")
            for entry in list_secrets(connection, prefix):
                if entry.info.label == label:
                    ceremony.set_secret(entry)
            require_confirmation(label, yes, f"Secret key '{label}' on {description} will be destroyed.")
            delete_secret(connection, Use(use.value), index, prefix=prefix)
    output.outcome(True, f"Secret key '{output.shown(label)}' was deleted.")
    ceremony.print()


def _require_free(connection: Connection, use: SecretUse, index: int, prefix: str | None) -> None:
    """Raise `CeremonyError` if the secret key exists already, before officers type or write down components."""
    from tokens.errors import CeremonyError
    from tokens.pkcs11.secret_keys.ceremony import list_secrets

    for entry in list_secrets(connection, prefix):
        if (entry.use.value, entry.index) == (use.value, index):
            raise CeremonyError(
                f"Secret key '{entry.info.label}' exists already; delete it first, or use another --index."
            )


def _import(
    connection: Connection, use: SecretUse, index: int, key: bytearray, prefix: str | None, direction: Direction
) -> SecretEntry:
    from tokens.pkcs11.secret_keys.ceremony import import_secret
    from tokens.secrets import Use

    return import_secret(
        connection,
        Use(use.value),
        index,
        key,
        prefix=prefix,
        answers=direction is not Direction.VERIFY,
        verifies=direction is not Direction.ANSWER,
    )


def _check_direction(use: SecretUse, direction: Direction) -> None:
    if use is SecretUse.ENCRYPTION and direction is not Direction.BOTH:
        raise typer.BadParameter("Only an authentication key has a direction.", param_hint="--direction")


def _require_terminal(component: list[str] | None, check_value: str | None) -> None:
    """Raise a usage error if nobody can compare check values: only the peer would detect a typing error."""
    if sys.stdin.isatty():
        return
    if component is None or "prompt" in component:
        raise typer.BadParameter(
            "Without a terminal, read the components from files with --component file:PATH, once for each.",
            param_hint="--component",
        )
    if check_value is None:
        raise typer.BadParameter(
            "Without a terminal on which officers confirm it, say which check value the key must have.",
            param_hint="--check-value",
        )


def _require_agreement(key: bytearray, expected: bytes | None) -> None:
    """Let officers compare check values before the key is on the token. Raises `NotConfirmedError`."""
    from hsm_dicom.cli.components import format_check_value
    from hsm_dicom.cli.confirmation import NotConfirmedError
    from tokens.algorithms.des_keys import check_value

    if expected is not None:
        if check_value(key) != expected:
            raise NotConfirmedError(
                f"The key's check value is not {format_check_value(expected)}: nothing was imported."
            )
    elif not typer.confirm("Are all check values right?", err=True):
        raise NotConfirmedError("The check values do not agree: nothing was imported.")


def _hexadecimal(check_value: str | None) -> bytes | None:
    if check_value is None:
        return None
    if len(check_value) != 6 or not set(check_value) <= set(hexdigits):
        # The value is not repeated: it may be a component, given here by mistake.
        raise typer.BadParameter("A check value is 6 hexadecimal digits, such as D5D44F.", param_hint="--check-value")
    return bytes.fromhex(check_value)


def _tell(kind: str, entry: SecretEntry, ceremony: Ceremony, json: bool) -> None:
    from hsm_dicom.cli.components import format_check_value
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.secret_report import secret_json, uses

    if json:
        output.write_json(kind, secret_json(entry))
        return
    output.outcome(
        True,
        f"Secret key '{output.shown(entry.info.label)}' is on {output.shown(ceremony.record.device)}: "
        f"{entry.info.form.name}, {uses(entry)}, check value {format_check_value(entry.check_value)}.",
    )
    ceremony.print()
