"""Settings of `tokens` for this product, made when `hsm_dicom` is imported: the state folder and the remedies.

The state folder is $HSM_DICOM_STATE, else systemd's $STATE_DIRECTORY, else /var/lib/hsm-dicom for root, else
hsm-dicom in $XDG_STATE_HOME (~/.local/state). `state.folder` of the configuration takes precedence. Forked processes
inherit this. A process that imports only `tokens` has other defaults: see `tokens.process.state_folder`.
"""

from __future__ import annotations

from hsm_dicom.remedies import remedy_of
from tokens.errors import use_remedies
from tokens.process.state_folder import StateFolderName, use_state_folder

STATE_FOLDER = StateFolderName("HSM_DICOM_STATE", "hsm-dicom")


def introduce() -> None:
    """Make this process's `tokens` use the product's state folder and remedies."""
    use_state_folder(STATE_FOLDER)
    use_remedies(remedy_of)
