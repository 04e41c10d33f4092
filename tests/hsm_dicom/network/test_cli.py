"""`hsm-dicom listen` as a process, and `echo`, `store`, `tls probe` against it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.tls.legacy import PROFILES as RETIRED
from tests import pki
from tests.hsm_dicom.cli.conftest import PROGRAM, Run
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.network.listening import activated, listening
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.ports import free_port
from tests.softhsm import MODULE, TestToken


@dataclass
class Site:
    """A folder with a configuration in which the node is its own peer."""

    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def config(self) -> Path:
        return self.folder / "hsm-dicom.toml"

    def write(self, node: TestToken, hospital: Hospital, *, more: str = "") -> None:
        (self.folder / "node.pem").write_bytes(hospital.rsa.certificate.public_bytes(Encoding.PEM))
        (self.folder / "ca.pem").write_bytes(hospital.ca.pem)
        self.config.write_text(
            f"""
[tokens.node]
module = "{MODULE}"
serial = "{node.serial}"
pin = "{node.pin}"

[identities.node]
token = "node"
object = "rsa"
certificate = "node.pem"

[trust]
anchors = ["ca.pem"]
{more}

[peers.self]
host = "127.0.0.1"
port = {self.port}
ae_titles = ["NODE"]

[peers.nobody]
host = "127.0.0.1"
port = 1
ae_titles = ["NOBODY"]

