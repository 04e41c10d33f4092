"""The guide on upgrading a node that was installed from a wheel: a newer one, back, and away. In this order."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest
from conftest import VERSION
from hospital import send_from_ct
from machine import Machine
from page import ROOT, Guide

NEWER = f"{VERSION}.post1"
GATEWAY = "hsm-dicom-gateway.service"
KEPT = "/etc/hsm-dicom/hsm-dicom.toml /etc/credstore.encrypted/hsm-dicom.pin /var/spool/hsm-dicom"


def repack(wheel: Path, version: str) -> bytes:
    """Return the wheel with another version."""
    old, new = f"hsm_dicom-{VERSION}.dist-info/", f"hsm_dicom-{version}.dist-info/"
    target = wheel.with_name("newer.zip")
    record = []
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w") as made:
        for name in source.namelist():
            if name.endswith("RECORD"):
                continue
            octets = source.read(name)
            if name == f"{old}METADATA":
                octets = octets.replace(f"\nVersion: {VERSION}\n".encode(), f"\nVersion: {version}\n".encode())
            digest = base64.urlsafe_b64encode(hashlib.sha256(octets).digest()).rstrip(b"=").decode()
            name = name.replace(old, new)
            made.writestr(name, octets)
            record.append(f"{name},sha256={digest},{len(octets)}")
        made.writestr(f"{new}RECORD", "\n".join([*record, f"{new}RECORD,,"]))
    octets = target.read_bytes()
    target.unlink()
    return octets


@pytest.fixture(scope="module")
def upgrade(node: Machine) -> Guide:
    """The guide, with a wheel of a newer version in the machine."""
    built = next((ROOT / "build" / "wheels").glob(f"*/hsm_dicom-{VERSION}-*.whl"))
    wheel = f"/root/hsm_dicom-{NEWER}-py3-none-any.whl"
    encoded = base64.b64encode(repack(built, NEWER)).decode()
    node.run(f"base64 --decode > {wheel}", stdin=encoded)
    return Guide("howto/upgrade.md", node, {"OLD": VERSION, "NEW": NEWER, "WHEEL": wheel})


def read_process(machine: Machine) -> str:
    """Return the process id of the gateway, which runs."""
    machine.run(f"systemctl is-active {GATEWAY}")
    return machine.run(f"systemctl show --property=MainPID --value {GATEWAY}")


def test_the_gateway_goes_on_until_the_change(node: Machine, upgrade: Guide) -> None:
    before = read_process(node)
    upgrade.run("Install the new version beside the old one")
    assert read_process(node) == before
    send_from_ct(node)
    said = upgrade.run("Change over")
    assert f"hsm-dicom {NEWER}\n" in said
    assert read_process(node) != before
    assert f"/opt/hsm-dicom-{NEWER}/" in node.run(f"tr '\\0' ' ' < /proc/{read_process(node).strip()}/cmdline")
    send_from_ct(node)


def test_the_guide_goes_back(node: Machine, upgrade: Guide) -> None:
    node.run("echo '# a newer key' >> /etc/hsm-dicom/hsm-dicom.toml")
    assert f"hsm-dicom {VERSION}\n" in upgrade.run("Go back")
    assert "newer" not in node.run("cat /etc/hsm-dicom/hsm-dicom.toml")
    send_from_ct(node)


def test_nothing_runs_or_is_left_of_the_program_afterwards(node: Machine, upgrade: Guide) -> None:
    upgrade.run("Uninstall", only="disable --now")
    assert node.run("ps -u hsm-dicom -o pid= || true") == ""
    assert node.run("systemctl list-units --no-legend --state=active 'hsm-dicom-*'") == ""
    upgrade.run("Uninstall", only="rm -r /opt")
    node.run(f"ls -d {KEPT}")
    assert node.run("ls /opt; systemctl list-unit-files --no-legend 'hsm-dicom-*' || true") == ""
    upgrade.run("Uninstall", only="cp -a")
    left = "find / -xdev -iname '*hsm-dicom*' -not -path '/proc/*'"
    elsewhere = ("/clone*", "/wheels*", "/tests*", "/tmp/*", "/root/*", "/var/spool/hsm-dicom*", "/var/backups/*")
    others = " ".join(f"-not -path '{path}'" for path in elsewhere)
    assert node.run(f"{left} {others}").split() == []
