"""How long the slow tests go on: once in the suite, RUNS times under `make soak`."""

import os

RUNS = int(os.environ.get("HSM_DICOM_SOAK", "1"))
