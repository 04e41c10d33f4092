"""The command line `hsm-dicom`: one module for each group of commands, and nothing that an API user would miss.

| module          | commands                                                                 |
|-----------------|--------------------------------------------------------------------------|
| `program`       | the program: its commands, and the one place where errors become a line   |
| `token`         | token list, info, init, check, login, forgive, change-pin                 |
| `key`           | key generate, list, csr, import-cert, delete                              |
| `check_config`  | check-config                                                             |

They share `options` (what is asked in the same words everywhere), `session` (the configuration and its events),
`output` (text, tables, JSON), `logs`, `exits` (exit statuses) and `new_pin`.
"""

from hsm_dicom.cli.program import main

__all__ = ["main"]
