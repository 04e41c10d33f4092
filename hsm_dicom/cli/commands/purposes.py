"""`hsm-dicom purposes`: list the purposes of signatures (CID 7007 of PS3.16)."""

from __future__ import annotations

from hsm_dicom.cli.options import Json, Verbose

EXAMPLE = "Example: hsm-dicom purposes"


def purposes(json: Json = False, verbose: Verbose = False) -> None:
    """List the numbers that sign --purpose takes."""
    from hsm_dicom.cli.render import output
    from hsm_dicom.signatures import PURPOSES
    from hsm_dicom.signatures.profiles.purposes import CODING_SCHEME

    if json:
        listed = [{"number": number, "meaning": meaning} for number, meaning in PURPOSES.items()]
        output.write_json("purposes", {"scheme": CODING_SCHEME, "purposes": listed})
        return
    for number, meaning in PURPOSES.items():
        output.say(f"{number:2}  {meaning}")
