"""Hosts as people write them: addresses, names, names with umlauts; and what cannot be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.network.echo import echo
from hsm_dicom.network.errors import SettingsError
from hsm_dicom.network.settings import ListenerSettings, Peer
from hsm_dicom.node.check import check_configuration
from hsm_dicom.tls.facts import peer_certificate
from hsm_dicom.tls.hosts import HostNameError, ascii_host
from tests.hsm_dicom.cli.conftest import Run
from tests.hsm_dicom.network.nodes import TIMEOUTS, node, transport_to
from tests.hsm_dicom.tls.fixtures import Hospital, names

LONG = "a" * 64 + ".example"
BAD = ["http://pacs.example", "pacs.example:2762", "[::1]", LONG, "pacs..example", "-pacs", "pacs example", "ümläut .x"]


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("pacs.example", "pacs.example"),
        ("pacs.example.", "pacs.example"),
        ("müller.example", "xn--mller-kva.example"),
        ("Straße.example", "xn--strae-oqa.example"),
        ("ct_1", "ct_1"),
        ("10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::", "::"),
    ],
)
def test_a_host_is_written_as_dns_asks_for_it(host: str, wanted: str) -> None:
    assert ascii_host(host) == wanted


@pytest.mark.parametrize("host", BAD)
def test_what_is_no_host_is_one_sentence_wherever_it_is_written(host: str) -> None:
    with pytest.raises(HostNameError, match=r"\.$"):
        ascii_host(host)
    with pytest.raises(SettingsError, match="Peer 'PACS' has a host that cannot be used"):
        Peer(name="PACS", ae_titles=("PACS",), host=host)
    with pytest.raises(SettingsError, match="The listener 'main' has a host that cannot be used"):
        ListenerSettings(name="main", ae_title="NODE", peers=(), host=host)


@pytest.mark.parametrize("host", ["http://pacs.example", LONG])
def test_check_config_finds_a_bad_host(tmp_path: Path, host: str) -> None:
    file = tmp_path / "hsm-dicom.toml"
    file.write_text(f'[peers.pacs]\nhost = "{host}"\nae_titles = ["PACS"]\n')
    file.chmod(0o600)
    (problem,) = check_configuration(file).problems
    assert problem.key == "peers.pacs.host"
    assert "host name" in problem.text


def test_a_probe_of_a_host_that_is_none_is_one_sentence(run: Run) -> None:
    result = run("tls", "probe", f"{LONG}:2762")
    assert result.status in (1, 2)
    assert "cannot be part of a host name: it has 64 characters, and 63 is the most." in result.said


def test_a_name_with_umlauts_matches_its_a_label(hospital: Hospital) -> None:
    issued = hospital.peer("PACS", extensions=[names(("xn--mller-kva.example", "*.xn--kln-sna.example"), ())])
    shown = peer_certificate(issued.certificate)
    assert shown.is_for("müller.example")
    assert shown.is_for("MÜLLER.example.")
    assert shown.is_for("pacs.köln.example")
    assert not shown.is_for("mueller.example")
    assert not shown.is_for(LONG)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_two_colons_stand_for_every_address(hospital: Hospital, address: str) -> None:
    peer = Peer(name="CT 1", ae_titles=("CT1",), host="127.0.0.1")
    every = hospital.peer("CT 1", extensions=[names((), ("127.0.0.1", "::1"))])
    with node(hospital, peers=[peer], host="::") as running:
        called = running.peer(host=address, certificate=running.peer().match)
        assert echo(called, transport_to(called, hospital, every), "CT1", TIMEOUTS).done
        assert all("::ffff:" not in str(event) for event in running.told)
