"""Settings of one end of ISCL: protection, keys, authentication data, and the weaknesses that are allowed explicitly.

Both ends need the same settings: a request for any other encryption, key or MAC is refused. PS3.15-2008 B.2 makes
entity authentication and data integrity mandatory and privacy optional; `ISCLSettings.allow` lists each exception.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from hsm_dicom.iscl.errors import ISCLSettingsError
from hsm_dicom.iscl.wire.messages import (
    KEY_INDEXES,
    MAX_AUTHENTICATION_DATA,
    MAX_BLOCK_DATA,
    MAX_MESSAGE,
    MIN_BLOCK_DATA,
    Encryption,
    Mac,
)
from hsm_dicom.iscl.wire.profile import Md5Order, UniqueKeyForm, WireProfile


class Weakness(StrEnum):
    """What may be done without. The value is the name by which a configuration allows it."""

    NO_ENCRYPTION = "no-encryption"
    NO_MAC = "no-mac"
    THROUGH_MODE = "through-mode"
    DES_MAC_WITH_ENCRYPTION_KEY = "des-mac-with-encryption-key"
    """CBC encryption and CBC-MAC under one key cancel out where the initialisation vector is zero: the first message of
    a connection can be changed under way, and its MAC stays right."""


@dataclass(frozen=True, kw_only=True)
class ISCLSettings:
    """Settings of one end. Raises `ISCLSettingsError` for settings that cannot work or need an entry in `allow`."""

    encryption: Encryption = Encryption.DES_CBC
    """What keeps messages confidential. NONE must be allowed as "no-encryption"."""

    mac: Mac = Mac.MD5
    """What keeps messages whole. NONE must be allowed as "no-mac"."""

    authentication_key: int = 1
    """Index 1 to 8 of the authentication key, on the wire and on the device."""

    server_authentication_key: int | None = None
    """With directional keys (`WireProfile.directional_keys`): the key with which the server answers, by its index on
    the device; the client answers with `authentication_key`. None where both answer with the same key."""

    encryption_key: int = 1
    """Index 1 to 8 of the encryption key, on the wire and on the device. Encryption keys are numbered apart from
    authentication keys, and none may have the value of one."""

    mac_key: int | None = None
    """Index on the device of another encryption key for DES-MAC alone, where both ends are set so. None: the MAC is
    made with the encryption key, as ISCL has it; with DES-CBC that must be allowed explicitly."""

    unique_keys: bool = False
    """Whether each message has a session key of its own, made from a random number under the encryption key."""

    authentication_data: bytes = b"hsm-dicom"
    """1 to 128 octets that are sent to the peer. An identifier, which nothing proves."""

    peer_authentication_data: bytes | None = None
    """What the peer must tell. None: anything."""

    max_message: int = MAX_MESSAGE
    """Octets of the longest message that we take, and that we send at once."""

    max_block_data: int = MAX_BLOCK_DATA
    """Octets of data in the longest block that we take; the smaller of both ends' counts."""

    allow: frozenset[Weakness] = field(default_factory=frozenset)
    """Weaknesses that are accepted."""

    profile: WireProfile = field(default_factory=WireProfile)
    """What the peer's ISCL looks like on the wire."""

    reason: str = ""
    """Why ISCL is used at all. Told with each use."""

    def __post_init__(self) -> None:
        for name in ("authentication_key", "encryption_key"):
            if getattr(self, name) not in KEY_INDEXES:
                raise ISCLSettingsError(f"{name} is {getattr(self, name)}; ISCL numbers its keys 1 to 8.")
        if self.profile.directional_keys is (self.server_authentication_key is None):
            raise ISCLSettingsError("server_authentication_key and directional_keys go together: set both, or neither.")
        if self.server_authentication_key == self.authentication_key:
            raise ISCLSettingsError("server_authentication_key is authentication_key; give the server its own key.")
        if self.mac_key is not None and (self.mac is not Mac.DES_MAC or self.mac_key == self.encryption_key):
            raise ISCLSettingsError("mac_key is for DES-MAC with a key other than encryption_key; leave it out here.")
        self._check_length("authentication_data", len(self.authentication_data), 1, MAX_AUTHENTICATION_DATA)
        if self.peer_authentication_data is not None:
            self._check_length(
                "peer_authentication_data", len(self.peer_authentication_data), 1, MAX_AUTHENTICATION_DATA
            )
        self._check_length("max_message", self.max_message, 1, MAX_MESSAGE)
        self._check_length("max_block_data", self.max_block_data, MIN_BLOCK_DATA, MAX_BLOCK_DATA)
        if self.profile.md5_order is not Md5Order.ENCRYPT_DIGEST and not self.unique_keys:
            raise ISCLSettingsError("This order of the MD5 code needs the random number of unique_keys.")
        bare = self.unique_keys and self.profile.unique_key_form is UniqueKeyForm.BARE
        if bare and self.encryption_key != self.authentication_key:
            raise ISCLSettingsError(
                "A bare unique key id means the index of authentication_key; give encryption_key the same index."
            )
        for weakness, present in (
            (Weakness.NO_ENCRYPTION, self.encryption is Encryption.NONE),
            (Weakness.NO_MAC, self.mac is Mac.NONE or self._clear_digest),
            (Weakness.DES_MAC_WITH_ENCRYPTION_KEY, self._mac_is_void),
        ):
            if present and weakness not in self.allow:
                raise ISCLSettingsError(
                    f"Messages would be sent with {weakness.replace('-', ' ')}; "
                    f'choose otherwise, or allow it explicitly (allow = ["{weakness}"]).'
                )

    @property
    def ciphers(self) -> bool:
        """Whether anything is encrypted: data, or the MD5 code alone."""
        return self.encryption is not Encryption.NONE or (self.mac is Mac.MD5 and not self._clear_digest)

    @property
    def encryption_keys(self) -> tuple[int, ...]:
        """The indexes of the encryption keys that are used, for whatever purpose."""
        makes_mac = self.mac is Mac.DES_MAC
        indexes = [self.encryption_key] if self.ciphers or (makes_mac and self.mac_key is None) else []
        return (*indexes, self.mac_key) if self.mac_key is not None else tuple(indexes)

    @property
    def authentication_keys(self) -> tuple[int, ...]:
        """The indexes of the authentication keys that are used, the client's first."""
        if self.server_authentication_key is None:
            return (self.authentication_key,)
        return (self.authentication_key, self.server_authentication_key)

    @property
    def _mac_is_void(self) -> bool:
        return self.mac is Mac.DES_MAC and self.encryption is Encryption.DES_CBC and self.mac_key is None

    @property
    def _clear_digest(self) -> bool:
        return (
            self.mac is Mac.MD5
            and self.encryption is Encryption.NONE
            and self.profile.md5_order is Md5Order.ENCRYPT_DIGEST
            and not self.profile.md5_always_encrypted
        )

    def _check_length(self, name: str, value: int, least: int, most: int) -> None:
        if not least <= value <= most:
            raise ISCLSettingsError(f"{name} must be {least} to {most} octets, not {value}.")
