"""A device manager owns what is opened through it: after `close` nothing is left, and opening again works."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.cards.fixtures import PutIn, pcscd, pin, put_in
from tests.softhsm import MODULE, TestToken
from tests.tokens import scenes
from tests.tokens.scenes import sign
from tests.tokens.smartcard.rig import ANSWER, PROFILE, QUESTION
from tokens import DeviceManager, open_key, open_secrets
from tokens.errors import ModuleError, TokenLostError
from tokens.pkcs11.module import load_module

__all__ = ["pcscd", "pin", "put_in"]

URI = "card:reader=Rig%20A%2000%2000;profile=test"


def test_after_close_no_key_works_and_opening_again_does(node: TestToken, manager: DeviceManager) -> None:
    key = open_key(node.uri("rsa"), manager=manager)
    sign(key)
    manager.close()
    with pytest.raises(TokenLostError, match="was closed"):
        sign(key)
    key.close()
    with open_key(node.uri("rsa"), manager=manager) as again:
        sign(again)


def test_managers_share_no_connection(node: TestToken) -> None:
    with DeviceManager() as one, DeviceManager() as two:
        first, second = open_key(node.uri("rsa"), manager=one), open_key(node.uri("rsa"), manager=two)
        sign(first)
        one.close()
        sign(second)


SCENE = """
import threading
from pathlib import Path
from tokens import DeviceManager
from tokens.pkcs11.calls.cryptoki import CRYPTOKI_NOT_INITIALIZED, Function
from tokens.pkcs11.module import load_module
uri, module = uris
"""


def test_a_module_is_finalised_with_its_last_owner_and_initialised_again(node: TestToken) -> None:
    # In a process of its own: in this one, the tests themselves own the module.
    code = (
        SCENE
        + """
one, two = DeviceManager(), DeviceManager()
def is_initialised():
    rv = loaded.run(lambda: loaded.cryptoki.call(Function.GET_SLOT_LIST, 0, None, None))
    return rv != CRYPTOKI_NOT_INITIALIZED
for manager in (one, two):
    sign(tokens.open_key(uri, manager=manager))
loaded = one.tokens.module(Path(module))
print(is_initialised(), loaded.epoch)
one.close()
one.close()
print(is_initialised())
two.close()
print(is_initialised())
key = tokens.open_key(uri, manager=two)
sign(key)
print(is_initialised(), two.tokens.module(Path(module)) is loaded)
two.close()
said(lambda: sign(key))
said(loaded.ready)
"""
    )
    assert scenes.play(code, node.uri("rsa"), MODULE) == [
        "True 0", "True", "False", "True True", "TokenLostError", "TokenLostError",
    ]  # fmt: skip


def test_a_module_in_which_a_call_hangs_stays_initialised_and_is_finalised_later(node: TestToken) -> None:
    code = (
        SCENE
        + """
from tokens.pkcs11 import module as modules
modules.QUIET_TIMEOUT = 0.2
manager = DeviceManager()
loaded = manager.tokens.module(Path(module))
def is_initialised():
    rv = loaded.run(lambda: loaded.cryptoki.call(Function.GET_SLOT_LIST, 0, None, None))
    return rv != CRYPTOKI_NOT_INITIALIZED
inside, leave = threading.Event(), threading.Event()
def hang():
    loaded.run(lambda: (inside.set(), leave.wait()))
thread = threading.Thread(target=hang)
thread.start()
inside.wait()
sign(tokens.open_key(uri, manager=manager))
manager.close()
print(is_initialised())
leave.set()
thread.join()
sign(tokens.open_key(uri, manager=manager))
manager.close()
print(is_initialised())
"""
    )
    assert scenes.play(code, node.uri("rsa"), MODULE) == ["True", "False"]


def test_a_module_that_the_process_keeps_is_not_finalised(node: TestToken) -> None:
    code = (
        SCENE
        + """
kept = load_module(Path(module))
with DeviceManager() as manager:
    sign(tokens.open_key(uri, manager=manager))
print(kept.ready())
"""
    )
    assert scenes.play(code, node.uri("rsa"), MODULE) == ["0"]


def test_a_child_and_its_parent_each_close_their_own(node: TestToken) -> None:
    code = (
        SCENE
        + """
manager = DeviceManager()
key = tokens.open_key(uri, manager=manager)
sign(key)
child = os.fork()
if child == 0:
    sign(key)
    manager.close()
    said(lambda: sign(key))
    sign(tokens.open_key(uri, manager=manager))
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sign(key)
child = os.fork()
if child == 0:
    manager.close()  # without having used it
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sign(key)
manager.close()
said(lambda: sign(key))
"""
    )
    assert scenes.play(code, node.uri("rsa"), MODULE) == ["TokenLostError", "0", "0", "TokenLostError"]


def test_after_close_no_thread_is_left_and_the_card_is_free(put_in: PutIn, pin: str) -> None:
    card = put_in()
    before = set(threading.enumerate())
    with DeviceManager() as manager:
        for _ in range(2):
            secrets = open_secrets(URI, pin=pin, profiles={"test": PROFILE}, manager=manager)
            with secrets.authentication(1, wait=1.0) as held:
                assert held.internal_authenticate(QUESTION).hex() == ANSWER
            assert {thread.name for thread in set(threading.enumerate()) - before} == {"card deadlines", "card calls"}
            manager.close()
            assert not set(threading.enumerate()) - before
            assert card.do("state")["verified"] == {"01": False}, "the card forgot the PIN"
            with pytest.raises(TokenLostError, match="was closed"), secrets.authentication(1, wait=1.0):
                pass
            assert not set(threading.enumerate()) - before, "a closed connection does not come back"


def test_a_child_begins_without_the_cards_of_its_parent(put_in: PutIn, pin: str) -> None:
    put_in()
    with DeviceManager() as manager:
        secrets = open_secrets(URI, pin=pin, profiles={"test": PROFILE}, manager=manager)
        with secrets.authentication(1, wait=1.0) as held:
            held.internal_authenticate(QUESTION)
        child = os.fork()
        if child == 0:
            manager.close()
            os._exit(len([thread for thread in threading.enumerate() if thread.name.startswith("card")]))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with secrets.authentication(1, wait=1.0) as held:
            assert held.internal_authenticate(QUESTION).hex() == ANSWER


def test_a_module_with_two_init_strings_is_refused(softhsm: Path, manager: DeviceManager) -> None:
    load_module(MODULE)
    with pytest.raises(ModuleError, match="init string"):
        manager.tokens.module(Path(MODULE), "configdir=elsewhere")
