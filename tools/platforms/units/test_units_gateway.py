"""The guide on the gateway, followed to the letter on a node that has the units and the PIN."""

from __future__ import annotations

from hospital import send_from_ct
from machine import Machine
from page import Guide

CONFIGURATION = "/etc/hsm-dicom/hsm-dicom.toml"
GATEWAY = "hsm-dicom-gateway.service"
SOCKET = "hsm-dicom-gateway@to-pacs.socket"


def test_the_guide_leads_to_a_gateway_that_opens_its_port_itself(node: Machine) -> None:
    page = Guide("howto/gateway.md", node, {})
    node.run(f"systemctl disable --now {SOCKET} {GATEWAY}; mv {CONFIGURATION} /root/by-sockets.toml")
    assert node.run("cat /proc/sys/net/ipv4/ip_forward") == "0\n"
    page.add_configuration("Write the configuration")
    page.run("Check the configuration")
    page.write_files("Run it")
    page.run("Run it")
    send_from_ct(node)
    assert "to-ct1" in node.run("hsm-dicom gateway status")
    node.run(f"systemctl disable --now {GATEWAY}; rm /etc/systemd/system/{GATEWAY}.d/override.conf")
    node.run(f"cp /root/by-sockets.toml {CONFIGURATION}; systemctl daemon-reload")
    node.run(f"systemctl enable --now {SOCKET} {GATEWAY}")
