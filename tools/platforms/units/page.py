"""A guide of docs/ as its reader uses it: commands to type, with the output that they print, and files to write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from machine import Machine

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Guide:
    """A page of docs/, whose commands run in a machine with these variables of the shell."""

    name: str
    machine: Machine
    variables: Mapping[str, str]

    @property
    def text(self) -> str:
        """The page."""
        return (ROOT / "docs" / self.name).read_text()

    def read_section(self, heading: str) -> str:
        """Return the text of a section, whose heading is given without its number."""
        pattern = rf"^## (?:\d+\. )?{re.escape(heading)}\n(.*?)(?=^## |\Z)"
        [section] = re.findall(pattern, self.text, re.MULTILINE | re.DOTALL)
        return str(section)

    def run(self, heading: str, *, only: str = "", stdin: str = "", status: int = 0) -> str:
        """Run the commands of a section, or the one block that contains `only`, and compare what they print.

        Raises AssertionError if a command fails or prints something else than the page shows.
        """
        chosen = [pair for pair in self._list_pairs(heading) if only in pair[0]]
        assert chosen, f"{heading} has no command with {only}"
        exports = "".join(f"{name}={value}\n" for name, value in self.variables.items())
        said = ""
        for commands, shown in chosen:
            printed = self.machine.run(exports + commands, stdin=stdin, status=status)
            assert not shown or is_shown(printed, shown), f"{commands}\n{printed}\nis not\n{shown}"
            said += printed
        return said

    def list_commands(self, heading: str) -> list[str]:
        """Return the blocks of commands of a section."""
        return [commands for commands, _ in self._list_pairs(heading)]

    def write_files(self, heading: str) -> None:
        """Write the files of a section, each of which is named in the text before its block."""
        pattern = r"`(/etc/[^`]+)`(?:(?!^```|`/etc/).)*^```(?:ini|js|text)\n(.*?)^```"
        named = re.findall(pattern, self.read_section(heading), re.MULTILINE | re.DOTALL)
        assert named, heading
        for path, text in named:
            self.machine.write(path, text)
        self.machine.run("systemctl daemon-reload")

    def add_configuration(self, heading: str) -> None:
        """Append the tables of a section to the configuration of the machine."""
        tables = re.findall(r"^```toml\n(.*?)^```", self.read_section(heading), re.MULTILINE | re.DOTALL)
        self.machine.run("cat >> /etc/hsm-dicom/hsm-dicom.toml", stdin="\n".join(["", *tables]))

    def _list_pairs(self, heading: str) -> list[tuple[str, str]]:
        section = self.read_section(heading)
        return re.findall(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", section, re.MULTILINE | re.DOTALL)


def is_shown(printed: str, shown: str) -> bool:
    """Return whether a command printed what a page shows: "…" is anything in a line, or any number of lines."""
    lines = (r"(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r"\n" for line in shown.splitlines())
    return re.fullmatch("".join(lines), printed) is not None
