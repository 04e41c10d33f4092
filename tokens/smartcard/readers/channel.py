"""One connection to the card in one reader: bytes to the card, bytes back, each within a deadline.

A card is never shared plainly: a neighbour would inherit the PIN that we verified. Either the connection is exclusive,
or every use of it is a transaction, at whose end the card is reset if a PIN was presented in it. The card is left
powered when the connection ends, since powering it off would reset it under others.

Nothing heals here. After any error the channel is of no use; whoever owns it opens another one, and must then make sure
that it leads to the same card: one that was swapped within pcscd's 0.4 seconds looks like the old one.
"""

from __future__ import annotations

import contextlib
import time

from tokens.errors import (
    CardCancelledError,
    CardLostError,
    CardServiceError,
    CardTimeoutError,
    NoSuchCardError,
    NoSuchReaderError,
    TokenBusyError,
    TokenError,
)
from tokens.smartcard.readers.pcsc import (
    MUTE,
    NO_READER,
    NO_SERVICE,
    SERVICE_TIMEOUT,
    Code,
    Contexts,
    PcscError,
    polkit_error,
)


class CardResetError(CardLostError):
    """Another program reset the card: it is the same one, with its PINs forgotten."""


_ANYTHING = bytes.fromhex("00c0000000")
"""GET RESPONSE, which changes nothing."""

_BUSY_PAUSE = 0.02
"""Seconds between attempts to connect to a card that somebody else holds exclusively."""


