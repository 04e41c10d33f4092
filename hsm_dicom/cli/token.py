"""`hsm-dicom token`: what tokens there are, what they can do, and their PINs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsm_dicom.cli import exits
from hsm_dicom.cli.options import Config, Confirmed, Json, Module, Pin, SoPin, TokenName, Verbose

if TYPE_CHECKING:
    from tokens.pkcs11.check import KeyCheck, TokenCheck
    from tokens.pkcs11.search import TokenInfo

app = typer.Typer(help="Tokens: list, inspect, initialise, test them, and their PINs.", no_args_is_help=True)


@app.command("list", epilog="Example: hsm-dicom token list --module /usr/lib/softhsm/libsofthsm2.so")
def list_tokens(module: Module = None, config: Config = None, json: Json = False, verbose: Verbose = False) -> None:
    """List the tokens of a module, or of all modules that the configuration names. No PIN is needed."""
    from hsm_dicom.cli import output
    from hsm_dicom.cli.session import configured
    from hsm_dicom.config.devices import configured_modules
    from tokens.pkcs11.module import load_module
    from tokens.pkcs11.search import present_tokens

    with configured(config) as configuration:
        modules = {module: None} if module is not None else configured_modules(configuration)
        if not modules:
            raise typer.BadParameter("Name a PKCS#11 module, or tokens in the configuration.", param_hint="--module")
        tokens = [found.info for path, init in modules.items() for found in present_tokens(load_module(path, init))]
    if json:
        output.write_json("token-list", {"tokens": [_token_json(token) for token in tokens]})
        return
    if not tokens:
        output.say("No token is present.")
    for token in tokens:
        if token.initialised:
            output.say((output.shown(token.label), "bold"), f"  serial {token.serial}, {_origin(token)}")
            output.say("; ".join(_pin_states(token)), indent=2)
            output.say_verbatim(str(token.uri), indent=2, style=output.QUIET)
        else:
            output.say(("(not initialised)", output.QUIET), f"  slot {token.slot_id}, {_origin(token)}")
            output.say_verbatim(
                f"hsm-dicom token init --module {token.module_path} --label NAME", indent=2, style=output.QUIET
            )


@app.command("info", epilog="Example: hsm-dicom token info 'pkcs11:token=CT%20room'")
def info(
    token: TokenName, module: Module = None, config: Config = None, json: Json = False, verbose: Verbose = False
) -> None:
    """Show what one token says of itself, and what is remembered of it. No PIN is needed."""
    from hsm_dicom.cli import output
    from hsm_dicom.cli.session import configured, token_access
    from tokens.pkcs11.search import find_token

    with configured(config) as configuration:
        access = token_access(configuration, token, pin=None, module=module)
        owner = access.module()
        found = find_token(owner, access.uri).info
        refusals = access.memory.refusals(found.serial)
    if json:
        content = _token_json(found) | {
            "module_description": owner.description,
            "refused_pins": [{"role": r.role, "when": output.timestamp(r.when)} for r in refusals],
        }
        output.write_json("token-info", content)
        return
    output.say((output.shown(found.label), "bold"))
    rows = [
        ("serial", found.serial),
        ("manufacturer", output.shown(found.manufacturer)),
        ("model", output.shown(found.model)),
        ("slot", f"{found.slot_id}: {output.shown(found.slot_description)}"),
        ("module", str(found.module_path)),
        ("", output.shown(owner.description)),
    ]
    rows += [("PIN", state) for state in _pin_states(found)]
    rows += [("refused", f"a {r.role} PIN on {r.when:%Y-%m-%d %H:%M} UTC; it is not presented again") for r in refusals]
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
    module: Module = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Initialise a token: its label, the security officer's PIN and the user's PIN."""
    from hsm_dicom.cli import output
    from hsm_dicom.cli.confirmation import demand_confirmation
    from hsm_dicom.cli.new_pin import new_pin_source
    from hsm_dicom.cli.session import configured, token_access
    from tokens.errors import sentence_case
    from tokens.pin import parse_pin_source
    from tokens.pkcs11.ceremony import initialise_token
    from tokens.pkcs11.search import find_token
    from tokens.uri import Pkcs11Uri

    with configured(config) as configuration:
        access = token_access(configuration, erase or str(Pkcs11Uri(token=label)), pin=None, module=module)
        owner = access.module()
        old = None
        if erase is not None:
            old = find_token(owner, access.uri).info
            demand_confirmation(old.label, yes, f"All keys on {old.description} will be destroyed.")
        made = initialise_token(
            owner,
            label,
            new_pin_source(so_pin) if old is None else parse_pin_source(so_pin),
            new_pin_source(pin),
            memory=access.memory,
            erase=old.uri if old else None,
        )
    if json:
        output.write_json("token-init", _token_json(made))
        return
    output.outcome(True, f"{sentence_case(made.description)} is initialised. Make a key in it:")
    output.say_verbatim(f"hsm-dicom key generate '{made.uri}' --label NAME", indent=2)


