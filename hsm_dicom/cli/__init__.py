"""The command line `hsm-dicom`: one module for each group of commands; users of the API need nothing from it.

| module                            | commands, or what it is for                                                   |
|-----------------------------------|-------------------------------------------------------------------------------|
| `program`                         | the program: registers the commands, and prints errors as one line            |
| `commands.demo`                   | demo                                                                          |
| `commands.sign`, `runs.signing`   | sign; the run over its files                                                  |
| `commands.verify`, `runs.verifying` | verify; the run over its files |
| `commands.signatures`             | signatures list, remove, remove-all, ask-timestamp, add-timestamp             |
| `commands.purposes`               | purposes                                                                      |
| `commands.network`, `recording`   | echo, store, listen; recording an ISCL exchange                               |
| `commands.iscl`                   | iscl trace                                                                    |
| `commands.tls`                    | tls profiles, probe                                                           |
| `commands.token`                  | token list, info, init, check, login, clear-rejected-pin, change-pin, set-pin |
| `commands.token_reset`            | token reset-pin                                                               |
| `commands.key`                    | key generate, list, import-cert, delete-cert, delete                          |
| `commands.key_requests`           | key csr, public                                                               |
| `commands.identity`               | identity status, rollover, retire                                             |
| `commands.secret`, `components`   | secret import, generate, list, delete; the components that officers type      |
| `commands.card`                   | card list, info, check                                                        |
| `commands.check_config`           | check-config                                                                  |
| `render`                          | text, tables and JSON; help pages and usage errors                            |
| `runs`                            | runs over many files: failures of single files, processes, termination        |

The commands share `options` (option declarations), `context` (the configuration and its event file), `files` (inputs
and targets), `errors` and `remedies` (error sentences), `exits` (exit statuses and their meanings), `logs`,
`pin_sources`, `serials`, `request_fields`, `new_files`, `records` and `confirmation`. A command imports what it needs
when it runs, so that help and completion stay fast.
"""

from hsm_dicom.cli.program import main

__all__ = ["main"]
