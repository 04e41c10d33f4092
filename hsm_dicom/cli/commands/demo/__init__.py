"""`hsm-dicom demo`: what this program does, shown on this computer with a software HSM.

The stories call the public functions of this library and its commands, like any program.

| module          | one idea                                                                            |
|-----------------|-------------------------------------------------------------------------------------|
| `story`         | real images signed and verified, and refused after one byte was changed             |
| `gateway_story` | a modality without TLS stores into a PACS that accepts nothing else                  |
| `gateway_signing` | the same, and the gateway signs for the modality                                  |
| `steps`         | what both stories share                                                             |
| `narrator`      | the output of the steps                                                             |
| `softhsm`       | a software HSM in a folder                                                          |
| `authority`     | a CA for demonstrations, its key in memory only                                     |
| `pacs`          | a PACS that accepts DICOM over TLS only                                             |
| `picture`       | a picture of a page                                                                 |
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hsm_dicom.cli.options import Verbose

EXAMPLE = "Example: hsm-dicom demo --dir ./demonstration"


class Subject(StrEnum):
    """What can be shown."""

    SIGNATURES = "signatures"
    GATEWAY = "gateway"


def demo(
    subject: Annotated[
        Subject,
        typer.Argument(
            metavar="[SUBJECT]",
            help="What to show: signatures, or the gateway for devices without TLS (gateway).",
        ),
    ] = Subject.SIGNATURES,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            metavar="FOLDER",
            show_default=False,
            help="Work in this new folder and keep it; by default, in a temporary folder.",
        ),
    ] = None,
    sign: Annotated[
        bool, typer.Option("--sign", help="With gateway: have the gateway sign the objects that pass.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Show signing and verification, or the gateway, in a few seconds.

    SoftHSM takes the place of the HSM. Sample images of pydicom are signed, verified, and refused after a change; or
    sent by a program without TLS to one that accepts nothing else.
    """
    from hsm_dicom.cli.commands.demo import gateway_story, story
    from hsm_dicom.cli.commands.demo.steps import DemonstrationError

    if sign and subject is not Subject.GATEWAY:
        raise typer.BadParameter("It is for the gateway; run: hsm-dicom demo gateway --sign", param_hint="--sign")
    with ExitStack() as stack:
        if folder is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hsm-dicom-demo-")))
        else:
            if folder.exists() and any(folder.iterdir()):
                raise DemonstrationError(f"{folder} is not empty; name a new folder for the demonstration.")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = folder.resolve()
        if subject is Subject.GATEWAY:
            gateway_story.tell(place, kept=folder is not None, signs=sign)
        else:
            story.tell(place, kept=folder is not None)
