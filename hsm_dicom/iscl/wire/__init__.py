"""What ISCL puts on the wire.

| module     | holds                                                                                      |
|------------|--------------------------------------------------------------------------------------------|
| messages   | the messages and their numbers                                                             |
| profile    | `WireProfile`: every reconstructed property                                                |
| table      | a `WireProfile` from a table of the configuration                                          |
| encoding   | messages to octets and back                                                                |
| validation | semantic validation of in-sequence messages                                                |
| units      | what is sent as one message                                                                |
| blocks     | fragmenting of protected messages into data blocks                                         |
"""
