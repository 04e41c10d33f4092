"""From the configuration file to the routes of the gateway, and what check-config says of each mistake in them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from hsm_dicom.config import ConfigurationError, Severity, read_configuration
from hsm_dicom.config.devices import NotConfiguredError
from hsm_dicom.config.gateway_sections import (
    AlarmSection,
    ConditionName,
    GatewaySection,
    PlainSection,
    RouteSection,
    ServiceName,
)
from hsm_dicom.gateway.services import Service
from hsm_dicom.gateway.settings import (
    AlarmKind,
    AlarmSettings,
    GatewaySettings,
    Objects,
    PlainDevice,
    RouteSettings,
    SourceLimits,
    StatusSettings,
)
from hsm_dicom.gateway.status import ConditionKind
from hsm_dicom.node.check import check_configuration
from hsm_dicom.node.check_report import ConfigurationReport
from hsm_dicom.node.compiler import read_plan
from tests.hsm_dicom.network.iscl_site import ISCLSite
from tests.hsm_dicom.node.conftest import Write

CT = """
[plain.ct1]
ae_titles = ["CT1"]
addresses = ["192.168.10.21"]
host = "192.168.10.21"
reason = "cannot be changed, ticket 4711"
"""
PACS = """
[peers.pacs]
ae_titles = ["PACS"]
host = "pacs.example"
"""
LISTENER = """
[listeners.main]
ae_title = "NODE"
identities = ["node"]
"""
FORTH = """
[routes.to-pacs]
from = ["ct1"]
listen = "127.0.0.2:104"
to = "pacs"
"""
BACK = """
[routes.to-ct1]
from = ["pacs"]
listener = "main"
to = "ct1"
called = ["CT1"]
"""
SOUND = CT + PACS + LISTENER + FORTH + BACK


def test_the_whole_of_it_is_understood(write: Write, tmp_path: Path) -> None:
    program = tmp_path / "page-the-officer"
    program.write_text("#!/bin/sh\ncat > /dev/null\n")
    program.chmod(0o700)
    rest = f"""
objects = "pass"
services = ["storage", "query-retrieve"]
called_ae_title = "PACS"
associations = 8
associations_per_source = 4
associations_per_minute = 30
mib_per_second = 1.5
connect_seconds = 5
request_seconds = 6
idle_seconds = 7

[gateway]
drain_seconds = 0

[status]
listen = "127.0.0.1:9762"
hosts = ["node.example"]

[alarms.officer]
command = ["{program}", "urgent"]
kinds = ["token-lost", "route-down"]
seconds = 5

