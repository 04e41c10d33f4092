"""Status words at the end of a response, as errors with the meaning that the standard gives.

ISO/IEC 7816-4:2005, 5.1.3, tables 5 and 6.
"""

from __future__ import annotations

from tokens.errors import OperationFailedError

OK = 0x9000

_MEANINGS = {
    0x6200: "warning, nothing was changed",
    0x6281: "part of the data may be corrupted",
    0x6282: "end of file reached before all was read",
    0x6283: "the selected file or application is deactivated",
    0x6285: "the selected file or application is terminated",
    0x6300: "warning, the card's memory was changed: what was presented is wrong",
    0x6400: "execution error, nothing was changed",
    0x6401: "the card wants an immediate response",
    0x6500: "execution error, the card's memory was changed",
    0x6581: "the card's memory failed",
    0x6600: "a security issue",
    0x6700: "wrong length",
    0x6881: "logical channels are not supported",
    0x6882: "secure messaging is not supported",
    0x6883: "the last command of a chain was expected",
    0x6884: "command chaining is not supported",
    0x6900: "command not allowed",
    0x6981: "the command does not fit the kind of file",
    0x6982: "security status not satisfied: a PIN or an authentication is missing",
    0x6983: "authentication method blocked",
    0x6984: "reference data not usable",
    0x6985: "conditions of use not satisfied",
    0x6986: "command not allowed: no file is selected",
    0x6987: "secure messaging data objects are missing",
    0x6988: "secure messaging data objects are wrong",
    0x6A80: "the data field is wrong",
    0x6A81: "function not supported",
    0x6A82: "file or application not found",
    0x6A83: "record not found",
    0x6A84: "not enough memory in the file",
    0x6A86: "P1 or P2 is wrong",
    0x6A87: "Lc does not fit P1 and P2",
    0x6A88: "referenced data or key not found",
    0x6A89: "the file exists already",
    0x6A8A: "the name exists already",
    0x6B00: "P1 or P2 is wrong: outside the file",
    0x6D00: "the card does not know this instruction",
    0x6E00: "the card does not know this class",
    0x6F00: "no precise diagnosis",
}

NOT_FOUND = frozenset({0x6A82, 0x6A83, 0x6A88, 0x6B00})
"""The file, application, record, data or key does not exist."""

NOT_SUPPORTED = frozenset({0x6881, 0x6884, 0x6A81, 0x6D00, 0x6E00})
"""The card does not support the command."""

NOT_AUTHORISED = 0x6982
BLOCKED = 0x6983


class StatusError(OperationFailedError):
    """A card answered with a status other than 9000. `status` is the status word, `command` the command's name."""

    def __init__(self, command: str, status: int) -> None:
        super().__init__(f"The card answered {command} with {status:04X}: {meaning(status)}.")
        self.command = command
        self.status = status

    @property
    def retries_left(self) -> int | None:
        """The retry counter: X of 63CX, 0 for 6983, None for all others."""
        return get_retries_left(self.status)


def get_retries_left(status: int) -> int | None:
    """Return the retry counter in a status word: X of 63CX, 0 for 6983, None for all others."""
    if status & 0xFFF0 == 0x63C0:
        return status & 0xF
    return 0 if status == BLOCKED else None


def meaning(status: int) -> str:
    """Return the meaning of a status word in the standard."""
    left = get_retries_left(status)
    if left is not None and status != BLOCKED:
        return f"wrong, {left} {'retry' if left == 1 else 'retries'} left"
    if status >> 8 == 0x61:
        return f"{status & 0xFF or 256} more bytes are available"
    if status >> 8 == 0x6C:
        return f"wrong Le, {status & 0xFF or 256} bytes are available"
    return _MEANINGS.get(status) or _MEANINGS.get(status & 0xFF00) or "not a status word of ISO/IEC 7816-4"
