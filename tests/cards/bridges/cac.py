"""Debian's libcacard0, a CAC whose keys are in an NSS database: `python -m tests.cards.bridges.cac PORT FOLDER NAME…`.

FOLDER is an NSS database with an empty password, the NAMEs are the nicknames of one to three certificates in it.
"""

from __future__ import annotations

import ctypes
import sys

from tests.cards.link import insert, serve


class Bridge:
    """Satisfies `tests.cards.link.Card`."""

    def __init__(self, folder: str, names: list[str]) -> None:
        self._library = library = ctypes.CDLL("libcacard.so.0")
        for name in (
            "vcard_emul_options",
            "vreader_get_reader_list",
            "vreader_list_get_first",
            "vreader_list_get_reader",
        ):
            getattr(library, name).restype = ctypes.c_void_p
        options = f'db="sql:{folder}" use_hw=no soft=(,Virtual Reader,CAC,,{",".join(names)})'
        library.vcard_emul_init(ctypes.c_void_p(library.vcard_emul_options(options.encode())))
        first = library.vreader_list_get_first(ctypes.c_void_p(library.vreader_get_reader_list()))
        self._reader = ctypes.c_void_p(library.vreader_list_get_reader(ctypes.c_void_p(first)))
        self.atr = self._power_on()

    def power(self, on: bool) -> None:
        """As the card."""
        if on:
            self._power_on()
        else:
            self._library.vreader_power_off(self._reader)

    def answer(self, apdu: bytes) -> bytes:
        """As the card."""
        buffer, length = ctypes.create_string_buffer(4096), ctypes.c_int(4096)
        failed = self._library.vreader_xfr_bytes(self._reader, apdu, len(apdu), buffer, ctypes.byref(length))
        return b"\x6f\x00" if failed else buffer.raw[: length.value]

    def _power_on(self) -> bytes:
        buffer, length = ctypes.create_string_buffer(64), ctypes.c_int(64)
        self._library.vreader_power_on(self._reader, buffer, ctypes.byref(length))
        return buffer.raw[: length.value]


if __name__ == "__main__":
    serve(insert(int(sys.argv[1])), Bridge(sys.argv[2], sys.argv[3:]))
