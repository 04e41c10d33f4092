"""A key pair, or a token, whose answer came too late: reported at once, as an event, and when somebody looks for it."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from tests.softhsm import TestToken
from tests.tokens import scenes
from tests.tokens.proxy import Proxy

pytestmark = pytest.mark.usefixtures("bounded")

SCENE = """
import time
from pathlib import Path
from tokens.deadlines import CallDeadlines
from tokens.errors import CeremonyTimeoutError
from tokens.events import CeremonyStep, subscribe
from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key, read_keys, review_unfinished
from tokens.pkcs11.officer import initialise_token
from tokens.process import ending
RULES = Path(os.environ["PROXY_RULES"])
QUICK = CallDeadlines(generate=0.5)
def rule(*lines):
    fresh = RULES.with_name("rules.new")
    fresh.write_text("".join(line + chr(10) for line in lines))
    fresh.rename(RULES)
def wait_for(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
def generate(connection, label="late"):
    return generate_key(connection, label, KeyKind.P_256, Usage.SIGN)
def review(connection):
    return [(one.step.label, one.found) for one in review_unfinished(connection, read_keys(connection))]
told = []
"""


def play(proxy: Proxy, code: str, *uris: object) -> list[str]:
    return scenes.play(SCENE + textwrap.dedent(code), *uris, environment=proxy.environment(counted=True))


@pytest.mark.parametrize("when", ["", "after=1"])
def test_a_late_key_pair_is_an_event_and_is_reported_once_when_the_keys_are_read(
    token: TestToken, proxy: Proxy, state_folder: Path, when: str
) -> None:
    code = f"""
    with subscribe(told.append, CeremonyStep), tokens.open_token(uris[0], deadlines=QUICK) as connection:
        connection.connect()
        rule("C_GenerateKeyPair hang=1 {when}")
        try:
            generate(connection)
        except CeremonyTimeoutError as error:
            print("key pair 'late' (id " in error.message, "may still appear" in error.message)
        rule()
        wait_for(lambda: not ending.has_late_calls() and len(told) == 2)
        print([(event.outcome.value, event.late, event.step) for event in told])
        print(review(connection), review(connection))
    """
    assert play(proxy, code, proxy.serving(token.uri())) == [
        "True True",
        "[('unanswered', False, 'generate'), ('succeeded', True, 'generate')]",
        "[('late', True)] []",
    ]
    assert list(state_folder.glob("unfinished-*")) == []


def test_a_late_refusal_is_an_event_and_leaves_no_record(token: TestToken, proxy: Proxy, state_folder: Path) -> None:
    code = """
    with subscribe(told.append, CeremonyStep), tokens.open_token(uris[0], deadlines=QUICK) as connection:
        connection.connect()
        rule("C_GenerateKeyPair takes=1 rv=0x30")
        said(lambda: generate(connection))
        wait_for(lambda: len(told) == 2 and not ending.has_late_calls())
        print([(event.outcome.value, event.late) for event in told], "DeviceError" in told[1].reason)
        print(review(connection))
    """
    assert play(proxy, code, proxy.serving(token.uri())) == [
        "CeremonyTimeoutError",
        "[('unanswered', False), ('failed', True)] True",
        "[]",
    ]
    assert list(state_folder.glob("unfinished-*")) == []


def test_a_refusal_in_time_leaves_no_record(token: TestToken, proxy: Proxy, state_folder: Path) -> None:
    code = """
    with tokens.open_token(uris[0]) as connection:
        connection.connect()
        rule("C_GenerateKeyPair rv=0x31")
        said(lambda: generate(connection))
    """
    assert play(proxy, code, proxy.serving(token.uri())) == ["OperationFailedError"]
    assert list(state_folder.glob("unfinished-*")) == []


@pytest.mark.parametrize("answer", ["0x30", "0x06", "0x80000001"])
def test_a_key_pair_that_was_made_in_spite_of_an_error_is_reported(
    token: TestToken, proxy: Proxy, state_folder: Path, answer: str
) -> None:
    code = f"""
    with tokens.open_token(uris[0]) as connection:
        connection.connect()
        rule("C_GenerateKeyPair rv={answer} after=1")
        try:
            generate(connection)
        except TokenError as error:
            print(type(error).__name__, "but it is there now" in error.message)
        rule()
        [one] = review_unfinished(connection, read_keys(connection))
        print("and answered CKR_" in one.text, "It is there now." in one.text, review(connection))
    """
    assert play(proxy, code, proxy.serving(token.uri())) == ["CeremonyError True", "True True []"]
    assert list(state_folder.glob("unfinished-*")) == []


def test_a_key_pair_that_cannot_be_looked_for_after_an_error_is_looked_for_later(
    token: TestToken, proxy: Proxy, state_folder: Path
) -> None:
    code = """
    with tokens.open_token(uris[0]) as connection:
        connection.connect()
        rule("C_GenerateKeyPair rv=0x32 after=1", "C_FindObjectsInit rv=0x32 skip=2")
        said(lambda: generate(connection))
        rule()
        [one] = review_unfinished(connection, read_keys(connection))
        print("CKR_DEVICE_REMOVED. It is there now." in one.text, review(connection))
    """
    assert play(proxy, code, proxy.serving(token.uri())) == ["TokenLostError", "True []"]
    assert list(state_folder.glob("unfinished-*")) == []


LEAVE = """
    with tokens.open_token(uris[0], deadlines=QUICK, isolation="{isolation}") as connection:
        connection.connect()
        rule("C_GenerateKeyPair hang=1 {when}")
        said(lambda: generate(connection))
        os._exit(0)
"""


@pytest.mark.parametrize("isolation", ["none", "process"])
@pytest.mark.parametrize(("when", "is_there"), [("", False), ("after=1", True)])
def test_the_next_process_looks_for_a_key_pair_that_an_earlier_one_left(
    token: TestToken, proxy: Proxy, state_folder: Path, when: str, is_there: bool, isolation: str
) -> None:
    uri = proxy.serving(token.uri())
    assert play(proxy, LEAVE.format(when=when, isolation=isolation), uri) == ["CeremonyTimeoutError"]
    [record] = state_folder.glob("unfinished-*")
    content = json.loads(record.read_text())
    assert set(content) == {"step", "serial", "module", "label", "id", "when"}
    assert content["label"] == "late"
    assert record.stat().st_mode & 0o777 == 0o600
    proxy.rule()
    code = """
    with tokens.open_token(uris[0]) as connection:
        try:
            generate(connection)
            print("generated", review(connection))
        except TokenError as error:
            print("did not answer in time" in error.message, "is there now" in error.message)
        print(review(connection))
    """
    assert play(proxy, code, uri) == (
        ["True True", "[]"] if is_there else ["generated [('late', False)]", "[('late', False)]"]
    )


def test_a_record_is_settled_when_the_key_pair_is_no_longer_expected(
    token: TestToken, proxy: Proxy, state_folder: Path
) -> None:
    uri = proxy.serving(token.uri())
    play(proxy, LEAVE.format(when="", isolation="none"), uri)
    [record] = state_folder.glob("unfinished-*")
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"when": "2020-01-01T00:00:00+00:00"}))
    proxy.rule()
    code = """
    with tokens.open_token(uris[0]) as connection:
        [one] = review_unfinished(connection, read_keys(connection))
        print("It did not appear." in one.text, one.found, review(connection))
    """
    assert play(proxy, code, uri) == ["True False []"]


def test_an_unreadable_record_is_logged_and_stops_nothing(token: TestToken, proxy: Proxy, state_folder: Path) -> None:
    state_folder.mkdir(mode=0o700)
    (state_folder / "unfinished-broken.json").write_text("{")
    code = """
    with tokens.open_token(uris[0]) as connection:
        generate(connection)
        print(review(connection))
    """
    assert play(proxy, code, proxy.serving(token.uri())) == ["[]"]


@pytest.mark.parametrize("when", ["", "after=1"])
def test_a_token_whose_initialisation_was_left_is_reported_when_it_is_there(
    proxy: Proxy, state_folder: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEW_PIN", "7654321")
    code = f"""
    from tokens.opening import find_module
    from tokens.pins.sources import FromEnvironment
    from tokens.uri import Pkcs11Uri
    from tokens.pkcs11.search import find_token
    from tokens.pkcs11.unfinished import UnfinishedSteps
    from tokens.pins.refusals import RefusalMemory
    owner = find_module(Pkcs11Uri(module_path=Path(uris[0])))
    source = FromEnvironment("NEW_PIN")
    def initialise():
        initialise_token(owner, uris[1], source, source, deadlines=QUICK)
    with subscribe(told.append, CeremonyStep):
        rule("C_InitToken hang=1 {when}")
        try:
            initialise()
        except TokenError as error:
            print(type(error).__name__, "may still appear" in str(error))
        rule()
        wait_for(lambda: not ending.has_late_calls() and len(told) == 2)
        print([(event.outcome.value, event.late, event.step) for event in told])
    try:
        initialise()
    except TokenError as error:
        print("did not answer in time" in error.message, "is there now" in error.message)
    """
    assert play(proxy, code, proxy.module, f"late{when}") == [
        "CeremonyTimeoutError True",
        "[('unanswered', False, 'initialise'), ('succeeded', True, 'initialise')]",
        "True True",
    ]
    assert list(state_folder.glob("unfinished-*")) == []
