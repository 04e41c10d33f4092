"""`hsm-dicom inventory`: list keys, certificates, CRLs and peers, what each is for, and when it ends."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from hsm_dicom.cli import exits
from hsm_dicom.cli.options import Config, Json, Verbose, WarnDays

EXAMPLE = "Example: hsm-dicom inventory --warn-days 60 --html inventory.html"


def inventory(
    warn_days: WarnDays = 30,
    no_login: Annotated[
        bool, typer.Option("--no-login", help="Present no PIN; tokens then show their public objects only.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", show_default=False, help="Write one page for a browser, and to print."),
    ] = None,
    config: Config = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List keys, certificates, CRLs and peers: what each is for, and when it ends.

    The most urgent come first. Of each token that has a PIN source which needs no person, the PIN is presented once,
    unless --no-login is given. A token that is away or does not answer is in the list, too.
    """
    from hsm_dicom.cli.context import require_configuration
    from hsm_dicom.cli.render import output
    from hsm_dicom.cli.render.inventory_report import inventory_json, print_inventory
    from hsm_dicom.node.inventory import take_inventory
    from hsm_dicom.report.inventory import write_inventory

    file = require_configuration(config)
    with output.working("Reading the configuration", quiet=json) as show:
        taken = take_inventory(
            file, log_in=not no_login, in_readers=True, warning=timedelta(days=warn_days), progress=show
        )
    document = inventory_json(taken)
    if html is not None:
        write_inventory(html, document)
    if json:
        output.write_json("inventory", document)
    else:
        print_inventory(taken)
    raise typer.Exit(exits.NEEDS_ATTENTION if taken.needs_attention else exits.OK)
