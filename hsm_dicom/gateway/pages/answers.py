"""What each path answers, from one status for all requests of a short time."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from hsm_dicom.gateway.pages import page
from hsm_dicom.gateway.pages.metrics import CONTENT_TYPE, metrics_text
from hsm_dicom.gateway.pages.status_json import encodable, status_document
from hsm_dicom.gateway.status import GatewayStatus

_log = logging.getLogger(__name__)

_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


@dataclass(frozen=True)
class Answer:
    """The body, the status and the headers of a response."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=lambda: _TEXT)


_UNREADABLE = Answer(
    b"The status of the gateway could not be read. The reason is in its log.\n", HTTPStatus.INTERNAL_SERVER_ERROR
)


class Answers:
    """Answers for one gateway. `seconds` is the age up to which an answer is given again.

    So many clients cost as much as one. To be used in one thread.
    """

    def __init__(self, snapshot: Callable[[], GatewayStatus], seconds: float) -> None:
        self._snapshot, self._seconds = snapshot, seconds
        self._made: dict[Callable[[GatewayStatus], Answer], Answer] = {}
        self._status: GatewayStatus | None = None
        self._read_at = -seconds
        self._is_reported = False

    def find(self, make: Callable[[GatewayStatus], Answer]) -> Answer:
        """Return the answer that `make` makes of the current status, or that it cannot be read."""
        now = time.monotonic()
        try:
            if self._status is None or now - self._read_at >= self._seconds:
                self._made.clear()
                self._status, self._read_at = self._snapshot(), now
            if make not in self._made:
                self._made[make] = make(self._status)
            self._is_reported = False
            return self._made[make]
        except Exception:
            # Once, until a status is read again: the requests that follow fail alike.
            if not self._is_reported:
                _log.exception("The status page could not read the status of the gateway")
            self._is_reported = True
            return _UNREADABLE


def _page(status: GatewayStatus) -> Answer:
    return Answer(
        page.render_page(status).encode(),
        headers={"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": page.content_security_policy()},
    )


def _document(status: GatewayStatus) -> Answer:
    return Answer(json.dumps(status_document(status)).encode() + b"\n", headers={"Content-Type": "application/json"})


def _metrics(status: GatewayStatus) -> Answer:
    return Answer(metrics_text(status), headers={"Content-Type": CONTENT_TYPE})


def _readiness(status: GatewayStatus) -> Answer:
    if status.is_ready and not status.is_draining:
        return Answer(b"ready\n")
    problem = status.problem or ("The gateway drains." if status.is_draining else "The gateway is not ready.")
    return Answer(encodable(problem).encode() + b"\n", HTTPStatus.SERVICE_UNAVAILABLE)


PATHS: Mapping[str, Callable[[Answers], Answer]] = {
    "/": lambda answers: answers.find(_page),
    "/status.json": lambda answers: answers.find(_document),
    "/metrics": lambda answers: answers.find(_metrics),
    "/readyz": lambda answers: answers.find(_readiness),
    # That it is answered shows that the process serves.
    "/healthz": lambda _answers: Answer(b"ok\n"),
}
"""Each path with its answer. All are read with GET and HEAD."""
