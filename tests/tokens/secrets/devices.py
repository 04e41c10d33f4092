"""The devices on which the secrets port is tested: one shared suite, real components.

Every device holds the same keys, so that the suite can compare with published results.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cards.daemon import Daemon
from tests.cards.fixtures import AUTHENTICATION_CARD, PIN, describe_card, insert_card
from tests.softhsm import new_token, set_pin
from tokens import open_secrets, open_token
from tokens.card_uri import CardUri
from tokens.pkcs11.secret_keys.ceremony import import_secret
from tokens.secrets import Secrets, Use
from tokens.smartcard.profile_table import read_profile
from tokens.uri import Pkcs11Uri

NSS_MODULE = next(Path("/usr/lib").glob("*/libsoftokn3.so"), Path("/usr/lib/libsoftokn3.so"))

KEYS = {
    (Use.AUTHENTICATION, 1): "133457799bbcdff1",
    (Use.AUTHENTICATION, 2): "7ca110454a1a6e57",
    (Use.ENCRYPTION, 1): "0123456789abcdef",
    (Use.ENCRYPTION, 2): "fedcba9876543210",
}
"""1 of each use has published results: 133457799BBCDFF1 is the key of a well-known worked example of DES, and
0123456789ABCDEF that of FIPS 81 and FIPS 113."""


@dataclass(frozen=True)
class Device:
    """One kind of device, with `KEYS` on it; and the same keys in the hands of another party."""

    name: str
    open: Callable[..., Secrets]
    open_peer: Callable[..., Secrets]
    keeps_session_keys: bool
    answers_by_decryption: bool
    serves_many_at_once: bool


def softhsm_device(isolation: str = "none") -> Device:
    """SoftHSM, which runs no single DES: the keys are there as K‖K."""
    uri = new_token().uri()
    _fill(uri, None, isolation)
    opened = functools.partial(open_secrets, uri, isolation=isolation)
    return Device(
        "SoftHSM", opened, opened, keeps_session_keys=True, answers_by_decryption=True, serves_many_at_once=True
    )


@functools.cache
def nss_device() -> Device:
    """NSS softokn, which runs single DES and DES-MAC, and derives from triple DES only.

    There is one for the whole process, since NSS is initialised with the place of its database.
    """
    folder = Path(tempfile.mkdtemp(prefix="nss-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    password = folder / "password"
    password.write_text("a password of NSS\n")
    subprocess.run(["certutil", "-N", "-d", f"sql:{folder}", "-f", password], check=True, capture_output=True)
    init_string = f"configDir='sql:{folder}' certPrefix='' keyPrefix='' secmod='secmod.db' flags="
    uri = Pkcs11Uri(token="NSS Certificate DB", module_path=NSS_MODULE, pin_source=set_pin("a password of NSS"))
    _fill(uri, init_string)
    opened = functools.partial(open_secrets, uri, init_string=init_string)
    return Device("NSS", opened, opened, keeps_session_keys=True, answers_by_decryption=True, serves_many_at_once=True)


def card_device(pcscd: Daemon) -> Device:
    """Our own authentication card: one conversation at a time, answers by encryption only, and no session keys.

    The peer has another one with the same keys.
    """
    profiles = {"test": read_profile("test", AUTHENTICATION_CARD)}
    pin = set_pin(PIN)
    opened = []
    for reader in ("Rig C 00 00", "Rig C 00 01"):
        insert_card(pcscd.card(reader, **describe_card("authentication")))
        uri = CardUri(reader=reader, profile="test", pin_source=pin)
        opened.append(functools.partial(open_secrets, uri, profiles=profiles))
    return Device("card", *opened, keeps_session_keys=False, answers_by_decryption=False, serves_many_at_once=False)


def _fill(uri: Pkcs11Uri, init_string: str | None, isolation: str = "none") -> None:
    with open_token(uri, init_string=init_string, isolation=isolation) as connection:
        for (use, index), value in KEYS.items():
            import_secret(connection, use, index, bytearray.fromhex(value))
