"""A picture of a page, made by Chromium if it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_SECONDS = 30.0
_OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,1400",
)


def take_picture(url: str, target: Path) -> Path | None:
    """Write a PNG file of a page, and return its path; None if Chromium is not there, or makes none."""
    program = next((found for name in _PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        return None
    with tempfile.TemporaryDirectory(prefix="hsm-dicom-browser-") as profile:
        command = [program, *_OPTIONS, f"--user-data-dir={profile}", f"--screenshot={target}", url]
        if os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium does not start for root without it
        try:
            subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            return None
    return target if target.exists() else None
