"""A gateway in this process: outages of its token, reloads, emergency settings, draining, and its own view of it."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import pytest

from hsm_dicom.errors import DicomError
from hsm_dicom.events import Event, subscribe
from hsm_dicom.gateway.emergency import EmergencySetting, EmergencyStore
from hsm_dicom.gateway.settings import Objects
from hsm_dicom.gateway.status import ConditionKind, RouteState
from hsm_dicom.network.errors import ListenError
from hsm_dicom.node.gateway import GatewayService, open_gateway
from hsm_dicom.node.gateway.lock import LOCK_NAME, GatewayRunsError, find_running_gateway, hold_gateway_lock
from hsm_dicom.node.gateway.opening import OpenedGateway
from hsm_dicom.transport.events import CertificatesReloaded
from hsm_dicom.transport.plain import PlainHandshake, PlainTransport
from hsm_dicom.trust.clock import set_mark
from tests import pki
from tests.hsm_dicom.gateway.site import LOOPBACK, Site
from tests.hsm_dicom.network import pdus
from tests.hsm_dicom.network.nodes import eventually
from tests.hsm_dicom.tls.fixtures import Hospital, RemoteSoftHSM, names
from tests.interop.tls.programs import run
from tests.small_disks import MAY_MOUNT, leave_free, on_a_small_disk
from tests.softhsm import TestToken
from tests.tokens.proxy import Proxy

pytestmark = pytest.mark.interop


@pytest.fixture
def site(tmp_path: Path, node: TestToken, hospital: Hospital) -> Site:
    return Site(tmp_path, hospital, node)


@contextmanager
def serving(site: Site) -> Iterator[GatewayService]:
    with GatewayService(partial(open_gateway, site.config), site.folder / "state") as service:
        yield service


@contextmanager
def associated(site: Site) -> Iterator[socket.socket]:
    """An association of the CT with Verification, which stays open."""
    with socket.create_connection((LOOPBACK, site.plain), timeout=20) as connection:
        connection.sendall(pdus.associate_rq(called=b"PACS"))
        assert pdus.read_pdu(connection)[0] == 2
        yield connection


def echo(connection: socket.socket) -> int:
    connection.sendall(pdus.p_data(1, pdus.echo_rq(), is_command=True))
    kind, answer = pdus.read_pdu(connection)
    assert kind == 4
    return pdus.status_of(answer)


def test_a_token_that_was_lost_and_is_back_serves_the_next_handshake(site: Site, remote: RemoteSoftHSM) -> None:
    site.module = remote.module
    site.write()
    with site.storescp_of_pacs(), serving(site) as service:
        assert site.call_as_ct("echoscu") == (0, "")
        assert service.status().tokens[0].logged_in
        remote.stop()
        try:
            status, printed = site.call_as_ct("echoscu")
            assert status != 0, printed
            assert site.call_as_pacs("echoscu", called="NODE")[0] != 0
            (token,) = service.status().tokens
            assert (token.logged_in, bool(token.problem)) == (False, True)
            assert ConditionKind.TOKEN_LOST in {one.kind for one in service.status().conditions}
            plain, main = service.status().listeners
            assert (plain.name, plain.transport, plain.routes) == (
                f"{LOOPBACK}:{site.plain}",
                "plain DICOM",
                ("to-pacs",),
            )
            assert (plain.accepted, plain.identified + plain.rejected, plain.refused) == (2, 2, {})
            assert (main.name, main.transport, main.routes) == ("main", "TLS", ("to-ct1",))
            assert (main.accepted, main.identified, main.refused) == (1, 0, {"own-key": 1})
        finally:
            remote.start()
        assert site.call_as_ct("echoscu") == (0, "")
        assert site.call_as_pacs("echoscu", called="NODE") == (0, "")
        assert service.status().tokens[0].logged_in
        assert service.status().routes[0].state is RouteState.OPEN


OTHER_ROUTE = """
[identities.file]
key = "file:{key}"
certificate = "{certificate}"
allow = ["file-key"]

[listeners.file]
ae_title = "FILE"
port = {port}
identities = ["file"]

