"""Addresses in one form, sockets that others have opened, addresses that come up later, and loops that go round."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from hsm_dicom.network.addresses import format_address, make_address, normalise_host, open_listening_socket
from hsm_dicom.network.assembly import make_listener_transport
from hsm_dicom.network.errors import ListenError
from hsm_dicom.network.listener import Listener
from hsm_dicom.network.settings import ListenerSettings
from hsm_dicom.transport.port import Handshake, SecureTransport
from tests.hsm_dicom.tls.fixtures import Hospital


@pytest.mark.parametrize(
    ("host", "normal"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("2001:db8::ffff:1", "2001:db8::ffff:1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("pacs.example", "pacs.example"),
    ],
)
def test_an_ipv4_address_has_one_form(host: str, normal: str) -> None:
    assert normalise_host(host) == normal
    assert make_address((host, 104, 0, 0)) == (normal, 104)


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    assert [format_address((host, 104)) for host in ("::1", "10.0.0.1")] == ["[::1]:104", "10.0.0.1:104"]


def test_a_socket_on_every_address_reports_an_ipv4_caller_as_such() -> None:
    with (
        open_listening_socket(("::", 0)) as listening,
        socket.create_connection(("127.0.0.1", listening.getsockname()[1]), timeout=5),
    ):
        connection, name = listening.accept()
        connection.close()
    assert name[0] == "::ffff:127.0.0.1"
    assert make_address(name)[0] == "127.0.0.1"


def test_a_port_in_use_is_one_sentence() -> None:
    with open_listening_socket(("127.0.0.1", 0)) as listening:
        address = make_address(listening.getsockname())
        with pytest.raises(ListenError, match="Find the program that uses the port"):
            open_listening_socket(address)


LATER = """
import socket, subprocess, sys
from hsm_dicom.network.addresses import open_listening_socket
address, port, device = sys.argv[1], 104, "lo"
subprocess.run(["ip", "link", "set", device, "up"], check=True)
def connects():
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True
with open_listening_socket((address, port)) as listening:
    print(connects())
    subprocess.run(["ip", "address", "add", address, "dev", device], check=True)
    print(connects(), listening.getsockname()[0] == address)
"""


@pytest.mark.interop
@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_an_address_that_is_not_up_at_boot_is_listened_on_when_it_comes(address: str) -> None:
    namespace = ["unshare", "-n" if os.geteuid() == 0 else "-Urn"]
    done = subprocess.run(
        [*namespace, sys.executable, "-c", LATER, address], capture_output=True, text=True, timeout=30
    )
    assert done.stdout.splitlines() == ["False", "True True"], done.stderr


# -- a listener on a socket that was opened elsewhere, and its loop ----------------------------------------------


def make_transport(hospital: Hospital) -> SecureTransport:
    settings = ListenerSettings(name="main", ae_title="NODE", peers=())
    return make_listener_transport(settings, [hospital.rsa], hospital.validator())


def test_a_listener_uses_a_socket_that_listens_already(hospital: Hospital) -> None:
    bound = open_listening_socket(("127.0.0.1", 0))
    address = make_address(bound.getsockname())
    transport = make_transport(hospital)
    with Listener("main", ("192.0.2.1", 1), transport, lambda *_: None, bound=bound) as listener:
        assert listener.address == address
        with socket.create_connection(address, timeout=5):
            assert listener.ping(5)
    assert bound.fileno() == -1


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ((socket.AF_INET, socket.SOCK_STREAM), "Accept=no"),
        ((socket.AF_INET, socket.SOCK_DGRAM), "ListenStream="),
        ((socket.AF_UNIX, socket.SOCK_STREAM), "ListenStream="),
    ],
)
def test_a_socket_of_another_kind_is_refused(
    hospital: Hospital, kind: tuple[socket.AddressFamily, socket.SocketKind], remedy: str
) -> None:
    with socket.socket(*kind) as bound, pytest.raises(ListenError, match=remedy) as refused:
        Listener("main", ("127.0.0.1", 0), make_transport(hospital), lambda *_: None, bound=bound)
    assert "'main'" in str(refused.value)


class Stuck:
    """A transport whose handshakes do not begin before it is let go."""

    name = "TLS"

    def __init__(self, transport: SecureTransport) -> None:
        self._transport = transport
        self.begun, self.go_on = threading.Event(), threading.Event()

    def accept(self, connection: socket.socket, peer: str) -> Handshake:
        self.begun.set()
        self.go_on.wait(30)
        return self._transport.accept(connection, peer)

    def connect(self, connection: socket.socket, peer: str, seconds: float) -> None:
        raise NotImplementedError


def test_a_loop_that_is_stuck_does_not_answer_and_one_that_is_idle_does(hospital: Hospital) -> None:
    stuck = Stuck(make_transport(hospital))
    transport: SecureTransport = stuck  # type: ignore[assignment]
    with Listener("main", ("127.0.0.1", 0), transport, lambda *_: None) as listener:
        assert listener.ping(5)
        with closing(socket.create_connection(listener.address, timeout=5)):
            assert stuck.begun.wait(5)
            assert not any(listener.ping(0.05) for _ in range(3))
            stuck.go_on.set()
            assert listener.ping(5)
    assert not listener.ping(0.05)
