"""Make an environment independent of the folder in which it was built: `settle.py BUILT FINAL`.

Python finds itself at FINAL, the only script is hsm-dicom, and everything is compiled, with the same octets each time.
"""

from __future__ import annotations

import base64
import compileall
import csv
import hashlib
import os
import py_compile
import shutil
import sys
from pathlib import Path

SCRIPT = """\
#!{final}/bin/python3 -I
from hsm_dicom.cli import main

main()
"""


def main() -> None:
    """Settle the environment of the command line."""
    built, final = Path(sys.argv[1]), sys.argv[2]
    shutil.rmtree(built / "include", ignore_errors=True)
    (built / ".gitignore").unlink(missing_ok=True)
    _keep_scripts(built, final)
    _write_configuration(built)
    for record in built.glob("lib/python3.*/site-packages/*.dist-info/RECORD"):
        _correct(record, built)
    _compile(built, final)


def _keep_scripts(built: Path, final: str) -> None:
    """Keep Python and hsm-dicom. `-I`: no PYTHON* variable and no folder of a user changes what is imported."""
    for path in (built / "bin").iterdir():
        path.unlink()
    (built / "bin/python3").symlink_to("/usr/bin/python3")
    (built / "bin/python").symlink_to("python3")
    script = built / "bin/hsm-dicom"
    script.write_text(SCRIPT.format(final=final))
    script.chmod(0o755)


def _write_configuration(built: Path) -> None:
    """Leave out the line with the command that made the environment, and its folder."""
    version = ".".join(map(str, sys.version_info[:2]))
    (built / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n")


def _correct(record: Path, built: Path) -> None:
    """Leave out of a RECORD what is gone, and give the others the hash that they have now."""
    with record.open(newline="") as file:
        rows = list(csv.reader(file))
    kept = []
    for name, *_ in rows:
        path = Path(os.path.normpath(record.parent.parent / name))
        if not path.exists():
            continue
        content = path.read_bytes()
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        kept.append([name, "", ""] if path == record else [name, f"sha256={digest}", str(len(content))])
    with record.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(sorted(kept))


def _compile(built: Path, final: str) -> None:
    """Compile all modules. Python does not compare them with their sources: dpkg replaces both at once."""
    compiled = compileall.compile_dir(
        built / "lib",
        quiet=1,
        force=True,
        stripdir=built,
        prependdir=final,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    if not compiled:
        sys.exit("A module cannot be compiled.")


if __name__ == "__main__":
    main()
