"""An identity and its successor in a node: the plan, the check, a listener that switches, and what is left to do."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hsm_dicom.config import Severity
from hsm_dicom.events import Event, subscribe
from hsm_dicom.identity import Stage
from hsm_dicom.network.assembly import make_peer_transport
from hsm_dicom.network.echo import echo
from hsm_dicom.node import Service, check_configuration, open_listener, open_peer, read_plan
from hsm_dicom.node.identities.succession import describe_succession, find_tables
from hsm_dicom.node.inventory import Kind, Urgency, take_inventory
from hsm_dicom.node.opening import OpenedListener, open_resources
from hsm_dicom.tls import DEFAULT
from hsm_dicom.tls.facts import spki_sha256
from hsm_dicom.transport.events import HandshakeFailed, HandshakeSucceeded, SuccessorRefused
from hsm_dicom.transport.succession import REFUSAL_SECONDS, Side, SuccessionTransport
from tests.hsm_dicom.network.nodes import TIMEOUTS
from tests.pki import NOW, Authority, Identity, new_key
from tests.ports import free_port

Write = Callable[..., Path]

ROOT = Authority()
OTHER_ROOT = Authority("the new CA")
DAY = timedelta(days=1)
TODAY: date = NOW.date()


@pytest.fixture(scope="module")
def keys() -> dict[str, Identity]:
    """The old identity, and a successor that is valid and one whose time has not come."""
    return {
        "node": ROOT.issue("CT 1", key=new_key("rsa2048"), ends=NOW + 20 * DAY),
        "second": ROOT.issue("CT 1", key=new_key("rsa2048"), begins=NOW - DAY),
        "early": ROOT.issue("CT 1", key=new_key("rsa2048"), begins=NOW + 5 * DAY),
        "other": ROOT.issue("CT 2", key=new_key("rsa2048"), usages=("key_encipherment",)),
    }


@pytest.fixture
def write(tmp_path: Path, keys: dict[str, Identity]) -> Write:
    """Write a configuration with `node`, whose table has these lines too, and its successor."""

    def write_file(lines: str, successor: str = "second", more: str = "") -> Path:
        text = '[trust]\nanchors = ["ca.pem"]\n'
        (tmp_path / "ca.pem").write_bytes(ROOT.pem)
        for name in ("node", successor):
            (tmp_path / f"{name}.pem").write_bytes(keys[name].pem)
            write_key(tmp_path / f"{name}.key", keys[name])
            text += f'[identities.{name}]\nkey = "file:{name}.key"\ncertificate = "{name}.pem"\nallow = ["file-key"]\n'
            text += lines if name == "node" else ""
        file = tmp_path / "hsm-dicom.toml"
        file.write_text(text + more)
        file.chmod(0o600)
        return file

    return write_file


def write_key(file: Path, identity: Identity) -> None:
    file.write_bytes(identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)


def remarks(file: Path) -> dict[str, tuple[Severity, str]]:
    report = check_configuration(file, warning=timedelta(days=1))
    return {one.key: (one.severity, one.text) for one in report.problems}


@pytest.mark.parametrize(
    ("lines", "key", "text"),
    [
        ('next = "nobody"\n', "identities.node.next", "There is no [identities.nobody] in this file."),
        ('next = "node"\n', "identities.node.next", "The successors of identity 'node' lead back to 'node'."),
        ("next_in_tls = true\n", "identities.node", "next_in_tls is for an identity with a successor."),
        ('next = "second"\nnext_in_tls = "yes"\n', "identities.node.next_in_tls", "must be true, false or auto"),
        ('next = "second"\nnext_signs_from = "soon"\n', "identities.node.next_signs_from", "must be a date"),
    ],
)
def test_a_mistake_is_reported_at_its_key(write: Write, lines: str, key: str, text: str) -> None:
    found = read_plan(write(lines)).problems
    assert [(one.key, text in one.text) for one in found if one.key.startswith("identities.node")] == [(key, True)]


@pytest.mark.parametrize(
    ("successor", "begins", "severity", "text"),
    [
        ("second", TODAY + 10 * DAY, None, ""),
        ("second", TODAY, None, ""),
        ("second", TODAY + 30 * DAY, Severity.WARNING, "nothing can be signed in between"),
        ("early", TODAY + 3 * DAY, Severity.WARNING, "the certificate of 'early' is valid from"),
        ("early", TODAY, Severity.ERROR, "the certificate of 'early' is valid from"),
        ("other", TODAY + 3 * DAY, Severity.WARNING, "The certificate of 'other' is not for signatures."),
    ],
)
def test_a_day_on_which_nobody_could_sign_is_reported(
    write: Write, successor: str, begins: date, severity: Severity | None, text: str
) -> None:
    found = remarks(write(f'next = "{successor}"\nnext_signs_from = {begins}\n', successor))
    got = found.get("identities.node.next_signs_from", (None, ""))
    assert got[0] is severity
    assert text in got[1]


def test_another_subject_is_a_warning(write: Write) -> None:
    severity, text = remarks(write('next = "other"\n', "other"))["identities.node.next"]
    assert (severity, text) == (Severity.WARNING, "Its successor has another subject, 'CN=CT 2'.")


def test_a_successor_whose_time_has_not_come_keeps_nothing_from_working(write: Write) -> None:
    file = write('next = "early"\n', "early")
    assert remarks(file) == {}
    rows = {one.name: one for one in take_inventory(file).entries if one.kind is Kind.IDENTITY}
    assert (rows["early"].urgency, rows["early"].state) == (Urgency.FINE, "later")
    file = write('next = "early"\nnext_in_tls = true\n', "early")
    assert remarks(file)["identities.early.certificate"][0] is Severity.ERROR


def test_a_retired_identity_may_end(write: Write) -> None:
    text = f'next = "second"\nnext_signs_from = {TODAY}\n'
    warned = check_configuration(write('next = "second"\n'), warning=timedelta(days=30))
    assert "identities.node.certificate" in {one.key for one in warned.problems}
    file = write(text)
    assert check_configuration(file, warning=timedelta(days=30)).problems == ()
    rows = {one.name: one for one in take_inventory(file).entries if one.kind is Kind.IDENTITY}
    assert (rows["node"].urgency, rows["node"].state) == (Urgency.FINE, "old")
    assert "second serves in its place" in rows["node"].consequence


def network(port: int, keys: dict[str, Identity]) -> str:
    pins = ", ".join(f'"{spki_sha256(keys[name].certificate)}"' for name in ("node", "second"))
    return (
        f'[peers.same]\nae_titles = ["NODE"]\nhost = "127.0.0.1"\nport = {port}\npins = [{pins}]\n'
        'calling_ae_title = "NODE"\n'
        f'[listeners.main]\nae_title = "NODE"\nhost = "127.0.0.1"\nport = {port}\n'
        'identities = ["node"]\npeers = ["same"]\n'
    )


def test_tls_switches_at_a_reload_and_peers_accept_either_pin(write: Write, keys: dict[str, Identity]) -> None:
    more = network(free_port(), keys)
    file = write('next = "second"\n', more=more)
    shown = []

    def call() -> str:
        with open_peer(read_plan(file), "same") as (peer, transport, title):
            done = echo(peer, transport, title, TIMEOUTS)
            assert done.done
            assert done.facts.certificate is not None
            return done.facts.certificate.spki_sha256

    with Service(lambda: open_listener(read_plan(file), "main")) as service:
        shown.append(call())
        file = write('next = "second"\nnext_in_tls = true\n', more=more)
        # The caller has switched already, and the listener not yet.
        shown.append(call())
        assert service.reload()
        shown.append(call())
    assert shown == [spki_sha256(keys[name].certificate) for name in ("node", "node", "second")]


def test_the_stages_end_with_what_is_left_to_do(write: Write, keys: dict[str, Identity]) -> None:
    more = network(free_port(), keys)
    certificates = {name: one.certificate for name, one in keys.items()}

    def describe(lines: str) -> tuple[Stage, str, str, str]:
        status = describe_succession(read_plan(write(f'next = "second"\n{lines}', more=more)), "node", certificates)
        assert status.tables == ("listeners.main", "peers.same")
        return status.stage, status.signs, status.in_tls, status.next_step

    *state, step = describe("")
    assert state == [Stage.PLANNED, "node", "node"]
    assert step.startswith("Have the peers accept the pins of both, then switch TLS: hsm-dicom identity rollover node")
    *state, step = describe(f"next_in_tls = true\nnext_signs_from = {TODAY + DAY}\n")
    assert state == [Stage.OVERLAPPING, "node", "second"]
    assert step == f"Wait for {TODAY + DAY}, from which second signs."
    *state, step = describe(f"next_in_tls = true\nnext_signs_from = {TODAY}\n")
    assert state == [Stage.RETIRED, "second", "second"]
    assert step.startswith("Nothing uses node any more.")
    assert step.endswith("hsm-dicom identity retire node --write.")


def test_a_peer_without_an_identity_takes_the_only_one_that_is_no_successor(
    write: Write, keys: dict[str, Identity]
) -> None:
    plan = read_plan(write('next = "second"\n', more=network(2762, keys)))
    assert plan.peers["same"].identity is not None
    assert plan.peers["same"].identity.name == "node"
    assert find_tables(plan, "second") == ()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_peer_that_refuses_the_successor_is_shown_the_old_certificate(
    write: Write, keys: dict[str, Identity], version: ssl.TLSVersion
) -> None:
    keys = {**keys, "moved": OTHER_ROOT.issue("CT 1", key=new_key("rsa2048"))}
    file = write('next = "second"\nnext_in_tls = "auto"\n', more=network(free_port(), keys))
    (file.parent / "second.pem").write_bytes(keys["moved"].pem)
    write_key(file.parent / "second.key", keys["moved"])
    plan = read_plan(file)
    assert plan.peers["same"].identities[1].name == "second"
    trusted: list[bytes] = [ROOT.pem]

    def load() -> OpenedListener:
        (file.parent / "ca.pem").write_bytes(b"".join(trusted))
        opened = open_listener(read_plan(file), "main")
        profile = replace(DEFAULT, maximum_version=version)
        return replace(opened, settings=replace(opened.settings, profile=profile))

    heard: list[Event] = []

    def call(*, times: int = 1) -> list[str]:
        """Return the pins that the listener saw, and check that no association failed."""
        heard.clear()
        with open_peer(read_plan(file), "same") as (peer, transport, title):
            for _ in range(times):
                assert echo(peer, transport, title, TIMEOUTS).done
        return [one.spki_sha256 for one in heard if isinstance(one, HandshakeSucceeded) and one.name == "main"]

    def count(kind: type[Event], name: str) -> int:
        return sum(isinstance(one, kind) and getattr(one, "name", "") == name for one in heard)

    old, new = (spki_sha256(keys[name].certificate) for name in ("node", "moved"))
    with subscribe(heard.append), Service(load) as service:
        assert call(times=2) == [old, old]
        assert (count(HandshakeFailed, "main"), count(HandshakeFailed, "same")) == (1, 0)
        [event] = [one for one in heard if isinstance(one, SuccessorRefused)]
        assert (event.alert, event.identity, event.successor) == ("unknown_ca", "node", "second")
        moment = 0.0
        with open_resources(plan.peers["same"], plan) as resources:
            node, second = resources.identities
            assert resources.validator is not None
            peer = plan.peers["same"].peer
            own, first = (Side(one, make_peer_transport(peer, one, resources.validator)) for one in (node, second))
            transport = SuccessionTransport("same", "", first, own, clock=lambda: moment)
            heard.clear()
            for seconds in (0.0, REFUSAL_SECONDS - 1, REFUSAL_SECONDS, REFUSAL_SECONDS + 1):
                moment = seconds
                assert echo(peer, transport, "NODE", TIMEOUTS).done
        assert (count(HandshakeFailed, "main"), count(SuccessorRefused, "same")) == (2, 1)
        trusted.append(OTHER_ROOT.pem)
        assert service.reload()
        assert call(times=2) == [new, new]
        assert count(HandshakeFailed, "main") == 0


def test_with_auto_the_old_certificate_serves_until_the_new_one_is_valid(
    write: Write, keys: dict[str, Identity]
) -> None:
    file = write('next = "early"\nnext_in_tls = "auto"\n', "early", more=network(free_port(), keys))
    assert remarks(file).keys() <= {"identities.node.certificate"}
    with (
        Service(lambda: open_listener(read_plan(file), "main")),
        open_peer(read_plan(file), "same") as (peer, transport, title),
    ):
        assert echo(peer, transport, title, TIMEOUTS).done
    status = describe_succession(read_plan(file), "node", {name: one.certificate for name, one in keys.items()})
    assert (status.stage, status.in_tls) == (Stage.OVERLAPPING, "early, node")
