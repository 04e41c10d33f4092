"""The PKCS#11 driver, from the library file up to a key.

| module                                                    | one idea                                                |
|-----------------------------------------------------------|---------------------------------------------------------|
| `cryptoki`                                                | the calls that python-pkcs11 does not make              |
| `queries`                                                 | calls that answer with data, one call a question        |
| `python_tokens`                                           | python-pkcs11's tokens, without its own searches        |
| `attributes`                                              | what a token tells of one object, odd values noted      |
| `gate`                                                    | many callers at once, or one alone                      |
| `module`                                                  | one owner for each .so: threads, forks, the end         |
| `start_failures`                                          | why a module does not start                             |
| `search`                                                  | which token                                             |
| `login`                                                   | presenting a PIN, at most once                          |
| `capabilities`                                            | the mechanisms that a token lists                       |
| `sessions`                                                | the login, and a pool of sessions                       |
| `connection`                                              | jobs in these sessions, done again after a loss         |
| `return_values`                                           | the names of CK_RVs, and their exceptions               |
| `faults`                                                  | PKCS#11's errors, by remedy                             |
| `objects`                                                 | keys and certificates as plain data                     |
| `key`                                                     | a private key that carries out a rung                   |
| `officer`                                                 | a token's beginning and its PINs                        |
| `ceremony`, `certificates`                                | what an officer does with keys and their certificates   |
| `check`                                                   | what a token can do, tried out                          |
| `secrets`, `secret_objects`, `des_forms`                  | secret DES keys that serve inside their token           |
| `secret_ceremony`, `secret_check`                         | what an officer does to them; what a token does by them |
"""
