"""The tables that enable ISCL: one for all peers, and one for each peer or listener that uses it.

    [iscl]
    reason = "The archive speaks nothing else."
    token  = "ct-room"

    [peers.archive]
    ae_titles = ["ARCHIVE"]
    host      = "archive.example"

    [peers.archive.iscl]            # chooses ISCL for this peer
    authentication_key = 2
    encryption_key     = 2

Only the form is checked here; what it means for ISCL is checked where it is compiled (`hsm_dicom.node.tables.iscl`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from hsm_dicom.config.base import Section, Text

KeyIndex = Annotated[int, Field(ge=1, le=8)]
Scalar = bool | int | float | str

_LARGEST = 1_000_000
"""A bound for every number of `wire`, in octets or seconds."""


def _wire(value: object) -> dict[str, Scalar]:
    if not isinstance(value, dict) or not all(isinstance(entry, Scalar) for entry in value.values()):
        raise PydanticCustomError("wire", "")
    if any(isinstance(entry, int | float) and not abs(entry) <= _LARGEST for entry in value.values()):
        raise PydanticCustomError("wire_number", "")
    return value


class ISCLSection(Section):
    """`[iscl]`, `[peers.NAME.iscl]`, `[listeners.NAME.iscl]`: the Integrated Secure Communication Layer (PS3.15 B.2).

    The table of a peer or a listener enables ISCL for it, even if it is empty. Keys that it does not have are taken
    from `[iscl]`, or else have the defaults here.
    """

    reason: Text | None = None
    """Why it is needed. Required; logged with each use."""
    token: Text | None = None
    """The token with the encryption keys: the NAME of a `[tokens.NAME]`, or a pkcs11: URI. Required."""
    authentication_token: Text | None = None
    """The same, or a card: URI, for the authentication keys; by default they are on `token`."""
    prefix: Text | None = None
    """The prefix of the labels of the secret keys on a PKCS#11 token; by default "secret"."""
    host_session_keys: bool = False
    """Whether session keys may be in this node's memory if the token cannot keep them."""
    over: Literal["tls"] | None = None
    """tls: ISCL inside TLS, which the other keys of the peer or listener describe."""
    authentication_data: Text | None = None
    """The authentication data of this node: ASCII, or hex: and octets; by default its AE title."""
    peer_authentication_data: Text | None = None
    """The authentication data of the peer; by default its first AE title."""
    authentication_key: KeyIndex = 1
    """The index of the authentication key, on the wire and on the device."""
    server_authentication_key: KeyIndex | None = None
    """The key with which the server answers, where `wire` has directional_keys."""
    encryption_key: KeyIndex = 1
    """The index of the encryption key, on the wire and on the device."""
    unique_keys: bool = False
    """Whether each message has its own session key."""
    encryption: Literal["des-cbc", "none"] = "des-cbc"
    """none requires allow = ["no-encryption"]."""
    mac: Literal["md5", "des-mac", "none"] = "md5"
    """none requires allow = ["no-mac"]."""
    mac_key: KeyIndex | None = None
    """Another encryption key for DES-MAC, if both ends are configured so."""
    max_message: Annotated[int, Field(ge=1)] | None = None
    """Octets of the longest message that this node accepts."""
    max_block_data: Annotated[int, Field(ge=1)] | None = None
    """Octets of data in the longest block that this node accepts."""
    allow: frozenset[Text] = frozenset()
    """Weaknesses that are allowed explicitly; see `hsm_dicom.iscl.Weakness`."""
    wire: Annotated[dict[str, Scalar], PlainValidator(_wire)] = Field(default_factory=dict)
    """Fields of `hsm_dicom.iscl.WireProfile` that differ for this peer."""

    def complete_from(self, general: ISCLSection | None) -> ISCLSection:
        """Return this table, with the keys that it does not have taken from `[iscl]`."""
        if general is None:
            return self
        return general.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})