[routes.by-file]
from = ["pacs"]
listener = "file"
to = "ct1"
"""


def test_a_token_that_hangs_leaves_other_routes_and_the_loops_alone(
    site: Site, hospital: Hospital, proxy_here: Proxy
) -> None:
    certificate, key = hospital.files(hospital.peer("other node", extensions=[names()]))
    key.chmod(0o600)
    secured, site.secured = site.secured, site.ct + 100
    site.module, site.limits = proxy_here.module, "deadlines = { session = 1, sign = 1 }"
    site.more = OTHER_ROUTE.format(key=key, certificate=certificate, port=secured)
    site.write()
    text = site.config.read_text().replace("[peers.pacs]", '[peers.pacs]\nidentity = "node"')
    site.config.write_text(text)
    with site.storescp_of_pacs(), site.storescp_of_ct(), serving(site) as service:
        site.secured = secured
        assert site.call_as_ct("echoscu") == (0, "")
        proxy_here.rule("C_Sign hang=1")
        assert site.call_as_ct("echoscu")[0] != 0
        assert "C_Sign" in service.problem
        assert service.ping(5)
        assert site.call_as_pacs("echoscu") == (0, "")
        status = service.status()
        assert (status.is_ready, "C_Sign" in status.problem) == (False, True)
        proxy_here.rule()
        assert eventually(lambda: not service.problem, 10)
        assert site.call_as_ct("echoscu") == (0, "")
        assert service.status().is_ready


def test_a_route_that_a_reload_removes_keeps_its_associations(site: Site) -> None:
    told: list[Event] = []
    with site.storescp_of_pacs(), serving(site) as service, subscribe(told.append, CertificatesReloaded):
        site.more = f"""
[plain.ct2]
ae_titles = ["CT2"]
addresses = ["{LOOPBACK}"]
reason = "old"

[routes.second]
from = ["ct2"]
listen = "{LOOPBACK}:{site.plain}"
to = "pacs"
"""
        site.write()
        assert service.reload()
        with associated(site) as kept:
            text = site.config.read_text()
            site.config.write_text(text.replace('[routes.to-pacs]\nfrom = ["ct1"]', '[routes.renamed]\nfrom = ["ct1"]'))
            assert service.reload()
            assert echo(kept) == 0
            assert service.associations == 1
            assert [one.name for one in service.status().routes] == ["renamed", "to-ct1", "second"]
            assert site.call_as_ct("echoscu") == (0, "")
            hurry = threading.Event()
            hurry.set()
            service.drain(hurry)
            assert kept.recv(1) == b"\7"
    assert [event.succeeded for event in told] == [True, True]


def test_a_new_crl_shuts_out_a_peer_in_both_directions_and_ends_no_association(site: Site, hospital: Hospital) -> None:
    pacs = hospital.peer("PACS")
    with site.storescp_of_pacs(pacs), site.storescp_of_ct(), serving(site) as service, associated(site) as running:
        assert site.call_as_pacs("echoscu", identity=pacs) == (0, "")
        (site.folder / "ca.crl").write_bytes(hospital.ca.crl([pki.Identity(pacs.certificate, pacs.key)]))
        text = site.config.read_text()
        site.config.write_text(text.replace("[trust]\n", '[trust]\ncrls = ["ca.crl"]\n'))
        assert service.reload()
        assert echo(running) == 0
        assert site.call_as_ct("echoscu")[0] != 0
        assert "revoked" in service.status().routes[0].last_error
        assert site.call_as_pacs("echoscu", identity=pacs)[0] != 0
        assert site.call_as_pacs("echoscu") == (0, "")
        assert echo(running) == 0


def test_an_emergency_setting_takes_a_route_out_of_tls_and_ends(site: Site) -> None:
    store, today = EmergencyStore(site.folder / "state"), datetime.now(UTC).date()
    setting = EmergencySetting(
        route="to-pacs",
        plain=(LOOPBACK, site.ct),
        reason="TLS key lost",
        operator="J. Kim",
        since=datetime.now(UTC),
        until=today + timedelta(days=1),
    )
    with site.storescp_of_ct(), serving(site) as service:
        assert site.call_as_ct("echoscu")[0] != 0  # nothing listens with TLS
        store.put(setting, today)
        assert service.reload()
        assert site.call_as_ct("echoscu") == (0, "")
        assert service.status().routes[0].emergency == setting.status
        assert ConditionKind.EMERGENCY in {one.kind for one in service.status().conditions}
        store.remove("to-pacs")
        assert service.reload()
        assert site.call_as_ct("echoscu")[0] != 0
        assert service.status().routes[0].emergency is None


def test_a_gateway_starts_without_the_signing_key_of_a_route_that_passes_objects(site: Site) -> None:
    """It is needed again when the setting ends: a reload that cannot open it changes nothing."""
    store, now = EmergencyStore(site.folder / "state"), datetime.now(UTC)
    received = site.folder / "received.pem"
    site.more = '[identities.received]\ntoken = "node"\nobject = "rsa"\ncertificate = "received.pem"\n'
    site.entrance = f"""listen = "{LOOPBACK}:{site.plain}"
