"""What an application does with a token, for every module alike; run in the process of a `Worker`.

Each function opens what it needs by URI and closes it, verifies each result on the host, and returns what differs from
module to module: mechanisms, and the classes and texts of errors. What needs DICOM or TLS is in `dicom_behaviours`.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509 import DNSName

import tokens
from tests.interop.modules.devices.device import PIN_VARIABLE, Place
from tests.interop.modules.steps import (
    DECRYPTIONS,
    KEYS,
    Typed,
    attempt,
    class_of,
    collected,
    describe,
    schemes_of,
    sign_and_verify,
    used,
)
from tests.pki import Authority
from tokens import trials
from tokens.csr import certificate_request
from tokens.deadlines import DEFAULT_DEADLINES, CallDeadlines
from tokens.errors import TokenError
from tokens.events import Login, OperationOutcome, Reconnection
from tokens.keys import PrivateKey
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import FromEnvironment
from tokens.pkcs11.ceremony import delete_key, generate_key, read_keys
from tokens.pkcs11.certificates import delete_certificate, import_certificates
from tokens.pkcs11.check import check_token
from tokens.pkcs11.module import load_module
from tokens.pkcs11.officer import initialise_token
from tokens.policy import KeyPolicy, assess_key
from tokens.uri import Pkcs11Uri


def initialise(place: Place, so_pin: str, erase: str | None = None) -> None:
    """Initialise the token."""
    os.environ["DEVICE_SO_PIN"] = so_pin
    initialise_token(
        load_module(Path(place.module)),
        place.token,
        FromEnvironment("DEVICE_SO_PIN"),
        FromEnvironment(PIN_VARIABLE),
        erase=None if erase is None else Pkcs11Uri.parse(erase),
    )


def generate(place: Place, label: str) -> dict[str, Any]:
    """Generate one of `KEYS`; returns its attributes that matter, or the error."""
    with tokens.open_token(place.uri(), **place.options) as connection:
        try:
            entry = generate_key(connection, label, *KEYS[label])
        except TokenError as error:
            return {"error": describe(error)}
    attributes = entry.attributes
    return {
        "extractable": attributes.extractable,
        "sensitive": attributes.sensitive,
        "findings": [finding.weakness.value for finding in assess_key(attributes, KeyPolicy())],
    }


def list_keys(place: Place) -> dict[str, list[str]]:
    """The keys on the token, with the subjects of their certificates."""
    with tokens.open_token(place.uri(), **place.options) as connection:
        return {
            entry.name.label: [certificate.subject.rfc4514_string() for certificate in entry.certificates]
            for entry in read_keys(connection)
        }


def sign(place: Place, label: str) -> dict[str, str]:
    """Sign by every scheme of a key, and verify; returns the mechanism of each, or the error."""
    with tokens.open_key(place.uri(label), **place.options) as key:
        return {name: used(partial(sign_and_verify, key, scheme)) for name, scheme in schemes_of(key).items()}


def decrypt(place: Place, label: str) -> dict[str, str]:
    """Decrypt what was encrypted on the host, by every scheme; returns the mechanism of each, or the error."""
    with tokens.open_key(place.uri(label), **place.options) as key:

        def work(scheme: padding.AsymmetricPadding) -> None:
            assert key.decrypt(key.public_key().encrypt(b"secret", scheme), scheme) == b"secret"

        return {name: used(partial(work, scheme)) for name, scheme in DECRYPTIONS.items()}


def sign_in_threads(place: Place, label: str, threads: int, each: int) -> dict[str, int]:
    """Sign in several threads with one key; returns how often each outcome was seen."""
    options = {"deadlines": CallDeadlines(session=30.0, sign=30.0)} | place.options  # the threads share two processors
    with tokens.open_key(place.uri(label), **options) as key, ThreadPoolExecutor(threads) as pool:
        outcomes = pool.map(lambda _: class_of(attempt(lambda: sign_and_verify(key))), range(threads * each))
        return dict(Counter(outcomes))


def sign_in_a_child(place: Place, label: str) -> list[str]:
    """Sign in the parent, in a forked child, and again in the parent: what each of them did."""
    with tokens.open_key(place.uri(label), **place.options) as key:
        sign_and_verify(key)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, class_of(attempt(lambda: sign_and_verify(key))).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            outcome = pipe.read()
        os.waitpid(child, 0)
        with collected(Login) as logins:
            sign_and_verify(key)
        return [outcome, f"{len(logins)} more logins in the parent"]


def request_certificate(place: Place, label: str) -> str:
    """Make a certificate request; returns its subject."""
    with tokens.open_key(place.uri(label), **place.options) as key:
        request = certificate_request(
            key, "CN=CT 1,O=Radiology", KEYS[label][1], alternative_names=[DNSName("ct1.example")]
        )
        assert request.is_signature_valid
        assert request.public_key() == key.public_key()
        return request.subject.rfc4514_string()


def store_certificates(place: Place, label: str) -> list[list[str]]:
    """Import a certificate for a key and delete it; returns what the token had in between and after that.

    The certificate is read back with the key, too, as an identity reads it.
    """
    with tokens.open_key(place.uri(label), **place.options) as key:
        issued = Authority("Test CA").issue("node", key=key).certificate
    with tokens.open_token(place.uri(), **place.options) as connection:
        for _ in range(2):  # a second time changes nothing
            import_certificates(connection, place.uri(label), [issued])
    steps = [list_keys(place)[label]]
    with tokens.open_key(place.uri(label), **place.options) as key:
        assert issued in key.device.certificates()
    with tokens.open_token(place.uri(), **place.options) as connection:
        delete_certificate(connection, place.uri(label), issued)
    return [*steps, list_keys(place)[label]]


def delete(place: Place, label: str) -> str:
    """Generate a key under another label, delete it, and open it; returns the error."""
    with tokens.open_token(place.uri(), **place.options) as connection:
        generate_key(connection, "doomed", *KEYS[label])
        delete_key(connection, place.uri("doomed"))
    return open_and_close(place, "doomed")


def open_and_close(place: Place, label: str) -> str:
    """Open a key; returns the outcome."""
    return attempt(lambda: tokens.open_key(place.uri(label), **place.options).close())


def check(place: Place, label: str) -> dict[str, str]:
    """Check a key; returns the mechanism of each operation that works, and the problem of each other."""
    trials._SECONDS = 0.05
    with tokens.open_token(place.uri(), **place.options) as connection:
        (key,) = check_token(connection, place.uri(label), KeyPolicy()).keys
    assert key.allowed
    assert key.rate_with_1_session > 0
    assert key.rate_with_4_sessions > 0
    return {each.operation: each.mechanism if each.works else f"not: {each.problem}" for each in key.operations}


def present_a_wrong_pin(place: Place, folder: str) -> list[str]:
    """Open the token with a wrong PIN twice, then with the right one: unattended, typed, unattended again.

    Returns for each attempt the outcome and how many PINs were presented.
    """
    memory = RefusalMemory(Path(folder))
    os.environ["WRONG_PIN"] = "7654"
    wrong, right = FromEnvironment("WRONG_PIN"), FromEnvironment(PIN_VARIABLE)

    def open_with(source: Any) -> str:
        with collected(Login) as logins:
            outcome = attempt(lambda: connect(place, {**place.options, "pin": source, "memory": memory}))
        presented = sum(login.presented for login in logins)
        return f"{class_of(outcome)}, {presented} presented"

    return [open_with(source) for source in (wrong, wrong, right, Typed(os.environ[PIN_VARIABLE]), right)]


def connect(place: Place, options: dict[str, Any]) -> None:
    """Log in."""
    with tokens.open_token(place.uri(), **options) as connection:
        connection.connect()


_held: list[PrivateKey] = []


def hurry(place: Place) -> None:
    """Shorten the default deadlines, so that a test of a call that hangs is quick."""
    for kind in ("session", "sign", "login"):
        object.__setattr__(DEFAULT_DEADLINES, kind, 0.5)


def hold_key(place: Place, label: str) -> None:
    """Open a key that stays open, and use it."""
    _held.append(tokens.open_key(place.uri(label), **place.options))
    sign_and_verify(_held[-1])


def use_held_key(place: Place) -> dict[str, Any]:
    """Use the key that stays open; returns the outcome, and what each reconnection did."""
    with collected(Reconnection) as reconnections, collected(Login) as logins:
        outcome = attempt(lambda: sign_and_verify(_held[-1]))
    steps = [each.step for each in reconnections if each.outcome is OperationOutcome.SUCCEEDED]
    return {"outcome": outcome, "steps": steps, "presented": sum(login.presented for login in logins)}


def release_key(place: Place) -> None:
    """Close the key that stayed open."""
    _held.pop().close()
