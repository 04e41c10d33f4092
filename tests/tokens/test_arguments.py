"""A wrong argument raises a TypeError or ValueError that says what is wanted, before any device is used."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from tests.softhsm import TestToken
from tokens import open_key, open_secrets
from tokens.events import KeyUse, subscribe, subscriptions

URI = "pkcs11:token=none;object=k?module-path=/none.so"
PKCS1 = padding.PKCS1v15()


@pytest.mark.parametrize(
    ("arguments", "error", "wanted"),
    [
        ({"uri": None}, TypeError, "uri must be the text of a pkcs11: or card: URI, not NoneType"),
        ({"uri": URI.encode()}, TypeError, "uri must be .*, not bytes"),
        ({"pin": 987654}, TypeError, "pin must be a PIN source, such as 'file:PATH'.*, not int"),
        ({"uri": "card:profile=piv;key=9c", "pin": b"987654"}, TypeError, "pin must be a PIN source.*, not bytes"),
        ({"sessions": "2"}, TypeError, "sessions must be a whole number, not str"),
        ({"sessions": 0}, ValueError, "sessions must be at least 1, not 0"),
        ({"manager": "x"}, TypeError, "manager must be a DeviceManager, not str"),
        ({"deadlines": 2.0}, TypeError, "deadlines must be tokens.deadlines.CallDeadlines, not float"),
        ({"policy": "strict"}, TypeError, "policy must be a tokens.policy.KeyPolicy, not str"),
    ],
)
@pytest.mark.parametrize("function", [open_key, open_secrets])
def test_opening_says_what_it_wants(
    function: Any, arguments: dict[str, Any], error: type[Exception], wanted: str
) -> None:
    with pytest.raises(error, match=wanted) as caught:
        function(**{"uri": URI} | arguments)
    assert "987654" not in str(caught.value)


@pytest.mark.parametrize(
    ("handler", "kind", "wanted"),
    [
        (5, KeyUse, "handler must be a function that takes an event, not int"),
        (print, "KeyUse", "kind must be a class of events, such as KeyUse, not str"),
        (print, int, "kind must be a class of events, such as KeyUse, not type"),
    ],
)
def test_a_subscription_that_could_get_no_event_is_refused(handler: Any, kind: Any, wanted: str) -> None:
    before = subscriptions()
    with pytest.raises(TypeError, match=wanted), subscribe(handler, kind):
        pass
    assert subscriptions() == before


@pytest.mark.softhsm
@pytest.mark.parametrize("data", [5, [1, 2, 3], "text", None])
def test_only_bytes_are_signed(node: TestToken, data: Any) -> None:
    with open_key(node.uri("ec256")) as key, pytest.raises(TypeError, match="The data to sign must be bytes, not "):
        key.sign(data, ec.ECDSA(hashes.SHA256()))
    with open_key(node.uri("rsa")) as key, pytest.raises(TypeError, match="The data to sign must be bytes, not "):
        key.sign(data, PKCS1, hashes.SHA256())


@pytest.mark.softhsm
@pytest.mark.parametrize("algorithm", ["sha256", hashes.SHA256, None])
def test_the_hash_is_one_of_cryptography(node: TestToken, algorithm: Any) -> None:
    with open_key(node.uri("rsa")) as key, pytest.raises(TypeError, match=r"such as hashes.SHA256\(\), not "):
        key.sign(b"data", PKCS1, algorithm)