objects = "sign"
identity = "received"
folder = "held"
"""
    site.write()
    text = site.config.read_text().replace("[peers.pacs]", '[peers.pacs]\nidentity = "node"')
    site.config.write_text(text)
    with pytest.raises(DicomError, match=r"received\.pem"):
        open_gateway(site.config)
    setting = EmergencySetting(
        route="to-pacs", passes_objects=True, reason="HSM broken", operator="J. Kim", since=now, until=now.date()
    )
    store.put(setting, now.date())
    with site.storescp_of_pacs(), serving(site) as service:
        assert site.call_as_ct("echoscu") == (0, "")
        assert service.routes["to-pacs"].settings.objects is Objects.PASS
        store.remove("to-pacs")
        assert not service.reload()
        received.write_bytes((site.folder / "node.pem").read_bytes())
        assert service.reload()
        assert service.routes["to-pacs"].settings.objects is Objects.SIGN
        assert site.call_as_ct("echoscu") == (0, "")


def test_an_emergency_setting_opens_a_route_again_that_was_closed_when_the_last_one_was_over(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """The key is still broken then, so that the route can only run with another emergency setting."""
    store, now = EmergencyStore(site.folder / "state"), datetime.now(UTC)
    setting = EmergencySetting(
        route="to-pacs",
        plain=(LOOPBACK, site.ct),
        reason="TLS key lost",
        operator="J. Kim",
        since=now,
        until=now.date(),
    )
    store.put(setting, now.date())
    with site.storescp_of_ct(), serving(site) as service:
        (site.folder / "node.pem").unlink()
        assert site.call_as_ct("echoscu") == (0, "")
        set_mark(now + timedelta(days=3))
        service._emergencies.look()
        assert service.status().routes[0].state is RouteState.CLOSED
        assert site.call_as_ct("echoscu")[0] != 0
        longer = replace(setting, until=now.date() + timedelta(days=5))
        store.put(longer, now.date())
        assert not service.reload()
        assert site.call_as_ct("echoscu") == (0, "")
        assert service.status().routes[0].state is RouteState.OPEN


@MAY_MOUNT
def test_a_gateway_starts_and_is_found_although_the_disk_is_full(site: Site) -> None:
    """The login is recorded in the reserve, and the file of the last gateway makes room for that of this one."""
    state = site.folder / "state"

    def scene() -> None:
        state.chmod(0o700)
        os.environ["HSM_DICOM_STATE"] = str(state)
        with hold_gateway_lock(state), serving(site):
            pass
        leave_free(state, 0)
        with hold_gateway_lock(state), serving(site) as service:
            found = find_running_gateway(state)
            assert found is not None
            assert found.process == os.getpid()
            assert service.status().is_ready

    on_a_small_disk(state, 256 << 10, scene)


def test_a_reload_that_fails_unexpectedly_changes_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    told: list[CertificatesReloaded] = []
    errors: list[Exception] = []

    def open_anew(emergencies: Mapping[str, EmergencySetting]) -> OpenedGateway:
        if errors:
            raise errors.pop()
        return open_gateway(site.config, emergencies)

    with (
        site.storescp_of_pacs(),
        GatewayService(open_anew, site.folder / "state") as service,
        subscribe(told.append, CertificatesReloaded),
    ):
        errors.append(RuntimeError("can't start new thread"))
        assert not service.reload()
        assert [(one.succeeded, "RuntimeError" in one.text) for one in told] == [(False, True)]
        assert "can't start new thread" in caplog.text
        assert site.call_as_ct("echoscu") == (0, "")
        assert service.reload()


def test_a_reload_without_more_threads_releases_what_it_replaced_at_the_end(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site.storescp_of_pacs():
        with serving(site) as service:
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", no_more_threads)
                assert service.reload()
            assert site.call_as_ct("echoscu") == (0, "")
            before = list(service._opened.devices)
        assert before
        with serving(site):
            assert site.call_as_ct("echoscu") == (0, "")


def no_more_threads(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_one_loop_that_is_stuck_counts_for_the_whole_gateway(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    accept = PlainTransport.accept

    def stuck(transport: PlainTransport, connection: socket.socket, peer: str) -> PlainHandshake:
        begun.set()
        go_on.wait(30)
        return accept(transport, connection, peer)

    monkeypatch.setattr(PlainTransport, "accept", stuck)
    with serving(site) as service:
        assert service.ping(5)
        with socket.create_connection((LOOPBACK, site.plain), timeout=10):
            assert begun.wait(10)
            assert not service.ping(0.2)
            go_on.set()
            assert eventually(lambda: service.ping(5))


def test_a_gateway_whose_address_is_taken_leaves_nothing_open(site: Site) -> None:
    before = set(threading.enumerate())
    with socket.create_server((LOOPBACK, site.secured)), pytest.raises(ListenError, match="Find the program"):
        GatewayService(partial(open_gateway, site.config), site.folder / "state")
    with serving(site):
        pass
    assert not [one.name for one in set(threading.enumerate()) - before if not one.daemon]


def test_an_address_that_comes_up_later_is_served(site: Site, state_folder: Path) -> None:
    site.entrance = 'listen = "192.0.2.7:104"'
    site.write()
    namespace = ["unshare", *(["-n"] if os.geteuid() == 0 else ["-Urn"])]
    loopback = ["sh", "-ec", 'ip link set lo up; exec "$@"', "sh"]
    with site.running(before=[*namespace, *loopback]) as running:
        assert running.says("no interface of this machine has the address of 192.0.2.7:104 now.")
        inside = ["nsenter", "-t", str(running.process.pid), "-n", *([] if os.geteuid() == 0 else ["-U"])]
        assert run(*inside, "ip", "address", "add", "192.0.2.7", "dev", "lo") == (0, "")
        status, printed = run(*inside, "echoscu", "-aet", "CT1", "-aec", "PACS", "192.0.2.7", 104)
        assert status != 0
        assert "Temporary Congestion" in printed  # the route answers that its target is not reached


def test_a_command_that_looks_for_a_gateway_keeps_none_from_starting(tmp_path: Path) -> None:
    with hold_gateway_lock(tmp_path):
        pass
    looking = os.open(tmp_path / LOCK_NAME, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.1, os.close, [looking]).start()
    with (
        hold_gateway_lock(tmp_path),
        pytest.raises(GatewayRunsError, match="already runs"),
        hold_gateway_lock(tmp_path),
    ):
        pass


def test_every_file_of_the_state_folder_is_in_the_table_of_backups(site: Site, state_folder: Path) -> None:
    page = (Path(__file__).parents[4] / "docs/howto/operate-a-gateway.md").read_text()
    table = page.partition("## Back up and restore")[2].partition("\n## ")[0]
    names = [name for line in table.splitlines() if line.startswith("| `") for name in line.split("|")[1].split("`")]
    site.more = '[alarms.hook]\ncommand = ["/bin/true"]\n'
    site.write()
    state = site.folder / "state"
    with site.storescp_of_pacs(), serving(site):
        assert site.call_as_ct("echoscu") == (0, "")
        now = datetime.now(UTC)
        setting = EmergencySetting(
            route="to-pacs", passes_objects=True, reason="test", operator="J. Kim", since=now, until=now.date()
        )
        EmergencyStore(state).put(setting, now.date())
        assert eventually((state / "clock.json").exists)
        found = {file.name for folder in (state, state_folder) for file in folder.iterdir() if file.suffix != ".new"}
    assert {"alarms.json", "clock.json", "emergency.json"} <= found
    assert [name for name in sorted(found) if not any(fnmatch(name, one) for one in names)] == []
