"""The Debian package in a machine that systemd booted: installed, upgraded, downgraded, removed, purged, in order."""

from __future__ import annotations

from conftest import BROKEN, NEWER, SUFFIX, VERSION
from hospital import PIN, prepare, send_from_ct, start_peers
from machine import Machine
from page import Guide

GATEWAY = "hsm-dicom-gateway.service"
CONFIGURATION = "/etc/hsm-dicom/hsm-dicom.toml"
SPOOL = "/var/spool/hsm-dicom"

TABLES = """
[tokens.ct-room]
module = "/usr/lib/vendor/libpkcs11.so"
label  = "CT room"
pin    = "credential:pin"

[identities.node]
token  = "ct-room"
object = "node"

[identities.tls]
token  = "ct-room"
object = "tls"

[trust]
anchors = ["/etc/hsm-dicom/ca.pem"]

[peers.pacs]
host      = "pacs.example"
ae_titles = ["PACS"]
identity  = "tls"

[plain.ct1]
ae_titles = ["CT1"]
addresses = ["192.168.10.21"]
reason    = "cannot be changed"

[routes.to-pacs]
from   = ["ct1"]
socket = "to-pacs"
to     = "pacs"

[listeners.main]
ae_title   = "NODE"
host       = "127.0.0.1"
identities = ["tls"]
store      = "/var/spool/hsm-dicom/received"
"""
DROP_INS = {
    # SoftHSM's token is a folder of the group softhsm.
    "hsm-dicom-.service.d/50-module.conf": "[Service]\nSupplementaryGroups=softhsm\nReadWritePaths=/var/lib/softhsm\n",
    "hsm-dicom-gateway@to-pacs.socket.d/override.conf": "[Socket]\nListenStream=192.168.10.1:104\n",
}
CHECK = "systemd-run --quiet --pipe --wait --collect --unit=hsm-dicom-manual hsm-dicom check-config"


def read_process(machine: Machine) -> str:
    """Return the process id of the gateway, which runs."""
    machine.run(f"systemctl is-active {GATEWAY}")
    return machine.run(f"systemctl show --property=MainPID --value {GATEWAY}")


def read_installed(machine: Machine) -> str:
    """Return the version that dpkg has installed."""
    return machine.run("dpkg-query --show --showformat='${Version}' hsm-dicom")


def test_the_page_installs_a_command_and_starts_nothing(machine: Machine, guide: Guide) -> None:
    assert "hsm-dicom 0." in guide.run("Install")
    assert read_installed(machine) == VERSION
    assert machine.run("systemctl list-units --no-legend 'hsm-dicom-*'") == ""
    assert "enabled " not in machine.run("systemctl list-unit-files --no-legend 'hsm-dicom-*' | awk '{print $2, $1}'")
    assert "no errors, no warnings" in machine.run(CHECK), "the template"


def test_the_folders_have_their_rights(machine: Machine) -> None:
    folders = f"/var/lib/hsm-dicom {CONFIGURATION} /etc/hsm-dicom {SPOOL}/outbox"
    assert machine.run(f"stat -c %U:%G:%a {folders}").splitlines() == [
        "hsm-dicom:hsm-dicom:700",
        "root:root:644",
        "root:root:755",
        "hsm-dicom:hsm-dicom:2770",
    ]


def test_other_python_packages_reach_neither_the_command_nor_the_reverse(machine: Machine) -> None:
    machine.write("/tmp/other/hsm_dicom.py", "raise SystemExit('not this one')\n")
    assert "hsm-dicom 0." in machine.run("PYTHONPATH=/tmp/other PYTHONHOME=/tmp hsm-dicom --version")
    machine.run("python3 -c 'import hsm_dicom'", status=1)


def test_manual_pages_and_completion_are_there(machine: Machine) -> None:
    machine.run(
        "test -s /usr/share/man/man1/hsm-dicom-gateway.1.gz && ! grep -r /build/ /usr/share/man/man1/hsm-dicom*"
    )
    shell = """
    . /usr/share/bash-completion/completions/hsm-dicom
    COMP_WORDS=(hsm-dicom check) COMP_CWORD=1
    _hsm_dicom_completion hsm-dicom check
    echo "${COMPREPLY[@]}"
    """
    assert machine.run(shell) == "check-config\n"
    machine.run("zsh -n /usr/share/zsh/vendor-completions/_hsm-dicom")


def test_the_services_may_use_cards_and_other_users_may_not(machine: Machine) -> None:
    """pcscd asks polkit from Debian 13 on; before, everyone may use cards."""
    machine.run("systemctl start polkit.service pcscd.socket")
    is_asked = "polkit" in machine.run("/usr/sbin/pcscd --version")
    for user, is_refused in (("nobody", is_asked), ("hsm-dicom", False)):
        said = machine.run(f"cd /; runuser -u {user} -- env HSM_DICOM_STATE=/tmp hsm-dicom card list", status=None)
        assert ("org.debian.pcsc-lite.access_pcsc" in said) is is_refused, said


def test_the_event_file_is_rotated(machine: Machine) -> None:
    machine.run("runuser -u hsm-dicom -- sh -c 'echo {} > /var/lib/hsm-dicom/events.jsonl'")
    machine.run("logrotate --force /etc/logrotate.d/hsm-dicom")
    assert machine.run("stat -c %U /var/lib/hsm-dicom/events.jsonl-*") == "hsm-dicom\n"
    machine.run("test ! -e /var/lib/hsm-dicom/events.jsonl; rm /var/lib/hsm-dicom/events.jsonl-*")


