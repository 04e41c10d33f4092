"""The gateway: plain DICOM on one side, TLS or ISCL with keys on a token on the other, in both directions.

A device that supports neither TLS nor ISCL connects to this node as if it were the peer. The node checks the caller,
connects to the real peer over a secured transport, and relays the association.

| module          | contents                                                                                    |
|-----------------|---------------------------------------------------------------------------------------------|
| `settings`      | `PlainDevice` and `RouteSettings`: who may call, where, and where the association is relayed |
| `services`      | the DICOM services that a route admits, and the SOP Classes of each                          |
| `status`        | what a running gateway reports about itself, as frozen values                                |
| `events`        | the events of routes                                                                         |
| `pages`         | the status page, JSON, metrics and health over HTTP, on this host only                       |

Nothing here reads the configuration or opens a device: `hsm_dicom.node` does, and passes targets and listeners.
"""
