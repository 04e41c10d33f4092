"""The units in a machine that systemd booted, as the guide has its reader start them. In this order: one machine."""

from __future__ import annotations

import json
import time

from hospital import PIN, SO_PIN, send_from_ct
from machine import Machine
from page import Guide

GATEWAY = "hsm-dicom-gateway.service"
SOCKET = "hsm-dicom-gateway@to-pacs.socket"
CONFIGURATION = "/etc/hsm-dicom/hsm-dicom.toml"
EVENTS = "/var/lib/hsm-dicom/events.jsonl"


def show(machine: Machine, unit: str, *names: str) -> list[str]:
    """Return properties of a unit."""
    text = machine.run(f"systemctl show --property={','.join(names)} '{unit}'")
    found = dict(line.split("=", 1) for line in text.splitlines())
    return [found[name] for name in names]


def read_log(machine: Machine, unit: str) -> str:
    """Return the lines of a unit in the journal."""
    machine.run("journalctl --sync")
    return machine.run(f"journalctl --output=cat --unit='{unit}'")


def test_the_machine_booted_without_a_failed_unit(empty_machine: Machine) -> None:
    assert empty_machine.run("systemctl --failed --no-legend") == ""
    assert empty_machine.run("cat /proc/1/comm").strip() == "systemd"


def test_the_guide_leads_to_a_sound_configuration(machine: Machine) -> None:
    """The fixture compared what sections 1 to 3 print with the page."""
    assert machine.run("stat -c %U:%a /var/lib/hsm-dicom").strip() == "hsm-dicom:700"
    assert PIN not in machine.run("cat /etc/credstore.encrypted/hsm-dicom.pin")


def test_systemd_accepts_the_installed_units(machine: Machine) -> None:
    units = "/usr/local/lib/systemd/system/hsm-dicom-*.[stp]*[erh]"  # sockets need their drop-ins first
    said = machine.run(f"systemd-analyze verify --man=no $(ls {units} | sed 's/@/@main/')")
    assert "hsm-dicom" not in said, said


def test_the_path_unit_signs_a_file_that_arrives(machine: Machine, guide: Guide) -> None:
    guide.run("Sign an outbox")
    machine.run("systemctl stop hsm-dicom-sign.timer")  # so that only the path unit can have started it
    machine.run("useradd --system --groups hsm-dicom modality")
    machine.run("runuser -u modality -- sh -c 'umask 027; cp /images/CT_small.dcm /var/spool/hsm-dicom/outbox'")
    machine.eventually("test -e /var/spool/hsm-dicom/signed/CT_small.dcm")
    assert machine.run("stat -c %U:%G:%a /var/spool/hsm-dicom/signed/CT_small.dcm").strip() == "hsm-dicom:hsm-dicom:640"
    verdict = machine.run("hsm-dicom verify --trust /etc/hsm-dicom/ca.pem --json /var/spool/hsm-dicom/signed/*.dcm")
    assert json.loads(verdict.splitlines()[0])["outcome"] == "good"


def test_many_files_one_after_the_other_do_not_stop_the_path_unit(machine: Machine) -> None:
    files = "for i in 1 2 3 4 5 6 7 8; do cp /images/MR_small.dcm outbox/$i.dcm; sleep 1.2; done"
    machine.run(f"cd /var/spool/hsm-dicom; {files}")
    machine.eventually('test "$(systemctl is-active hsm-dicom-sign.service)" = inactive')
    assert show(machine, "hsm-dicom-sign.path", "ActiveState") == ["active"]
    machine.run("cp /images/MR_small.dcm /var/spool/hsm-dicom/outbox/9.dcm")  # a run signs what the former one missed
    machine.eventually("cd /var/spool/hsm-dicom/signed; for i in 1 2 3 4 5 6 7 8 9; do test -e $i.dcm; done", 60)


def test_the_timer_signs_what_the_path_unit_did_not_see(machine: Machine) -> None:
    machine.run("systemctl stop hsm-dicom-sign.path")
    machine.eventually('test "$(systemctl is-active hsm-dicom-sign.service)" = inactive')
    machine.run("cp /images/MR_small.dcm /var/spool/hsm-dicom/outbox")
    machine.run("systemctl start hsm-dicom-sign.timer")
    machine.eventually("test -e /var/spool/hsm-dicom/signed/MR_small.dcm")
    machine.run("systemctl disable --now hsm-dicom-sign.timer hsm-dicom-sign.path")


