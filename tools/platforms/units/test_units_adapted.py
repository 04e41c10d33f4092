"""The guides on drop-ins, the firewall and a proxy: what each permits works, and what it forbids does not."""

from __future__ import annotations

import json
import re

import pytest
from hospital import PIN, SO_PIN, run_as_service, send_from_ct
from machine import Machine
from page import Guide

CONFIGURATION = "/etc/hsm-dicom/hsm-dicom.toml"
DROP_INS = "/etc/systemd/system/hsm-dicom-.service.d"
MANUAL = "systemd-run --quiet --pipe --wait --collect --unit=hsm-dicom-manual"
PYTHON = f"{MANUAL} /opt/hsm-dicom/bin/python -c"
GATEWAY = "hsm-dicom-gateway.service"
PIN_B = "4418-second-7702"
INSERT = """
import json, socket, time
wire = socket.socket(socket.AF_UNIX)
wire.connect("/run/card")
lines = wire.makefile("rw")
inserted = False
while not inserted:  # pcscd is active before it has opened its virtual reader
    lines.write('{"do": "insert"}\\n')
    lines.flush()
    inserted = json.loads(lines.readline()).get("inserted")
    time.sleep(0.2)
time.sleep(600)
"""
TSA_ADDRESS = "http://tsa.example:8318/"
TSA = """
mkdir ~root/tsa && cd ~root/tsa
openssl req -new -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.csr -subj /CN=TSA 2>/dev/null
printf 'keyUsage=critical,digitalSignature\\nextendedKeyUsage=critical,timeStamping\\n' > tsa.ext
openssl x509 -req -in tsa.csr -CA ../ca/ca.pem -CAkey ../ca/ca.key -days 100 -extfile tsa.ext -out tsa.pem 2>/dev/null
cat > tsa.cnf <<'CNF'
[tsa]
default_tsa = here
[here]
serial = serial
default_policy = 1.2.3
digests = sha256
signer_digest = sha256
signer_cert = tsa.pem
signer_key = tsa.key
CNF
echo 01 > serial
"""
CARD = """{"card": "piv", "serial": "00000000000000000000000000000001"}"""


@pytest.fixture(scope="module")
def adapt(node: Machine) -> Guide:
    """The guide to drop-ins."""
    return Guide("howto/adapt-the-units.md", node, {})


def connect(machine: Machine, address: str, port: int, *, status: int = 0) -> None:
    """Connect as the user of the services, in a unit with all drop-ins."""
    code = f"import socket; socket.create_connection(('{address}', {port}), 3)"
    machine.run(f'{PYTHON} "{code}"', status=status)


def test_a_key_is_made_and_certified_as_the_user_of_the_services(node: Machine, adapt: Guide) -> None:
    adapt.run("Make keys and certificates", only="key generate")
    ca = "-CA ca/ca.pem -CAkey ca/ca.key -extfile ca/node.ext"
    node.run(f"openssl x509 -req -in spare.csr {ca} -days 100 -out spare.pem 2>/dev/null")
    assert "CN=CT 1" in adapt.run("Make keys and certificates", only="import-cert")


def test_a_second_token_has_a_pin_of_its_own(node: Machine, adapt: Guide) -> None:
    run_as_service(
        node, f"PIN={PIN_B} hsm-dicom token init --module $module --label 'CT room B' --so-pin env:SO --pin env:PIN"
    )
    adapt.write_files("Add a second token")
    node.run(f"cp {CONFIGURATION} /srv/one-token.toml")
    adapt.add_configuration("Add a second token")
    adapt.run("Add a second token", stdin=PIN_B)
    node.run("rm /etc/credstore.encrypted/hsm-dicom.pin-b")
    assert "pin-b" in node.run(f"{MANUAL} hsm-dicom check-config", status=1)
    node.run(f"cp /srv/one-token.toml {CONFIGURATION}; rm {DROP_INS}/30-pin-b.conf; systemctl daemon-reload")
    for pin in (PIN, PIN_B):
        node.run(f"! journalctl --all --output=export | grep --text --quiet -e {pin}")


def test_a_caller_starts_a_listener_by_its_socket(node: Machine, adapt: Guide) -> None:
    heading = "Open the port of a listener by systemd"
    node.run(f"systemctl stop {GATEWAY}")
    adapt.write_files(heading)
    adapt.run(heading, only="enable")
    assert node.run("systemctl is-active hsm-dicom-listen@main.service", status=3) == "inactive\n"
    tls = "+tls /root/ca/pacs.key /root/ca/pacs.pem +cf /root/ca/ca.pem"
    echo = f"ip netns exec pacs echoscu {tls} -aet PACS -aec NODE 10.1.2.3 1004"
    node.run(echo)
    main = node.run("systemctl show --property=MainPID --value hsm-dicom-listen@main.service").strip()
    assert "CapEff:\t0000000000000000" in node.run(f"cat /proc/{main}/status")
    node.run("systemctl stop hsm-dicom-listen@main.service")
    node.run(echo)
    adapt.run(heading, only="systemctl stop hsm-dicom-listen@main.socket")
    both = "hsm-dicom-listen@main.service hsm-dicom-listen@main.socket"
    assert node.run(f"systemctl is-active {both}", status=3) == "inactive\ninactive\n"
    node.run("systemctl disable hsm-dicom-listen@main.socket")
    node.run(f"systemctl start {GATEWAY}")


