"""A browser that looks at a page: what it made of the mark-up, and what is to be seen."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.hsm_dicom.report.png_reader import Pixels, read_png

_ALONE = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def rendered(page: Path, profile: Path) -> str:
    """The document as the browser holds it, after everything that could run has run."""
    return _run(page.as_uri(), profile, "--dump-dom")


def seen(page: Path, profile: Path, *, dark: bool = False, width: int = 640, height: int = 560) -> Pixels:
    """The top of the page."""
    return look_at(page.as_uri(), profile, dark=dark, width=width, height=height)


def look_at(address: str, profile: Path, *, dark: bool = False, width: int = 640, height: int = 560) -> Pixels:
    """The top of the page at an address."""
    shot = profile.with_suffix(".png")
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    _run(address, profile, f"--screenshot={shot}", f"--window-size={width},{height}", *scheme)
    return read_png(shot.read_bytes())


def _run(address: str, profile: Path, *options: str) -> str:
    command = ["chromium", *_ALONE, f"--user-data-dir={profile}", *options, address]
    done = subprocess.run(command, check=True, capture_output=True, timeout=60)
    return done.stdout.decode()
