"""No timer depends on the wall clock: where the network reads it, it is shown or judged, and never waited for.

Deadlines, pauses, rates and limits are measured by `time.monotonic`, so that a clock that is set neither ends an
association nor keeps one for ever. Each use of the wall clock is listed here with its purpose.
"""

from __future__ import annotations

import ast
from pathlib import Path

import hsm_dicom

PACKAGE = Path(hsm_dicom.__file__).parent

ROOMS = ("gateway", "network", "transport", "tls", "iscl", "trust", "identity", "node")

WALL_CLOCKS = {
    *("time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime", "time.strftime"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.CLOCK_REALTIME"),
}

USES = {
    "gateway/alarms/channel.py": {"deliver": "the time of a report"},
    "gateway/holding/records.py": {
        "add": "the age of a record, which outlives the process",
        "_prune": "what is older than it is kept, after a restart too",
    },
    "gateway/route.py": {
        "note_refused": "shown on the status page",
        "note_opened": "shown on the status page",
        "note_ended": "shown on the status page",
    },
    "node/clock.py": {"__init__": "the clock that is watched"},
    "trust/clock.py": {"current_time": "the time at which validity is judged"},
}
"""By module, the functions that read the wall clock, and what for."""


def find_uses(file: Path) -> set[str]:
    found: set[str] = set()
    text = file.read_text()
    if not any(word.partition(".")[2] in text for word in WALL_CLOCKS):
        return found

    def visit(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.Attribute) and ".".join(ast.unparse(node).split(".")[-2:]) in WALL_CLOCKS:
            found.add(function)
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(ast.parse(text), "<module>")
    return found


def test_each_use_of_the_wall_clock_is_listed_with_its_purpose() -> None:
    found = {
        str(file.relative_to(PACKAGE)): uses
        for room in ROOMS
        for file in sorted((PACKAGE / room).rglob("*.py"))
        if (uses := find_uses(file))
    }
    assert found == {module: set(functions) for module, functions in USES.items()}


def test_no_room_of_the_network_hides_the_clock_behind_another_name() -> None:
    names = {"time", "now", "utcnow", "today", "localtime"}
    hidden = [
        f"{file.relative_to(PACKAGE)}:{node.lineno}"
        for room in ROOMS
        for file in (PACKAGE / room).rglob("*.py")
        if "from time import" in file.read_text()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "time" and names & {alias.name for alias in node.names}
    ]
    assert hidden == []
