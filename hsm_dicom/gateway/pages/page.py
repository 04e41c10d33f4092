"""The page for people: no script, nothing that is loaded, and one style sheet, which the browser knows by its hash."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

from jinja2 import Environment
from markupsafe import Markup

from hsm_dicom.gateway.pages.views import page_view
from hsm_dicom.gateway.status import GatewayStatus
from hsm_dicom.report.environment import make_environment

REFRESH_SECONDS = 30
"""After how many seconds a browser loads the page again."""


def render_page(status: GatewayStatus) -> str:
    """Return the HTML of a status."""
    template = _environment().get_template("status.html.j2")
    return template.render(view=page_view(status), style=_style(), refresh_seconds=REFRESH_SECONDS)


@cache
def content_security_policy() -> str:
    """Return the policy that lets a browser apply the style sheet of the page, and do nothing else (W3C CSP 3)."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@cache
def _environment() -> Environment:
    return make_environment("hsm_dicom.gateway.pages")


@cache
def _style() -> Markup:
    """Return the style sheet, which is a file of this package and not escaped."""
    parts = (_environment().get_template(name).render() for name in ("look.css", "status.css"))
    return Markup("\n".join(parts))  # noqa: S704
