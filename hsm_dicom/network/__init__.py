"""DICOM over secure transports: listening, associations, C-ECHO and C-STORE.

| module        | holds                                                                                  |
|---------------|----------------------------------------------------------------------------------------|
| settings      | `Peer`, `ListenerSettings`, `Limits`: frozen data                                      |
| assembly      | from settings, identities and trust to a `SecureTransport`                             |
| authorisation | which AE titles a certificate, or the holder of an ISCL key, may use                   |
| addresses     | addresses in one form, and the sockets that listen on them                            |
| listener      | `Listener`: accepts connections, and bounds what unidentified peers can occupy         |
| acceptor      | `Acceptor`: associations that peers request                                            |
| requestor     | `associate`: associations that this node requests                                      |
| echo          | C-ECHO as SCU                                                                          |
| store         | C-STORE as SCU                                                                         |
| receive       | C-STORE as SCP                                                                         |
| errors        | `NetworkError` and its subclasses                                                      |
| upper_layer/  | PDUs and associations in bounded time and memory (PS3.8)                               |
| dimse/        | DIMSE messages in bounded memory (PS3.7)                                               |
| storage/      | SOP Classes that are stored, files being received, and their signatures                |
| unidentified/ | connections that have not proven an identity yet                                       |
| _pynetdicom   | the only use of pynetdicom's internals                                                 |
"""
