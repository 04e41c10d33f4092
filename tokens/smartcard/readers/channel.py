"""One connection to the card in one reader: bytes to the card, bytes back, each within a deadline.

Another program must never inherit the PIN that this one verified. So either the channel is exclusive, or every use is
a transaction. If a PIN was presented in a transaction, the card is reset at its end. The card stays powered when the
channel ends, since powering it off would reset it for other programs.

A channel does not reconnect. After an error, its owner opens another one and checks that it leads to the same card: a
card that was replaced within pcscd's 0.4 seconds looks like the old one.
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
    """Another program reset the card, which forgot its PINs."""


_ANYTHING = bytes.fromhex("00c0000000")
"""GET RESPONSE, which does not change the card's state."""

_BUSY_PAUSE = 0.02
"""Seconds between attempts to connect to a card that another program uses exclusively."""


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
        """Send a command and return its response, two bytes at least. Raises `CardTimeoutError` or `CardLostError`."""
        try:
            (response,) = self._context.call(
                self._library.SCardTransmit, self._card, self._pci, list(apdu), timeout=timeout
            )
        except PcscError as error:
            raise self._translate(error, timeout) from None
        if len(response) < 2:
            # pcscd returns this if the card was removed during the command.
            raise CardLostError(f"The card in {self.reader} gave no response: it was removed, or its contact is bad.")
        return bytes(response)

    def control(self, code: int, data: bytes, timeout: float) -> bytes:
        """Send a command to the reader itself (SCardControl). Raises as `transmit` does."""
        try:
            (response,) = self._context.call(self._library.SCardControl, self._card, code, list(data), timeout=timeout)
        except PcscError as error:
            raise self._translate(error, timeout) from None
        return bytes(response)

    def begin(self, wait: float) -> None:
        """Begin a transaction (SCardBeginTransaction). Raises `TokenBusyError` after `wait` seconds."""
        try:
            self._context.call(self._library.SCardBeginTransaction, self._card, timeout=wait)
        except PcscError as error:
            if error.cut == "deadline":
                raise self._busy(wait) from None
            raise self._translate(error, wait) from None
        self._in_transaction = True

    def end(self, *, reset: bool) -> None:
        """End the transaction (SCardEndTransaction). With `reset` the card forgets every PIN. Never raises."""
        if not self._in_transaction:
            return
        self._in_transaction = False
        disposition = self._library.SCARD_RESET_CARD if reset else self._library.SCARD_LEAVE_CARD
        with contextlib.suppress(PcscError):
            self._context.call(self._library.SCardEndTransaction, self._card, disposition, timeout=SERVICE_TIMEOUT)

    def cancel(self) -> None:
        """Cancel the current command, which raises `CardCancelledError`. May be called from any thread."""
        self._context.cut("cancelled")

    def close(self, *, reset: bool = False) -> None:
        """Disconnect; the card stays powered. With `reset` it forgets every PIN. Closing twice is allowed."""
        # If pcscd 1.9.9 resets a card that was just removed, it does not notice its return.
        reset = reset and self._context.usable and self._answers()
        if self._context.usable:
            disposition = self._library.SCARD_RESET_CARD if reset else self._library.SCARD_LEAVE_CARD
            with contextlib.suppress(PcscError):
                self._context.call(self._library.SCardDisconnect, self._card, disposition, timeout=SERVICE_TIMEOUT)
        self._context.release()

    @property
    def usable(self) -> bool:
        """Whether the channel is open and belongs to this process."""
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
        """Return whether the card answers at all."""
        try:
            self.transmit(_ANYTHING, timeout=1.0)
        except TokenError:
            return False
        return True

    def _busy(self, wait: float) -> TokenBusyError:
        return TokenBusyError(
            f"The card in {self.reader} did not become free within {wait:.0f} seconds: another program uses it, or it "
            "does not respond.",
            remedy="Close the other program, or use another card.",
        )

    def _translate(self, error: PcscError, timeout: float) -> TokenError:
        if error.cut == "deadline":
            return CardTimeoutError(
                f"The card in {self.reader} did not answer within {timeout:.1f} seconds and the connection was closed.",
                remedy="Remove the card and insert it again.",
            )
        if error.cut == "cancelled":
            return CardCancelledError(f"The command to the card in {self.reader} was cancelled.")
        if error.cut == "closed":
            return CardLostError(f"The connection to the card in {self.reader} was closed.")
        if error.cut is not None:
            return CardLostError(f"The connection to the card in {self.reader} belongs to the parent process.")
        if error.code == Code.NO_SMARTCARD:
            return NoSuchCardError(f"There is no card in {self.reader}.", remedy="Insert it.")
        if error.code in NO_READER:
            return NoSuchReaderError(f"The reader {self.reader} is not connected.", remedy="Plug it in again.")
        if error.code in MUTE:
            return NoSuchCardError(
                f"The card in {self.reader} does not answer to power ({error.name}).",
                remedy="Check how it is inserted.",
            )
        if error.code == Code.SECURITY_VIOLATION:
            return polkit_error(f"use the card in {self.reader}", "org.debian.pcsc-lite.access_card")
        if error.code in NO_SERVICE:
            return CardServiceError(
                f"The smart card service (pcscd) ended ({error.name}). Once it runs again, the card is used again.",
                remedy="Look for the cause: systemctl status pcscd.socket",
            )
        if error.code == Code.RESET_CARD:
            return CardResetError(f"The card in {self.reader} was reset by another program ({error.name}).")
        return CardLostError(f"The card in {self.reader} was removed or lost its contact ({error.name}).")
