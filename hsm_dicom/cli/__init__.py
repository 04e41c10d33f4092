"""The command line `hsm-dicom`: one module for each group of commands, and nothing that an API user would miss.

| module                                | commands                                                                |
|---------------------------------------|-------------------------------------------------------------------------|
| `program`                             | the program: its commands, and the one place where errors become a line |
| `demo`                                | demo                                                                    |
| `sign`, `signing`                     | sign; the run itself                                                    |
| `verify`, `verifying`, `verdict_text` | verify; the run itself; its words                                       |
| `signatures`, `timestamps`            | signatures list, remove, remove-all, ask-timestamp, add-timestamp       |
| `purposes`                            | purposes                                                                |
| `network`, `recording`                | echo, store, listen; an exchange of ISCL as a file                      |
| `iscl`                                | iscl trace                                                              |
| `tls`                                 | tls profiles, probe                                                     |
| `token`, `token_report`               | token list, info, init, check, login, forgive, change-pin, set-pin      |
| `key`, `key_report`                   | key generate, list, csr, import-cert, delete-cert, delete; their words  |
| `secret`, `components`                | secret import, generate, list, delete; what officers hand over          |
| `card`, `card_report`                 | card list, info, check; their words                                     |
| `check_config`                        | check-config                                                            |

They share `options` (what is asked in the same words everywhere), `session` (the configuration and its events), `files`
(inputs, targets, processes), `attempts`, `output` (text, tables, JSON), `errors`, `logs`, `exits`, `pin_sources`,
`confirmation` and `wording` (of help); `secret_report` and `secret_check_report` have the words on secrets. A command
imports what it needs when it runs, so that help and completion are quick.
"""

from hsm_dicom.cli.program import main

__all__ = ["main"]
