"""`hsm-dicom token reset-pin`: a new user PIN for a token or a card whose PIN is locked or forgotten."""

from __future__ import annotations

from typing import Annotated

import typer

from hsm_dicom.cli.options import Config, Module, Operator, Record, SoPin, Verbose, identity_names, token_names


def _device_names(incomplete: str) -> list[str]:
    return token_names(incomplete) + identity_names(incomplete)


def reset_pin(
    token: Annotated[
        str,
        typer.Argument(
            metavar="TOKEN",
            show_default=False,
            autocompletion=_device_names,
            help="A token: its NAME in the configuration, or a pkcs11: URI. Or a card: its card: URI. Or the NAME of "
            "an identity, for the device of its key.",
        ),
    ],
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
    """Set a new user PIN where the old one is locked or forgotten. Keys stay as they are.

    --so-pin is the security officer's PIN of a token, the PUK of a PIV card, or the admin PIN of an OpenPGP card. It is
    presented once; a wrong one counts, too, and a device on which it is locked must be erased.
    """
    from hsm_dicom.cli.context import find_card_access, get_token_access, open_configuration
    from hsm_dicom.cli.pin_sources import new_pin_source, pin_source_of
    from hsm_dicom.cli.records import keep_record
    from hsm_dicom.cli.render import output
    from tokens.manager import default_manager
    from tokens.pkcs11.officer import set_user_pin
    from tokens.smartcard.officer import reset_pin as reset_card_pin
    from tokens.smartcard.opening import open_card

    officer, new = pin_source_of(so_pin, "--so-pin"), new_pin_source(new_pin, "--new-pin")
    with keep_record("token reset-pin", record) as ceremony, open_configuration(config) as configuration:
        card = find_card_access(configuration, token)
        if card is not None:
            cards = default_manager().cards
            with open_card(cards, card.uri, memory=card.memory, profiles=card.profiles) as application:
                ceremony.record.device = application.description
                reset_card_pin(application, officer, new, card.memory)
        else:
            access = get_token_access(configuration, token, pin=None, module=module)
            owner, found = access.find_token()
            ceremony.set_token(found)
            set_user_pin(owner, found, officer, new, access.memory)
    output.outcome(
        True,
        f"The user PIN of {output.shown(ceremony.record.device)} is set. Write the new PIN to the PIN source of your "
        "services, then start or reload them.",
    )
    ceremony.print()


def register(app: typer.Typer) -> None:
    """Add the command to those of `hsm-dicom token`."""
    app.command("reset-pin", epilog="Example: hsm-dicom token reset-pin 'pkcs11:token=CT%20room'")(reset_pin)
