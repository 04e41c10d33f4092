"""Write the manual pages of the program: `write_manpages.py DOCS FOLDER DATE`.

The texts are those of the reference of commands, which the extensions of DOCS write from the program itself:
hsm-dicom(1) lists the commands, and hsm-dicom-NAME(1) describes one, or each command of a group.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

FILES = """\
.SH FILES
.TP
.I /etc/hsm-dicom/hsm-dicom.toml
The configuration of the machine.
.TP
.I /var/lib/hsm-dicom
The state of the services, and of commands that root runs.
.TP
.I /usr/share/doc/hsm-dicom/examples/hsm-dicom.toml
The template of the configuration.
"""
HEADINGS = {"argument": "Arguments", "option": "Options", "exit status": "Exit status"}


def main() -> None:
    """Write all pages."""
    docs, folder, date = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    sys.path.insert(0, str(docs / "_ext"))
    from commands import command_names, visible_commands, write_command
    from typer.main import get_command

    from hsm_dicom.cli.program import app

    folder.mkdir(parents=True, exist_ok=True)
    program = get_command(app)
    summaries = {name: _summarise(one.help) for name, one in visible_commands(program).items()}
    pages = [f"hsm-dicom-{name}" for name in command_names()]
    for name, page in zip(command_names(), pages, strict=True):
        text = "\n".join(_convert(write_command(name)))
        others = ["hsm-dicom", *(other for other in pages if other != page)]
        _write(folder / f"{page}.1", date, summaries[name], f".SH DESCRIPTION\n{text}\n", others)
    rows = "".join(f".TP\n.BR hsm\\-dicom\\-{_escape(name)} (1)\n{_escape(text)}\n" for name, text in summaries.items())
    synopsis = ".SH SYNOPSIS\n.B hsm\\-dicom\n.I COMMAND\n[\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...\n"
    body = f"{synopsis}.SH DESCRIPTION\n{_escape(program.help)}\n.SH COMMANDS\n{rows}{FILES}"
    _write(folder / "hsm-dicom.1", date, _summarise(program.help), body, pages)


def _write(file: Path, date: str, summary: str, body: str, others: list[str]) -> None:
    name = file.stem
    title = f'.TH {_escape(name.upper())} 1 {date} hsm\\-dicom "User Commands"\n'
    also = ",\n".join(f".BR {_escape(other)} (1)" for other in others)
    text = f"{title}.SH NAME\n{_escape(name)} \\- {_escape(summary)}\n{body}.SH SEE ALSO\n{also}\n"
    file.write_text(text, encoding="utf-8")


def _summarise(help_text: str) -> str:
    """Return the first sentence of a command's help, without its full stop."""
    return re.split(r"\.(?:\s|$)", " ".join(help_text.split()), maxsplit=1)[0].strip()


def _convert(markdown: str) -> Iterator[str]:
    """Yield the lines of a manual page: of the reference's headings, programs, tables and paragraphs."""
    is_program = is_heading = False
    for line in markdown.splitlines():
        if line.startswith("```"):
            is_program = not is_program
            yield from (".PP", ".nf", ".RS 4") if is_program else (".RE", ".fi")
        elif is_program:
            yield _escape(line)
        elif line.startswith("#"):
            yield f'.SS "{_escape(line.lstrip("# "))}"'
        elif line.startswith("|---"):
            is_heading = False
        elif line.startswith("|"):
            first, *rest = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            is_heading = rest == ["meaning"]
            if is_heading:
                yield from (".PP", f".B {HEADINGS.get(first, first.capitalize())}:")
            else:
                yield from (".TP", _mark(first, strong=True), _mark(" ".join(rest)))
        elif line:
            yield _mark(line)
        else:
            yield ".PP"


def _mark(text: str, *, strong: bool = False) -> str:
    """Return text of Markdown, with its code in bold; `strong` is what a list describes."""
    marked = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", _escape(text))
    return f"\\fB{marked}\\fR" if strong and "\\fB" not in marked else marked


def _escape(text: str) -> str:
    """Return text in which the typesetter changes nothing."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    main()