def test_a_gateway_runs(machine: Machine) -> None:
    prepare(machine)
    start_peers(machine)
    for name, text in DROP_INS.items():
        machine.write(f"/etc/systemd/system/{name}", text)
    machine.run("systemd-creds encrypt --name=pin - /etc/credstore.encrypted/hsm-dicom.pin", stdin=PIN)
    machine.write(CONFIGURATION, TABLES)
    machine.run("systemctl daemon-reload")
    assert "no errors" in machine.run(CHECK)
    machine.run(f"systemctl enable --now hsm-dicom-gateway@to-pacs.socket {GATEWAY} hsm-dicom-sign.timer")
    send_from_ct(machine)
    machine.run(f"cp /images/CT_small.dcm {SPOOL}/outbox")
    # The timer has begun a run, which `start` would join, and which may have listed the outbox before.
    machine.eventually(f"systemctl start hsm-dicom-sign.service; test -e {SPOOL}/signed/CT_small.dcm")


def test_an_upgrade_restarts_the_gateway_after_its_association_has_ended(machine: Machine, guide: Guide) -> None:
    before, settings = read_process(machine), machine.run(f"sha256sum {CONFIGURATION}")
    hold = "/opt/hsm-dicom/bin/python3 /tests/hold_association.py 192.168.10.1 104 /tmp/hold"
    in_ct = "systemd-run --quiet --property=NetworkNamespacePath=/run/netns/ct --unit=hold"
    machine.run(f"mkdir /tmp/hold; {in_ct} {hold}")
    machine.eventually("test -e /tmp/hold/open")
    wait = (
        f"until systemctl is-active {GATEWAY} | grep deactivating; do sleep 0.1; done; sleep 2; touch '/tmp/hold/go on'"
    )
    machine.run(f'systemd-run --quiet --unit=go-on sh -c "{wait}"')
    said = guide.run("Upgrade")
    machine.run("test -e /tmp/hold/done")
    assert "can be used: no errors, no warnings" in said
    assert read_installed(machine) == NEWER
    assert read_process(machine) != before
    assert machine.run(f"sha256sum {CONFIGURATION}") == settings
    send_from_ct(machine)


def test_an_upgrade_starts_nothing_that_did_not_run(machine: Machine) -> None:
    assert machine.run("systemctl is-active hsm-dicom-listen@main.service", status=3) == "inactive\n"
    machine.run("systemctl is-active hsm-dicom-sign.timer")
    assert machine.run("systemctl --failed --no-legend") == ""


def test_a_version_that_refuses_the_configuration_leaves_the_gateway_running(machine: Machine, guide: Guide) -> None:
    before = read_process(machine)
    said = machine.run(f"apt-get install --yes /packages/hsm-dicom_{BROKEN}_{SUFFIX}")
    assert "peers.pacs: this key was removed" in said
    for line in guide.read_section("Upgrade").partition("```text\n")[2].partition("```")[0].splitlines():
        assert line in said
    assert read_process(machine) == before
    send_from_ct(machine)


def test_the_page_goes_back_to_the_former_version(machine: Machine, guide: Guide) -> None:
    before = read_process(machine)
    guide.run("Go back to the former version")
    assert read_installed(machine) == VERSION
    assert read_process(machine) != before
    send_from_ct(machine)


def test_policy_rc_d_forbids_the_restart(machine: Machine) -> None:
    before = read_process(machine)
    machine.run("printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d")
    machine.run(f"apt-get install --yes --reinstall /packages/hsm-dicom_{VERSION}_{SUFFIX}")
    machine.run("rm /usr/sbin/policy-rc.d")
    assert read_process(machine) == before


def test_nothing_wrote_into_the_package(machine: Machine) -> None:
    assert machine.run("dpkg --verify hsm-dicom") == ""
    packaged = "dpkg --listfiles hsm-dicom | grep ^/opt | sort"
    assert (
        machine.run(
            f"diff <(find /opt /opt/hsm-dicom -path '/opt/hsm-dicom*' | sort -u) <({packaged} | grep hsm-dicom)"
        )
        == ""
    )


def test_a_removal_stops_everything_and_keeps_what_is_yours(machine: Machine, guide: Guide) -> None:
    machine.run("systemctl start hsm-dicom-listen@main.service")
    guide.run("Remove", only="apt-get remove")
    assert machine.run("ps -u hsm-dicom -o pid= || true") == ""
    assert machine.run("systemctl list-units --no-legend --state=active 'hsm-dicom-*'") == ""
    machine.run(f"test -e {CONFIGURATION} -a -e /etc/credstore.encrypted/hsm-dicom.pin -a ! -e /opt/hsm-dicom")
    guide.run("Install")
    machine.run(f"systemctl start {GATEWAY}")
    send_from_ct(machine)


def test_a_purge_removes_everything_but_objects(machine: Machine, guide: Guide) -> None:
    machine.run("systemctl enable hsm-dicom-listen@main.service")
    guide.run("Remove")
    left = "find / -xdev -iname '*hsm-dicom*' -not -path '/proc/*' -not -path '/packages*' -not -path '/tests/*'"
    kept = "/var/backups/hsm-dicom"
    others = " ".join(f"-not -path '{path}'" for path in (f"{SPOOL}*", "/tmp/*", f"{kept}*"))
    assert machine.run(f"{left} {others} -not -path ~root/'*'").split() == []
    machine.run(f"test -d {kept}")
    machine.run(f"test -e {SPOOL}/signed/CT_small.dcm")
    assert machine.run("systemctl list-units --failed --no-legend 'hsm-dicom-*'") == ""