[listeners.main]
ae_title = "NODE"
port = {self.port}
identities = ["node"]
store = "received"
check_signatures = true
"""
        )
        self.config.chmod(0o600)


@pytest.fixture
def site(tmp_path: Path, node: TestToken, hospital: Hospital) -> Site:
    made = Site(tmp_path)
    made.write(node, hospital)
    return made


def test_a_node_listens_answers_stores_reloads_and_ends(
    site: Site, run: Run, node: TestToken, hospital: Hospital, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        ct_image(images, f"{number}.dcm")
    (images / "notes.txt").write_text("no image")
    with listening(site.config) as running:
        echoed = run("echo", "self", "--config", site.config)
        assert echoed.status == 0, echoed.said
        assert "self answered in" in echoed.said
        assert "CN=node rsa" in echoed.said
        stored = run("store", "self", images, "--config", site.config)
        assert stored.status == 1
        assert "3 files sent to self, 1 file not" in stored.said
        assert "notes.txt is no DICOM file" in stored.said
        assert len(list((tmp_path / "received").iterdir())) == 3
        as_json = run("store", "self", images / "0.dcm", "--config", site.config, "--json")
        assert [line["schema"] for line in as_json.lines] == ["hsm-dicom/store/2", "hsm-dicom/store-summary/1"]
        assert as_json.lines[1]["connection"]["subject"] == "CN=node rsa"
        probed = run("tls", "probe", f"127.0.0.1:{site.port}", "--config", site.config)
        assert probed.status == 0, probed.said
        assert "hsm-dicom would connect under bcp195-rfc9325." in probed.said
        assert running.says("stored as")
        by_name = run("tls", "probe", "self", "--config", site.config)
        assert (by_name.status, by_name.out) == (0, probed.out)
        pinned = tmp_path / "pinned.toml"
        peer = f'host = "127.0.0.1"\nport = {site.port}\npins = ["{"00" * 32}"]\n'
        pinned.write_text(f'[trust]\nanchors = ["ca.pem"]\n[peers.other]\nae_titles = ["X"]\n{peer}')
        other = run("tls", "probe", "other", "--config", pinned)
        assert other.status == 1
        assert "Its certificate is not that of peer 'other' (a pin)." in other.said
        document = run("tls", "probe", "other", "--config", pinned, "--json").json
        assert (document["name_matches"], document["certificate_matches"]) == (True, False)

        (tmp_path / "ca.crl").write_bytes(
            hospital.ca.crl([pki.Identity(hospital.rsa.certificate, None)], encoding=Encoding.PEM)
        )
        site.write(node, hospital, more='crls = ["ca.crl"]')
        running.process.send_signal(signal.SIGHUP)
        assert running.says("were reloaded")
        site.write(node, hospital)
        refused = run("echo", "self", "--config", site.config)
        assert refused.status == 1
        assert running.says("'CN=node rsa' is refused: ")
        assert running.says("was revoked")
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
        assert running.says("The listener has stopped.")
    assert "Traceback" not in "".join(running.printed)


def test_listening_in_json_is_one_event_a_line(site: Site, run: Run) -> None:
    with listening(site.config, "main", "--json", until="") as running:
        deadline = time.monotonic() + 20
        while (answer := run("echo", "self", "--config", site.config, "--json")).status != 0:
            assert time.monotonic() < deadline, answer.said
        assert answer.json["succeeded"] is True
        assert running.says("association-accepted")
        events = [json.loads(line) for line in list(running.printed)]
    assert [event["event"] for event in events][:2] == ["handshake-succeeded", "association-accepted"]
    assert events[0]["subject"] == "CN=node rsa"


def test_a_peer_that_is_not_there_is_one_sentence(site: Site, run: Run, tmp_path: Path) -> None:
    for command in (["echo", "nobody"], ["store", "nobody", ct_image(tmp_path), "--attempts", "1"]):
        result = run(*command, "--config", site.config)
        assert result.status == 1
        assert "check that a program listens on 127.0.0.1:1" in result.said
    unknown = run("echo", "pacs", "--config", site.config)
    assert unknown.status == 1
    assert "The configuration has no peer 'pacs'; its peers: self, nobody." in unknown.said
    assert "add the table [peers.pacs] to the file" in unknown.said


def test_listening_twice_is_one_sentence(site: Site) -> None:
    with listening(site.config):
        second = subprocess.run(
            [*PROGRAM, "listen", "--config", str(site.config)], capture_output=True, text=True, timeout=30
        )
    assert second.returncode == 1
    assert "Address already in use. Find the program that uses the port (ss -ltnp)" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(("name", "says"), [("main", "listens on"), ("other", "a socket that nothing here listens on")])
def test_systemd_passes_the_socket_by_the_name_of_the_listener(site: Site, run: Run, name: str, says: str) -> None:
    port = free_port()
    site.config.write_text(site.config.read_text().replace(f"port = {site.port}", f"port = {port}", 1))  # of the peer
    with (
        listening(site.config, until="Listening on", before=activated((f"127.0.0.1:{port}", name))) as running,
        closing(socket.create_connection(("127.0.0.1", port), timeout=10)),
    ):
        assert running.says(says)
        if name == "main":
            assert running.says(f"port {port}")
            assert run("echo", "self", "--config", site.config).status == 0
        else:
            assert running.says("Write FileDescriptorName= in its socket unit with one of: main.")
            assert running.process.wait(20) == 1


def test_profiles_are_listed_with_what_is_not_so(run: Run) -> None:
    listed = run("tls", "profiles")
    assert listed.status == 0
    assert "modified-bcp195-rfc9325" in listed.said
    assert "Camellia".upper() in listed.said
    document = run("tls", "profiles", "--json").json
    assert document["schema"] == "hsm-dicom/tls-profiles/1"
    assert {profile["name"] for profile in document["legacy"]} == set(RETIRED)


def test_a_peer_that_cannot_be_probed_by_its_name_says_why(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "hsm-dicom.toml"
    legacy = 'legacy = { profile = "basic-tls", reason = "until it is replaced", until = 2099-12-31 }'
    config.write_text(
        f'[peers.old]\nae_titles = ["OLD"]\nhost = "old.example"\n{legacy}\n'
        '[peers.caller]\nae_titles = ["CALLER"]\nsubject = "CN=caller"\n'
    )
    old = run("tls", "probe", "old", "--config", config)
    assert old.status == 2
    assert "uses the retired profile basic-tls, which is not probed. Write old.example:2762" in old.said
    caller = run("tls", "probe", "caller", "--config", config)
    assert caller.status == 2
    assert "has no host, since this node does not call it" in caller.said


def test_a_probe_of_nobody_is_one_sentence(run: Run) -> None:
    result = run("tls", "probe", "127.0.0.1:1")
    assert result.status == 1
    assert "127.0.0.1:1 cannot be reached (Connection refused)" in result.said
    assert run("tls", "probe", "127.0.0.1:port").status == 2
