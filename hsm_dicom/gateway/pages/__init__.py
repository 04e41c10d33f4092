"""The status of a running gateway over HTTP: one page for people, and the same as JSON and as metrics for programs.

    with StatusServer(StatusSettings(listen=("127.0.0.1", 9762)), gateway.status) as server:
        print(server.address)

| module        | contents                                                                             |
|---------------|--------------------------------------------------------------------------------------|
| `server`      | `StatusServer`: the paths, in a thread of their own, on a loopback address or a Unix socket |
| `doors`       | the listening socket: only on this host, and a Unix socket that no other process serves |
| `connections` | few connections at a time, each short and small; the pace at which they are accepted   |
| `hosts`       | the names of the host that a request may be for                                      |
| `answers`     | what each path answers, from one status for all requests of a short time             |
| `page`, `views`, `wording` | the page for people, from `templates/`; its content; numbers and times in words |
| `metrics`     | the metrics for Prometheus                                                           |
| `status_json` | a status as JSON, and JSON as a status                                               |
| `client`      | `fetch_status`: the status of a gateway that runs on this host                         |
"""

from hsm_dicom.gateway.pages.client import fetch_status
from hsm_dicom.gateway.pages.server import StatusServer
from hsm_dicom.gateway.pages.status_json import SCHEMA, parse_status, status_document

__all__ = ["SCHEMA", "StatusServer", "fetch_status", "parse_status", "status_document"]