def test_a_listener_is_ready_after_its_login_and_when_it_listens(machine: Machine, guide: Guide) -> None:
    machine.run(f"rm -f {EVENTS}")
    guide.add_configuration("Run a listener")
    guide.run("Run a listener")
    assert machine.run("ss -Hltn 'sport = :2762'") != ""
    assert '"login"' in machine.run(f"cat {EVENTS}")


def test_a_listener_that_cannot_log_in_is_never_ready(machine: Machine) -> None:
    machine.run(f"sed -i 's/CT room/another room/' {CONFIGURATION}")
    machine.run("systemctl restart hsm-dicom-listen@main", status=1)
    assert show(machine, "hsm-dicom-listen@main", "ActiveState") != ["active"]
    machine.run(f"sed -i 's/another room/CT room/' {CONFIGURATION}")
    machine.eventually("systemctl is-active hsm-dicom-listen@main")  # systemd tries again after 5 seconds


def test_the_gateway_has_a_socket_and_no_privilege(machine: Machine, guide: Guide) -> None:
    guide.add_configuration("Run a gateway")
    guide.write_files("Run a gateway")
    guide.run("Run a gateway", only="enable --now")
    guide.run("Run a gateway", only="gateway check")
    process, status, state = show(machine, GATEWAY, "MainPID", "StatusText", "SubState")
    assert (status, state) == ("2 routes.", "running")
    assert "systemd" in machine.run("ss -Hltnp 'sport = :104'")
    assert machine.run(f"stat -c %U /proc/{process}").strip() == "hsm-dicom"
    status = machine.run(f"cat /proc/{process}/status")
    assert "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1\nSeccomp:\t2" in status


def test_an_image_of_the_ct_reaches_the_pacs_by_the_socket(machine: Machine) -> None:
    send_from_ct(machine)
    assert machine.run("ls /tmp/pacs").startswith("CT.")


def test_a_caller_starts_a_gateway_that_was_stopped(machine: Machine) -> None:
    machine.run(f"systemctl stop {GATEWAY}")
    assert show(machine, SOCKET, "SubState") == ["listening"]
    send_from_ct(machine)
    assert show(machine, GATEWAY, "ActiveState") == ["active"]


def test_the_sockets_stop_the_gateway_and_start_with_it(machine: Machine, guide: Guide) -> None:
    guide.run("Run a gateway", only="systemctl stop")
    assert machine.run(f"systemctl is-active {GATEWAY} {SOCKET}", status=3) == "inactive\ninactive\n"
    machine.run(f"systemctl start {GATEWAY}")
    assert machine.run(f"systemctl is-active {GATEWAY} {SOCKET}") == "active\nactive\n"


def test_a_socket_that_no_route_uses_is_refused(machine: Machine) -> None:
    other = "/etc/systemd/system/hsm-dicom-gateway@other.socket.d/override.conf"
    machine.write(other, "[Socket]\nListenStream=192.168.10.1:105\n")
    machine.run(f"systemctl daemon-reload; systemctl stop {GATEWAY}; systemctl start hsm-dicom-gateway@other.socket")
    machine.run(f"systemctl start {GATEWAY}", status=1)
    assert "a socket that nothing here listens on: 'other'" in read_log(machine, GATEWAY)
    machine.run(f"systemctl stop hsm-dicom-gateway@other.socket; systemctl restart {GATEWAY}")


def test_a_reload_changes_everything_without_an_interruption(machine: Machine, guide: Guide) -> None:
    (before,) = show(machine, GATEWAY, "MainPID")
    route = '\n[routes.echo]\nfrom = ["ct1"]\nsocket = "to-pacs"\nto = "pacs"\n'
    route += 'called = ["ECHO"]\ncalled_ae_title = "PACS"\n'
    machine.run(f"cp {CONFIGURATION} /root/before.toml; cat >> {CONFIGURATION}", stdin=route)
    guide.run("Run a gateway", only="systemctl reload")
    machine.eventually(f"systemctl show -p StatusText {GATEWAY} | grep -F '3 routes.'")
    assert show(machine, GATEWAY, "MainPID", "ActiveState") == [before, "active"]


