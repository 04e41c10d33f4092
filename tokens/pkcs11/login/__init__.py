"""Logins to a PKCS#11 token.

| module         | contains                                                                            |
|----------------|-------------------------------------------------------------------------------------|
| `flags`        | what the token's flags say about its PINs, and what they forbid                     |
| `answers`      | what the answers to a presented PIN mean                                            |
| `token_state`  | the token's flags around a login, and whether it answers                            |
| `presentation` | the one place in which a PIN is presented (C_Login, C_SetPIN, C_InitToken)          |
| `key_use`      | the PIN of a key that requires it for each use (CKA_ALWAYS_AUTHENTICATE)            |
"""
