"""The PKCS#11 driver, from the module's library file to a key.

| module                       | content                                                                           |
|------------------------------|-----------------------------------------------------------------------------------|
| `calls`                      | the PKCS#11 calls, each with a deadline; return values; mechanism lists           |
| `module`, `start_failures`   | one owner of each library file: threads, forks, finalising; why one does not start |
| `public_certificates`        | the certificates that a token shows without a login                                |
| `module_interface`           | a module as the rest sees it: in this process, or in one of its own               |
| `isolation`                  | a module in a process of its own, which is ended when a call does not return      |
| `search`, `lookalikes`       | finding a token; one that was replaced, initialised again or copied               |
| `login`                      | presenting a PIN, at most once                                                    |
| `sessions`                   | the login session and a pool of worker sessions                                   |
| `connection`, `connections`  | jobs in these sessions, repeated after a reconnection; sharing a connection       |
| `stored`                     | everything that a token stores, as plain data, with or without a login            |
| `attributes`, `objects`      | attributes of one object; keys and certificates as plain data                     |
| `key`                        | a private key                                                                     |
| `officer`                    | initialising a token and setting its PINs                                         |
| `ceremony`, `key_pairs`      | generating, listing and deleting keys                                             |
| `unfinished`                 | key pairs and tokens that appear after their deadline                             |
| `certificates`               | storing and deleting certificates                                                 |
| `check`                      | self-test of a token                                                              |
| `secret_keys`                | secret DES keys that stay on their token                                          |
"""
