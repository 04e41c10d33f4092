"""`hsm-dicom token`: list, initialise and test tokens, and manage their PINs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsm_dicom.cli import exits
from hsm_dicom.cli.options import (
    Config,
    Confirmed,
    Json,
    Module,
    Operator,
    Pin,
    Record,
    SoPin,
    TokenName,
    TokenOrGroup,
    Verbose,
    token_and_identity_names,
)
from hsm_dicom.errors import DicomError

if TYPE_CHECKING:
    from hsm_dicom.config import Configuration
    from tokens.pins.device_name import Device
    from tokens.pins.refusal_record import Refusal

app = typer.Typer(help="Tokens: list, inspect, initialise, test them, and their PINs.", no_args_is_help=True)


class NothingRememberedError(DicomError):
    """No refused PIN is recorded."""


@app.command("list", epilog="Example: hsm-dicom token list --module /usr/lib/softhsm/libsofthsm2.so")
def list_tokens(module: Module = None, config: Config = None, json: Json = False, verbose: Verbose = False) -> None:
    """List the tokens of a module, or of all modules that the configuration names. No PIN is needed."""
    from hsm_dicom.cli.context import open_configuration
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.token_report import print_token, recorded_pins_json, token_json
    from hsm_dicom.config.devices import check_module_safe, list_modules
    from tokens.errors import PinSourceError
    from tokens.manager import default_manager
    from tokens.pins.refusals import RefusalMemory
    from tokens.pkcs11.login.flags import device_name
    from tokens.pkcs11.search import look

    with open_configuration(config) as configuration:
        modules = {module: None} if module is not None else list_modules(configuration)
        if module is None:
            for path in modules:
                check_module_safe(path)
        if not modules:
            raise typer.BadParameter("Name a PKCS#11 module, or tokens in the configuration.", param_hint="--module")
        listings = {path: look(default_manager().tokens.module(path, init)) for path, init in modules.items()}
        memory = RefusalMemory(configuration.state.folder)
    tokens = [token for listing in listings.values() for token in listing.tokens]
    recorded: list[list[Refusal]] = [[] for _ in tokens]
    try:
        recorded = [memory.refusals(device_name(token)) if token.initialised else [] for token in tokens]
    except PinSourceError as error:
        output.note(f"hsm-dicom: {error.message}")  # the tokens can be listed without it
    failures = [(path, failure) for path, listing in listings.items() for failure in listing.failures]
    if json:
        unreadable = [{"module": str(path), "slot": f.slot_id, "error": f.reason} for path, f in failures]
        listed = [
            token_json(token) | {"refused_pins": recorded_pins_json(pins)}
            for token, pins in zip(tokens, recorded, strict=True)
        ]
        output.write_json("token-list", {"tokens": listed, "unreadable_slots": unreadable})
        return
    if not tokens:
        output.say("No token is present.")
    for token, pins in zip(tokens, recorded, strict=True):
        print_token(token, pins)
    for path, failure in failures:
        output.say((f"{failure.description} of {path} could not be read.", output.UNSURE))


@app.command("info", epilog="Example: hsm-dicom token info 'pkcs11:token=CT%20room'")
def info(
    token: TokenOrGroup,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show the properties of a token, and its recorded PINs. This needs no PIN.

    For an identity whose key is on several tokens, log in to each, sign with each, and show which of them work. The
    last change that a listener recorded in the event file is shown too.
    """
    from hsm_dicom.cli.context import get_token_access, open_configuration
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.key_report import unfinished_json
    from hsm_dicom.cli.render.token_report import describe_recorded_pin, pin_states, recorded_pins_json, token_json
    from hsm_dicom.cli.runs.groups import find_group, show_group
    from tokens.pkcs11.login.flags import device_name
    from tokens.pkcs11.unfinished import UnfinishedSteps

    with open_configuration(config) as configuration:
        group = find_group(configuration, token, pin)
        if group is not None:
            show_group(*group, configuration.events.file, json=json)
            return
        access = get_token_access(configuration, token, pin=None, module=module)
        owner, found = access.find_token()
        refusals = access.memory.refusals(device_name(found))
        records = UnfinishedSteps(access.memory)
        left = records.of_token(found.serial)
        made = records.review_token(found)
    if json:
        content = token_json(found) | {
            "refused_pins": recorded_pins_json(refusals),
            "unfinished": [unfinished_json(step) for step in left],
        }
        output.write_json("token-info", content)
        return
    output.say((output.shown(found.label), "bold"))
    rows = [
        ("serial", found.serial),
        ("manufacturer", output.shown(found.manufacturer)),
        ("model", output.shown(found.model)),
        ("hardware", found.hardware),
        ("firmware", found.firmware),
        ("slot", f"{found.slot_id}: {output.shown(found.slot_description)}"),
        ("module", str(found.module_path)),
        ("", output.shown(owner.description)),
    ]
    rows += [("PIN", state) for state in pin_states(found)]
    rows += [(refusal.state, describe_recorded_pin(refusal)) for refusal in refusals]
    rows += [
        (
            "unfinished",
            output.shown(f"{step.name}, begun on {step.date} and not answered; hsm-dicom key list looks for it"),
        )
        for step in left
    ]
    rows += [("late", output.shown(f"{review.text} Its user PIN may not be set.")) for review in made]
    output.facts(rows)
    output.say_verbatim(str(found.uri), indent=2, style=output.QUIET)


