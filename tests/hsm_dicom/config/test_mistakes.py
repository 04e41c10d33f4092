"""Reading the configuration: what is understood, and what is said of every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.config import (
    load_configuration,
    read_configuration,
)
from tests.hsm_dicom.config.conftest import problems
from tokens.deadlines import CallDeadlines
from tokens.pins.sources import FromFile
from tokens.policy import Weakness

WHOLE = """
[tokens.ct-room]
module = "/usr/lib/hsm.so"
label = "CT room"
pin = "file:pins/ct"
sessions = 4

[identities.node]
token = "ct-room"
object = "node"
id = "01AB"
chain = "chain.pem"
allow = ["imported"]

[identities.elsewhere]
key = "pkcs11:token=other;object=x"
certificate = "elsewhere.pem"

[state]
folder = "/var/lib/somewhere"

[events]
file = "events.jsonl"
"""


def test_a_whole_file_becomes_models_with_its_paths_below_its_folder(write, tmp_path: Path) -> None:
    configuration = load_configuration(write(WHOLE))
    token = configuration.tokens["ct-room"]
    assert (token.label, token.serial, token.sessions) == ("CT room", None, 4)
    assert token.pin == FromFile(tmp_path / "pins/ct")
    node, elsewhere = configuration.identities["node"], configuration.identities["elsewhere"]
    assert (node.token, node.object, node.id, node.certificate) == ("ct-room", "node", b"\x01\xab", None)
    assert node.chain == tmp_path / "chain.pem"
    assert node.weaknesses == {Weakness.IMPORTED}
    assert elsewhere.certificate == tmp_path / "elsewhere.pem"
    assert configuration.events.file == tmp_path / "events.jsonl"
    assert configuration.state.folder == Path("/var/lib/somewhere")


def test_every_mistake_is_reported_at_once_with_line_key_and_remedy(write) -> None:
    found = problems(
        write(
            """[tokens.a]
module = "x.so"
lable = "CT"

[tokens.b]
label = "b"
sessions = 0

[identities.n]
token = "c"
object = "k"

[identities.m]
token = "a"

[peer.x]
"""
        )
    )
    assert found.keys() == {
        "tokens.a.lable",
        "tokens.b.module",
        "tokens.b.sessions",
        "identities.n.token",
        "identities.m",
        "peer",
    }
    assert found["tokens.a.lable"].line == 3
    assert "Did you mean 'label'?" in found["tokens.a.lable"].remedy
    assert found["tokens.b.module"].line == 5  # the table in which it is missing
    assert found["tokens.b.sessions"].line == 7
    assert "[tokens.c]" in found["identities.n.token"].text
    assert "names no key" in found["identities.m"].text
    assert all(problem.remedy for problem in found.values())


def test_a_reference_to_a_token_with_a_mistake_of_its_own_is_not_called_dangling(write) -> None:
    found = problems(write('[tokens.a]\nlabel = "x"\n[identities.n]\ntoken = "a"\nobject = "k"\n'))
    assert found.keys() == {"tokens.a.module"}


def test_a_misspelt_key_is_not_called_missing_too(write) -> None:
    found = problems(write('[tokens.a]\nmodul = "x.so"\nlabel = "a"\n'))
    assert found.keys() == {"tokens.a.modul"}


def test_each_mistake_in_a_card_profile_has_its_line_and_key(write) -> None:
    found = problems(
        write(
            """[cards.h]
famly = "piv"
aid = "zz"
timeout = "long"

[[cards.h.keys]]
name = "sign"
refrence = "9c"

