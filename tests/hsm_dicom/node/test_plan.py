"""From the configuration file to peers and listeners, and what check-config says of the tables of the network."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from hsm_dicom.config import ConfigurationError
from hsm_dicom.config.devices import NotConfiguredError
from hsm_dicom.config.network_sections import ListenerSection
from hsm_dicom.errors import DicomError
from hsm_dicom.network.echo import echo
from hsm_dicom.network.settings import Limits, StorageSettings
from hsm_dicom.node.check import check_configuration
from hsm_dicom.node.compiler import read_plan
from hsm_dicom.node.opening import OpenedListener, open_listener, open_peer
from hsm_dicom.node.service import Service
from hsm_dicom.tls import AuthenticationMode
from tests.hsm_dicom.network.nodes import TIMEOUTS
from tests.hsm_dicom.node.conftest import Write

WHOLE = """
[peers.pacs]
host = "pacs.example"
ae_titles = ["PACS", "ARCHIVE"]
pins = ["{pin}"]
profile = "modified-bcp195-rfc9325"
calling_ae_title = "CT1"
answer_seconds = 120

[peers.digitiser]
host = "127.0.0.1"
ae_titles = ["FILM"]
authentication = "one-way"
legacy = {{ profile = "basic-tls", reason = "spare parts until the new one comes", until = 2099-12-31 }}

[listeners.main]
ae_title = "NODE"
identities = ["node"]
store = "received"
largest_object_mib = 512
handshake_seconds = 3
unidentified_per_address = 9

