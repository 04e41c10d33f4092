"""The gateway as it runs: everything that a plan needs, opened once, and the routes on their listeners.

    with GatewayService(lambda: open_gateway(file)) as gateway:
        gateway.reload()             # all or nothing
        gateway.drain()

| module         | one idea                                                                                |
|----------------|-----------------------------------------------------------------------------------------|
| `opening`      | from the plan to open identities, transports and targets, with an owner                 |
| `emergencies`  | emergency settings in place of configured ones                                          |
| `entrances`    | the addresses, sockets and secured listeners at which callers arrive                    |
| `service`      | `GatewayService`: routes that run, are reloaded, and drain                              |
| `reporting`    | the status of all of it, and the conditions that need a person                          |
| `token_counts` | the use of each token, counted from its events                                          |
| `lock`         | one gateway for each state folder, and how others find it                               |
| `check`        | a C-ECHO to the target of each route, and which side fails                              |
"""

from hsm_dicom.node.gateway.opening import OpenedGateway, open_gateway
from hsm_dicom.node.gateway.service import GatewayService

__all__ = ["GatewayService", "OpenedGateway", "open_gateway"]