class Channel:
    """A connected card. For one thread at a time, except for `cancel`."""

    def __init__(self, contexts: Contexts, reader: str, *, exclusive: bool, wait: float = SERVICE_TIMEOUT) -> None:
        """Connect within `wait` seconds.

        Raises `NoSuchReaderError`, `NoSuchCardError`, `TokenBusyError` or `CardServiceError`.
        """
        self.reader = reader
        self.exclusive = exclusive
        self._context = contexts.establish()
        self._library = self._context.library
        self._in_transaction = False
        try:
            self._card, protocol = self._connect(wait)
            self._pci = protocol
            self.atr = self._read_atr()
        except BaseException:
            self._context.release()
            raise

    def transmit(self, apdu: bytes, timeout: float) -> bytes:
        """Send a command, return its response: two bytes at least. Raises `CardTimeoutError` or `CardLostError`."""
        try:
            (response,) = self._context.call(
                self._library.SCardTransmit, self._card, self._pci, list(apdu), timeout=timeout
            )
        except PcscError as error:
            raise self._translate(error, timeout) from None
        if len(response) < 2:
            # What pcscd answers when the card left during the command.
            raise CardLostError(f"The card in {self.reader} gave no response: it was pulled, or its contact is bad.")
        return bytes(response)

    def control(self, code: int, data: bytes, timeout: float) -> bytes:
        """SCardControl: a command to the reader itself."""
        try:
            (response,) = self._context.call(self._library.SCardControl, self._card, code, list(data), timeout=timeout)
        except PcscError as error:
            raise self._translate(error, timeout) from None
        return bytes(response)

    def begin(self, wait: float) -> None:
        """SCardBeginTransaction: from now on the card is ours alone. Raises `TokenBusyError` after `wait` seconds."""
        try:
            self._context.call(self._library.SCardBeginTransaction, self._card, timeout=wait)
        except PcscError as error:
            if error.cut == "deadline":
                raise self._busy(wait) from None
            raise self._translate(error, wait) from None
        self._in_transaction = True

    def end(self, *, reset: bool) -> None:
        """SCardEndTransaction. With `reset` the card forgets every PIN. Errors show themselves in the next use."""
        if not self._in_transaction:
            return
        self._in_transaction = False
        disposition = self._library.SCARD_RESET_CARD if reset else self._library.SCARD_LEAVE_CARD
        with contextlib.suppress(PcscError):
            self._context.call(self._library.SCardEndTransaction, self._card, disposition, timeout=SERVICE_TIMEOUT)

    def cancel(self) -> None:
        """Have a command that is under way end now, with `CardCancelledError`. From any thread."""
        self._context.cut("cancelled")

    def close(self, *, reset: bool = False) -> None:
        """Disconnect; the card stays powered. With `reset` it forgets every PIN. Doing so twice is fine."""
        # pcscd 1.9.9 that resets a card which just left does not see it come back.
        reset = reset and self._context.usable and self._answers()
        if self._context.usable:
            disposition = self._library.SCARD_RESET_CARD if reset else self._library.SCARD_LEAVE_CARD
            with contextlib.suppress(PcscError):
                self._context.call(self._library.SCardDisconnect, self._card, disposition, timeout=SERVICE_TIMEOUT)
        self._context.release()

    @property
    def usable(self) -> bool:
        """Whether it has not been cut, closed or left behind in a parent process."""
        return self._context.usable

    def _connect(self, wait: float) -> tuple[int, int]:
        library = self._library
        mode = library.SCARD_SHARE_EXCLUSIVE if self.exclusive else library.SCARD_SHARE_SHARED
        protocols = library.SCARD_PROTOCOL_T0 | library.SCARD_PROTOCOL_T1
        deadline = time.monotonic() + wait
        while True:
            try:
                card, protocol = self._context.with_handle(
                    library.SCardConnect,
                    self.reader,
                    mode,
                    protocols,
                    timeout=max(deadline - time.monotonic(), _BUSY_PAUSE),
                )
            except PcscError as error:
                if error.cut == "deadline":
                    raise self._busy(wait) from None
                if error.code != Code.SHARING_VIOLATION:
                    raise self._translate(error, wait) from None
                if time.monotonic() >= deadline:
                    raise self._busy(wait) from None
                time.sleep(_BUSY_PAUSE)
                continue
            pci = library.SCARD_PCI_T0 if protocol == library.SCARD_PROTOCOL_T0 else library.SCARD_PCI_T1
            return card, pci

    def _read_atr(self) -> bytes:
        try:
            _, _, _, atr = self._context.call(self._library.SCardStatus, self._card, timeout=SERVICE_TIMEOUT)
        except PcscError as error:
            raise self._translate(error, SERVICE_TIMEOUT) from None
        return bytes(atr)

    def _answers(self) -> bool:
        """Whether the card is there: any status word will do."""
        try:
            self.transmit(_ANYTHING, timeout=1.0)
        except TokenError:
            return False
        return True

    def _busy(self, wait: float) -> TokenBusyError:
        return TokenBusyError(
            f"The card in {self.reader} did not become free within {wait:.0f} seconds: another program holds it, or it "
            "hangs. See which, or give this program a card of its own."
        )

    def _translate(self, error: PcscError, timeout: float) -> TokenError:
        if error.cut == "deadline":
            return CardTimeoutError(
                f"The card in {self.reader} did not answer within {timeout:.1f} seconds and was given up; "
                "take it out and put it back."
            )
        if error.cut == "cancelled":
            return CardCancelledError(f"The command to the card in {self.reader} was cancelled.")
        if error.cut == "closed":
            return CardLostError(f"The connection to the card in {self.reader} was closed.")
        if error.cut is not None:
            return CardLostError(f"The connection to the card in {self.reader} belongs to the parent process.")
        if error.code == Code.NO_SMARTCARD:
            return NoSuchCardError(f"There is no card in {self.reader}; put it in.")
        if error.code in NO_READER:
            return NoSuchReaderError(f"The reader {self.reader} is gone; plug it in again.")
        if error.code in MUTE:
            return NoSuchCardError(
                f"The card in {self.reader} does not answer to power ({error.name}); see which way round it is in."
            )
        if error.code == Code.SECURITY_VIOLATION:
            return polkit_error(f"use the card in {self.reader}", "org.debian.pcsc-lite.access_card")
        if error.code in NO_SERVICE:
            return CardServiceError(
                f"The smart card service (pcscd) ended ({error.name}); see: systemctl status pcscd.socket. "
                "Once it runs again, the card is used again."
            )
        if error.code == Code.RESET_CARD:
            return CardResetError(f"The card in {self.reader} was reset by another program ({error.name}).")
        return CardLostError(f"The card in {self.reader} was pulled or lost its contact ({error.name}).")