@app.command("check", epilog="Example: hsm-dicom token check 'pkcs11:token=CT%20room' --pin prompt")
def check(
    token: TokenName,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Try a token out: every mechanism ladder, the policy on its keys, its speed. Exit 0 only if DICOM will work.

    Signs with the keys on the token (with temporary ones, if it has none); nothing is left behind.
    """
    from hsm_dicom.cli import output
    from hsm_dicom.cli.session import configured, token_access
    from tokens.pkcs11.check import check_token
    from tokens.policy import KeyPolicy

    with configured(config) as configuration:
        access = token_access(configuration, token, pin=pin, module=module)
        with access.open() as connection:
            connection.connect()
            with output.working("Logged in", quiet=json) as tell:
                result = check_token(connection, access.uri, KeyPolicy(), tell)
    if json:
        output.write_json("token-check", _check_json(result))
    else:
        _print_check(result)
    raise typer.Exit(exits.OK if result.dicom_ready else exits.FAILED)


@app.command("login", epilog="Example: hsm-dicom token login 'pkcs11:token=CT%20room' --last-try")
def login(
    token: TokenName,
    last_try: Annotated[
        bool, typer.Option("--last-try", help="Present the PIN although one more wrong try locks the token.")
    ] = False,
    pin: Pin = None,
    module: Module = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Log in once by hand, which resets a token's counter of wrong PINs."""
    from hsm_dicom.cli import output
    from hsm_dicom.cli.session import configured, token_access
    from tokens.errors import sentence_case

    with configured(config) as configuration:
        access = token_access(configuration, token, pin=pin, module=module, last_try=last_try)
        with access.open() as connection:
            connection.connect()
            output.outcome(True, f"{sentence_case(connection.token.description)} took the PIN.")


@app.command("forgive", epilog="Example: hsm-dicom token forgive 2f5c1e7a09b3d846")
def forgive(
    serial: Annotated[str, typer.Argument(metavar="SERIAL", show_default=False, help="The token's serial number.")],
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Forget which PINs a token refused, so that they are presented again. For the security officer."""
    from hsm_dicom.cli import output
    from hsm_dicom.cli.session import configured
    from tokens.refusals import RefusalMemory

    with configured(config) as configuration:
        count = RefusalMemory(configuration.state.folder).forgive(serial)
    if count:
        what = "One refusal" if count == 1 else f"{count} refusals"
        output.outcome(True, f"{what} of the token with serial {output.shown(serial)} forgotten.")
    else:
        output.say(f"Nothing was remembered of a token with serial {output.shown(serial)}.")


@app.command("change-pin", epilog="Example: hsm-dicom token change-pin 'pkcs11:token=CT%20room'")
def change_pin(
    token: TokenName,
    pin: Pin = None,
    new_pin: Annotated[
        str, typer.Option("--new-pin", metavar="SOURCE", help="Where the new PIN comes from; as for --pin.")
    ] = "prompt",
    module: Module = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Change the user PIN of a token."""
    from hsm_dicom.cli import output
    from hsm_dicom.cli.new_pin import new_pin_source
    from hsm_dicom.cli.session import configured, token_access
    from tokens.pin import Prompt
    from tokens.pkcs11.ceremony import change_pin
    from tokens.pkcs11.search import find_token

    with configured(config) as configuration:
        access = token_access(configuration, token, pin=pin, module=module)
        owner = access.module()
        found = find_token(owner, access.uri).info
        change_pin(owner, found, access.pin or Prompt(), new_pin_source(new_pin), access.memory)
    output.outcome(True, f"The PIN of {found.description} was changed. Put it where services read it from.")


def _origin(token: TokenInfo) -> str:
    from hsm_dicom.cli.output import shown

    return shown(" ".join(filter(None, (token.model, f"({token.manufacturer})" if token.manufacturer else ""))))


def _pin_states(token: TokenInfo) -> list[str]:
    """What the token says of its PINs, in words; of the officer's only what is worth knowing."""
    from pkcs11 import TokenFlag as Flag

    if Flag.LOGIN_REQUIRED not in token.flags:
        states = ["no PIN is needed"]
    elif Flag.USER_PIN_INITIALIZED not in token.flags:
        states = ["the user PIN was never set"]
    else:
        states = [
            "user PIN is set" + _wear(token, Flag.USER_PIN_LOCKED, Flag.USER_PIN_FINAL_TRY, Flag.USER_PIN_COUNT_LOW)
        ]
    worn = _wear(token, Flag.SO_PIN_LOCKED, Flag.SO_PIN_FINAL_TRY, Flag.SO_PIN_COUNT_LOW)
    return [*states, f"SO PIN{worn}"] if worn else states


def _wear(token: TokenInfo, locked: Any, final: Any, low: Any) -> str:
    if locked in token.flags:
        return ": LOCKED"
    if final in token.flags:
        return ": one more wrong try locks it"
    return ": a wrong one was tried lately" if low in token.flags else ""


def _token_json(token: TokenInfo) -> dict[str, Any]:
    return {
        "label": token.label if token.initialised else None,
        "serial": token.serial,
        "manufacturer": token.manufacturer,
        "model": token.model,
        "slot": token.slot_id,
        "slot_description": token.slot_description,
        "module": str(token.module_path),
        "initialised": token.initialised,
        "flags": sorted(flag.name for flag in type(token.flags) if flag in token.flags and flag.name),
        "uri": str(token.uri) if token.initialised else None,
    }


def _print_check(check: TokenCheck) -> None:
    from hsm_dicom.cli import output

    output.say((output.shown(check.token.label), "bold"), f"  serial {check.token.serial}, {_origin(check.token)}")
    output.say(f"{output.shown(check.module)}; {len(check.mechanisms)} mechanisms", indent=2)
    for key in check.keys:
        _print_key_check(key)
    print()
    if check.dicom_ready:
        output.outcome(True, "This token does the DICOM jobs.")
    elif any(o.works and o.needed_for == "DICOM signatures" for key in check.keys for o in key.operations):
        output.outcome(False, "The mechanisms would do, but no key here may be used: see the remarks.")
    else:
        output.outcome(False, "No key here makes the signatures of DICOM (RSA, PKCS #1 v1.5, SHA-256).")


def _print_key_check(key: KeyCheck) -> None:
    from rich.text import Text

    from hsm_dicom.cli import output

    print()
    name = output.shown(key.label) or f"id {key.id.hex()}"
    kind = f"{key.attributes.key_type} {key.attributes.size_bits}"
    output.say(
        ("Temporary key" if key.temporary else f"Key {name}", "bold"),
        f"  {kind}" + (", gone again" if key.temporary else ""),
    )
    rows = output.table("", "operation", "how the token is asked", "needed for")
    for operation in key.operations:
        how = Text(operation.mechanism) if operation.works else Text(output.shown(operation.problem), output.UNSURE)
        rows.add_row(Text(*output.mark(operation.works)), operation.operation, how, operation.needed_for)
    output.console().print(rows)
    output.outcome(not key.readable, f"The private value {'was GIVEN AWAY' if key.readable else 'cannot be read'}.")
    for finding in key.findings:
        what = ("refused", output.BAD) if finding.refusal else ("remark", output.UNSURE)
        output.say(what, f": {finding.sentence}")
    output.say(
        f"{key.rate_with_1_session:,.0f} signatures/s with 1 session, {key.rate_with_4_sessions:,.0f} with 4"
        if key.rate_with_1_session
        else "Not measured: it makes no signature."
    )


def _check_json(check: TokenCheck) -> dict[str, Any]:
    return {
        "dicom_ready": check.dicom_ready,
        "token": _token_json(check.token),
        "module_description": check.module,
        "mechanisms": list(check.mechanisms),
        "keys": [
            {
                "label": key.label,
                "id": key.id.hex(),
                "temporary": key.temporary,
                "type": key.attributes.key_type,
                "bits": key.attributes.size_bits,
                "signs_dicom": key.signs_dicom,
                "private_value_readable": key.readable,
                "findings": [
                    {"weakness": f.weakness.value, "sentence": f.sentence, "refusal": f.refusal} for f in key.findings
                ],
                "operations": [
                    {
                        "operation": o.operation,
                        "works": o.works,
                        "mechanism": o.mechanism or None,
                        "needed_for": o.needed_for or None,
                        "problem": o.problem or None,
                    }
                    for o in key.operations
                ],
                "signatures_per_second": {"1": key.rate_with_1_session, "4": key.rate_with_4_sessions},
            }
            for key in check.keys
        ],
    }