[listeners.old]
ae_title = "NODE"
port = 2763
identities = ["node"]
peers = ["digitiser"]
legacy = {{ profile = "basic-tls", reason = "spare parts until the new one comes", until = 2099-12-31 }}
""".format(pin="ab" * 32)


def test_the_whole_of_it_is_understood(write: Write, tmp_path: Path) -> None:
    plan = read_plan(write(WHOLE))
    pacs, film = plan.peer("pacs").peer, plan.peer("digitiser").peer
    assert (pacs.ae_title, pacs.address, pacs.profile.name) == ("PACS", "pacs.example:2762", "modified-bcp195-rfc9325")
    assert pacs.match.pins == {"ab" * 32}
    assert (pacs.answer_seconds, film.answer_seconds) == (120, 30)
    assert film.authentication is AuthenticationMode.ONE_WAY
    assert film.legacy is not None
    main, old = plan.listener("main").settings, plan.listener("old").settings
    assert main.host == "127.0.0.1"
    assert main.storage is not None
    assert main.storage == StorageSettings(folder=tmp_path / "received", largest_object_mib=512)
    assert [one.name for one in main.peers] == ["pacs"]
    assert [one.name for one in old.peers] == ["digitiser"]
    assert main.limits == Limits(handshake_seconds=3, unidentified_per_address=9)
    assert plan.problems == ()


def test_a_node_of_the_file_is_reached_by_a_peer_of_the_file(write: Write) -> None:
    here = '[listeners.main]\nae_title = "NODE"\nidentities = ["node"]\nport = 1\n'
    caller = '[peers.self]\nae_titles = ["NODE"]\nsubject = "CN=node rsa"\nhost = "127.0.0.1"\nport = {port}\n'
    file = write(here + caller.format(port=1))

    def on_any_port() -> OpenedListener:
        opened = open_listener(read_plan(file))
        return replace(opened, settings=replace(opened.settings, port=0))

    with Service(on_any_port) as service:
        plan = read_plan(write(here + caller.format(port=service.address[1])))
        with open_peer(plan, "self") as (found, transport, calling):
            assert calling == "NODE"
            assert echo(found, transport, calling, TIMEOUTS).done


MISTAKES = {
    "an unknown profile": (
        '[peers.x]\nhost = "h"\nae_titles = ["X"]\nprofile = "tls13"\n',
        "There is no TLS profile 'tls13'",
    ),
    "an unknown retired profile": (
        '[peers.x]\nhost = "h"\nae_titles = ["X"]\nlegacy = {profile = "ssl3", reason = "r", until = 2099-01-01}\n',
        "There is no retired TLS profile 'ssl3'",
    ),
    "a peer that nothing identifies": (
        '[peers.x]\nae_titles = ["X"]\n',
        "Nothing identifies the certificate of peer 'x'",
    ),
    "a bad pin": ('[peers.x]\nhost = "h"\nae_titles = ["X"]\npins = ["1234"]\n', "is not a pin"),
    "a bad AE title": ('[peers.x]\nhost = "h"\nae_titles = ["MUCH TOO LONG A TITLE"]\n', "is not an AE title"),
    "no AE title": ('[peers.x]\nhost = "h"\nae_titles = []\n', "The list is empty"),
    "a date in quotation marks that is none": (
        '[peers.x]\nhost = "h"\nae_titles = ["X"]\nlegacy = {profile = "basic-tls", reason = "r", until = "soon"}\n',
        "The value must be a date",
    ),
    "authentication of another kind": (
        '[peers.x]\nhost = "h"\nae_titles = ["X"]\nauthentication = "none"\n',
        "'mutual' or 'one-way'",
    ),
    "a misspelt key of an opening": (
        '[peers.x]\nhost = "h"\nae_titles = ["X"]\n[peers.x.legacy]\nprofile = "basic-tls"\nreson = "r"\n',
        "Did you mean 'reason'?",
    ),
    "a listener of an identity that is not there": (
        '[listeners.main]\nae_title = "NODE"\nidentities = ["nobody"]\n',
        "There is no [identities.nobody]",
    ),
    "a peer that is not there": (
        '[listeners.main]\nae_title = "NODE"\nidentities = ["node"]\npeers = ["nobody"]\n',
        "There is no peer 'nobody'",
    ),
    "a retired listener for everybody": (
        '[listeners.main]\nae_title = "NODE"\nidentities = ["node"]\n'
        'legacy = {profile = "basic-tls", reason = "r", until = 2099-01-01}\n',
        "Name the peers that need it",
    ),
    "a subject that is no name": (
        '[peers.x]\nae_titles = ["X"]\nsubject = "the PACS"\n',
        "The subject 'the PACS' is not a name in the form of RFC 4514.",
    ),
    "a store that is a file": (
        '[listeners.main]\nae_title = "NODE"\nidentities = ["node"]\nstore = "ca.pem"\n',
        "ca.pem is a file, not a folder.",
    ),
    "two listeners on one port": (
        '[listeners.main]\nae_title = "NODE"\nidentities = ["node"]\n'
        '[listeners.other]\nae_title = "OTHER"\nidentities = ["node"]\nhost = "0.0.0.0"\n',
        "The listener 'main' already uses port 2762.",
    ),
    "two peers that nothing tells apart": (
        '[peers.x]\nhost = "h"\nae_titles = ["X", "Z"]\n[peers.y]\nhost = "h"\nae_titles = ["Y", "Z"]\n'
        '[listeners.main]\nae_title = "NODE"\nidentities = ["node"]\n',
        "It cannot be distinguished from peer 'x': both use the AE title Z",
    ),
    "a retired peer on a current listener": (
        '[peers.x]\nhost = "h"\nae_titles = ["X"]\nlegacy = {profile = "basic-tls", reason = "r", until = 2099-01-01}\n'
        '[listeners.main]\nae_title = "NODE"\nidentities = ["node"]\npeers = ["x"]\n',
        "Give 'x' a listener of its own",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_check_config_tells(write: Write, mistake: str) -> None:
    text, said = MISTAKES[mistake]
    report = check_configuration(write(text), log_in=False)
    assert not report.is_usable
    assert any(said in str(problem) for problem in report.problems), [str(problem) for problem in report.problems]
    assert all(problem.line for problem in report.problems)


def test_check_config_passes_what_only_looks_like_a_clash(write: Write) -> None:
    text = (
        '[peers.x]\nhost = "h"\nae_titles = ["X", "Z"]\n[peers.y]\nhost = "i"\nae_titles = ["Y", "Z"]\n'
        '[peers.v]\nhost = "h"\nae_titles = ["V"]\n'
        '[listeners.main]\nae_title = "NODE"\nidentities = ["node"]\nstore = "not/there/yet"\n'
        '[listeners.other]\nae_title = "OTHER"\nidentities = ["node"]\nhost = "127.0.0.2"\n'
    )
    assert read_plan(write(text)).problems == ()


def test_a_name_that_is_not_there_is_answered_with_those_that_are(write: Write) -> None:
    plan = read_plan(write(WHOLE))
    with pytest.raises(NotConfiguredError, match="its peers: pacs, digitiser"):
        plan.peer("archive")
    with pytest.raises(NotConfiguredError, match="does not have exactly one listener"):
        plan.listener()
    with pytest.raises(NotConfiguredError, match="has no listener 'x'"):
        plan.listener("x")


def test_a_reload_whose_file_is_broken_is_one_sentence(write: Write) -> None:
    open_listener(read_plan(write(WHOLE)), "main").close()
    plan = read_plan(write("[listeners.main]\n"))
    with pytest.raises(DicomError, match="is missing"):
        open_listener(plan, "main")


def test_the_limits_of_the_configuration_are_those_of_the_program() -> None:
    limits = {limit.name: limit.default for limit in fields(Limits)}
    limits |= {"largest_object_mib": StorageSettings(folder=Path()).largest_object_mib}
    assert limits == {name: ListenerSection.model_fields[name].default for name in limits}


def test_a_peer_is_refused_for_its_own_mistakes_and_not_for_those_of_others(write: Write) -> None:
    text = (
        '[peers.good]\nhost = "good.example"\nae_titles = ["GOOD"]\ncalling_ae_title = "NODE"\n'
        '[peers.bad]\nhost = "http://bad.example"\nae_titles = ["TOO LONG A TITLE!"]\nprofile = "tls13"\n'
    )
    plan = read_plan(write(text))
    assert plan.peer("good").peer.host == "good.example"
    with pytest.raises(ConfigurationError) as caught:
        plan.peer("bad")
    assert [problem.key for problem in caught.value.problems] == [
        "peers.bad.host",
        "peers.bad.ae_titles",
        "peers.bad.profile",
    ]
    assert [problem.line for problem in caught.value.problems] == [19, 20, 21]


def test_what_only_a_connection_needs_is_no_problem_of_the_file(write: Write) -> None:
    plan = read_plan(write('[peers.caller]\nhost = "caller.example"\nae_titles = ["CALLER"]\n'))
    assert plan.problems == ()
    with (
        pytest.raises(ConfigurationError, match=r"hsm-dicom\.toml:14: peers\.caller: .* Write calling_ae_title = in"),
        open_peer(plan, "caller"),
    ):
        pass


def test_an_ended_exception_for_a_retired_profile_is_a_problem_of_the_check(write: Write) -> None:
    file = write(WHOLE.replace("until = 2099-12-31", "until = 2020-01-31"))
    errors = {problem.key: problem for problem in check_configuration(file, log_in=False).problems if problem.line}
    for key in ("peers.digitiser.legacy", "listeners.old.legacy"):
        assert "'basic-tls' ended on 2020-01-31 (its reason was: spare parts" in errors[key].text
        assert errors[key].remedy == "Replace the machine, or set another end date (until)."
    # What does not use the exception still works.
    assert read_plan(file).peer("pacs").peer.name == "pacs"


@pytest.mark.parametrize("title", ["SEVENTEEN LETTERS", " CT1", "CT\\\\1", "CÔTÉ"])
def test_a_calling_ae_title_that_is_none_is_a_problem_of_the_check(write: Write, title: str) -> None:
    file = write(WHOLE.replace('calling_ae_title = "CT1"', f'calling_ae_title = "{title}"'))
    problems = check_configuration(file, log_in=False).problems
    (found,) = [problem for problem in problems if problem.key == "peers.pacs.calling_ae_title"]
    assert "is not an AE title" in found.text
    assert found.line == 20


@pytest.mark.parametrize(
    ("table", "key"), [("state", "folder"), ("events", "file")], ids=["state folder", "event file"]
)
def test_a_path_that_the_system_refuses_is_a_problem_of_the_check(tmp_path: Path, table: str, key: str) -> None:
    file = tmp_path / "hsm-dicom.toml"
    file.write_text(f'[{table}]\n{key} = "{"a" * 300}"\n')
    problems = read_plan(file).problems
    assert [problem.key for problem in problems] == [f"{table}.{key}"]
    assert "File name too long" in problems[0].text
