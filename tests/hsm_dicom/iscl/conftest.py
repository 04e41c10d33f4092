"""One SoftHSM token for all tests of ISCL, opened by two parties."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pkcs11 import Attribute, KeyType, ObjectClass

from tests.hsm_dicom.iscl.lines import AUTHENTICATION_KEY, ENCRYPTION_KEY, Ends
from tests.softhsm import new_token
from tests.tokens.secrets.devices import Device, softhsm_device
from tokens import open_secrets, open_token
from tokens.pkcs11.secret_keys.ceremony import import_secret
from tokens.secrets import Use


@pytest.fixture(scope="session")
def iscl_device(softhsm: Path) -> Device:
    """The device: authentication keys 1 and 2, encryption keys 1 and 2."""
    return softhsm_device()


@pytest.fixture(scope="session")
def ends(iscl_device: Device) -> Iterator[Ends]:
    """Two parties with the same secrets, whose session keys stay on the device."""
    with iscl_device.open() as ours, iscl_device.open() as theirs:
        yield Ends(ours, theirs)


@pytest.fixture(scope="session")
def host_key_ends(softhsm: Path) -> Iterator[Ends]:
    """Two parties whose encryption key may not derive, so that session keys come to the host."""
    token = new_token()
    with open_token(token.uri()) as connection:
        import_secret(connection, Use.AUTHENTICATION, 1, bytearray(AUTHENTICATION_KEY))
        with connection.writable() as session:
            connection.objects(session).create(
                {
                    Attribute.CLASS: ObjectClass.SECRET_KEY,
                    Attribute.KEY_TYPE: KeyType.DES3,
                    Attribute.TOKEN: True,
                    Attribute.LABEL: "secret-encryption-1",
                    Attribute.SENSITIVE: True,
                    Attribute.EXTRACTABLE: False,
                    Attribute.ENCRYPT: True,
                    Attribute.DECRYPT: True,
                    Attribute.DERIVE: False,
                    Attribute.VALUE: ENCRYPTION_KEY * 3,
                }
            )
    with (
        open_secrets(token.uri(), host_session_keys=True) as ours,
        open_secrets(token.uri(), host_session_keys=True) as theirs,
    ):
        yield Ends(ours, theirs)
