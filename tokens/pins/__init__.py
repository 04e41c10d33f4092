"""PINs: where they come from, and the record of those that a device did not accept.

| module                           | contents                                                                 |
|----------------------------------|--------------------------------------------------------------------------|
| `sources`, `credentials`         | where a PIN comes from; a source in use                                  |
| `readers`                        | who may use a file, its access control list included                     |
| `presentation`, `leavable`       | one presentation of a PIN; a call whose answer may come late             |
| `refusals`, `refusal_record`     | which PINs are not presented again; the record of one device             |
| `device_name`                    | the name under which a device is recorded                                |
| `companions`                     | devices that share one PIN value                                         |
"""
