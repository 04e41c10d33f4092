"""The gateway: plain DICOM on one side, TLS or ISCL with keys on a token on the other, in both directions.

A device that supports neither TLS nor ISCL connects to this node as if it were the peer. The node checks the caller,
connects to the real peer over a secured transport, and relays the association.

| module            | contents                                                                                    |
|-------------------|---------------------------------------------------------------------------------------------|
| `settings`        | `PlainDevice` and `RouteSettings`: who may call, where, and where the association is relayed |
| `services`        | the DICOM services that a route admits, and the SOP Classes of each                         |
| `entrance`        | an address at which callers arrive, and the choice of one of the routes behind it           |
| `authorisation`   | who may use a route, and the codes of a refusal                                             |
| `sources`         | what one source address uses of a route                                                     |
| `route`           | a route, the associations on it, and what it reports about itself                           |
| `targets`         | connecting to the application entity to which a route relays                                |
| `names`           | addresses of host names, looked up beside the associations                                  |
| `relay`           | the relay of one association: octets, and the PDU headers in them                           |
| `tap`             | what the relay reports of the messages that pass it                                         |
| `hold`            | what the relay does with objects that a route judges or signs                               |
| `holding`         | judging and signing these objects                                                           |
| `inspect`         | following these messages, for events and counts                                             |
| `events`          | the events of routes                                                                        |
| `status`          | what a running gateway reports about itself, as frozen values                               |
| `conditions`      | the conditions that need a person, found in a status                                        |
| `alarms`          | reporting conditions by a command and by syslog                                             |
| `recent`          | conditions that are found in counts                                                          |
| `emergency`       | emergency settings of routes, with their reason and their last day                          |
| `emergency_watch` | the emergency settings that a running gateway applies, and their end                        |
| `state_file`      | small files in the state folder that outlive the gateway                                    |
| `pages`           | the status page, JSON, metrics and health over HTTP, on this host only                      |

Nothing here reads the configuration or opens a device: `hsm_dicom.node` does, and passes targets and listeners.
"""
