"""Objects that a route holds until they were judged or signed: `hsm_dicom.gateway.hold` for the relay.

| module     | contents                                                                              |
|------------|---------------------------------------------------------------------------------------|
| `settings` | what a route does with objects, and within which bounds                               |
| `holder`   | `ObjectHolder`: the objects of one association                                        |
| `object`   | one object, from its first octet to what becomes of it                                |
| `signer`   | the signature of this node: made once for the same octets, and remembered             |
| `records`  | the signatures that were made, and what the target answered, on disk                  |
| `handover` | an object on its way to the target, as often as it must be sent                       |
| `pdus`     | a Data Set with insertions, as PDUs                                                   |
| `outcomes` | what becomes of an object, in one word                                                |

Nothing is imported here: `hsm_dicom.gateway.settings` needs `settings` only.
"""
