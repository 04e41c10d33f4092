"""What one source address may use of a route, and the addresses of targets."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from hsm_dicom.gateway import names, sources
from hsm_dicom.gateway.authorisation import is_address_of
from hsm_dicom.gateway.names import Endpoint, HostAddresses
from hsm_dicom.gateway.settings import PlainDevice, SourceLimits
from hsm_dicom.gateway.sources import Sources
from hsm_dicom.gateway.targets import connect_tcp
from hsm_dicom.network.errors import ConnectError
from tests.hsm_dicom.gateway.routes import LOOPBACK
from tests.ports import free_port


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


# -- limits ---------------------------------------------------------------------------------------------------


def test_an_address_has_so_many_associations_open_and_others_are_not_concerned() -> None:
    limited = Sources(SourceLimits(associations=2), Clock())
    assert limited.begin("192.0.2.1") is None
    assert limited.begin("192.0.2.1") is None
    assert limited.begin("192.0.2.1") == "2 open associations"
    assert limited.begin("192.0.2.2") is None
    limited.end("192.0.2.1")
    assert limited.begin("192.0.2.1") is None


def test_an_address_begins_so_many_associations_in_a_minute() -> None:
    clock = Clock()
    limited = Sources(SourceLimits(associations_per_minute=6), clock)
    for _ in range(6):
        assert limited.begin("192.0.2.1") is None
        limited.end("192.0.2.1")
    assert limited.begin("192.0.2.1") == "6 associations in a minute"
    clock.now += 10.1
    assert limited.begin("192.0.2.1") is None
    assert limited.begin("192.0.2.1") == "6 associations in a minute"


def test_octets_beyond_the_rate_delay_the_next_read() -> None:
    clock = Clock()
    limited = Sources(SourceLimits(bytes_per_second=1000), clock)
    assert limited.delay("192.0.2.1", 500) == pytest.approx(0.5)
    assert limited.delay("192.0.2.1", 1000) == pytest.approx(1.5)
    clock.now += 10
    assert limited.delay("192.0.2.1", 100) == pytest.approx(0.1)
    assert limited.delay("192.0.2.1", 10**9) < 10
    assert Sources(SourceLimits(), clock).delay("192.0.2.1", 10**9) == 0


def test_the_hosts_of_an_ipv6_network_are_one_source_and_mapped_ipv4_is_ipv4() -> None:
    limited = Sources(SourceLimits(associations=1), Clock())
    assert limited.begin("2001:db8::1") is None
    assert limited.begin("2001:db8::2") is not None
    assert limited.begin("192.0.2.1") is None
    assert limited.begin("::ffff:192.0.2.1") is not None


def test_a_scan_from_many_addresses_uses_bounded_memory_and_frees_no_open_association(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sources, "_ADDRESSES", 50)
    limited = Sources(SourceLimits(associations=1), Clock())
    assert limited.begin("192.0.2.1") is None
    for number in range(10_000):
        address = f"10.0.{number // 250}.{number % 250}"
        assert limited.begin(address) is None
        limited.end(address)
    assert len(limited._uses) <= 51
    assert limited.begin("192.0.2.1") == "1 open associations"


# -- addresses of callers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "written", "is_one"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "::ffff:192.0.2.0/120", True),
        ("192.0.3.1", "::ffff:192.0.2.0/120", False),
        ("192.0.2.200", "192.0.2.0/24", True),
        ("192.0.3.1", "192.0.2.0/24", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("2001:db8::5", "2001:db8::/64", True),
        ("2001:db8:1::5", "2001:db8::/64", False),
        ("2001:db8::5", "0.0.0.0/0", False),
        ("nothing", "0.0.0.0/0", False),
    ],
)
def test_an_address_is_compared_as_an_address(address: str, written: str, is_one: bool) -> None:
    device = PlainDevice(name="ct1", ae_titles=("CT1",), addresses=(written,), reason="a test")
    assert is_address_of(device, address) is is_one


# -- addresses of targets -------------------------------------------------------------------------------------


class NameServer:
    """Answers `names._resolve`: an answer, an error, or nothing until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: tuple[Endpoint, ...] | None = ((socket.AF_INET, ("192.0.2.1", 104)),)
        self.is_silent = False
        self.asked = 0
        self.released = threading.Event()
        monkeypatch.setattr(names, "_resolve", self._resolve)
        monkeypatch.setattr(names, "_PATIENCE_SECONDS", 0.1)

    def _resolve(self, host: str, port: int) -> tuple[Endpoint, ...]:
        self.asked += 1
        if self.is_silent:
            self.released.wait(20)
        if self.answer is None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self.answer


def test_a_name_that_changes_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = NameServer(monkeypatch)
    addresses = HostAddresses("pacs.example", 104)
    assert addresses.resolve(5)[0][1] == ("192.0.2.1", 104)
    server.answer = ((socket.AF_INET, ("192.0.2.2", 104)),)
    assert addresses.resolve(5)[0][1] == ("192.0.2.2", 104)


@pytest.mark.parametrize("is_silent", [True, False])
def test_the_last_addresses_are_used_while_a_name_server_fails_or_is_silent(
    monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    server = NameServer(monkeypatch)
    addresses = HostAddresses("pacs.example", 104)
    known = addresses.resolve(5)
    server.answer, server.is_silent = None, is_silent
    for _ in range(3):
        assert addresses.resolve(5) == known
    assert server.asked == (2 if is_silent else 4), "a lookup that hangs is not repeated"
    server.released.set()


def test_a_name_that_was_never_found_is_an_error_after_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    server = NameServer(monkeypatch)
    server.is_silent = True
    started = time.monotonic()
    with pytest.raises(ConnectError, match=r"did not answer for 'pacs.example' within 0.2 seconds"):
        connect_tcp("'pacs'", HostAddresses("pacs.example", 104), 0.2)
    assert time.monotonic() - started < 5
    server.released.set()


def test_every_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    server = NameServer(monkeypatch)
    with socket.create_server((LOOPBACK, 0)) as listening:
        closed = free_port()
        port = listening.getsockname()[1]
        server.answer = ((socket.AF_INET6, ("::1", closed)), (socket.AF_INET, (LOOPBACK, closed)))
        with pytest.raises(ConnectError, match="check that a program listens there"):
            connect_tcp("'pacs'", HostAddresses("pacs.example", 104), 5)
        server.answer += ((socket.AF_INET, (LOOPBACK, port)),)
        connect_tcp("'pacs'", HostAddresses("pacs.example", 104), 5).close()


def test_a_name_is_resolved_again_after_no_thread_could_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more_threads(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    addresses = HostAddresses("localhost", 104)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more_threads)
        with pytest.raises(OSError, match="can't start new thread"):
            addresses.resolve(0.2)
    assert addresses.resolve(5)
