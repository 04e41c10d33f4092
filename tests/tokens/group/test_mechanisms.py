"""The mechanisms of a group are those that all of its tokens offer; the proxy module hides one of one token."""

from __future__ import annotations

from tests.tokens.group.conftest import Copies
from tests.tokens.group.test_pins import pair, play
from tests.tokens.proxy import Proxy

__all__ = ["pair"]

USED = """
from pkcs11 import Mechanism
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
used = []
def note(event):
    used.append(f"{event.token_label.partition('-')[0]} {event.mechanism} {event.outcome}")
with subscribe(note, KeyUse):
    key.public_key().verify(key.sign(b"data", PSS, hashes.SHA256()), b"data", PSS, hashes.SHA256())
print(Mechanism.SHA256_RSA_PKCS_PSS in key.device.offered, Mechanism.RSA_PKCS_PSS in key.device.offered)
print(used[-1])
"""


def test_a_mechanism_that_one_token_lacks_is_used_with_none(proxy: Proxy, pair: Copies) -> None:
    assert play(proxy, pair, USED) == ["True True", "first CKM_SHA256_RSA_PKCS_PSS succeeded"]
    proxy.rule(f"C_GetMechanismInfo token={pair.tokens[1].label} mechanism=0x43 rv=0x70")
    assert play(proxy, pair, USED) == ["False True", "first CKM_RSA_PKCS_PSS succeeded"]


def test_a_mechanism_that_one_token_lists_and_refuses_is_used_with_the_other(proxy: Proxy, pair: Copies) -> None:
    """Nothing is wrong with the token: it stays in use for other mechanisms."""
    proxy.rule(f"C_SignInit token={pair.tokens[0].label} mechanism=0x43 rv=0x70")
    assert play(proxy, pair, f"{USED}\nprint(states())") == [
        "True True",
        "second CKM_SHA256_RSA_PKCS_PSS succeeded",
        "closed closed",
    ]
