"""Secret DES keys on a PKCS#11 token.

| module         | contents                                                                   |
|----------------|----------------------------------------------------------------------------|
| `driver`       | `Pkcs11Secrets`, the driver behind `tokens.secrets`                        |
| `known_keys`   | keys that were looked up and judged, and one block of each                 |
| `conversation` | one authentication                                                         |
| `data_keys`    | encryption, decryption and MACs, with fixed keys and session keys          |
| `objects`      | the secret key objects of a token: labels, attributes, derivation          |
| `des_forms`    | the forms in which a token may hold a DES key, and their mechanisms        |
| `ceremony`     | import, list and delete secret keys; test which form the token supports    |
| `components`   | the components of a key: drawn, read, combined, written                    |
| `check`        | self-test of a token with real operations                                  |
"""
