"""Secure transports for DICOM associations, behind one interface.

| module     | holds                                                                                      |
|------------|--------------------------------------------------------------------------------------------|
| port       | `SecureTransport`: the interface of a transport, and the facts of a connection             |
| tls        | TLS as a transport                                                                         |
| succession | TLS to a peer while our key is replaced: the successor first, the old key where refused     |
| legacy_tls | a retired TLS profile as a transport                                                       |
| plain      | no transport security, for devices that support neither TLS nor ISCL                       |
| iscl       | ISCL as a transport, by itself or inside TLS                                               |
| iscl_keys  | the secret keys of an ISCL transport, released after its last connection                   |
| sockets    | TLS sockets as pynetdicom needs them                                                       |
| pump       | other connections as sockets that pynetdicom can use                                       |
| alarm      | waking a thread that waits for descriptors                                                 |
| periodic   | looking at something again and again, whatever happens                                     |
| events     | events between this node and its peers                                                     |
"""
