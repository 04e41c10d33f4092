"""The command line `hsm-dicom`: one module for each group of commands, and nothing that an API user would miss.

| module          | commands                                                                 |
|-----------------|--------------------------------------------------------------------------|
| `program`       | the program: its commands, and the one place where errors become a line   |
| `demo`          | demo                                                                      |
| `sign`          | sign; the run itself is in `signing`                                      |
| `verify`        | verify; the run itself is in `verifying`, its words in `verdict_text`     |
| `signatures`    | signatures list, remove, remove-all, ask-timestamp, add-timestamp         |
| `purposes`      | purposes                                                                  |
| `token`         | token list, info, init, check, login, forgive, change-pin                 |
| `key`           | key generate, list, csr, import-cert, delete                              |
| `check_config`  | check-config                                                              |

They share `options` (what is asked in the same words everywhere), `session` (the configuration and its events), `files`
(inputs, targets, processes), `attempts`, `output` (text, tables, JSON), `errors`, `logs`, `exits`, `new_pin` and
`confirmation`. A command imports what it needs when it runs, so that help and completion are quick.
"""

from hsm_dicom.cli.program import main

__all__ = ["main"]
