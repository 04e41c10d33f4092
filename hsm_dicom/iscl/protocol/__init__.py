"""The ISCL protocol without I/O.

| module         | holds                                                                                  |
|----------------|----------------------------------------------------------------------------------------|
| session        | one end of a connection with its keys                                                  |
| connection     | the state machine, without keys                                                        |
| states         | the rules of the state machine as one table                                            |
| authentication | the three passes of mutual authentication                                              |
| agreement      | what both ends agreed on for a transfer                                                |
| sending        | one message on its way out                                                             |
| receiving      | one message on its way in                                                              |
| refusals       | how each kind of request is refused                                                    |
"""
