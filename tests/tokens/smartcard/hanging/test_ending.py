"""A card that hangs keeps no process from ending, forking or closing what it has open."""

from __future__ import annotations

import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.cards.daemon import RunningCard
from tests.cards.fixtures import AUTHENTICATION_CARD, PIN, READERS, PutIn
from tests.tokens import scenes
from tests.tokens.smartcard.rig import READER, within
from tokens import open_key
from tokens.errors import CardLostError, TokenError
from tokens.manager import DeviceManager
from tokens.smartcard.profile_table import read_profile

PROFILES = {"test": read_profile("test", AUTHENTICATION_CARD)}
URI = f"card:reader={READER.replace(' ', '%20')};profile=test;key=sign?pin-source=env:HANGING_PIN"

SCENE = f"""
import signal, time
from tokens.smartcard.profile_table import read_profile
os.environ["HANGING_PIN"] = {PIN!r}
key = tokens.open_key(uris[0], profiles={{"test": read_profile("test", {AUTHENTICATION_CARD!r})}})
sign(key)
print("ready", flush=True)
sys.stdin.readline()
"""

INTERRUPTED = """
try:
    sign(key)
except KeyboardInterrupt:
    print("interrupted", flush=True)
key.close()
print("closed", flush=True)
"""

TOLD = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
sign(key)
"""

IN_THREADS = """
for _ in range(4):
    threading.Thread(target=lambda: said(lambda: sign(key))).start()
time.sleep(0.3)
from tokens.process import ending
ending.interrupt_device_calls()
ending.end_process(4)
"""

FORKED = """
from tokens.smartcard.readers import pcsc
from tokens.smartcard.search import list_slots
pcsc.QUIET_TIMEOUT = 0.5
threading.Thread(target=lambda: said(lambda: sign(key)), daemon=True).start()
time.sleep(0.3)
child = os.fork()
if not child:
    os._exit(len(list_slots(tokens.default_manager().cards.contexts)))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
os._exit(0)
"""


@pytest.fixture
def card(put_in: PutIn, state_folder: Path) -> RunningCard:
    return put_in()


def begin(card: RunningCard, code: str) -> subprocess.Popen[str]:
    """Start a scene, and let the card hang when it is used next."""
    scene = scenes.begin(SCENE + code, URI)
    assert scene.stdout is not None
    assert scene.stdin is not None
    assert scene.stdout.readline() == "ready\n", scene.communicate()[1]
    card.do("fault", fault="hang")
    scene.stdin.write("\n")
    scene.stdin.flush()
    return scene


def wait_until_hanging(card: RunningCard) -> None:
    scenes.until(lambda: card.do("state")["hanging"])


def test_ctrl_c_is_heard_at_once_and_the_card_can_be_closed(card: RunningCard) -> None:
    scene = begin(card, INTERRUPTED)
    wait_until_hanging(card)
    with within(1.0):
        scene.send_signal(signal.SIGINT)
        assert scenes.end(scene) == ["interrupted", "closed"]


@pytest.mark.parametrize(("code", "status"), [(TOLD, 3), ("sign(key)", -signal.SIGTERM)], ids=["handled", "default"])
def test_sigterm_ends_the_process_within_a_second(card: RunningCard, code: str, status: int) -> None:
    scene = begin(card, code)
    wait_until_hanging(card)
    with within(1.0):
        scene.send_signal(signal.SIGTERM)
        assert scene.wait(10) == status
    scene.communicate()


def test_threads_that_use_a_card_or_wait_for_it_do_not_keep_the_process(card: RunningCard) -> None:
    scene = begin(card, IN_THREADS)
    wait_until_hanging(card)
    with within(2.0):
        assert scene.wait(10) == 4
    assert scene.communicate()[0].replace("\n", "") == "CardCancelledError" * 4


def test_a_fork_waits_for_the_card_for_a_limited_time_and_the_child_has_readers(card: RunningCard) -> None:
    scene = begin(card, FORKED)
    wait_until_hanging(card)
    with within(5.0):
        assert scenes.end(scene) == [str(2 * len(READERS))]


def test_a_manager_closes_while_another_thread_waits_for_the_card(card: RunningCard, pin: str) -> None:
    manager = DeviceManager()
    key = open_key(URI.partition("?")[0], pin=pin, profiles=PROFILES, manager=manager)
    scenes.sign(key)
    card.do("fault", fault="hang")
    raised: list[TokenError] = []

    def hang() -> None:
        try:
            scenes.sign(key)
        except TokenError as error:
            raised.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    wait_until_hanging(card)
    with within(5.0):
        manager.close()
        thread.join(5)
    assert isinstance(raised[0], CardLostError)
