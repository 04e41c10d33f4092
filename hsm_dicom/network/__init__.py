"""DICOM over secure transports: who may connect, as whom, and the jobs that are done over it.

| module                                  | holds                                                                    |
|-----------------------------------------|--------------------------------------------------------------------------|
| settings.py                             | `Peer`, `ListenerSettings`, `Limits`: frozen data                        |
| problems.py, iscl_check.py              | what is wrong with the tables there                                      |
| iscl_keys.py                            | secrets that are let go of when their last line has ended                |
| transport.py                            | the port `SecureTransport`, and the facts of a connection                |
| tls_transport.py, legacy_transport.py, iscl_transport.py | what implements it                                      |
| assembly.py                             | from settings, identities and trust to a transport                       |
| listener.py                             | accepting, and handshakes that cannot hold each other up                 |
| places.py, pending.py, lingering.py     | connections that are not identified: how many, what of them, their ends  |
| pdu.py, negotiation.py                  | PDUs taken from a stream and checked, before pynetdicom sees them        |
| request.py                              | the A-ASSOCIATE-RQ of a connection that was just secured                 |
| association.py, upper_layer.py, messages.py, commands.py | pynetdicom's association, in bounded time and memory    |
| authorisation.py                        | which AE titles a certificate, or the holder of an ISCL key, may use     |
| acceptor.py, requestor.py               | associations that peers ask for, and that we ask for                     |
| answers.py, endings.py                  | which answer fits a request; how an association ended, in words          |
| service.py                              | a node that listens, and is reloaded                                     |
| upkeep.py                               | telling of dates before they refuse peers                                |
| echo.py, store.py                       | C-ECHO and C-STORE as SCU                                                |
| receive.py, incoming.py, sop_classes.py | C-STORE as SCP: what is accepted, to disk while it comes, what is refused |
| leftovers.py                            | files of receptions that never ended                                     |
| signature_check.py                      | signatures of what is received                                           |
| sockets.py, pump.py                     | sockets that pynetdicom can be handed                                    |
| events.py, errors.py                    | what happened; what can go wrong                                         |
"""
