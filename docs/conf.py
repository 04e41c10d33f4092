"""Sphinx configuration of this documentation: MyST Markdown pages, furo theme. `make docs` builds it."""

import sys
from importlib.metadata import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

_package = metadata("hsm-dicom")

project = "hsm-dicom"
version = release = _package["Version"]
author = "The authors of hsm-dicom"
project_copyright = f"{author}; licence: {_package['License-Expression']}"
language = "en"

extensions = ["myst_parser", "generated"]
exclude_patterns = ["_build", "_ext"]
myst_enable_extensions = ["colon_fence", "fieldlist"]
myst_heading_anchors = 4
"""Every heading down to this level can be linked to by the name that GitHub gives it."""

# A type in a generated signature may have its name in several packages: such a name is then no link.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = f"hsm-dicom {release}"
html_static_path = ["_static"]
html_show_sourcelink = False
html_css_files = ["tables.css"]
