"""Cards that were not written here, each brought to the virtual reader by a small program of its own.

| program    | card                                                   | runs in                               |
|------------|--------------------------------------------------------|---------------------------------------|
| `jcecard`  | OpenPGP 3.4 (PyPI jcecard)                             | .venv-cards/jcecard                   |
| `openpgp`  | OpenPGP 3.4 (PyPI smartcard-app-openpgp)               | .venv-cards/openpgp                   |
| `vicc`     | ISO/IEC 7816 authentication (Debian's vicc)            | .venv-cards/vicc and Debian's package |
| `cac`      | CAC, RSA keys in an NSS database (Debian's libcacard0) | any Python                            |

Each is started as `python -m tests.cards.bridges.NAME PORT …`, and ends with its card's presence in the slot.
"""