def test_the_services_reach_the_listed_addresses_only(node: Machine, adapt: Guide) -> None:
    node.run("ip -n pacs addr add 10.1.2.10/24 dev eth0")
    connect(node, "10.1.2.10", 2762)
    adapt.write_files("Restrict the addresses")
    adapt.run("Restrict the addresses")
    connect(node, "10.1.2.9", 2762)
    connect(node, "10.1.2.10", 2762, status=1)
    node.run(f"systemctl restart {GATEWAY}")
    send_from_ct(node)
    socket = "hsm-dicom-gateway@to-pacs.socket"
    node.write(f"/run/systemd/system/{socket}.d/deny.conf", "[Socket]\nIPAddressDeny=any\nIPAddressAllow=10.1.2.9\n")
    node.run(f"systemctl daemon-reload; systemctl stop {socket}; systemctl start {GATEWAY}")
    node.run("! ip netns exec ct echoscu -to 3 -aet CT1 -aec PACS 192.168.10.1 104")
    node.run(f"rm /run/systemd/system/{socket}.d/deny.conf {DROP_INS}/30-addresses.conf; systemctl daemon-reload")
    node.run(f"systemctl stop {socket}; systemctl start {GATEWAY}")
    send_from_ct(node)


def test_a_tpm_is_opened_in_the_unit(node: Machine, adapt: Guide) -> None:
    """Its device file has the owner and mode of a TPM's, and the number of /dev/net/tun."""
    node.run("groupadd --force --system tss; mknod -m 660 /dev/tpmrm0 c 10 200; chgrp tss /dev/tpmrm0")
    code = "import os; open('/dev/tpmrm0', 'rb', buffering=0); os.mkdir(os.environ['TPM2_PKCS11_STORE'])"
    node.run(f'{PYTHON} "{code}"', status=1)
    adapt.write_files("Use a TPM")
    node.run(f'{PYTHON} "{code}"')
    node.run("mknod -m 666 /dev/tpm0 c 10 229")
    node.run(f"""{PYTHON} "open('/dev/tpm0', 'rb', buffering=0)" """, status=1)  # DeviceAllow= lists one only
    node.run("rmdir /var/lib/hsm-dicom/tpm2-pkcs11")


def test_a_tpm_signs_in_the_unit(node: Machine, adapt: Guide) -> None:
    """A TPM in software (swtpm) behind tpm2-abrmd on the machine's D-Bus: the kernel here has no device of a TPM."""
    ports = "--server type=tcp,port=2321 --ctrl type=tcp,port=2322"
    swtpm = f"--tpmstate dir=/var/lib/chip --flags not-need-init,startup-clear {ports}"
    begin = "systemd-run --quiet"
    node.run(f"mkdir /var/lib/chip; {begin} --unit=chip swtpm socket --tpm2 {swtpm}")
    node.eventually("ss -ltn | grep -q :2321")
    node.run(f"{begin} --unit=chip-manager --uid=tss tpm2-abrmd --tcti=swtpm:host=127.0.0.1,port=2321")
    node.eventually("busctl status com.intel.tss2.Tabrmd")
    node.write(f"{DROP_INS}/40-tcti.conf", "[Service]\nEnvironment=TPM2_PKCS11_TCTI=tabrmd:\n")
    adapt.write_files("Use a TPM")
    node.run(f"cp {CONFIGURATION} /srv/without-tpm.toml")
    adapt.run("Use a TPM", stdin=SO_PIN)
    adapt.add_configuration("Use a TPM")
    key = "ct-room-tpm/node"
    node.run(f"{MANUAL} hsm-dicom key generate {key.replace('/', ' --label ')} --type rsa-2048 --usage sign")
    node.run(f"{MANUAL} hsm-dicom key csr {key} --subject CN=TPM > tpm.csr")
    ca = "-CA ca/ca.pem -CAkey ca/ca.key -extfile ca/node.ext"
    node.run(f"openssl x509 -req -in tpm.csr {ca} -days 100 -out /etc/hsm-dicom/tpm.pem 2>/dev/null")
    signed = "/var/lib/hsm-dicom/tpm.dcm"
    node.run(f"{MANUAL} hsm-dicom sign /images/CT_small.dcm --out {signed} --key {key} --cert /etc/hsm-dicom/tpm.pem")
    verdict = node.run(f"hsm-dicom verify --trust /etc/hsm-dicom/ca.pem --json {signed}")
    assert json.loads(verdict.splitlines()[0])["outcome"] == "good"
    node.run(f"cp /srv/without-tpm.toml {CONFIGURATION}; rm {DROP_INS}/30-tpm.conf {DROP_INS}/40-tcti.conf")
    node.run("systemctl daemon-reload; systemctl stop chip-manager.service chip.service")


