"""A PKCS#11 module in a process of its own, which is killed when a call does not return.

| module      | contents                                                                                   |
|-------------|--------------------------------------------------------------------------------------------|
| `encoding`  | plain values as bytes; nothing that a process sends is executed or imported                 |
| `messages`  | requests and answers: which methods may be called, and what they return                    |
| `channel`   | messages over a socket                                                                     |
| `child`     | the process that loads the module; it watches the deadline of each call                    |
| `process`   | the parent's side of it: start it, call it, end it                                         |
| `module`    | the module as the rest of the driver sees it                                               |

A call in the process of its caller cannot be ended. Here it is ended with its process: the caller leaves with
`TokenTimeoutError`, the sessions and the login of that process are gone, and the next job starts another one and logs
in again. Each token has a process of its own, so the tokens of one module fail independently.
"""

from __future__ import annotations

from enum import StrEnum


class Isolation(StrEnum):
    """Where a PKCS#11 module runs."""

    NONE = "none"
    """In this process."""
    PROCESS = "process"
    """In a process of its own for each token."""
