"""Canaries for tlslite-ng, which hsm_dicom/tls/legacy/_tlslite.py uses and no other module."""

from __future__ import annotations

import inspect
import re
import socket
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from hsm_dicom.tls.legacy import _tlslite as seam
from hsm_dicom.tls.legacy.ciphers import aes
from tests.seams import explain, require_attributes, require_method

ROOT = Path(__file__).parents[3]
LIBRARY = "tlslite-ng"
NAMES = {"ids": lambda value: value if isinstance(value, str) else value.__name__}


@pytest.mark.parametrize(("owner", "name"), list(seam.METHODS), **NAMES)
def test_methods_that_are_called_or_overridden_are_as_expected(owner: type, name: str) -> None:
    require_method(LIBRARY, seam, owner, name, seam.METHODS[owner, name])


@pytest.mark.parametrize(("owner", "name"), list(seam.KEYWORDS), **NAMES)
def test_methods_have_the_keywords_that_are_used(owner: type, name: str) -> None:
    missing = seam.KEYWORDS[owner, name] - set(inspect.signature(getattr(owner, name)).parameters)
    assert not missing, explain(LIBRARY, seam, f"has no parameters {sorted(missing)} in {owner.__name__}.{name}")


def test_attributes_that_are_read_or_set_exist() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        instances = {
            seam.ClientHello: seam.ClientHello(),
            seam.HandshakeSettings: seam.HandshakeSettings(),
            seam.RSAKey: seam.PublicRSAKey(rsa.generate_private_key(65537, 2048).public_key()),
            seam.ServerHello: seam.ServerHello(),
            seam.ServerKeyExchange: seam.ServerKeyExchange(0x0033, (3, 2)),
            seam.TLSConnection: seam.TLSConnection(ours),
        }
        assert set(instances) == set(seam.ATTRIBUTES)
        for kind, instance in instances.items():
            require_attributes(LIBRARY, seam, instance, seam.ATTRIBUTES[kind])


def test_our_names_hide_none_of_the_librarys() -> None:
    for ours, theirs in ((seam.BaseConnection, seam.TLSConnection), (seam.BaseRecordLayer, seam.RecordLayer)):
        hidden = {name for name in vars(ours) if not name.startswith("_") and hasattr(theirs, name)}
        assert not hidden, explain(LIBRARY, seam, f"has {theirs.__name__}.{', '.join(sorted(hidden))} of its own")


def test_alerts_have_the_names_and_numbers_of_the_standard() -> None:
    assert seam.AlertDescription.bad_certificate == seam.BAD_CERTIFICATE
    assert seam.AlertDescription.toStr(seam.BAD_CERTIFICATE) == "bad_certificate"
    assert not issubclass(seam.TLSLocalAlert, OSError)


def test_a_cipher_has_what_the_record_layer_asks_of_it() -> None:
    asked = set(re.findall(r"encContext\.(\w+)", inspect.getsource(inspect.getmodule(seam.RecordLayer) or seam)))
    cipher = aes(bytearray(16), bytearray(16))
    # For AEAD ciphers alone, which no retired profile has.
    aead = {"nonceLength", "tagLength", "seal", "open", "nonce"}
    missing = {name for name in asked - aead if not hasattr(cipher, name)}
    assert not missing, explain(LIBRARY, seam, f"asks a cipher for {sorted(missing)}")
    assert cipher.decrypt(aes(bytearray(16), bytearray(16)).encrypt(bytearray(32))) == bytearray(32)


def test_no_other_module_uses_tlslite() -> None:
    users = [
        str(path.relative_to(ROOT))
        for folder in ("hsm_dicom", "tokens")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if re.search(r"^\s*(from|import) tlslite\b", path.read_text(), re.M)
    ]
    assert users == ["hsm_dicom/tls/legacy/_tlslite.py"]
