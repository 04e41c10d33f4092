"""The relay of one association: octets flow between two connections, and PDU headers are followed on the way.

| module        | contents                                                                                     |
|---------------|----------------------------------------------------------------------------------------------|
| `framing`     | where PDUs and Presentation Data Values begin and end, without I/O and without copies        |
| `commands`    | which commands may be sent in a context                                                      |
| `negotiation` | the A-ASSOCIATE-RQ and -AC, changed only in place                                            |
| `leg`         | one of the two connections                                                                   |
| `flow`        | one direction: its memory, and what of it may be sent                                        |
| `opening`     | the request to the target, and its answer                                                    |
| `waiting`     | one `poll` for both legs, and an alarm from other threads                                    |
| `turns`       | one thread at a time moves octets                                                            |
| `association` | the thread of an association                                                                 |
"""
