"""Retired TLS profiles with RSA key exchange or SHA-1, for devices that support nothing else.

Nothing here is used unless a `LegacyExemption` names the profile, the reason and the last day. tlslite-ng (LGPL-2.1)
does the handshake, `cryptography` the ciphers, the token the RSA operation, `hsm_dicom.trust` validates the peer's
certificates.

| module     | holds                                                                                      |
|------------|--------------------------------------------------------------------------------------------|
| profiles   | the profiles as data, each with its warning                                                |
| context    | `LegacyContext`: handshakes in steps                                                       |
| connection | a connection under one profile, and its record layer                                       |
| ciphers    | AES, 3DES and DES in CBC mode                                                              |
| groups     | Diffie-Hellman groups                                                                      |
| keys       | token keys that only decrypt, or only sign                                                 |
| sockets    | the connection as a socket                                                                 |
| _tlslite   | the only use of tlslite-ng                                                                 |
"""

from hsm_dicom.tls.legacy.profiles import PROFILES, LegacyProfile, get_profile

__all__ = ["PROFILES", "LegacyProfile", "get_profile"]
