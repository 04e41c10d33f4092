"""A newcomer's path in a bare Debian: install the package, follow the page on services. In this order: one machine."""

from __future__ import annotations

import json

from hospital import PIN, prepare, send_from_ct, start_peers
from machine import Machine
from page import Guide

SPOOL = "/var/spool/hsm-dicom"
RUNNING = "hsm-dicom-gateway.service hsm-dicom-gateway@to-pacs.socket hsm-dicom-sign.timer hsm-dicom-sign.path"


def test_the_machine_has_neither_python_nor_the_package(machine: Machine) -> None:
    machine.run("command -v python3 || command -v hsm-dicom", status=1)
    assert machine.run("systemctl --failed --no-legend") == ""


def test_apt_installs_the_package_and_what_it_depends_on(machine: Machine, install_page: Guide) -> None:
    assert "hsm-dicom 0." in install_page.run("Install")
    # What the page says of polkit, which D-Bus starts on Debian 13 before apt has made its user.
    machine.run("if systemctl cat polkit.service > /dev/null 2>&1; then systemctl start polkit.service; fi")
    assert machine.run("systemctl --failed --no-legend") == ""


def test_the_service_page_leads_to_a_sound_configuration(machine: Machine, service_page: Guide) -> None:
    machine.run("DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes dcmtk iproute2 openssl softhsm2")
    prepare(machine)
    start_peers(machine)
    service_page.write_files("If a module does not work in the unit")
    service_page.run("Store the PIN", stdin=f"{PIN}\n")
    service_page.add_configuration("Write the configuration")
    service_page.run("Write the configuration")


def test_the_outbox_is_signed(machine: Machine, service_page: Guide) -> None:
    service_page.run("Sign an outbox")
    machine.run(f"cp /images/CT_small.dcm {SPOOL}/outbox")
    machine.eventually(f"test -e {SPOOL}/signed/CT_small.dcm")
    verdict = machine.run(f"hsm-dicom verify --trust /etc/hsm-dicom/ca.pem --json {SPOOL}/signed/CT_small.dcm")
    assert json.loads(verdict.splitlines()[0])["outcome"] == "good"


def test_the_listener_and_then_the_gateway_run(machine: Machine, service_page: Guide) -> None:
    service_page.add_configuration("Run a listener")
    service_page.run("Run a listener")
    service_page.add_configuration("Run a gateway")
    service_page.write_files("Run a gateway")
    for block in ("enable --now", "gateway check", "systemctl reload"):
        service_page.run("Run a gateway", only=block)
    send_from_ct(machine)
    assert machine.run("ls /tmp/pacs").startswith("CT.")


def test_the_expiry_check_passes(machine: Machine, service_page: Guide) -> None:
    service_page.run("Hear of certificates that expire")


def test_the_firewall_page_installs_nftables_and_the_gateway_still_relays(machine: Machine) -> None:
    page = Guide("howto/firewall.md", machine, {})
    page.run("Install nftables", stdin="y\n")
    page.write_files("Write the rules")
    page.run("Load them")
    send_from_ct(machine)
    machine.run("systemctl disable --now nftables.service")


def test_everything_runs_and_starts_again_after_a_boot(machine: Machine) -> None:
    machine.run(f"systemctl is-active {RUNNING} hsm-dicom-expiry.timer")
    machine.run(f"systemctl is-enabled {RUNNING} hsm-dicom-expiry.timer")
    assert machine.run("systemctl --failed --no-legend") == ""
