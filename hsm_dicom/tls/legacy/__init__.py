"""Retired TLS profiles with RSA key exchange, for machines that can do nothing else. Apart from everything current.

Nothing here is used unless a `LegacyOpening` names the profile, the reason and the last day. tlslite-ng (LGPL-2.1) does
the handshake, `cryptography` the ciphers, the token the RSA operation, `hsm_dicom.trust` the peer's certificates.

| module         | holds                                                                    |
|----------------|--------------------------------------------------------------------------|
| profiles.py    | the profiles as data, each with its warning                              |
| context.py     | `LegacyContext`: handshakes in steps                                     |
| connection.py  | tlslite-ng's connection, held to one profile                             |
| ciphers.py     | AES, 3DES and DES in CBC mode                                            |
| keys.py        | token keys that only decrypt, or only sign                               |
| sockets.py     | the connection as a socket                                               |
"""

from hsm_dicom.tls.legacy.profiles import PROFILES, LegacyProfile, profile_named

__all__ = ["PROFILES", "LegacyProfile", "profile_named"]