[alarms.log]
syslog = "local3"
"""
    plan = read_plan(write(CT + PACS + LISTENER + BACK + FORTH + rest))
    assert plan.problems == ()
    gateway = plan.require_gateway()
    pacs, ct = plan.peer("pacs").peer, plan.plain["ct1"]
    assert ct == PlainDevice(
        name="ct1",
        ae_titles=("CT1",),
        addresses=("192.168.10.21",),
        host="192.168.10.21",
        port=104,
        reason="cannot be changed, ticket 4711",
    )
    forth, back = gateway.routes["to-pacs"], gateway.routes["to-ct1"]
    assert forth.settings == RouteSettings(
        name="to-pacs",
        sources=(ct,),
        target=pacs,
        listen=("127.0.0.2", 104),
        services=frozenset((Service.STORAGE, Service.QUERY_RETRIEVE)),
        objects=Objects.PASS,
        called_ae_title="PACS",
        limits=SourceLimits(associations=4, associations_per_minute=30, bytes_per_second=1572864),
        associations=8,
        connect_seconds=5,
        request_seconds=6,
        idle_seconds=7,
    )
    assert back.settings == RouteSettings(name="to-ct1", sources=(pacs,), target=ct, listener="main", called=("CT1",))
    assert (forth.target, forth.listener) == (plan.peer("pacs"), None)
    assert (back.target, back.listener) == (None, plan.listener("main"))
    assert (forth.transport, back.transport) == ("TLS", "TLS")
    assert gateway.listeners == plan.listeners
    assert gateway.settings == GatewaySettings(
        drain_seconds=0,
        status=StatusSettings(listen=("127.0.0.1", 9762), hosts=("node.example",)),
        alarms=(
            AlarmSettings(
                name="officer",
                kind=AlarmKind.COMMAND,
                command=(str(program), "urgent"),
                kinds=frozenset((ConditionKind.TOKEN_LOST, ConditionKind.ROUTE_DOWN)),
                seconds=5,
            ),
            AlarmSettings(name="log", kind=AlarmKind.SYSLOG, facility="local3"),
        ),
    )


def test_the_defaults_of_the_configuration_are_those_of_the_program(write: Write) -> None:
    plan = read_plan(write(SOUND))
    route = RouteSettings(name="to-pacs", sources=(plan.plain["ct1"],), target=plan.peer("pacs").peer, socket="x")
    written = plan.require_gateway().routes["to-pacs"].settings
    entrances = {"listen", "socket"}
    assert {one.name for one in fields(route) if getattr(route, one.name) != getattr(written, one.name)} == entrances
    assert plan.gateway == GatewaySettings()
    assert AlarmSection(syslog="daemon").seconds == AlarmSettings(name="x", kind=AlarmKind.SYSLOG).seconds
    assert GatewaySection().drain_seconds == GatewaySettings().drain_seconds


def test_the_names_of_the_configuration_are_those_of_the_program() -> None:
    assert set(ServiceName.__args__) == {service.value for service in Service}
    assert set(ConditionName.__args__) == {kind.value for kind in ConditionKind}
    assert set(RouteSection.model_fields["objects"].annotation.__args__) == {one.value for one in Objects}
    assert "port" in PlainSection.model_fields


FORM = {
    "no reason": (CT.replace("reason", "# reason"), "plain.ct1.reason", "The key 'reason' is missing."),
    "an empty reason": (
        CT.replace("cannot be changed, ticket 4711", ""),
        "plain.ct1.reason",
        "The text is empty.",
    ),
    "no AE title": (CT.replace('["CT1"]', "[]"), "plain.ct1.ae_titles", "The list is empty."),
    "no entrance": (FORTH.replace("listen", "# listen"), "routes.to-pacs", "Nothing says where callers reach"),
    "two entrances": (
        FORTH + 'socket = "to-pacs"\n',
        "routes.to-pacs",
        "The route has listen and socket. Write one of: listen = ",
    ),
    "a host name to listen on": (
        FORTH.replace("127.0.0.2:", "node.example:"),
        "routes.to-pacs.listen",
        'not an IP address with a port. Write it like listen = "192.168.10.1:104"',
    ),
    "an address without a port": (FORTH.replace(":104", ""), "routes.to-pacs.listen", "not an IP address with a port"),
    "port 0": (FORTH.replace(":104", ":0"), "routes.to-pacs.listen", "not an IP address with a port"),
    "port 65536": (FORTH.replace(":104", ":65536"), "routes.to-pacs.listen", "not an IP address with a port"),
    "IPv6 without brackets": (
        FORTH.replace("127.0.0.2:", "2001:db8::1:"),
        "routes.to-pacs.listen",
        "[2001:db8::1]:104",
    ),
    "IPv4 in brackets": (FORTH.replace("127.0.0.2:", "[127.0.0.2]:"), "routes.to-pacs.listen", "IP address"),
    "an address that is a number": (FORTH.replace('"127.0.0.2:104"', "104"), "routes.to-pacs.listen", "IP address"),
    "an unknown service": (FORTH + 'services = ["find"]\n', "routes.to-pacs.services.0", "'query-retrieve'"),
    "no service": (FORTH + "services = []\n", "routes.to-pacs.services", "The list is empty."),
    "an unknown use of objects": (
        FORTH + 'objects = "spool"\n',
        "routes.to-pacs.objects",
        "'pass', 'inspect', 'verify'",
    ),
    "from in the singular": (FORTH.replace('["ct1"]', '"ct1"'), "routes.to-pacs.from", "The value must be a list."),
    "the name of the field in the program": (
        FORTH + 'sources = ["ct1"]\n',
        "routes.to-pacs.sources",
        "associations, associations_per_minute, associations_per_source, called, called_ae_title, "
        "calling_ae_title, connect_seconds, far_idle_seconds, folder, from, ",
    ),
    "a misspelt key": (FORTH + 'calld = ["X"]\n', "routes.to-pacs.calld", "Did you mean 'called'?"),
    "an endless drain": ("[gateway]\ndrain_seconds = inf\n", "gateway.drain_seconds", "too large"),
    "a limit that is not a number": (FORTH + "mib_per_second = nan\n", "routes.to-pacs.mib_per_second", "number"),
    "a status page nowhere": ("[status]\n", "status", "The status page needs one address."),
    "a status page in two places": (
        '[status]\nlisten = "127.0.0.1:9762"\nsocket = "/run/status"\n',
        "status",
        "The status page needs one address.",
    ),
    "an alarm that does nothing": ("[alarms.a]\n", "alarms.a", "The alarm needs one way to report."),
    "an alarm of two kinds": (
        '[alarms.a]\ncommand = ["/bin/true"]\nsyslog = "daemon"\n',
        "alarms.a",
        "The alarm needs one way to report.",
    ),
    "a facility of nobody": ('[alarms.a]\nsyslog = "kern"\n', "alarms.a.syslog", "'local7'"),
    "an unknown condition": (
        '[alarms.a]\nsyslog = "daemon"\nkinds = ["token-gone"]\n',
        "alarms.a.kinds.0",
        "'token-lost'",
    ),
}


@pytest.mark.parametrize("mistake", FORM)
def test_a_mistake_in_the_form_has_its_sentence(tmp_path: Path, mistake: str) -> None:
    text, key, said = FORM[mistake]
    file = tmp_path / "hsm-dicom.toml"
    file.write_text(text)
    file.chmod(0o600)
    (found,) = read_configuration(file).problems
    assert found.key == key
    assert found.line
    assert said in f"{found.text} {found.remedy}"


def test_a_route_that_names_a_table_with_a_mistake_is_left_out_and_not_blamed(write: Write) -> None:
    for wrong in ("[plain.ct1]", "[peers.pacs]", "[listeners.main]"):
        reading = read_configuration(write(SOUND.replace(wrong, f"{wrong}\nnonsense = 1")))
        assert [problem.key for problem in reading.problems] == [f"{wrong.strip('[]')}.nonsense"]
        assert set(reading.configuration.routes) == ({"to-pacs"} if "listeners" in wrong else set())


MEANING = {
    "a source that is not there": (
        SOUND.replace('from = ["ct1"]', 'from = ["ct2"]'),
        "routes.to-pacs.from",
        "There is no plain device and no peer 'ct2' in the configuration. Write [plain.ct2] or [peers.ct2], or name "
        "one of: ct1, pacs.",
    ),
    "a target that is not there": (SOUND.replace('to = "pacs"', 'to = "ris"'), "routes.to-pacs.to", "no peer 'ris'"),
    "a listener that is not there": (
        SOUND.replace('listener = "main"', 'listener = "old"'),
        "routes.to-ct1.listener",
        "There is no listener 'old' in the configuration. Write [listeners.old], or name one of: main.",
    ),
    "a device with the name of a peer": (
        SOUND + '[plain.pacs]\nae_titles = ["P"]\nreason = "old"\n',
        "plain.pacs",
        "'pacs' is the name of a peer, too",
    ),
    "a blank reason": (
        SOUND.replace("cannot be changed, ticket 4711", " "),
        "plain.ct1.reason",
        "no transport security, and no reason is given.",
    ),
    "an AE title that is none": (SOUND.replace('["CT1"]', '["CT ROOM ON THE 4TH"]'), "plain.ct1.ae_titles", "is not"),
    "an address that is none": (
        SOUND.replace('["192.168.10.21"]', '["ct1.example"]'),
        "plain.ct1.addresses",
        "'ct1.example' is neither an IP address nor a network. Write an IP address such as",
    ),
    "an address with a prefix": (
        SOUND.replace('["192.168.10.21"]', '["192.168.10.21/24"]'),
        "plain.ct1.addresses",
        'Write "192.168.10.0/24" for the network, or the address alone.',
    ),
    "a host with a scheme": (
        SOUND.replace('host = "192.168.10.21"', 'host = "dicom://ct1"'),
        "plain.ct1.host",
        "Plain device 'ct1' has a host that cannot be used",
    ),
    "a plain caller of a listener": (
        SOUND.replace('listen = "127.0.0.2:104"', 'listener = "main"'),
        "routes.to-pacs.from",
        "'ct1' speaks plain DICOM, and the listener 'main' accepts secured connections only.",
    ),
    "a peer that calls without security": (
        SOUND.replace('listener = "main"', 'listen = "127.0.0.2:11112"'),
        "routes.to-ct1.from",
        "'pacs' is a peer, which calls over a secured connection.",
    ),
    "plain on both sides": (
        CT + CT.replace("ct1", "store").replace("CT1", "STORE") + FORTH.replace('to = "pacs"', 'to = "store"'),
        "routes.to-pacs.to",
        "Both sides speak plain DICOM, so that nothing would be secured",
    ),
    "a plain target without a host": (
        SOUND.replace('host = "192.168.10.21"\n', ""),
        "routes.to-ct1.to",
        "This node cannot connect to 'ct1': it has no host. Write host = in [plain.ct1].",
    ),
    "a peer without a host": (
        SOUND.replace('host = "pacs.example"', 'subject = "CN=pacs"'),
        "routes.to-pacs.to",
        "This node cannot connect to 'pacs': it has no host. Write host = in [peers.pacs].",
    ),
    "a name that is no socket's": (
        SOUND.replace('listen = "127.0.0.2:104"', 'socket = "a:b"'),
        "routes.to-pacs.socket",
        "cannot be the name of a socket of systemd",
    ),
    "a called AE title that is none": (
        SOUND + "called_ae_title = ' CT1'\n",
        "routes.to-ct1.called_ae_title",
        "is not an AE title",
    ),
    "a calling AE title that is none": (
        SOUND + "calling_ae_title = ''\n",
        "routes.to-ct1.calling_ae_title",
        "The text is empty.",
    ),
    "an AE title that the target does not have": (
        SOUND.replace('called = ["CT1"]', 'called = ["CT1", "CT9"]'),
        "routes.to-ct1.called",
        "'ct1' would be called by the AE title CT9, which is not one of its own (CT1). Write called_ae_title = \"CT1\"",
    ),
    "a rewritten AE title that the target does not have": (
        SOUND + 'called_ae_title = "CT9"\n',
        "routes.to-ct1.called_ae_title",
        "by the AE title CT9",
    ),
    "a peer that the listener rejects": (
        SOUND.replace(LISTENER, LISTENER + 'peers = ["ris"]\n' + PACS.replace("pacs", "ris").replace("PACS", "RIS")),
        "routes.to-ct1.from",
        "Peer 'pacs' may not call the listener 'main'; its peers: ris. Add 'pacs' to peers = in [listeners.main]",
    ),
    "the AE title of the listener itself": (
        SOUND.replace('"NODE"', '"CT1"'),
        "routes.to-ct1.called",
        "CT1 is the AE title of the listener 'main' itself, which accepts the association instead of relaying it.",
    ),
    "the AE title of the listener by default": (
        SOUND.replace('"NODE"', '"CT1"').replace('called = ["CT1"]', ""),
        "routes.to-ct1.to",
        "Give the listener another ae_title, or the route another called.",
    ),
    "two routes for one caller": (
        SOUND + FORTH.replace("to-pacs", "again"),
        "routes.again",
        "It cannot be distinguished from route 'to-pacs': 'ct1' reaches both by the called AE title PACS.",
    ),
    "two routes for two callers with one AE title": (
        SOUND
        + CT.replace("ct1", "ct2").replace('["192.168.10.21"]', '["192.168.10.0/24"]')
        + FORTH.replace("to-pacs", "again").replace("ct1", "ct2"),
        "routes.again",
        "the AE title CT1 of 'ct1' and 'ct2' reaches both by the called AE title PACS.",
    ),
    "two devices alike": (
        SOUND.replace('from = ["ct1"]', 'from = ["ct1", "ct2"]')
        + CT.replace("ct1", "ct2").replace('["192.168.10.21"]', '["192.168.10.20/31", "2001:db8::/64"]'),
        "plain.ct2",
        "It cannot be distinguished from 'ct1' on route 'to-pacs': both may use the AE title CT1 from the same",
    ),
    "a route on the port of a listener": (
        SOUND.replace("127.0.0.2:104", "127.0.0.1:2762"),
        "routes.to-pacs.listen",
        "The listener 'main' already uses port 2762. Give each a port of its own.",
    ),
    "a route on the port of a listener by its name": (
        SOUND.replace("127.0.0.2:104", "127.0.0.1:2762").replace('"NODE"', '"NODE"\nhost = "localhost"'),
        "routes.to-pacs.listen",
        "The listener 'main' already uses port 2762.",
    ),
    "a route on every address": (
        SOUND + FORTH.replace("to-pacs", "other").replace("127.0.0.2", "0.0.0.0") + 'called = ["PACS"]\n',
        "routes.other.listen",
        "The route 'to-pacs' already uses port 104. Give both routes the same listen, or each a port of its own.",
    ),
    "a route on the port of the status page": (
        SOUND + '[status]\nlisten = "127.0.0.1:2762"\n',
        "status.listen",
        "The listener 'main' already uses port 2762.",
    ),
    "a caller from nowhere": (
        SOUND.replace('addresses = ["192.168.10.21"]\n', ""),
        "plain.ct1",
        "'ct1' may use route 'to-pacs', but has no addresses to call from.",
    ),
    "a status page for everybody": (
        SOUND + '[status]\nlisten = "192.168.10.1:9762"\n',
        "status.listen",
        "The status page cannot listen on '192.168.10.1': it has no login, so it is served on this host only. Set "
        'listen = "127.0.0.1:9762" in [status], or a Unix socket, and put a reverse proxy in front of it.',
    ),
    "an alarm of a program that is not there": (
        SOUND + '[alarms.a]\ncommand = ["/nowhere/page"]\n',
        "alarms.a.command",
        "There is no program /nowhere/page.",
    ),
    "an alarm of a program by its name": (
        SOUND + '[alarms.a]\ncommand = ["true"]\n',
        "alarms.a.command",
        "'true' is not an absolute path.",
    ),
    "an alarm of a folder": (
        SOUND + '[alarms.a]\ncommand = ["/usr/bin"]\n',
        "alarms.a.command",
        "There is no program /usr/bin.",
    ),
}


def errors(report: ConfigurationReport) -> dict[str, str]:
    return {p.key: f"{p.text} {p.remedy}" for p in report.problems if p.severity is Severity.ERROR}


@pytest.mark.parametrize("mistake", MEANING)
def test_check_config_tells(write: Write, mistake: str) -> None:
    text, key, said = MEANING[mistake]
    report = check_configuration(write(text), log_in=False)
    found = errors(report)
    assert list(found) == [key]
    assert said in found[key]
    assert all(problem.line for problem in report.problems)
    with pytest.raises(ConfigurationError):
        read_plan(report.file).require_gateway()


@pytest.mark.parametrize(("mode", "said"), [(0o600, "cannot be executed"), (0o722, "may be written by others")])
def test_an_alarm_starts_no_program_that_cannot_run_or_that_others_can_change(
    write: Write, tmp_path: Path, mode: int, said: str
) -> None:
    program = tmp_path / "page"
    program.write_text("#!/bin/sh\n")
    program.chmod(mode)
    report = check_configuration(write(SOUND + f'[alarms.a]\ncommand = ["{program}"]\n'), log_in=False)
    (found,) = report.problems
    assert found.key == "alarms.a.command"
    assert said in found.text
    assert found.remedy.endswith(str(program))


WARNINGS = {
    "another calling AE title and C-MOVE": (
        SOUND.replace('to = "pacs"', 'to = "pacs"\ncalling_ae_title = "GATEWAY"\nservices = ["query-retrieve"]'),
        "routes.to-pacs.calling_ae_title",
        "This breaks C-MOVE: the target knows the caller as GATEWAY, and the Move Destination (0000,0600)",
    ),
    "another calling AE title and commitment": (
        SOUND.replace('to = "pacs"', 'to = "pacs"\ncalling_ae_title = "GATEWAY"'),
        "routes.to-pacs.calling_ae_title",
        'or write a route back with called = ["GATEWAY"]. If nobody uses commitment here, leave "commitment" out of',
    ),
    "another called AE title and retrieval": (
        SOUND.replace(
            'to = "pacs"',
            'to = "pacs"\ncalled = ["NEAR"]\ncalled_ae_title = "PACS"\nservices = ["query-retrieve"]',
        ),
        "routes.to-pacs.called_ae_title",
        "This breaks retrieval by the Retrieve AE Title (0008,0054)",
    ),
    "another called AE title and commitment": (
        SOUND.replace('to = "pacs"', 'to = "pacs"\ncalled = ["NEAR"]\ncalled_ae_title = "PACS"'),
        "routes.to-pacs.called_ae_title",
        "Reports of storage commitment come from PACS",
    ),
    "an address of another machine": (
        SOUND.replace("127.0.0.2:104", "192.0.2.1:104"),
        "routes.to-pacs.listen",
        "No interface of this machine has the address 192.0.2.1 now. Correct it, unless an interface gets it later.",
    ),
    "a caller from everywhere": (
        SOUND.replace('["192.168.10.21"]', '["192.168.10.21", "::/0"]'),
        "plain.ct1.addresses",
        "Every machine may call as 'ct1', and use the identity of this node on route 'to-pacs'.",
    ),
    "callers without a certificate": (
        SOUND.replace('ae_title = "NODE"', 'ae_title = "NODE"\nauthentication = "one-way"'),
        "routes.to-ct1.listener",
        "Callers of the listener 'main' need no certificate: anyone who reaches it can use the AE titles of pacs.",
    ),
    "a status page in a folder that is not there": (
        SOUND + '[status]\nsocket = "run/status"\n',
        "status.socket",
        "run does not exist. Create it; in a systemd unit, with RuntimeDirectory=.",
    ),
}


@pytest.mark.parametrize("risk", WARNINGS)
def test_check_config_warns(write: Write, risk: str) -> None:
    text, key, said = WARNINGS[risk]
    report = check_configuration(write(text), log_in=False)
    (found,) = report.problems
    assert (found.key, found.severity) == (key, Severity.WARNING)
    assert said in f"{found.text} {found.remedy}"
    assert found.line
    assert read_plan(report.file).require_gateway().routes.keys() == {"to-pacs", "to-ct1"}


def test_any_service_has_the_risks_of_all(write: Write) -> None:
    rewritten = 'to = "pacs"\ncalling_ae_title = "GATEWAY"\nservices = ["any"]'
    problems = read_plan(write(SOUND.replace('to = "pacs"', rewritten))).problems
    assert ["C-MOVE" in problem.text for problem in problems] == [True, False]


def test_check_config_passes_what_only_looks_like_a_mistake(write: Write) -> None:
    near = (
        SOUND
        # One address for two routes, which differ by the called AE title, and by the caller.
        + PACS.replace("pacs", "ris").replace("PACS", "RIS")
        + FORTH.replace("to-pacs", "to-ris").replace('"pacs"', '"ris"')
        + CT.replace("ct1", "ct2").replace(".21", ".22")
        + FORTH.replace("to-pacs", "again").replace("ct1", "ct2")
        # One caller, whose other address is an entrance of its own.
        + FORTH.replace("to-pacs", "v6").replace("127.0.0.2:", "[2001:db8::1]:")
        # Titles that are replaced by themselves.
        + 'called_ae_title = "PACS"\ncalling_ae_title = "CT1"\n'
        # A device that only receives needs no addresses.
        + CT.replace("ct1", "store").replace('["CT1"]', '["STORE"]').replace('addresses = ["192.168.10.21"]\n', "")
        + BACK.replace("to-ct1", "to-store").replace("ct1", "store").replace("CT1", "STORE")
        + '[status]\nlisten = "[::1]:9762"\n'
    )
    plan = read_plan(write(near))
    assert plan.problems == ()
    assert len(plan.require_gateway().routes) == 6


def test_a_peer_that_only_calls_needs_no_identity_and_a_target_does(write: Write) -> None:
    second = '[identities.second]\ntoken = "node"\nobject = "ec"\ncertificate = "node.pem"\n'
    report = check_configuration(write(SOUND + second), log_in=False)
    assert errors(report) == {
        "routes.to-pacs.to": "The identity that this node shows to peer 'pacs' is not given. Write identity = in "
        "[peers.pacs], one of: node, second."
    }
    # A relay calls by the caller's AE title: that the peer has none for this node does not matter.
    assert read_plan(write(SOUND.replace(LISTENER, "").replace(BACK, ""))).problems == ()


def test_a_target_whose_certificate_nobody_can_validate_is_refused(write: Write) -> None:
    file = write(SOUND.replace(LISTENER, "").replace(BACK, ""))
    file.write_text(file.read_text().replace('anchors = ["ca.pem"]', ""))
    assert errors(check_configuration(file, log_in=False)) == {
        "routes.to-pacs.to": "The certificate of peer 'pacs' cannot be validated, because no CA is trusted. Write "
        '[trust] with anchors = ["ca.pem"].'
    }


def test_a_file_without_a_route_is_no_gateway(write: Write) -> None:
    with pytest.raises(NotConfiguredError, match="no route") as caught:
        read_plan(write(CT + PACS)).require_gateway()
    assert "[routes.NAME]" in (caught.value.remedy or "")


# --- What check-config opens ---------------------------------------------------------------------------------------


def test_routes_are_opened_as_the_gateway_opens_them(write: Write) -> None:
    text = SOUND.replace('to = "pacs"', 'to = "pacs"\nservices = ["worklist", "storage", "query-retrieve"]')
    report = check_configuration(write(text))
    assert report.problems == ()
    forth, back = report.routes
    assert (forth.name, forth.sources, forth.entrance, forth.target) == (
        "to-pacs",
        ("ct1",),
        ("listen", "127.0.0.2:104"),
        "pacs",
    )
    assert (forth.transport, forth.called, forth.objects, forth.is_ready) == ("TLS", ("PACS",), "inspect", True)
    assert (back.entrance, back.called, back.is_ready) == (("listener", "main"), ("CT1",), True)
    # The officer sees who may read patients' data without proving who they are. A peer proves it.
    assert (forth.plain_readers, forth.reading_services) == (("ct1",), ("query-retrieve", "worklist"))
    assert (back.plain_readers, back.reading_services) == ((), ())


def test_without_login_a_route_is_not_called_ready(write: Write) -> None:
    report = check_configuration(write(SOUND), log_in=False)
    assert report.is_usable
    assert [route.is_ready for route in report.routes] == [None, None]


def test_a_route_without_its_key_is_refused(write: Write) -> None:
    file = write(SOUND)
    file.write_text(file.read_text().replace('object = "rsa"', 'object = "gone"'))
    report = check_configuration(file)
    found = errors(report)
    assert list(found) == ["identities.node.object", "routes.to-pacs.to", "routes.to-ct1.listener"]
    for key in ("routes.to-pacs.to", "routes.to-ct1.listener"):
        assert found[key].startswith("The route cannot be used until [identities.node] is corrected.")
    assert [route.is_ready for route in report.routes] == [False, False]


def test_a_route_over_iscl_needs_its_secret_keys(iscl_site: ISCLSite) -> None:
    file = iscl_site.write()
    file.write_text(file.read_text() + CT + FORTH.replace("pacs", "archive"))
    (route,) = check_configuration(file).routes
    assert (route.transport, route.is_ready) == ("ISCL", True)
    file = iscl_site.write(peer="authentication_key = 7")
    file.write_text(file.read_text() + CT + FORTH.replace("pacs", "archive"))
    report = check_configuration(file)
    assert list(errors(report)) == ["peers.archive.iscl", "routes.to-archive.to"]
    assert [route.is_ready for route in report.routes] == [False]


@pytest.mark.parametrize("text", ["routes = 3", "[routes]\nx = 3", "plain = []", "gateway = 1", "status = true"])
def test_a_table_that_is_none_is_one_problem(tmp_path: Path, text: str) -> None:
    file = tmp_path / "hsm-dicom.toml"
    file.write_text(f"{text}\n")
    file.chmod(0o600)
    (found,) = read_plan(file).problems
    assert "table" in found.text
