"""The table of the configuration that opens ISCL: once for all, and again wherever one peer or listener differs.

    [iscl]
    reason = "The archive speaks nothing else."
    token  = "ct-room"

    [peers.archive]
    ae_titles = ["ARCHIVE"]
    host      = "archive.example"

    [peers.archive.iscl]            # chooses ISCL for this peer
    authentication_key = 2
    encryption_key     = 2

Only the form is checked here; what it means for ISCL is checked where it is compiled (`hsm_dicom.node.iscl_tables`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from hsm_dicom.config.base import Section, Text

KeyIndex = Annotated[int, Field(ge=1, le=8)]
Scalar = bool | int | float | str

_LARGEST = 1_000_000
"""More than any number of `wire` means, be it octets or seconds."""


def _wire(value: object) -> dict[str, Scalar]:
    if not isinstance(value, dict) or not all(isinstance(entry, Scalar) for entry in value.values()):
        raise PydanticCustomError("wire", "")
    if any(isinstance(entry, int | float) and not abs(entry) <= _LARGEST for entry in value.values()):
        raise PydanticCustomError("wire_number", "")
    return value


class ISCLSection(Section):
    """`[iscl]`, `[peers.NAME.iscl]`, `[listeners.NAME.iscl]`: the Integrated Secure Communication Layer (PS3.15 B.2).

    The table of a peer or of a listener chooses ISCL for it, even where it is empty. What it leaves out is taken from
    `[iscl]`, and what that leaves out from the defaults here.
    """

    reason: Text | None = None
    """Why it is needed. Must be there; told with each use."""
    token: Text | None = None
    """The token with the encryption keys: the NAME of a `[tokens.NAME]`, or a pkcs11: URI. Must be there."""
    authentication_token: Text | None = None
    """The same, or a card: URI, for the authentication keys; they are on `token` unless this is there."""
    prefix: Text | None = None
    """How the labels of the secrets begin on a PKCS#11 token; "secret" unless said otherwise."""
    host_session_keys: bool = False
    """Whether session keys may come to this node's memory where the token cannot keep them."""
    over: Literal["tls"] | None = None
    """tls: TLS first, with all that its other keys say, and ISCL in it."""
    authentication_data: Text | None = None
    """What we call ourselves: ASCII, or hex: and octets; our AE title unless said otherwise."""
    peer_authentication_data: Text | None = None
    """What the peer calls itself: its first AE title unless said otherwise."""
    authentication_key: KeyIndex = 1
    """The index of the authentication key, on the wire and on the device."""
    server_authentication_key: KeyIndex | None = None
    """The key with which the server answers, where `wire` has directional_keys."""
    encryption_key: KeyIndex = 1
    """The index of the encryption key, on the wire and on the device."""
    unique_keys: bool = False
    """Whether each message has a session key of its own."""
    encryption: Literal["des-cbc", "none"] = "des-cbc"
    """none must be allowed as "no-encryption"."""
    mac: Literal["md5", "des-mac", "none"] = "md5"
    """none must be allowed as "no-mac"."""
    mac_key: KeyIndex | None = None
    """Another encryption key for DES-MAC alone, where both ends are set so."""
    max_message: Annotated[int, Field(ge=1)] | None = None
    """Octets of the longest message that we take."""
    max_block_data: Annotated[int, Field(ge=1)] | None = None
    """Octets of data in the longest block that we take."""
    allow: frozenset[Text] = frozenset()
    """What is allowed by name; see `hsm_dicom.iscl.Weakness`."""
    wire: Annotated[dict[str, Scalar], PlainValidator(_wire)] = Field(default_factory=dict)
    """Fields of `hsm_dicom.iscl.WireProfile` that this peer wants otherwise."""

    def within(self, general: ISCLSection | None) -> ISCLSection:
        """This table, with what it leaves out taken from `[iscl]`."""
        if general is None:
            return self
        return general.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})
