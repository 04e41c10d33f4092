"""A listener whose token goes away and comes back: handshakes work again without a restart (docs/howto/service.md)."""

from __future__ import annotations

import signal
import socket
import ssl
from pathlib import Path

import pytest

from tests.hsm_dicom.cli.conftest import Run
from tests.hsm_dicom.network.listening import Listening, listening
from tests.hsm_dicom.network.test_cli import Site
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.softhsm import MODULE, TestToken
from tests.tokens.proxy import Proxy

OUTAGE = ("C_Sign rv=0x30", "C_Login rv=0x30")


@pytest.fixture
def site(tmp_path: Path, node: TestToken, hospital: Hospital, proxy_here: Proxy) -> Site:
    made = Site(tmp_path)
    made.write(node, hospital)
    made.config.write_text(made.config.read_text().replace(str(MODULE), str(proxy_here.module)))
    return made


class Caller:
    """A peer that does no more than a handshake."""

    def __init__(self, site: Site, hospital: Hospital) -> None:
        self.port = site.port
        self.context = ssl.create_default_context(cafile=str(hospital.ca_file))
        self.context.load_cert_chain(*hospital.files(hospital.peer()))

    def is_answered(self) -> bool:
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection,
                self.context.wrap_socket(connection, server_hostname="localhost") as secured,
            ):
                return secured.version() is not None
        except OSError:
            return False


@pytest.fixture
def caller(site: Site, hospital: Hospital) -> Caller:
    return Caller(site, hospital)


def test_handshakes_work_again_after_each_outage_without_a_restart(
    site: Site, caller: Caller, proxy_here: Proxy, run: Run
) -> None:
    with listening(site.config):
        assert caller.is_answered()
        logins = proxy_here.calls()["C_Login"]
        for number in range(3):
            proxy_here.rule(*OUTAGE)
            assert not caller.is_answered()
            proxy_here.rule()
            assert caller.is_answered()
            assert proxy_here.calls()["C_Login"] == logins + 2 * (number + 1)
        for _ in range(2):  # seen to be away, for as long as it likes
            proxy_here.rule(*OUTAGE, "C_GetTokenInfo rv=0x30")
            assert not any(caller.is_answered() for _ in range(3))
            proxy_here.rule()
            assert caller.is_answered()


def refused_for_good(caller: Caller, proxy_here: Proxy) -> None:
    """An outage in which all but logins works, so that the one further presentation is spent too."""
    assert caller.is_answered()
    proxy_here.rule(*OUTAGE)
    assert not any(caller.is_answered() for _ in range(3))
    proxy_here.rule()
    logins = proxy_here.calls()["C_Login"]
    assert not caller.is_answered()
    assert proxy_here.calls()["C_Login"] == logins


def test_clearing_the_record_reaches_a_listener(
    site: Site, caller: Caller, proxy_here: Proxy, run: Run, node: TestToken
) -> None:
    with listening(site.config) as running:
        refused_for_good(caller, proxy_here)
        assert running.says(f"hsm-dicom token clear-rejected-pin '{node.serial}'")
        assert run("token", "clear-rejected-pin", node.serial).status == 0
        assert caller.is_answered()


def test_a_hangup_has_a_listener_read_a_pin_that_was_put_right(
    site: Site, caller: Caller, proxy_here: Proxy, node: TestToken, tmp_path: Path
) -> None:
    import os

    pin = tmp_path / "pin"
    right = os.environ[node.pin.removeprefix("env:")]
    pin.write_text(right)
    pin.chmod(0o600)
    site.config.write_text(site.config.read_text().replace(node.pin, f"file:{pin}"))
    with listening(site.config) as running:
        assert caller.is_answered()
        pin.write_text("999999")
        proxy_here.rule("C_Sign rv=0x30 times=1", "C_GetTokenInfo clear=0x10000")
        assert not any(caller.is_answered() for _ in range(2))
        pin.write_text(right)
        assert not caller.is_answered()
        reload(running)
        assert caller.is_answered()


def reload(running: Listening) -> None:
    running.process.send_signal(signal.SIGHUP)
    assert running.says("were reloaded")
