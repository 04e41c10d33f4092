"""PKCS#11 modules of five makers, each with its token and the daemon that it needs.

| module         | what it is                                                                             |
|----------------|----------------------------------------------------------------------------------------|
| `softhsm`      | SoftHSM 2                                                                              |
| `nss`          | NSS softokn, which needs an init string                                                |
| `p11_kit`      | SoftHSM at the other end of `p11-kit server`                                           |
| `opencryptoki` | opencryptoki's software token, with `pkcsslotd`, in namespaces of their own            |
| `tpm`          | tpm2-pkcs11 over tpm2-abrmd and swtpm                                                  |
| `device`       | what they have in common                                                               |
| `worker`       | a process that uses one of them                                                        |

Every PKCS#11 module is loaded in a process of its own: most read their environment once, and NSS keeps one database for
each process.
"""
