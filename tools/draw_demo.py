"""Draw the picture of the README: what `hsm-dicom demo` prints in a terminal, from step 3 to step 7, as SVG.

Run it again when the demonstration changes: `.venv/bin/python tools/draw_demo.py`.
"""

import io
import os
import pty
import re
import subprocess
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "_static" / "demo.svg"
COLUMNS = 96


def main() -> None:
    """Run the demonstration in a terminal of 96 columns, and write the picture of its steps 3 to 7."""
    lines = run_demo().splitlines()
    step = {number: next(i for i, line in enumerate(lines) if re.search(rf" {number}  ", line)) for number in (3, 8)}
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print("[green]$ make demo")
    console.print("…\n", style="dim")
    for line in lines[step[3] : step[8]]:
        console.print(Text.from_ansi(line))
    picture = console.export_svg(title="hsm-dicom demo", unique_id="demo")
    # The page loads nothing from elsewhere: the reader's own monospaced font serves.
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    TARGET.write_text(re.sub(r"[ \t]+$", "", picture, flags=re.MULTILINE).rstrip() + "\n")


def run_demo() -> str:
    """Return what the demonstration prints, without the frames of its progress display."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    command = [str(ROOT / ".venv" / "bin" / "hsm-dicom"), "demo"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        while chunk := _read(ours):
            said += chunk
    if process.returncode:
        raise SystemExit(f"hsm-dicom demo ended with status {process.returncode}")
    text = said.decode().replace("\r\n", "\n")
    return re.sub(r"\x1b\[\?25l.*?\x1b\[\?25h(?:\x1b\[1A\x1b\[2K)?", "", text, flags=re.DOTALL)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the program has closed its end.
        return b""


if __name__ == "__main__":
    main()
