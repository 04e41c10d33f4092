"""Reports on tokens: text for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pkcs11 import TokenFlag as Flag

from hsm_dicom.cli.render import output
from hsm_dicom.cli.render.key_report import findings_json, kind, operations_json, print_findings, print_operations
from hsm_dicom.cli.render.secret_check_report import print_secret_check, secret_check_json
from hsm_dicom.node.acceptance import assess_iscl, can_make_dicom_signatures, can_sign_dicom, is_ready_for_dicom
from tokens.pins.refusal_record import Refusal, State
from tokens.pkcs11.check import KeyCheck, TokenCheck
from tokens.pkcs11.search import TokenInfo

_STATES = {
    State.REFUSED: "it is not presented again",
    State.UNCLEAR: "the token failed during the login",
    State.UNANSWERED: "the token has not answered, so it is not presented unattended",
}
"""What each state of a recorded PIN means."""


def print_token(token: TokenInfo, recorded: Sequence[Refusal] = ()) -> None:
    """Print a token in three lines: name, PINs, URI; or the command that initialises it."""
    if token.initialised:
        output.say((output.shown(token.label), "bold"), f"  serial {token.serial}, {_origin(token)}")
        output.say("; ".join(pin_states(token)), indent=2)
        for refusal in recorded:
            output.say(f"{refusal.state}: {describe_recorded_pin(refusal)}", indent=2)
        output.say_verbatim(str(token.uri), indent=2, style=output.QUIET)
        return
    output.say(("(not initialised)", output.QUIET), f"  slot {token.slot_id}, {_origin(token)}")
    command = f"hsm-dicom token init --module {token.module_path} --label NAME"
    output.say_verbatim(command, indent=2, style=output.QUIET)


def pin_states(token: TokenInfo) -> list[str]:
    """Return the states of the PINs in words; of the SO PIN, only problems."""
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


def describe_recorded_pin(refusal: Refusal) -> str:
    """Return whose PIN was not accepted, when, and what that means."""
    who = "an SO PIN" if refusal.role == "so" else "a user PIN"
    return f"{who} on {refusal.when:%Y-%m-%d %H:%M} UTC; {_STATES[refusal.state]}"


def recorded_pins_json(refusals: Iterable[Refusal]) -> list[dict[str, Any]]:
    """Return the PINs that a token did not accept as JSON."""
    return [
        {
            "role": r.role,
            "when": output.timestamp(r.when),
            "state": r.state,
            "unclear": r.state is State.UNCLEAR,
        }
        for r in refusals
    ]


def _origin(token: TokenInfo) -> str:
    return output.shown(" ".join(filter(None, (token.model, f"({token.manufacturer})" if token.manufacturer else ""))))


def _wear(token: TokenInfo, locked: Flag, final: Flag, low: Flag) -> str:
    if locked in token.flags:
        return ": LOCKED"
    if final in token.flags:
        return ": one more wrong try locks it"
    return ": a wrong PIN was presented since the last login" if low in token.flags else ""


def token_json(token: TokenInfo) -> dict[str, Any]:
    """Return a token as JSON."""
    return {
        "label": token.label if token.initialised else None,
        "serial": token.serial,
        "manufacturer": token.manufacturer,
        "model": token.model,
        "hardware": token.hardware,
        "firmware": token.firmware,
        "slot": token.slot_id,
        "slot_description": token.slot_description,
        "module": str(token.module_path),
        "module_description": token.module_description,
        "initialised": token.initialised,
        "flags": sorted(flag.name for flag in type(token.flags) if flag in token.flags and flag.name),
        "uri": str(token.uri) if token.initialised else None,
    }


def print_check(check: TokenCheck) -> None:
    """Print an acceptance test: a table for each key, one for the secret keys, and the verdicts at the end."""
    output.say((output.shown(check.token.label), "bold"), f"  serial {check.token.serial}, {_origin(check.token)}")
    output.say(f"{output.shown(check.module)}; {len(check.mechanisms)} mechanisms", indent=2)
    for key in check.keys:
        _print_key_check(key)
    if check.secrets is not None:
        print_secret_check(check.secrets)
    print()
    if is_ready_for_dicom(check):
        output.outcome(True, "This token can be used for DICOM.")
    elif any(can_make_dicom_signatures(key.operations) for key in check.keys):
        output.outcome(False, "The mechanisms are sufficient, but the policy allows none of the keys: see the remarks.")
    else:
        output.outcome(False, "No key makes DICOM signatures (RSA, PKCS #1 v1.5, SHA-256).")
    if check.secrets is not None:
        verdict = assess_iscl(check.secrets)
        output.outcome(verdict.is_ready, verdict.text)


def _print_key_check(key: KeyCheck) -> None:
    print()
    name = output.shown(key.label) or f"id {key.id.hex()}"
    title = "Temporary key" if key.temporary else f"Key {name}"
    output.say((title, "bold"), f"  {kind(key.attributes)}" + (", deleted again" if key.temporary else ""))
    print_operations(key.operations, "token")
    output.outcome(not key.readable, f"The private value {'was GIVEN AWAY' if key.readable else 'cannot be read'}.")
    print_findings(key.findings)
    output.say(
        f"{key.rate_with_1_session:,.0f} signatures/s with 1 session, {key.rate_with_4_sessions:,.0f} with 4"
        if key.rate_with_1_session
        else "Not measured: it makes no signature."
    )


def check_json(check: TokenCheck) -> dict[str, Any]:
    """Return an acceptance test as JSON."""
    return {
        "dicom_ready": is_ready_for_dicom(check),
        "token": token_json(check.token),
        "module_description": check.module,
        "mechanisms": list(check.mechanisms),
        "keys": [
            {
                "label": key.label,
                "id": key.id.hex(),
                "temporary": key.temporary,
                "type": key.attributes.key_type,
                "bits": key.attributes.size_bits,
                "signs_dicom": can_sign_dicom(key),
                "private_value_readable": key.readable,
                "findings": findings_json(key.findings),
                "operations": operations_json(key.operations),
                "signatures_per_second": {"1": key.rate_with_1_session, "4": key.rate_with_4_sessions},
            }
            for key in check.keys
        ],
        "iscl": None if check.secrets is None else secret_check_json(check.secrets),
    }
