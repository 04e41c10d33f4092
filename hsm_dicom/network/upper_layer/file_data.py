"""A Data Set sent from its file: P-DATA-TF PDUs made one after the other in the same memory (PS3.8, 9.3.5 and E.2).

The Upper Layer's own thread reads the file and sends the PDUs, so that no part of the Data Set passes from thread to
thread. The thread of the association waits meanwhile. If it stops waiting, it must not close the file under a read: the
descriptor could belong to another file by then.
"""

from __future__ import annotations

import os
import threading
from io import FileIO
from pathlib import Path
from typing import Self

from pynetdicom.pdu_primitives import P_DATA

from hsm_dicom.network.settings import MAXIMUM_PDU
from hsm_dicom.network.upper_layer.pdu import HEADER, VALUE_HEADER, finish_data_pdu, new_data_pdu
from tokens.errors import fresh_copy

_PATIENCE = 0.5


class FileData(P_DATA):
    """The rest of a file as the Data Set of one message, in the queue of the Upper Layer in the place of a P-DATA."""

    def __init__(self, file: FileIO, length: int, context_id: int, maximum: int) -> None:
        """Begin at the place of `file`. `maximum` is the peer's maximum length in bytes, 0 for none (PS3.8, D.1)."""
        super().__init__()
        self._file = file
        self._left = length
        self._made_last = False
        most = min(maximum or MAXIMUM_PDU, MAXIMUM_PDU) - VALUE_HEADER
        self._pdu = new_data_pdu(context_id, min(most, length))
        self._reading = threading.Lock()
        self._closed = False
        self._settled = threading.Event()
        self._failure: OSError | None = None

    @classmethod
    def open(cls, path: Path, offset: int, context_id: int, maximum: int) -> Self:
        """Open a file whose Data Set begins at an offset. Raises `OSError`."""
        file = path.open("rb", buffering=0)
        try:
            length = max(0, file.seek(0, os.SEEK_END) - offset)
            file.seek(offset)
            return cls(file, length, context_id, maximum)
        except BaseException:
            file.close()
            raise

    def next_pdu(self) -> memoryview | None:
        """Return the next PDU, which is valid until the next call; None after the last. Raises `OSError`."""
        try:
            with self._reading:
                if self._closed:
                    raise OSError("it was closed while it was sent")
                return None if self._made_last else self._make_pdu()
        finally:
            if self._closed:
                self.close()

    def close(self) -> None:
        """Close the file, after the read that another thread may be in. Harmless to repeat."""
        self._closed = True
        if self._reading.acquire(blocking=False):
            try:
                self._file.close()
            finally:
                self._reading.release()

    def _make_pdu(self) -> memoryview:
        begin = HEADER + VALUE_HEADER
        count = min(self._left, len(self._pdu) - begin)
        pdu = self._pdu[: begin + count]
        at = begin
        while at < len(pdu):
            read = self._file.readinto(pdu[at:])
            if not read:
                raise OSError("it became shorter while it was sent")
            at += read
        self._left -= count
        self._made_last = not self._left
        finish_data_pdu(pdu, is_last=self._made_last)
        return pdu

    def settle(self, failure: OSError | None = None) -> None:
        """Let the waiting thread go on: everything was sent, the connection has ended, or the file cannot be read."""
        self._failure = failure
        self._settled.set()

    def wait(self, ended: threading.Event) -> None:
        """Wait until it is settled, or the Upper Layer has ended. Raises `OSError` if the file cannot be read."""
        while not self._settled.wait(_PATIENCE):
            if ended.is_set():
                return
        if self._failure is not None:
            raise fresh_copy(self._failure)