@app.command("init", epilog="Example: hsm-dicom token init --module /usr/lib/softhsm/libsofthsm2.so --label 'CT room'")
def init(
    label: Annotated[str, typer.Option("--label", help="The token's name, 1 to 32 bytes.", show_default=False)],
    so_pin: SoPin = "prompt",
    pin: Annotated[
        str, typer.Option("--pin", metavar="SOURCE", help="Where the new user PIN comes from; as for --so-pin.")
    ] = "prompt",
    erase: Annotated[
        str | None,
        typer.Option(
            "--erase",
            metavar="TOKEN",
            show_default=False,
            help="Erase this token, with all its keys, instead of taking an uninitialised one.",
        ),
    ] = None,
    yes: Confirmed = None,
    record: Record = None,
    operator: Operator = None,
    module: Module = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Initialise a token: its label, the security officer's PIN and the user's PIN."""
    from hsm_dicom.cli.confirmation import require_confirmation
    from hsm_dicom.cli.context import get_token_access, open_configuration
    from hsm_dicom.cli.pin_sources import new_pin_source, pin_source_of
    from hsm_dicom.cli.records import keep_record
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.reference import Reference
    from hsm_dicom.cli.render.token_report import token_json
    from hsm_dicom.config import find_token_access
    from tokens.errors import sentence_case
    from tokens.pkcs11.officer import find_token_to_erase, initialise_token
    from tokens.uri import Pkcs11Uri

    officer = new_pin_source(so_pin, "--so-pin") if erase is None else pin_source_of(so_pin, "--so-pin")
    user = new_pin_source(pin, "--pin")
    with keep_record("token init", record) as ceremony, open_configuration(config) as configuration:
        access = get_token_access(configuration, erase or str(Pkcs11Uri(token=label)), pin=None, module=module)
        owner = access.module()
        old = None
        if erase is not None:
            old = find_token_to_erase(owner, access.uri)
            ceremony.set_token(old)
            asked = old.label or f"slot {old.slot_id}"
            require_confirmation(asked, yes, f"All keys on {old.description} will be destroyed.")
        made = initialise_token(
            owner,
            label,
            officer,
            user,
            memory=access.memory,
            deadlines=access.deadlines,
            erase=replace(old.uri, slot_id=old.slot_id) if old else None,
        )
        ceremony.set_token(made)
    if json:
        output.write_json("token-init", token_json(made))
        return
    output.outcome(True, f"{sentence_case(made.description)} is initialised.")
    ceremony.print()
    output.say("Generate a key on it:")
    again = find_token_access(configuration, made.uri)
    if again.pin is None and pin != "prompt":
        again = replace(again, pin=user)
    known = Reference(configuration, again, made, module, config)
    output.say_verbatim(f"hsm-dicom key generate {known.token_word()} --label NAME{known.options()}", indent=2)


@app.command("check", epilog="Example: hsm-dicom token check 'pkcs11:token=CT%20room' --pin prompt")
def check(
    token: TokenOrGroup,
    iscl: Annotated[
        bool,
        typer.Option("--iscl", help="Test ISCL keys even if the URI selects one key, and fail if they do not work."),
    ] = False,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Test a token: its mechanisms, its keys against the policy, its speed.

    Signs with the keys on the token, or with temporary keys if it has none. ISCL is tested with temporary secret keys,
    which does not change the exit status unless --iscl is given. All temporary keys are deleted. For an
    identity whose key is on several tokens, test the key on each, and whether the tokens hold the same key.
    """
    from hsm_dicom.cli.context import get_token_access, open_configuration
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.token_report import check_json, print_check
    from hsm_dicom.cli.runs.groups import check_group, find_group
    from hsm_dicom.node.acceptance import assess_iscl, is_ready_for_dicom
    from tokens.pkcs11.check import check_token
    from tokens.policy import KeyPolicy

    with open_configuration(config) as configuration:
        group = find_group(configuration, token, pin)
        if group is not None:
            check_group(*group, configuration.events.file, json=json)
        access = get_token_access(configuration, token, pin=pin, module=module, select_key=True)
        with access.open() as connection:
            connection.connect()
            with output.working("Logged in", quiet=json) as tell:
                result = check_token(connection, access.uri, KeyPolicy(), tell, secrets=iscl or None)
    if json:
        output.write_json("token-check", check_json(result))
    else:
        print_check(result)
    iscl_wanting = iscl and result.secrets is not None and not assess_iscl(result.secrets).is_ready
    raise typer.Exit(exits.OK if is_ready_for_dicom(result) and not iscl_wanting else exits.FAILED)


@app.command("login", epilog="Example: hsm-dicom token login 'pkcs11:token=CT%20room' --pin prompt")
def login(
    token: TokenName,
    last_try: Annotated[
        bool, typer.Option("--last-try", help="Present the PIN even if one more wrong PIN locks the token.")
    ] = False,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Log in once, which resets the retry counter of the token."""
    from hsm_dicom.cli.context import get_token_access, open_configuration
    from hsm_dicom.cli.render import output
    from tokens.errors import sentence_case

    with open_configuration(config) as configuration:
        access = get_token_access(configuration, token, pin=pin, module=module, last_try=last_try)
        with access.open() as connection:
            connection.connect()
            output.outcome(True, f"{sentence_case(connection.token.description)} accepted the PIN.")


_FORMER_NAME = "forgive"
"""Name of clear-rejected-pin until 0.1.0."""
_CLEAR_EXAMPLE = "Example: hsm-dicom token clear-rejected-pin 'pkcs11:token=CT%20room'"


@app.command(_FORMER_NAME, epilog=_CLEAR_EXAMPLE, hidden=True)
@app.command("clear-rejected-pin", epilog=_CLEAR_EXAMPLE)
def clear_rejected_pin(
    context: typer.Context,
    token: Annotated[
        str,
        typer.Argument(
            metavar="TOKEN",
            show_default=False,
            autocompletion=token_and_identity_names,
            help="A token: its NAME in the configuration, or a pkcs11: URI. Or a card: its card: URI. Or the NAME of "
            "an identity, for the device of its key. Or a serial number.",
        ),
    ],
    module: Module = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Clear the record of PINs that a token refused or did not answer, so that they may be presented again."""
    from hsm_dicom.cli.context import open_configuration
    from hsm_dicom.cli.render import output
    from tokens.pins.refusals import RefusalMemory

    if context.info_name == _FORMER_NAME:
        output.note("hsm-dicom: use token clear-rejected-pin; the next release no longer has token forgive.")
    with open_configuration(config) as configuration:
        memory = RefusalMemory(configuration.state.folder)
        known_names = {*configuration.tokens, *configuration.identities}
        named = token in known_names or token.lower().startswith(("pkcs11:", "card:"))
        device = _device(configuration, token, module) if named else token
        count = memory.clear(device)
    if not (count or named):
        known = ", ".join(configuration.tokens) or "none"
        raise NothingRememberedError(
            f"No refused PIN is recorded for a token or card with the serial number '{token}', and the "
            f"configuration has no token of this name (its tokens: {known})."
        )
    which = f"of the device with serial {output.shown(device if isinstance(device, str) else device.serial)}"
    done = {0: f"No PIN {which} is recorded.", 1: f"The record of one PIN {which} was cleared."}
    output.outcome(True, done.get(count, f"The records of {count} PINs {which} were cleared."))


def _device(configuration: Configuration, token: str, module: Path | None) -> Device:
    """Return the key of a device's PIN refusals. A token may be absent if its serial number is unique."""
    from hsm_dicom.cli.context import find_card_access, get_token_access
    from tokens.manager import default_manager
    from tokens.pkcs11.login.flags import device_name
    from tokens.smartcard.check import card_info

    card = find_card_access(configuration, token)
    if card is not None:
        return card_info(default_manager().cards, card.uri.card_part(), profiles=card.profiles).serial
    access = get_token_access(configuration, token, pin=None, module=module)
    section = configuration.tokens.get(access.name or "")
    serial = access.uri.serial or (section.serial if section else None)
    if serial is not None and access.memory.is_distinct(serial):
        return serial
    return device_name(access.find_token()[1])


@app.command("change-pin", epilog="Example: hsm-dicom token change-pin 'pkcs11:token=CT%20room'")
def change_pin(
    token: TokenName,
    pin: Pin = None,
    new_pin: Annotated[
        str, typer.Option("--new-pin", metavar="SOURCE", help="Where the new PIN comes from; as for --pin.")
    ] = "prompt",
    record: Record = None,
    operator: Operator = None,
    module: Module = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Change the user PIN of a token."""
    from hsm_dicom.cli.context import get_token_access, open_configuration
    from hsm_dicom.cli.pin_sources import new_pin_source
    from hsm_dicom.cli.records import keep_record
    from hsm_dicom.cli.render import output
    from tokens.pins.sources import Prompt
    from tokens.pkcs11.officer import change_pin

    new = new_pin_source(new_pin, "--new-pin")
    with keep_record("token change-pin", record) as ceremony, open_configuration(config) as configuration:
        access = get_token_access(configuration, token, pin=pin, module=module)
        owner, found = access.find_token()
        ceremony.set_token(found)
        change_pin(owner, found, access.pin or Prompt("--pin"), new, access.memory)
    output.outcome(
        True, f"The PIN of {found.description} was changed. Write the new PIN to the PIN source of your services."
    )
    ceremony.print()


@app.command("set-pin", epilog="Example: hsm-dicom token set-pin 'pkcs11:token=CT%20room'")
def set_pin(
    token: TokenName,
    so_pin: SoPin = "prompt",
    new_pin: Annotated[
        str, typer.Option("--new-pin", metavar="SOURCE", help="Where the new user PIN comes from; as for --so-pin.")
    ] = "prompt",
    record: Record = None,
    operator: Operator = None,
    module: Module = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Set the user PIN as the security officer, where it was never set. Keys stay as they are."""
    from hsm_dicom.cli.context import get_token_access, open_configuration
    from hsm_dicom.cli.pin_sources import new_pin_source, pin_source_of
    from hsm_dicom.cli.records import keep_record
    from hsm_dicom.cli.render import output
    from tokens.pkcs11.officer import set_user_pin

    officer, new = pin_source_of(so_pin, "--so-pin"), new_pin_source(new_pin, "--new-pin")
    with keep_record("token set-pin", record) as ceremony, open_configuration(config) as configuration:
        access = get_token_access(configuration, token, pin=None, module=module)
        owner, found = access.find_token()
        ceremony.set_token(found)
        set_user_pin(owner, found, officer, new, access.memory)
    output.outcome(
        True, f"The user PIN of {found.description} is set. Write the new PIN to the PIN source of your services."
    )
    ceremony.print()
