"""Opens an association with the gateway, holds it until a file appears, then sends a C-ECHO and releases it.

hold_association.py ADDRESS PORT FOLDER: writes `open` into the folder, waits for `go on` there, writes `done`.
"""

import sys
import time
from pathlib import Path

from pynetdicom import AE

address, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
ae = AE("CT1")
ae.add_requested_context("1.2.840.10008.1.1")
association = ae.associate(address, port, ae_title="PACS")
assert association.is_established
(folder / "open").touch()
while not (folder / "go on").exists():
    time.sleep(0.1)
assert association.send_c_echo().Status == 0
association.release()
(folder / "done").touch()
