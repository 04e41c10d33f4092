"""`hsm-dicom card`: list, inspect and test smart cards."""

from __future__ import annotations

from typing import Annotated

import typer

from hsm_dicom.cli import exits
from hsm_dicom.cli.options import Config, Json, Pin, Verbose, identity_names

app = typer.Typer(help="Smart cards: list, inspect and test them.", no_args_is_help=True)

CardName = Annotated[
    str,
    typer.Argument(
        metavar="CARD",
        show_default=False,
        autocompletion=identity_names,
        help="A card: URI, as hsm-dicom card list shows it, or the NAME of an identity whose key is on a card.",
    ),
]


@app.command("list", epilog="Example: hsm-dicom card list")
def list_cards(config: Config = None, json: Json = False, verbose: Verbose = False) -> None:
    """List the readers, and the applications on the cards in them. No PIN is needed."""
    from hsm_dicom.cli.context import open_configuration
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.card_report import print_slot, slot_json
    from tokens.manager import default_manager
    from tokens.smartcard.search import list_cards

    with open_configuration(config) as configuration:
        slots = list_cards(default_manager().cards, configuration.cards)
    if json:
        output.write_json("card-list", {"readers": [slot_json(slot) for slot in slots]})
        return
    if not slots:
        output.say("No card reader is present.")
    for slot in slots:
        print_slot(slot)


@app.command("info", epilog="Example: hsm-dicom card info 'card:profile=piv'")
def info(card: CardName, config: Config = None, json: Json = False, verbose: Verbose = False) -> None:
    """Show the properties of a card: PINs with their retry counters, keys, secret keys. No PIN is needed."""
    from hsm_dicom.cli.context import get_card_access, open_configuration
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.card_report import details_json, print_details
    from tokens.manager import default_manager
    from tokens.smartcard.check import card_info

    with open_configuration(config) as configuration:
        access = get_card_access(configuration, card)
        details = card_info(default_manager().cards, str(access.uri), profiles=configuration.cards)
    if json:
        output.write_json("card-info", details_json(details))
    else:
        print_details(details)


@app.command("check", epilog="Example: hsm-dicom card check 'card:profile=piv;key=9c' --pin prompt")
def check(
    card: CardName,
    last_try: Annotated[
        bool, typer.Option("--last-try", help="Present the PIN even if one more wrong PIN locks the card.")
    ] = False,
    pin: Pin = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Test a card: its keys (or the selected one), its secret keys, its speed.

    Signs with the keys and verifies the signatures. Nothing on the card is changed.
    """
    from hsm_dicom.cli.context import get_card_access, open_configuration
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.card_report import check_json, print_check
    from hsm_dicom.node.acceptance import list_uses
    from tokens.manager import default_manager
    from tokens.smartcard.check import check_card

    with open_configuration(config) as configuration:
        access = get_card_access(configuration, card, pin=pin)
        with output.working("Looking for the card", quiet=json) as show:
            result = check_card(
                default_manager().cards,
                # The URI of the access has no PIN source.
                str(access.uri),
                pin=access.pin,
                memory=access.memory,
                last_try=last_try,
                profiles=configuration.cards,
                progress=show,
            )
    if json:
        output.write_json("card-check", check_json(result))
    else:
        print_check(result)
    raise typer.Exit(exits.OK if list_uses(result) else exits.FAILED)
