"""Settings that a program makes have the same mistakes as those of the configuration (`node/test_routes.py`)."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from hsm_dicom.gateway.authorisation import is_address_of
from hsm_dicom.gateway.services import Service
from hsm_dicom.gateway.settings import AlarmKind, AlarmSettings, PlainDevice, RouteSettings
from hsm_dicom.network.errors import SettingsError
from hsm_dicom.network.settings import Peer

DEVICE: dict[str, Any] = {"name": "ct1", "ae_titles": ("CT1",), "addresses": ("192.168.10.21",), "reason": "old"}
CT = PlainDevice(**DEVICE)
PACS = Peer(name="pacs", ae_titles=("PACS", "ARCHIVE"), host="pacs.example")
ROUTE: dict[str, Any] = {"name": "to-pacs", "sources": (CT,), "target": PACS, "listen": ("127.0.0.1", 104)}
AE_TITLES = ["called", "called_ae_title", "calling_ae_title"]
ALARM: dict[str, Any] = {"name": "officer", "kind": AlarmKind.COMMAND, "command": ("/bin/true",)}


@pytest.mark.parametrize(
    ("kind", "sound", "wishes", "keys"),
    [
        (PlainDevice, DEVICE, {"ae_titles": ()}, ["ae_titles"]),
        (PlainDevice, DEVICE, {"ae_titles": ("CT1", "", "CT\\1"), "reason": ""}, ["ae_titles", "ae_titles", "reason"]),
        (PlainDevice, DEVICE, {"addresses": ("192.168.10.21", "ct1", "10.0.0.1/8")}, ["addresses", "addresses"]),
        (PlainDevice, DEVICE, {"host": "[2001:db8::1]"}, ["host"]),
        (RouteSettings, ROUTE, {"sources": ()}, ["from"]),
        (RouteSettings, ROUTE, {"listen": None}, [""]),
        (RouteSettings, ROUTE, {"socket": "x"}, [""]),
        (RouteSettings, ROUTE, {"listen": None, "socket": "a\nb"}, ["socket"]),
        (RouteSettings, ROUTE, {"listen": None, "listener": "main"}, ["from"]),
        (RouteSettings, ROUTE, {"sources": (CT, PACS)}, ["from"]),
        (RouteSettings, ROUTE, {"target": CT}, ["to"]),
        (RouteSettings, ROUTE, {"called": ("ARCHIVE", "OTHER")}, ["called"]),
        (RouteSettings, ROUTE, {"called": ("A" * 17,), "called_ae_title": "", "calling_ae_title": " "}, AE_TITLES),
        (RouteSettings, ROUTE, {"services": frozenset()}, ["services"]),
        (AlarmSettings, ALARM, {"command": ()}, ["command"]),
        (AlarmSettings, ALARM, {"command": ("true",)}, ["command"]),
    ],
)
def test_all_mistakes_are_reported_at_once_with_their_keys(
    kind: type, sound: dict[str, Any], wishes: dict[str, Any], keys: list[str]
) -> None:
    kind(**sound)
    with pytest.raises(SettingsError) as caught:
        kind(**sound | wishes)
    found = [mistake.key for mistake in caught.value.mistakes]
    assert found == keys
    assert all(mistake.message.endswith(".") for mistake in caught.value.mistakes)


def test_another_called_ae_title_is_one_of_the_target() -> None:
    route = RouteSettings(**ROUTE, called=("NEAR",), called_ae_title="ARCHIVE")
    assert route.called_ae_titles == ("NEAR",)
    assert RouteSettings(**ROUTE).called_ae_titles == ("PACS", "ARCHIVE")


def test_only_plain_callers_read_without_proof() -> None:
    services = frozenset((Service.STORAGE, Service.WORKLIST))
    assert RouteSettings(**ROUTE, services=services).reading_services == {Service.WORKLIST}
    assert RouteSettings(**ROUTE).reading_services == frozenset()
    back = {"sources": (PACS,), "target": PlainDevice(**DEVICE, host="ct1.example"), "listen": None, "listener": "main"}
    assert RouteSettings(**ROUTE | back, services=services).reading_services == frozenset()


def test_an_ipv4_address_is_the_same_however_it_is_written() -> None:
    device = PlainDevice(**DEVICE | {"addresses": ("::ffff:192.168.10.0/120", "::ffff:10.0.0.1", "2001:db8::/64")})
    assert [str(network) for network in device.networks] == ["192.168.10.0/24", "10.0.0.1/32", "2001:db8::/64"]
    for address in ("192.168.10.255", "::ffff:192.168.10.1", "10.0.0.1", "2001:db8::1"):
        assert is_address_of(device, address), address
    for address in ("192.168.11.0", "10.0.0.2", "2001:db8:1::1", "::", "ct1"):
        assert not is_address_of(device, address), address
    assert not is_address_of(PlainDevice(**DEVICE | {"addresses": ()}), "192.168.10.21")
    assert ipaddress.ip_network("192.168.10.21/32") in CT.networks