def test_a_reload_of_a_configuration_with_an_error_changes_nothing(machine: Machine) -> None:
    (before,) = show(machine, GATEWAY, "MainPID")
    broken = '\n[plain.ct2]\nae_titles = ["CT2"]\nreason = "x"\naddresses = ["nonsense"]\n'
    machine.run(f"cp /root/before.toml {CONFIGURATION}; cat >> {CONFIGURATION}", stdin=broken)
    machine.run(f"systemctl reload {GATEWAY}")
    machine.eventually(f"journalctl -o cat -u {GATEWAY} | grep 'reloading failed, and nothing was changed'")
    assert show(machine, GATEWAY, "MainPID", "ActiveState", "StatusText") == [before, "active", "3 routes."]
    send_from_ct(machine)
    machine.run(f"cp /root/before.toml {CONFIGURATION}; systemctl reload {GATEWAY}")
    machine.eventually(f"systemctl show -p StatusText {GATEWAY} | grep -F '2 routes.'")


def test_a_gateway_with_the_capability_opens_a_low_port_itself(machine: Machine) -> None:
    Guide("howto/gateway.md", machine, {}).write_files("Run it")
    machine.run(f"systemctl stop {SOCKET}; systemctl disable {SOCKET}")
    machine.run(f"""sed -i 's/^socket = .*/listen = "192.168.10.1:104"/' {CONFIGURATION}""")
    machine.run(f"systemctl start {GATEWAY}")
    send_from_ct(machine)
    machine.run(f"systemctl stop {GATEWAY}; cp /root/before.toml {CONFIGURATION}")
    machine.run(f"rm /etc/systemd/system/{GATEWAY}.d/override.conf; systemctl daemon-reload; systemctl enable {SOCKET}")
    machine.run(f"systemctl start {GATEWAY}")


def test_the_watchdog_ends_a_gateway_that_is_stuck_and_systemd_starts_another(machine: Machine) -> None:
    override = f"/run/systemd/system/{GATEWAY}.d/fast.conf"
    machine.write(override, "[Service]\nWatchdogSec=3\nTimeoutAbortSec=2\nRestartSec=1\n")
    machine.run(f"systemctl daemon-reload; systemctl restart {GATEWAY}")
    time.sleep(5)  # longer than the watchdog: a gateway that works keeps it quiet
    before, restarts = show(machine, GATEWAY, "MainPID", "NRestarts")
    assert restarts == "0"
    machine.run(f"kill -STOP {before}")
    machine.eventually(f"systemctl show -p NRestarts {GATEWAY} | grep -F NRestarts=1")
    machine.eventually(f"systemctl is-active {GATEWAY}")
    assert show(machine, GATEWAY, "MainPID") != [before]
    assert "Watchdog timeout" in read_log(machine, GATEWAY)
    send_from_ct(machine)
    machine.run(f"rm {override}; systemctl daemon-reload; systemctl restart {GATEWAY}")


def test_a_stop_lets_an_open_association_continue(machine: Machine) -> None:
    machine.run(
        "mkdir /tmp/held; systemd-run --quiet --unit=held --property=NetworkNamespacePath=/run/netns/ct "
        "/opt/hsm-dicom/bin/python /tests/hold_association.py 192.168.10.1 104 /tmp/held"
    )
    machine.eventually("test -e /tmp/held/open")
    machine.run(f"systemctl stop --no-block {SOCKET} {GATEWAY}")
    machine.eventually(f"systemctl show -p StatusText {GATEWAY} | grep -F 'Draining'")
    assert show(machine, GATEWAY, "ActiveState", "SubState") == ["deactivating", "stop-sigterm"]
    send_from_ct(machine, status=1)  # nobody else gets in
    assert show(machine, GATEWAY, "SubState") == ["stop-sigterm"]
    machine.run("touch '/tmp/held/go on'")
    machine.eventually("test -e /tmp/held/done")
    machine.eventually(f"systemctl show -p ActiveState {GATEWAY} | grep -F inactive")
    assert show(machine, GATEWAY, "Result", "ExecMainStatus") == ["success", "0"]
    machine.run(f"systemctl start {GATEWAY}")


