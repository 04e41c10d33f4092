"""Sphinx extension that writes the reference from the code.

Where a page has the line `<!-- generated: KIND -->`, Sphinx reads what is generated for it:

| kind            | what stands there                              |
|-----------------|------------------------------------------------|
| `configuration` | each table of the configuration, from its model |
| `events`        | each event with its members                    |
| `exit-statuses` | each exit status with its meaning              |
| `metrics`       | each metric of a gateway with its labels       |
| `mistakes`      | mistakes in a configuration, and their reports |

Commands and the Python API have pages of their own, one for each command and each package, which `write_pages` puts
into `reference/commands` and `reference/api` before Sphinx looks for pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import api
import commands
import configuration
import events
import exits
import metrics
import mistakes

KINDS = {
    "configuration": configuration.write_tables,
    "events": events.write_events,
    "exit-statuses": exits.write_exit_statuses,
    "metrics": metrics.write_metrics,
    "mistakes": mistakes.write_mistakes,
}
MARKER = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)


def write_pages(docs: Path) -> None:
    """Write the page of each command and of each package, and remove those of what is gone. `docs` is their folder."""
    pages = {
        f"reference/commands/{name}.md": f"# hsm-dicom {name}\n\n{commands.write_command(name)}"
        for name in commands.command_names()
    }
    pages |= {f"reference/api/{name}.md": f"# {name}\n\n{api.write_package(name)}" for name in api.package_names()}
    for folder in ("reference/commands", "reference/api"):
        (docs / folder).mkdir(exist_ok=True)
        for old in (docs / folder).glob("*.md"):
            if str(old.relative_to(docs)) not in pages:
                old.unlink()
    for name, text in pages.items():
        page = docs / name
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


def expand(page: str) -> str:
    """Return the Markdown of a page with each marker replaced by what is generated for it."""
    return MARKER.sub(lambda marker: KINDS[marker[1]](), page)


def _expand_source(_app: Any, _name: str, source: list[str]) -> None:
    source[0] = expand(source[0])


def _find_generated(_app: Any, env: Any, *_changes: Any) -> Iterable[str]:
    # The code may have changed where the page has not.
    return [name for name in env.found_docs if MARKER.search(Path(env.doc2path(name)).read_text())]


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir)))
    app.connect("source-read", _expand_source)
    app.connect("env-get-outdated", _find_generated)
    return {"parallel_read_safe": True}
