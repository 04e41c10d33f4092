"""How many Python calls one signature makes in our code and in the libraries under it, in both threads together.

After a call into a device the processor's caches are cold, so that the number of calls decides what a signature costs
beside the token's own time. The bounds leave room for other versions of Python, not for another layer.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

import tokens
from tests.softhsm import TestToken
from tests.tokens.group.conftest import new_copies
from tokens.group import open_key_group
from tokens.keys import PrivateKey
from tokens.pkcs11.module_interface import Module

ALONE, IN_A_GROUP = 170, 260
DIGEST, SHA256 = bytes(32), hashes.SHA256()
RSA_SCHEMES: dict[str, tuple[Any, ...]] = {
    "PKCS1v15": (padding.PKCS1v15(), SHA256),
    "PKCS1v15, prehashed": (padding.PKCS1v15(), Prehashed(SHA256)),
    "PSS, prehashed": (padding.PSS(padding.MGF1(SHA256), 32), Prehashed(SHA256)),
}


class Calls:
    """The calls of the current thread and of a module's call thread, by function."""

    def __init__(self, module: Module) -> None:
        self.by_function: Counter[str] = Counter()
        self._module = module

    def count(self, job: Callable[[], object]) -> int:
        """Carry out a job for the first time, and once more to count its calls."""
        job()
        # The call thread that becomes idle last is used first.
        self._module.run(lambda: sys.setprofile(self._note))
        sys.setprofile(self._note)
        try:
            job()
        finally:
            sys.setprofile(None)
            count = self.by_function.total()
            self._module.run(lambda: sys.setprofile(None))
        return count

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self.by_function[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            self.by_function[getattr(argument, "__qualname__", repr(argument))] += 1


@pytest.fixture
def rsa_key(node: TestToken) -> Iterator[PrivateKey]:
    with tokens.open_key(node.uri("rsa")) as key:
        yield key


def module_of(device: Any) -> Module:
    module: Module = device._connection.module
    return module


@pytest.mark.parametrize("scheme", RSA_SCHEMES)
def test_an_rsa_signature_makes_few_python_calls(rsa_key: Any, scheme: str) -> None:
    calls = Calls(module_of(rsa_key.device))
    assert 50 < calls.count(lambda: rsa_key.sign(DIGEST, *RSA_SCHEMES[scheme])) < ALONE, calls.by_function
    assert calls.by_function["Cryptoki.call"] == 2, "C_SignInit and C_Sign, in the thread that was counted"


def test_an_ecdsa_signature_makes_few_python_calls(node: TestToken) -> None:
    with tokens.open_key(node.uri("ec256")) as key:
        calls = Calls(module_of(key.device))
        count = calls.count(lambda: key.sign(DIGEST, ec.ECDSA(Prehashed(SHA256))))
    assert 50 < count < ALONE, calls.by_function
    assert calls.by_function["Cryptoki.call"] == 2


def test_a_signature_of_a_group_makes_few_python_calls(softhsm: object) -> None:
    copies = new_copies(None, None)
    with open_key_group(copies.uris) as key:
        calls = Calls(module_of(key.device._members[0].device))
        count = calls.count(lambda: key.sign(DIGEST, *RSA_SCHEMES["PSS, prehashed"]))
    assert 50 < count < IN_A_GROUP, calls.by_function
    assert calls.by_function["Cryptoki.call"] == 2
