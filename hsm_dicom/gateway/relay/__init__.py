"""The relay of one association: octets flow between two connections, and PDU headers are followed on the way.

| module                | contents                                                                               |
|-----------------------|----------------------------------------------------------------------------------------|
| `framing`             | where PDUs and Presentation Data Values begin and end, without I/O and without copies  |
| `commands`            | which commands may be sent in a context                                                |
| `negotiation`         | the A-ASSOCIATE-RQ and -AC, changed only in place                                      |
| `leg`                 | one of the two connections                                                             |
| `flow`                | one direction: its memory, and what of it may be sent                                  |
| `opening`             | the request to the target, and its answer                                              |
| `waiting`             | one `poll` for both legs, and an alarm from other threads                              |
| `turns`               | one thread at a time moves octets                                                      |
| `association`         | the thread of an association                                                           |
| `parting`             | the end of an association                                                              |
| `holding_association` | the same on a route that holds objects until they were judged or signed                |
| `holding_flow`        | its direction from the caller, out of which objects are taken                          |
| `message_flow`        | its other direction: where messages begin and end                                      |
| `outbox`              | what waits to be sent to one side                                                      |
| `treatment`           | an object that is judged or signed, in a thread of its own                             |
| `reopening`           | the connection to the target, made again for an object                                 |
"""