def test_a_card_is_found_in_the_unit(node: Machine, adapt: Guide) -> None:
    node.run("/opt/hsm-dicom/bin/pip install --quiet pyscard")
    adapt.run("Use smart cards", only="pcscd.socket")
    program = f"/opt/hsm-dicom/bin/python -m tests.cards.program /run/card 35963 '{CARD}'"
    node.run(f"systemd-run --quiet --unit=card --working-directory=/clone {program}")
    node.eventually("test -S /run/card")
    found = f"{MANUAL} hsm-dicom card list"
    if "polkit" in node.run("/usr/sbin/pcscd --version"):
        assert "org.debian.pcsc-lite.access_pcsc" in node.run(found, status=None)
    node.run("mkdir -p /etc/polkit-1/rules.d")
    adapt.write_files("Use smart cards")
    # A card stays in the reader for as long as somebody holds it, and pcscd is restarted with polkit on Debian 13.
    node.run("systemctl restart polkit.service; systemctl start pcscd.service")
    node.write("/srv/insert.py", INSERT)
    node.run("systemd-run --quiet --unit=hand python3 /srv/insert.py")
    node.eventually(f"{found} | grep 'card:'")
    assert "card:" in adapt.run("Use smart cards", only="card list")


def test_the_firewall_passes_what_the_page_lists_and_nothing_else(node: Machine) -> None:
    page = Guide("howto/firewall.md", node, {})
    node.run("ip -n ct addr add 192.168.10.99/24 dev eth0; ip -n pacs addr add 10.1.2.11/24 dev eth0")
    node.run("systemd-run --quiet --unit=other-port python3 -m http.server 8080")
    from_other = (
        "ip netns exec ct python3 -c \"import socket; socket.create_connection(('192.168.10.1', {}), 3, ('{}', 0))\""
    )
    node.eventually(from_other.format(8080, "192.168.10.21"))
    node.run(from_other.format(104, "192.168.10.99"))
    page.write_files("Write the rules")
    page.run("Load them")
    send_from_ct(node)
    for port, source in ((104, "192.168.10.99"), (8080, "192.168.10.21"), (2762, "192.168.10.21")):
        node.run(from_other.format(port, source), status=1)
    connect(node, "10.1.2.9", 2762)
    connect(node, "10.1.2.11", 2762, status=1)
    node.run("python3 -c \"import socket; socket.create_connection(('10.1.2.11', 2762), 3)\"")  # another user
    page.run("After a change of the configuration")
    node.run(from_other.format(104, "192.168.10.99"))
    node.run("systemctl disable --now nftables.service; systemctl stop other-port.service")


def test_a_time_stamp_comes_through_the_proxy(node: Machine) -> None:
    page = Guide("howto/proxies.md", node, {"TSA": TSA_ADDRESS})
    node.run(TSA)
    in_pacs = "systemd-run --quiet --property=NetworkNamespacePath=/run/netns/pacs"
    node.write("/root/tinyproxy.conf", "Port 3128\nListen 10.1.2.9\nAllow 10.1.2.3\nTimeout 30\n")
    node.run(
        f"{in_pacs} --unit=tsa python3 /tests/tsa.py 127.0.0.1 8318 ~root/tsa; "
        f"{in_pacs} --unit=proxy tinyproxy -d -c /root/tinyproxy.conf; "
        "echo '10.1.2.9 proxy.example' >> /etc/hosts; echo '127.0.0.1 tsa.example' >> /etc/hosts"
    )
    signed = "/var/spool/hsm-dicom/signed/try.dcm"
    node.run(f"install -o hsm-dicom /images/CT_small.dcm /var/spool/hsm-dicom/try.dcm; rm -f {signed}")
    node.eventually("ip netns exec pacs ss -ltn | grep -q :3128 && ip netns exec pacs ss -ltn | grep -q :8318")
    through_proxy = re.compile(r"^tsa\.example:8318 .*tinyproxy", re.MULTILINE)
    # In a terminal: the variables of the page hold for the command after them.
    in_terminal = (
        f'hsm-dicom sign /images/CT_small.dcm --key "$token;object=node" --module $module --pin env:PIN '
        f"--timestamp {TSA_ADDRESS}"
    )
    run_as_service(node, f"! {in_terminal} --out without.dcm")
    run_as_service(node, f"{page.list_commands('Name the proxy')[0]}{in_terminal} --out with.dcm")
    node.run("journalctl --sync")
    assert len(through_proxy.findall(node.run("journalctl --output=cat --unit=tsa"))) == 1
    page.write_files("Name the proxy")
    page.run("Name the proxy")
    page.run("Try it")
    ca = "/etc/hsm-dicom/ca.pem"
    verdict = node.run(f"hsm-dicom verify --trust {ca} --tsa {ca} --json {signed}")
    assert "timestamp" in json.loads(verdict.splitlines()[0])["signatures"][0]
    node.run("journalctl --sync")
    assert len(through_proxy.findall(node.run("journalctl --output=cat --unit=tsa"))) == 2
    node.run(f"rm {DROP_INS}/30-proxy.conf; systemctl daemon-reload")
