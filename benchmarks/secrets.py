"""Secrets on SoftHSM (K‖K as triple DES): encryption and codes beside a bare python-pkcs11 loop, in one process."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pkcs11 import Attribute, Mechanism, ObjectClass

import tokens
from benchmarks.bare import open_bare_session
from benchmarks.rows import Row, in_turns
from tests import softhsm
from tokens.pkcs11.connection import Connection
from tokens.pkcs11.secret_keys.ceremony import import_secret
from tokens.secrets import ZERO_IV, Use

MESSAGE = os.urandom(256 * 1024)
PDU = os.urandom(16 * 1024)
BLOCKS = 200


def run() -> Iterator[Row]:
    """What the port costs beside the token's own rate."""
    with tempfile.TemporaryDirectory() as folder:
        softhsm.provision(Path(folder))
        os.environ["TOKENS_STATE"] = f"{folder}/state"
        token = softhsm.new_token()
        with tokens.open_token(token.uri()) as connection:
            import_secret(connection, Use.ENCRYPTION, 1, bytearray.fromhex("0123456789abcdef"))
            import_secret(connection, Use.AUTHENTICATION, 1, bytearray.fromhex("133457799bbcdff1"))
            with tokens.open_secrets(token.uri()) as secrets, secrets.data_key(1) as key:
                bare = _bare_key(connection, "secret-encryption-1")

                def authenticate() -> None:
                    for _ in range(BLOCKS):
                        with secrets.authentication(1) as held:
                            held.internal_authenticate(PDU[:8])

                def bare_blocks() -> None:
                    for _ in range(BLOCKS):
                        bare.encrypt(PDU[:8], mechanism=Mechanism.DES3_ECB)

                seconds = in_turns(
                    {
                        "bare": lambda: bare.encrypt(MESSAGE, mechanism=Mechanism.DES3_CBC, mechanism_param=ZERO_IV),
                        "encrypt": lambda: key.encrypt(MESSAGE, ZERO_IV),
                        "md5": lambda: (hashlib.md5(MESSAGE), key.encrypt(MESSAGE, ZERO_IV)),
                        "pdus": lambda: [key.encrypt(PDU, ZERO_IV) for _ in range(16)],
                        "bare pdus": lambda: [
                            bare.encrypt(PDU, mechanism=Mechanism.DES3_CBC, mechanism_param=ZERO_IV) for _ in range(16)
                        ],
                        "mac": lambda: key.mac(MESSAGE),
                        "authenticate": authenticate,
                        "bare blocks": bare_blocks,
                    },
                    rounds=21,
                )
    rate = len(MESSAGE) / 1e6
    rows = (
        ("DES-CBC of 256 KiB, MB/s", "encrypt", "bare", ">= 0.9"),
        ("MD5 on the host and DES-CBC of 256 KiB, MB/s", "md5", "bare", ">= 0.9"),
        ("DES-CBC in 16 KiB messages, MB/s", "pdus", "bare pdus", ">= 0.8"),
        ("DES-MAC of 256 KiB, MB/s", "mac", "bare", ">= 0.9"),
    )
    for what, ours, peer, wanted in rows:
        yield Row(
            what,
            f"{rate / seconds[ours]:.1f}",
            f"{rate / seconds[peer]:.1f}",
            seconds[peer] / seconds[ours],
            wanted,
        )
    yield Row(
        "INTERNAL AUTHENTICATE a second, beside bare ECB blocks",
        f"{BLOCKS / seconds['authenticate']:.0f}",
        f"{BLOCKS / seconds['bare blocks']:.0f}",
    )


def _bare_key(connection: Connection, label: str) -> Any:
    """python-pkcs11's own key object in a session that nobody else uses."""
    (key,) = open_bare_session(connection).get_objects(
        {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label}
    )
    return key
