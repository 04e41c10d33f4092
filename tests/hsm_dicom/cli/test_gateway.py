"""`hsm-dicom gateway` as a process: DCMTK's tools on both sides, signals, sockets of systemd, and another process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom.network.errors import AssociationLostError
from hsm_dicom.network.requestor import associate
from hsm_dicom.network.settings import Peer
from tests.hsm_dicom.cli.conftest import PROGRAM, Run
from tests.hsm_dicom.gateway.site import LOOPBACK, Site
from tests.hsm_dicom.network import pdus
from tests.hsm_dicom.network.conftest import hospital
from tests.hsm_dicom.network.images import ct_image, data_set_bytes
from tests.hsm_dicom.network.listening import activated
from tests.hsm_dicom.network.nodes import eventually, transport_to
from tests.hsm_dicom.node.notifications import Manager, manager
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.ports import free_port
from tests.softhsm import TestToken
from tests.tokens.proxy import Proxy

__all__ = ["hospital", "manager"]
pytestmark = pytest.mark.interop


@pytest.fixture
def site(tmp_path: Path, node: TestToken, hospital: Hospital, state_folder: Path) -> Site:
    return Site(tmp_path, hospital, node)


def test_images_go_both_ways_and_a_drain_ends_the_gateway(site: Site, run: Run, tmp_path: Path) -> None:
    image = ct_image(tmp_path)
    with ExitStack() as stack:
        at_pacs, at_ct = (stack.enter_context(one()) for one in (site.storescp_of_pacs, site.storescp_of_ct))
        running = stack.enter_context(site.running())
        assert site.call_as_ct("echoscu") == (0, "")
        assert site.call_as_ct("storescu", image) == (0, "")
        assert site.call_as_pacs("storescu", image) == (0, "")
        for folder in (at_pacs, at_ct):
            (received,) = folder.iterdir()
            assert data_set_bytes(received) == data_set_bytes(image)
        assert site.call_as_pacs("echoscu", called="NODE") == (0, "")  # the node's own AE title

        shown = run("gateway", "status", "--json", "--config", site.config)
        assert shown.status == 0, shown.said
        forth, back = shown.json["routes"]
        assert (forth["name"], forth["accepted"], forth["transport"], forth["instances"]["stored"]) == (
            *("to-pacs", 2, "TLS"),
            1,
        )
        assert (back["name"], back["accepted"]) == ("to-ct1", 1)
        (token,) = shown.json["tokens"]
        assert (token["name"], token["identities"], token["logged_in"]) == ("node", ["node"], True)
        assert token["uses"] >= 3
        kinds = {one["kind"] for one in shown.json["certificates"]}
        assert kinds == {"identity", "anchor"}
        assert "to-pacs" in run("gateway", "status", "--config", site.config).said

        second = subprocess.run(
            [*PROGRAM, "gateway", "run", "--config", str(site.config)], capture_output=True, text=True, timeout=30
        )
        assert second.returncode == 1
        assert f"A gateway (process {running.process.pid}) already runs" in second.stderr

        drained = run("gateway", "drain", "--json", "--config", site.config)
        assert drained.status == 0, drained.said
        assert drained.json["process"] == running.process.pid
        assert running.process.wait(20) == 0
        assert running.says("The gateway has stopped.")
    assert "Traceback" not in "".join(running.printed)
    for command in ("drain", "status"):
        gone = run("gateway", command, "--config", site.config)
        assert gone.status == 1
        assert "Start" in gone.said


def test_a_broken_file_changes_nothing_and_a_right_one_changes_everything(site: Site) -> None:
    with site.storescp_of_pacs(), site.running() as running, opened_association(site.plain) as kept:
        site.more = "[routes.broken]\n"
        site.write()
        running.process.send_signal(signal.SIGHUP)
        assert running.says("reloading failed, and nothing was changed")
        assert site.call_as_ct("echoscu") == (0, "")

        site.more, site.entrance = "", f'listen = "{LOOPBACK}:{free_port()}"'
        site.write()
        running.process.send_signal(signal.SIGHUP)
        assert running.says("Restart the gateway to change where it listens.")
        assert site.call_as_ct("echoscu") == (0, "")

        site.entrance = f'listen = "{LOOPBACK}:{site.plain}"\nservices = ["storage"]'
        site.write()
        running.process.send_signal(signal.SIGHUP)
        assert running.says("the configuration was reloaded (2 routes)")
        status, printed = site.call_as_ct("echoscu")
        assert status != 0, printed
        assert echo(kept) == 0x0000  # with the settings with which it began


def test_an_association_that_never_ends_is_aborted_after_the_drain_time(site: Site) -> None:
    with site.storescp_of_pacs(), site.running() as running, opened_association(site.plain) as kept:
        running.process.send_signal(signal.SIGTERM)
        assert running.says("Draining: 1 association open.")
        kept.settimeout(20)
        assert kept.recv(1) == b"\x07"  # A-ABORT, after drain_seconds
        assert running.process.wait(20) == 0


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_aborts_at_once(site: Site, again: signal.Signals) -> None:
    site.drain_seconds = 600
    site.write()
    with site.storescp_of_pacs(), site.running() as running, opened_association(site.plain) as kept:
        running.process.send_signal(signal.SIGTERM)
        assert running.says("Draining: 1 association open.")
        running.process.send_signal(again)
        kept.settimeout(20)
        assert kept.recv(1) == b"\x07"
        assert running.process.wait(20) == 0


def test_an_association_with_the_node_itself_is_aborted_by_a_second_signal(site: Site, hospital: Hospital) -> None:
    site.drain_seconds = 600
    site.write()
    site.config.write_text(site.config.read_text().replace("stop_seconds = 1", "stop_seconds = 600"))
    node = Peer(name="node", ae_titles=("NODE",), host=LOOPBACK, port=site.secured)
    transport = transport_to(node, hospital, hospital.peer("PACS"))
    opening = associate(node, transport, "PACS", [build_context(Verification)])
    with site.running() as running:
        opened = opening.__enter__()
        running.process.send_signal(signal.SIGTERM)
        assert running.says("Draining: 1 association open.")
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
        assert eventually(lambda: opened.association.is_aborted)
        with pytest.raises(AssociationLostError, match="A-ABORT"):
            opening.__exit__(None, None, None)


def test_a_token_that_hangs_does_not_hold_the_end(site: Site, proxy_here: Proxy) -> None:
    site.module, site.limits, site.drain_seconds = proxy_here.module, "deadlines = { session = 1, sign = 1 }", 60
    site.write()
    with site.storescp_of_pacs(), site.running() as running:
        proxy_here.rule("C_Sign hang=1")
        assert site.call_as_ct("echoscu")[0] != 0
        assert running.says("not ready: ")
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0  # and not after drain_seconds


def test_systemd_passes_sockets_by_name_and_hears_of_everything(site: Site, manager: Manager) -> None:
    site.entrance = 'socket = "to-pacs"'
    site.write()
    sockets = ((f"{LOOPBACK}:{site.plain}", "to-pacs"), (f"{LOOPBACK}:{site.secured}", "main"))
    with (
        site.storescp_of_pacs(),
        site.running(until="Listening on", before=activated(*sockets)) as running,
    ):
        assert site.call_as_ct("echoscu") == (0, "")
        assert site.call_as_pacs("echoscu", called="NODE") == (0, "")
        assert eventually(lambda: "WATCHDOG=1" in manager.told)
        running.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: manager.told.count("READY=1") == 2, 10)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
    told = [one.partition("=")[0] + ("=" if "USEC" in one else one.partition("=")[2]) for one in manager.told]
    order = [one for one in told if one != "WATCHDOG1"]
    assert order[:2] == ["READY1", "STATUS2 routes."]
    assert order[2:7] == ["RELOADING1", "MONOTONIC_USEC=", "STATUSReloading.", "READY1", "STATUS2 routes."]
    assert order[7:10] == ["STOPPING1", "STATUSDraining.", "EXTEND_TIMEOUT_USEC="]


def test_a_socket_that_systemd_did_not_pass_is_one_sentence(site: Site) -> None:
    site.entrance = 'socket = "to-pacs"'
    site.write()
    with site.running(until="") as running:
        assert running.process.wait(20) == 1
        assert running.says("systemd passed no socket 'to-pacs'")


# -- check ---------------------------------------------------------------------------------------------------


def checks(run: Run, site: Site) -> dict[str, Any]:
    """What `gateway check` found, by route."""
    found = run("gateway", "check", "--json", "--config", site.config)
    answers = {line["route"]: line for line in found.lines}
    assert found.status == (0 if all(one["succeeded"] for one in answers.values()) else 1)
    return answers


def test_a_check_reaches_both_targets(site: Site, run: Run) -> None:
    with site.storescp_of_pacs(), site.storescp_of_ct():
        answers = checks(run, site)
        assert [one["failure"] for one in answers.values()] == [None, None]
        assert answers["to-pacs"]["connection"]["subject"] == "CN=PACS"
        assert answers["to-pacs"]["entrance_remark"].endswith("is free: no gateway runs")
        shown = run("gateway", "check", "--config", site.config)
        assert "to-pacs: pacs (as CT1 to PACS) answered in" in shown.said
        with site.running() as running:
            taken = checks(run, site)["to-pacs"]["entrance_remark"]
            assert taken.endswith(f"the running gateway (process {running.process.pid}) uses it")


def test_a_check_says_which_side_fails(site: Site, run: Run) -> None:
    answers = checks(run, site)
    assert [one["failure"] for one in answers.values()] == ["target-down", "target-down"]
    assert (
        "to-ct1: the target cannot be reached: No connection to"
        in run("gateway", "check", "--config", site.config).said
    )

    with socket.create_server((LOOPBACK, site.plain)), site.storescp_of_ct():
        answers = checks(run, site)
        assert answers["to-pacs"]["failure"] == "entrance"
        assert "Find the program that uses the port" in answers["to-pacs"]["text"]
        assert answers["to-ct1"]["succeeded"]


def test_a_check_tells_a_wrong_certificate_from_a_refused_ae_title(site: Site, run: Run, hospital: Hospital) -> None:
    text = site.config.read_text()
    with site.storescp_of_pacs(), site.storescp_of_ct():
        pin = "0" * 64
        site.config.write_text(text.replace("[peers.pacs]", f'[peers.pacs]\npins = ["{pin}"]'))
        assert checks(run, site)["to-pacs"]["failure"] == "certificate"
        site.config.write_text(text.replace('"rsa"', '"nobody"'))
        assert checks(run, site)["to-pacs"]["failure"] == "own-key"


def test_a_check_tells_that_a_plain_target_does_not_know_the_ae_title(site: Site, run: Run) -> None:
    other = AE("OTHER")
    other.add_supported_context(Verification)
    other.require_called_aet = True
    server = other.start_server((LOOPBACK, site.ct), block=False)
    assert server is not None
    try:
        answer = checks(run, site)["to-ct1"]
    finally:
        server.shutdown()
    assert answer["failure"] == "ae-title"
    assert "'ct1' rejected the association of 'PACS' with 'CT1'" in answer["text"]


def test_a_drain_that_may_not_wait_aborts_at_once(site: Site, run: Run) -> None:
    site.drain_seconds = 600
    site.write()
    with site.storescp_of_pacs(), site.running() as running, opened_association(site.plain) as kept:
        drained = run("gateway", "drain", "--now", "--config", site.config)
        assert drained.status == 0, drained.said
        assert running.process.wait(20) == 0
        assert kept.recv(1) == b"\x07"


# -- an association by hand ------------------------------------------------------------------------------------


def opened_association(port: int) -> socket.socket:
    """An association of the CT with Verification, which stays open."""
    connection = socket.create_connection((LOOPBACK, port), timeout=20)
    connection.sendall(pdus.associate_rq(called=b"PACS"))
    kind, _ = pdus.read_pdu(connection)
    assert kind == 2
    return connection


def echo(connection: socket.socket) -> int:
    """Send C-ECHO-RQ, and return the status of the response."""
    connection.sendall(pdus.p_data(1, pdus.echo_rq(), is_command=True))
    kind, answer = pdus.read_pdu(connection)
    assert kind == 4
    return pdus.status_of(answer)


@pytest.mark.parametrize("is_read_first", [True, False])
def test_a_gateway_whose_output_nobody_reads_goes_on_and_drains(
    site: Site, tmp_path: Path, is_read_first: bool
) -> None:
    command = [*PROGRAM, "gateway", "run", "--config", str(site.config)]
    reading, writing = os.pipe()
    if not is_read_first:
        os.close(reading)  # before the gateway starts: it must not be able to print its first lines
    with (
        site.storescp_of_pacs(),
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, stdout=writing, stderr=log) as process,
    ):
        os.close(writing)
        if is_read_first:
            with os.fdopen(reading) as output:
                assert any("http" in line for line in output)  # the last of its first lines
        assert eventually(lambda: can_connect(site.plain), 20)
        with socket.create_connection((LOOPBACK, site.plain), timeout=20) as caller:
            caller.sendall(pdus.associate_rq(called=b"PACS"))
            assert pdus.read_pdu(caller)[0] == 2
            process.send_signal(signal.SIGTERM)
            assert pdus.types_until_the_end(caller) == [7]
        assert process.wait(20) == 0
    report = "Events are no longer printed" if is_read_first else "Nothing more is printed"
    assert (tmp_path / "log").read_text().count(report) == 1


def can_connect(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex((LOOPBACK, port)) == 0