def test_a_refused_pin_is_presented_once_and_the_unit_not_restarted(machine: Machine, guide: Guide) -> None:
    guide.run("Store the PIN", stdin="0000-wrong-0000\n")
    machine.run(f"rm {EVENTS}; systemctl restart {GATEWAY}", status=1)
    time.sleep(8)  # RestartSec is 5
    assert show(machine, GATEWAY, "ActiveState", "ExecMainStatus", "NRestarts") == ["failed", "77", "0"]
    # systemd's start limit, for a longer time than by default: a busy machine starts a gateway slowly.
    override = f"/run/systemd/system/{GATEWAY}.d/limit.conf"
    machine.write(override, "[Unit]\nStartLimitIntervalSec=60\n")
    machine.run(f"systemctl daemon-reload; systemctl reset-failed {GATEWAY}")
    machine.run(f"systemctl start {SOCKET}; systemctl start {GATEWAY}", status=1)
    send_from_ct(machine, status=None)  # a caller starts it by the socket, again and again
    machine.eventually(f"systemctl show -p ActiveState {SOCKET} | grep -F failed", 60)
    machine.run(f"rm {override}; systemctl daemon-reload")
    events = [json.loads(line) for line in machine.run(f"cat {EVENTS}").splitlines()]
    assert len([event for event in events if event.get("outcome") == "refused" and event["presented"]]) == 1
    assert "no PIN is presented unattended" in read_log(machine, GATEWAY)


def test_the_guide_leads_out_of_a_refused_pin(machine: Machine, guide: Guide) -> None:
    guide.run("Store the PIN", stdin=f"{PIN}\n")
    [login, start] = guide.list_commands("After a refused PIN")
    typed = f"(sleep 5; echo '{PIN}'; sleep 5)"
    machine.run(f"{typed} | script --quiet --return --command '{login.strip()}' /dev/null")
    machine.run(start)
    send_from_ct(machine)


def test_a_certificate_that_expires_fails_the_daily_check(machine: Machine, guide: Guide) -> None:
    guide.run("Hear of certificates that expire")
    assert show(machine, "hsm-dicom-expiry.service", "Result") == ["success"]
    assert show(machine, "hsm-dicom-expiry.timer", "ActiveState") == ["active"]
    machine.write("/run/systemd/system/page-somebody.service", "[Service]\nExecStart=touch /tmp/paged\n")
    guide.write_files("Hear of certificates that expire")
    machine.run(
        "cd /root/ca; openssl req -x509 -newkey rsa:2048 -nodes -keyout old.key -out /etc/hsm-dicom/old.pem -days 9 "
        "-subj '/CN=Old CA' -addext keyUsage=critical,keyCertSign 2>/dev/null; chmod 644 /etc/hsm-dicom/old.pem\n"
        f"""sed -i 's|anchors = .*|anchors = ["/etc/hsm-dicom/ca.pem", "/etc/hsm-dicom/old.pem"]|' {CONFIGURATION}"""
    )
    guide.run("Hear of certificates that expire", only="systemctl start", status=1)
    assert "hsm-dicom-expiry.service" in machine.run("systemctl --failed --no-legend")
    assert "The trust anchor 'CN=Old CA' expires in" in read_log(machine, "hsm-dicom-expiry.service")
    machine.eventually("test -e /tmp/paged")


def test_no_pin_is_in_a_journal_a_file_or_an_argument(machine: Machine) -> None:
    machine.run("journalctl --sync")
    assert len(machine.run("journalctl --all --output=export")) > 10_000
    for pin in (PIN, SO_PIN, "0000-wrong-0000"):
        machine.run(f"! journalctl --all --output=export | grep --text --quiet -e {pin}")
        folders = "/var/lib/hsm-dicom /etc /var/spool /var/tmp /var/log"
        machine.run(f"! grep --recursive --text --quiet -e {pin} {folders}")
        machine.run(f"! grep --text --quiet -e {pin} $(ls -d /proc/[0-9]*/cmdline | grep -v /proc/$$/)")
