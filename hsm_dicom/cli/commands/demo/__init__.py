"""`hsm-dicom demo`: a token, a key, real images signed and verified, and refused after one byte was changed.

The demonstration uses one folder and no network. `story` calls the public functions of this library, like any program.

| module      | one idea                                                 |
|-------------|----------------------------------------------------------|
| `story`     | the steps of the demonstration                           |
| `narrator`  | the output of the steps                                  |
| `softhsm`   | a software HSM in a folder                               |
| `authority` | a CA for demonstrations, its key in memory only          |
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from hsm_dicom.cli.options import Verbose

EXAMPLE = "Example: hsm-dicom demo --dir ./demonstration"


def demo(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            metavar="FOLDER",
            show_default=False,
            help="Work in this new folder and keep it; by default, in a temporary folder.",
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Show signing and verification in a few seconds.

    SoftHSM takes the place of the HSM. Sample images of pydicom are signed, verified, and refused after a change.
    """
    from hsm_dicom.cli.commands.demo.story import DemonstrationError, tell

    with ExitStack() as stack:
        if folder is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hsm-dicom-demo-")))
        else:
            if folder.exists() and any(folder.iterdir()):
                raise DemonstrationError(f"{folder} is not empty; name a new folder for the demonstration.")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = folder.resolve()
        tell(place, kept=folder is not None)
