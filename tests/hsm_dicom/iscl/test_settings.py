"""What an officer may set, and what is refused until it is named."""

from __future__ import annotations

from typing import Any

import pytest

from hsm_dicom.iscl import Encryption, ISCLContext, ISCLSettings, ISCLSettingsError, Mac, Weakness, WireProfile
from hsm_dicom.iscl.wire.profile import Md5Order, UniqueKeyForm
from tests.hsm_dicom.iscl.lines import AUTHENTICATION_KEY, Ends
from tests.softhsm import new_token
from tokens import open_secrets, open_token
from tokens.errors import NoSuchKeyError
from tokens.pkcs11.secret_keys.ceremony import import_secret
from tokens.secrets import Use


def test_the_default_is_the_strongest_that_iscl_has() -> None:
    default = ISCLSettings()
    assert (default.encryption, default.mac, default.allow) == (Encryption.DES_CBC, Mac.MD5, frozenset())


@pytest.mark.parametrize(
    ("weakness", "options"),
    [
        (Weakness.NO_ENCRYPTION, {"encryption": Encryption.NONE}),
        (Weakness.NO_MAC, {"mac": Mac.NONE}),
        (Weakness.DES_MAC_WITH_ENCRYPTION_KEY, {"mac": Mac.DES_MAC}),
        (
            Weakness.NO_MAC,
            {
                "encryption": Encryption.NONE,
                "allow": frozenset({Weakness.NO_ENCRYPTION}),
                "profile": WireProfile(md5_always_encrypted=False),
            },
        ),
    ],
)
def test_a_weakening_is_refused_until_it_is_named(weakness: Weakness, options: dict[str, Any]) -> None:
    with pytest.raises(ISCLSettingsError, match=f'allow = \\["{weakness}"\\]'):
        ISCLSettings(**options)
    allowed = options.pop("allow", frozenset()) | {weakness}
    assert weakness in ISCLSettings(allow=allowed, **options).allow


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"authentication_key": 0}, "authentication_key"),
        ({"authentication_key": 9}, "authentication_key"),
        ({"encryption_key": 9}, "encryption_key"),
        ({"server_authentication_key": 2}, "directional_keys"),
        ({"profile": WireProfile(directional_keys=True)}, "server_authentication_key"),
        ({"profile": WireProfile(directional_keys=True), "server_authentication_key": 1}, "its own key"),
        ({"mac_key": 2}, "mac_key"),
        ({"mac": Mac.DES_MAC, "mac_key": 1}, "mac_key"),
        ({"authentication_data": b""}, "authentication_data"),
        ({"authentication_data": bytes(129)}, "authentication_data"),
        ({"peer_authentication_data": bytes(129)}, "peer_authentication_data"),
        ({"max_message": 0}, "max_message"),
        ({"max_message": 1_048_577}, "max_message"),
        ({"max_block_data": 7}, "max_block_data"),
        ({"max_block_data": 8161}, "max_block_data"),
        ({"profile": WireProfile(md5_order=Md5Order.DIGEST_AFTER_ENCRYPTED_RANDOM)}, "unique_keys"),
        (
            {"unique_keys": True, "encryption_key": 2, "profile": WireProfile(unique_key_form=UniqueKeyForm.BARE)},
            "same index",
        ),
    ],
)
def test_what_cannot_work_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ISCLSettingsError, match=named):
        ISCLSettings(**options)


def test_one_key_for_authentication_and_encryption_is_refused(ends: Ends) -> None:
    """A peer could send a recorded session random as its challenge and be told the session key. The import ceremony
    refuses equal keys on one token; here they are on two."""
    token = new_token()
    with open_token(token.uri()) as connection:
        import_secret(connection, Use.ENCRYPTION, 1, bytearray(AUTHENTICATION_KEY))
        import_secret(connection, Use.ENCRYPTION, 2, bytearray.fromhex("fedcba9876543210"))
    with open_secrets(token.uri()) as encrypting:
        for options in ({}, {"mac": Mac.DES_MAC, "encryption_key": 2, "mac_key": 1}):
            with pytest.raises(ISCLSettingsError, match="they are the same key"):
                ISCLContext(ISCLSettings(**options), encrypting, authentication=ends.ours)
        ISCLContext(ISCLSettings(encryption_key=2), encrypting, authentication=ends.ours)


def test_a_key_that_is_not_there_is_missed_before_anybody_connects(ends: Ends) -> None:
    with pytest.raises(NoSuchKeyError, match="secret-encryption-7"):
        ISCLContext(ISCLSettings(encryption_key=7), ends.ours)
