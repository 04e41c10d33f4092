"""The authentication data of ISCL, by which an end identifies itself: as octets on the wire and as text."""

from __future__ import annotations

from hsm_dicom.iscl.errors import ISCLSettingsError

_HEXADECIMAL = "hex:"


def decode_entity(data: bytes) -> str:
    """Decode authentication data to a unique text: ASCII if it is printable, else "hex:" and its octets."""
    text = data.decode("ascii", "replace")
    plain = text.isascii() and text.isprintable() and not text.startswith(_HEXADECIMAL)
    return text if plain else _HEXADECIMAL + data.hex()


def authentication_data(name: str) -> bytes:
    """Encode the text that `decode_entity` returns. Raises `ISCLSettingsError`."""
    try:
        if name.startswith(_HEXADECIMAL):
            return bytes.fromhex(name.removeprefix(_HEXADECIMAL))
        return name.encode("ascii")
    except ValueError:
        raise ISCLSettingsError(
            f"'{name}' is no authentication data: write ASCII characters, or hex: and octets in hexadecimal."
        ) from None
