"""Reference of the exit statuses, from the module that defines them."""

from __future__ import annotations

import ast
import inspect

from markdown import documented, write_table

from hsm_dicom.cli import exits


def write_exit_statuses() -> str:
    """Return a table of each exit status with its name in the code and its meaning."""
    texts = dict(documented(ast.parse(inspect.getsource(exits)).body))
    statuses = {name: value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    rows = ([str(value), f"`{name}`", texts[name].partition("\n\n")[0]] for name, value in statuses.items())
    return write_table(["status", "name", "meaning"], rows)