[cards.i]
family = "cac"
"""
        )
    )
    assert {key: problem.line for key, problem in found.items()} == {
        "cards.h.famly": 2,
        "cards.h.aid": 3,
        "cards.h.timeout": 4,
        "cards.h.keys.0.refrence": 8,
        "cards.i.family": 11,
    }
    assert "Did you mean 'family'? Known keys: aid, deadlines, extended, family" in found["cards.h.famly"].remedy
    assert "hexadecimal" in found["cards.h.aid"].text
    assert "Did you mean 'reference'?" in found["cards.h.keys.0.refrence"].remedy
    assert "'iso7816', 'piv' or 'openpgp'" in found["cards.i.family"].remedy


def test_deadlines_of_cards_are_read_and_their_mistakes_have_lines(write) -> None:
    table = '[cards.h]\nfamily = "piv"\naid = "a000000308"\n[cards.h.deadlines]\n'
    (card,) = load_configuration(write(f"{table}sign = 5\nperson = 90\n")).cards.values()
    assert card.deadlines == CallDeadlines(sign=5.0, person=90.0)
    found = problems(write(f'{table}sing = 5\nlogin = "soon"\n'))
    assert {key: problem.line for key, problem in found.items()} == {
        "cards.h.deadlines.sing": 5,
        "cards.h.deadlines.login": 6,
    }
    assert "Did you mean 'sign'?" in found["cards.h.deadlines.sing"].remedy
    (zero,) = problems(write(f"{table}sign = 0\n")).values()
    assert "The deadline 'sign' must be a positive number of seconds, not 0" in zero.text


def test_a_card_profile_has_the_name_of_its_table(write) -> None:
    cards = load_configuration(write('[cards.h]\nfamily = "piv"\naid = "a000000308"\n')).cards
    assert {name: profile.name for name, profile in cards.items()} == {"h": "h"}


def test_what_names_a_table_with_a_mistake_is_left_out_and_not_blamed(write) -> None:
    reading = read_configuration(
        write(
            """[tokens.a]
module = "x.so"
lable = "a"

[tokens.b]
module = "x.so"
label = "b"

[identities.of-a]
token = "a"
object = "k"

[identities.of-b]
token = "b"
object = "k"

[identities.of-nothing]
token = "c"
object = "k"

[identities.of-card]
key = "card:profile=h;key=sign"

[cards.h]
family = "cac"

[iscl]
reason = "It is needed."
token = "a"

[peers.known]
ae_titles = ["A"]
identity = "of-b"

[peers.unknown]
ae_titles = ["B"]
identity = "of-nothing"

[peers.iscl]
ae_titles = ["C"]
iscl = {}

[listeners.one]
ae_title = "X"
identities = ["of-b"]
peers = ["known", "unknown"]

[listeners.two]
ae_title = "Y"
identities = ["of-b"]
peers = ["known"]
"""
        )
    )
    assert {problem.key for problem in reading.problems} == {
        "tokens.a.lable",
        "identities.of-nothing.token",
        "cards.h.family",
    }
    configuration = reading.configuration
    assert configuration.identities.keys() == {"of-b"}
    assert configuration.peers.keys() == {"known"}
    assert configuration.listeners.keys() == {"two"}
    assert configuration.iscl is None


@pytest.mark.parametrize(
    ("body", "key", "words"),
    [
        ("[state]\nfolder = 3", "state.folder", "path in quotation marks"),
        ("[identities.n]\ntoken = 'a'\nid = 'xyz'", "identities.n.id", "hexadecimal"),
        ("[identities.n]\nkey = 'pkcs11:object=k'\ntoken = 'a'", "identities.n", "twice"),
        ("[identities.n]\nkey = 'file:k.pem'\ncertificate = 'c.pem'", "identities.n", "anyone who reads the file"),
        ("[identities.n]\nkey = 'file:k.pem'\nallow = ['file-key']", "identities.n", "no certificate"),
        ("[identities.n]\nkey = 'nonsense'", "identities.n.key", "does not begin with 'pkcs11:'"),
        ("[identities.n]\ntoken = 'a'\nobject = 'k'\nallow = ['all']", "identities.n.allow.0", "unknown weakness"),
        ("tokens = 3", "tokens", "table with named tables"),
        ("[tokens.a]\nlabel = 'a'\nmodule = \"a\\u0000b\"", "tokens.a.module", "null character"),
        ("[tokens.a]\nmodule = 'a'\nlabel = \"a\\u0000b\"", "tokens.a.label", "null character"),
        ("[tokens]\na = 3", "tokens.a", "The value must be a table"),
        ("[tokens.a]\nmodule = 'x.so'", "tokens.a", "neither a label nor a serial"),
        ("[tokens.a]\nmodule = 'x.so'\nlabel = ''", "tokens.a.label", "empty"),
    ],
)
def test_each_mistake_has_its_sentence(write, body: str, key: str, words: str) -> None:
    problem = problems(write(body + "\n"))[key]
    assert words in problem.text
