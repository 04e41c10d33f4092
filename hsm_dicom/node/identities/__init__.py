"""The identities of a node over time: what they are used for, what follows them, and the tokens that hold them.

| module       | one idea                                                                     |
|--------------|------------------------------------------------------------------------------|
| `roles`      | what a certificate is used for and cannot be: TLS client, TLS server, signer |
| `succession` | identities and their successors: what each serves, and what is left to do    |
| `rollover`   | whether a successor is ready, and the line of the file that switches to it   |
| `groups`     | the state of an identity whose key is on several tokens                      |
"""
