"""RUNS: how often slow tests repeat their work, once in the suite and more often under `make soak`."""

import os

RUNS = int(os.environ.get("HSM_DICOM_SOAK", "1"))
