"""From the configuration file to the routes of the gateway, and what check-config says of each mistake in them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from hsm_dicom.config import ConfigurationError, Severity, read_configuration
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
from hsm_dicom.node.check import ConfigurationReport, check_configuration
from hsm_dicom.node.compiler import read_plan
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
listen = "192.168.10.1:104"
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
        listen=("192.168.10.1", 104),
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
        FORTH.replace("192.168.10.1:", "node.example:"),
        "routes.to-pacs.listen",
        'not an IP address with a port. Write it like listen = "192.168.10.1:104"',
    ),
    "an address without a port": (FORTH.replace(":104", ""), "routes.to-pacs.listen", "not an IP address with a port"),
    "port 0": (FORTH.replace(":104", ":0"), "routes.to-pacs.listen", "not an IP address with a port"),
    "port 65536": (FORTH.replace(":104", ":65536"), "routes.to-pacs.listen", "not an IP address with a port"),
    "IPv6 without brackets": (
        FORTH.replace("192.168.10.1:", "2001:db8::1:"),
        "routes.to-pacs.listen",
        "[2001:db8::1]:104",
    ),
    "IPv4 in brackets": (FORTH.replace("192.168.10.1:", "[192.168.10.1]:"), "routes.to-pacs.listen", "IP address"),
    "an address that is a number": (FORTH.replace('"192.168.10.1:104"', "104"), "routes.to-pacs.listen", "IP address"),
    "an unknown service": (FORTH + 'services = ["find"]\n', "routes.to-pacs.services.0", "'query-retrieve'"),
    "no service": (FORTH + "services = []\n", "routes.to-pacs.services", "The list is empty."),
    "an unknown use of objects": (FORTH + 'objects = "sign"\n', "routes.to-pacs.objects", "'pass' or 'inspect'"),
    "from in the singular": (FORTH.replace('["ct1"]', '"ct1"'), "routes.to-pacs.from", "The value must be a list."),
    "the name of the field in the program": (
        FORTH + 'sources = ["ct1"]\n',
        "routes.to-pacs.sources",
        "Known keys: associations, associations_per_minute, associations_per_source, called, called_ae_title, "
        "calling_ae_title, connect_seconds, from, ",
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
        SOUND.replace('listen = "192.168.10.1:104"', 'listener = "main"'),
        "routes.to-pacs.from",
        "'ct1' speaks plain DICOM, and the listener 'main' accepts secured connections only.",
    ),
    "a peer that calls without security": (
        SOUND.replace('listener = "main"', 'listen = "192.168.10.1:11112"'),
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
        SOUND.replace('listen = "192.168.10.1:104"', 'socket = "a:b"'),
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
        SOUND.replace("192.168.10.1:104", "127.0.0.1:2762"),
        "routes.to-pacs.listen",
        "The listener 'main' already uses port 2762. Give each a port of its own.",
    ),
    "a route on every address": (
        SOUND + FORTH.replace("to-pacs", "other").replace("192.168.10.1", "0.0.0.0") + 'called = ["PACS"]\n',
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
        "It may call from nowhere, and route 'to-pacs' is for it: it has no addresses.",
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
