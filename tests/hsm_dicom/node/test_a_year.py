"""A year in the life of a node: the work of its officer, with a listener up and a peer that calls it all the while."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from hsm_dicom.cli import exits
from hsm_dicom.network.echo import SUCCESS
from hsm_dicom.node import Service
from hsm_dicom.tls import HandshakeError
from hsm_dicom.tls.facts import spki_sha256
from tests.cards.daemon import Daemon
from tests.cards.fixtures import PIN, PutIn, pcscd, put_in
from tests.cards.foreign import foreign_card, make_openpgp_key
from tests.hsm_dicom.cli.conftest import Run
from tests.hsm_dicom.node.year import LIFE, TLS, Caller, Year
from tests.interop.modules.devices import nss
from tests.pki import DAY, NOW, Authority, new_key
from tests.soak import RUNS
from tests.softhsm import MODULE, remember

__all__ = ["pcscd", "put_in"]

FIRST_REQUEST = ("--subject", "CN=Node,O=Radiology", "--ip", "127.0.0.1", "--eku", "serverAuth", "--eku", "clientAuth")

CONFIGURATION = """
[identities.node]
token = "room"
object = "node"

[trust]
anchors = ["ca.pem"]
crls = ["ca.crl"]

[peers.ct1]
ae_titles = ["CT1"]
host = "127.0.0.1"

[listeners.main]
ae_title = "NODE"
host = "127.0.0.1"
port = {port}
identities = ["node"]
peers = ["ct1"]

[events]
file = "events.jsonl"
"""

SUCCESSOR = """
[identities.node-2]
token = "room"
object = "node-2"
"""

ON_CARD = """
[identities.{name}]
key = "{uri}"
certificate = "{name}.pem"
"""

ON_NEXT_TOKEN = """
[identities.node-3]
token = "room-2"
object = "node"
"""

DIARY = [
    (0, "initialise year room"),
    (0, "generate rsa-2048 key 'node' for sign on year room"),
    (0, "import certificate for key 'node' on year room"),
    *((140 - days, f"identity node ends in {days} days") for days in (60, 30, 14, 7, 1)),
    (139, "import certificate for key 'node' on year room"),
    (139, "reloaded"),
    *((230 - days, f"crl ca.crl ends in {days} days") for days in (60, 30, 14)),
    (216, "reloaded"),
    (216, "peer refused: revoked"),
    (219, "identity node ends in 60 days"),
    (249, "identity node ends in 30 days"),
    (249, "import certificate for key 'node' on year room"),
    (249, "reloaded"),
    (249, "delete a certificate of key 'node' on year room"),
    (249, "delete a certificate of key 'node' on year room"),
    (256, "PIN refused"),
    (256, "set-pin user PIN on year room"),
    (256, "reloaded"),
    (329, "identity node ends in 60 days"),
    (329, "generate rsa-2048 key 'node-2' for sign on year room"),
    (329, "import certificate for key 'node-2' on year room"),
    (329, "reloaded"),  # the new key is shown
    (329, "reloaded"),  # the old one is retired
    (329, "delete key 'node' on year room"),
    (343, "initialise year room-2"),
    (343, "generate rsa-2048 key 'node' for sign on year room-2"),
    (343, "import certificate for key 'node' on year room-2"),
    (343, "reloaded"),
    (343, "reloaded"),
    (343, "delete key 'node-2' on year room"),
    (350, "reloaded"),  # both CAs are trusted
    (357, "import certificate for key 'node' on year room-2"),
    (357, "reloaded"),
    (364, "reloaded"),  # the new CA alone is trusted
    (364, "peer refused: no-path"),
]


P_256 = bytes.fromhex("132a8648ce3d030107")
"""Algorithm attributes of an OpenPGP card: ECDSA on P-256."""

Prepare = Callable[[Year, str], None]
"""What makes a token of this name, and adds it to the configuration."""


@pytest.fixture
def year(tmp_path: Path, run: Run) -> Year:
    return Year(tmp_path, run)


@pytest.mark.usefixtures("softhsm")
def test_no_call_fails_in_a_year_and_the_events_tell_it(year: Year) -> None:
    live(year, initialise, reset_a_forgotten_pin)
    assert year.diary == DIARY


@pytest.mark.interop
@pytest.mark.skipif(RUNS == 1, reason="make soak: the suite goes through the year on SoftHSM")
def test_a_year_on_nss_which_has_no_officer(year: Year) -> None:
    live(year, make_database)
    expected = [(day, re.sub(" on year room.*", f" on {nss.TOKEN}", told)) for day, told in DIARY if day != 256]
    assert year.diary == [one for one in expected if not one[1].startswith("initialise")]


@pytest.mark.interop
@pytest.mark.skipif(RUNS == 1, reason="make soak: the suite goes through the year on SoftHSM")
def test_a_year_on_a_piv_card_whose_certificates_are_files(year: Year, put_in: PutIn) -> None:
    put_in(card="piv")
    card = "card:reader=Rig%20A%2000%2000;profile=piv;sharing=transactions"
    live_with_cards(year, f"{card};key=9a", f"{card};key=9e")


@pytest.mark.interop
@pytest.mark.skipif(RUNS == 1, reason="make soak: the suite goes through the year on SoftHSM")
def test_a_year_on_openpgp_cards_whose_certificates_are_files(year: Year, pcscd: Daemon) -> None:
    """An OpenPGP card has one key that signs, so its successor is on another card."""
    with foreign_card(pcscd, "Rig A 00 00", "openpgp"), foreign_card(pcscd, "Rig B 00 01", "openpgp"):
        for reader in ("Rig A 00 00", "Rig B 00 01"):
            make_openpgp_key(reader, 0xB6, P_256)
        first, second = (
            f"card:reader={reader};profile=openpgp;sharing=transactions;key=sign"
            for reader in ("Rig%20A%2000%2000", "Rig%20B%2000%2001")
        )
        live_with_cards(year, first, second)


def live_with_cards(year: Year, *uris: str) -> None:
    """Go through the year with two keys on cards.

    A card has no ceremony of ours: its maker's tool generates keys. Renewal, PIN and rollover are an officer's.
    """
    ca = Authority("Old", key=new_key("rsa2048", 0))
    cards = [uri.partition(";key=")[0] for uri in uris]
    pins = {card: year.write(f"card-{number}.pin", PIN) for number, card in enumerate(cards)}
    card, pin = cards[0], pins[cards[0]]
    keys = {
        name: f"{uri}?pin-source=file:{pins[one]}"
        for name, uri, one in zip(("node", "node-2"), uris, cards, strict=True)
    }

    def certify(name: str) -> x509.Certificate:
        request = year.folder / f"{name}-{year.day}.csr"
        year.command("key", "csr", keys[name], *FIRST_REQUEST, "--out", request)
        csr = x509.load_pem_x509_csr(request.read_bytes())
        begins = year.now
        issued = ca.issue(name, key=csr, subject=csr.subject, begins=begins, ends=begins + LIFE, **TLS)
        year.write(f"{name}.pem", issued.pem)
        return issued.certificate

    year.write("ca.pem", ca.pem)
    year.write("ca.crl", ca.crl(until=NOW + 400 * DAY))
    tables = CONFIGURATION.partition("[trust]")
    on_card = ON_CARD.format(name="node", uri=keys["node"])
    year.write("hsm-dicom.toml", on_card + "[trust]" + tables[2].format(port=year.port))
    certify("node")
    first, second = Caller(year.port, ca), Caller(year.port, ca)
    with year.telling():
        with year.serve() as service, first:
            year.go_to(139, first)
            assert year.has_told("identity node ends in 1 days")
            certify("node")
            assert service.reload()
            first.call_again()
            year.go_to(200, first)
        # A node in service would present the old PIN between the reset and the new file, and the card counts it.
        puk, next_pin = year.write("puk", "12345678"), year.write("next.pin", "471147")
        year.program("token", "reset-pin", card, "--so-pin", f"file:{puk}", "--new-pin", f"file:{next_pin}")
        next_pin.rename(pin)
        with year.serve() as service, second:
            year.go_to(270, second)
            successor = spki_sha256(certify("node-2"))
            switch(year, second, service, ON_CARD.format(name="node-2", uri=keys["node-2"]), "node-2", successor)
            year.go_to(365, second)
    assert (len(first.keys_seen), len(second.keys_seen)) == (1, 2)


def live(year: Year, prepare: Prepare, in_between: Callable[[Year, Caller, Service], None] | None = None) -> None:
    """Go through the year, with tokens that `prepare` makes. The peer calls from the first day to the last."""
    old_ca, new_ca = (Authority(name, key=new_key("rsa2048", number)) for number, name in enumerate(("Old", "New")))
    caller = Caller(year.port, old_ca)
    with year.telling():
        accept_the_token(year, old_ca, prepare)
        with year.serve() as service, caller:
            caller.call_again()
            renew_on_the_last_day(year, caller, service, old_ca)
            replace_the_crl(year, caller, service, old_ca)
            renew_a_month_ahead(year, caller, service, old_ca)
            if in_between is not None:
                in_between(year, caller, service)
            roll_over_to_another_key(year, caller, service, old_ca)
            replace_the_token(year, caller, service, old_ca, prepare)
            rotate_the_ca(year, caller, service, old_ca, new_ca)
            year.go_to(365, caller)
    assert len(caller.keys_seen) == 3


def initialise(year: Year, name: str) -> None:
    """Initialise a token of SoftHSM."""
    so_pin, pin = year.write("so.pin", "officer-1"), year.write(f"{name}.pin", "user-4711")
    label = f"year {name}"
    year.append(f'\n[tokens.{name}]\nmodule = "{MODULE}"\nlabel = "{label}"\npin = "file:{pin}"\n')
    pins = ("--so-pin", f"file:{so_pin}", "--pin", f"file:{pin}")
    made = year.command("token", "init", "--module", MODULE, "--label", label, *pins, "--json").json
    remember(label, made["serial"])


def make_database(year: Year, name: str) -> None:
    """Make a database of NSS; each needs a process of its own."""
    folder = year.folder / name
    folder.mkdir()
    nss.new_database(folder)
    year.append(
        f'\n[tokens.{name}]\nmodule = "{nss.SOFTOKN}"\ninit_string = "{nss.init_string(folder)}"\n'
        f'label = "{nss.TOKEN}"\npin = "file:{folder}/pin"\nisolation = "process"\n'
    )


def accept_the_token(year: Year, ca: Authority, prepare: Prepare) -> None:
    """Make a token, and give the node its first key and certificate."""
    year.write("ca.pem", ca.pem)
    year.write("ca.crl", ca.crl(until=NOW + 230 * DAY))
    year.write("hsm-dicom.toml", CONFIGURATION.format(port=year.port))
    prepare(year, "room")
    year.command("key", "generate", "room", "--label", "node", "--type", "rsa-2048")
    year.certify("room/node", ca, *FIRST_REQUEST)


def renew_on_the_last_day(year: Year, caller: Caller, service: Service, ca: Authority) -> None:
    """Wait until the certificate is in its last day, then renew it with the same key."""
    for days in (60, 30, 14, 7, 1):
        year.go_to(140 - days, caller)
        assert year.has_told(f"identity node ends in {days} days")
    year.certify("node", ca)
    assert service.reload()
    caller.call_again()


def replace_the_crl(year: Year, caller: Caller, service: Service, ca: Authority) -> None:
    """Bring the next CRL before the old one is out of date; it has the certificate of a device that was stolen."""
    stolen = Caller(year.port, ca)
    for days in (60, 30, 14):
        year.go_to(230 - days, caller)
        assert year.has_told(f"crl ca.crl ends in {days} days")
    stolen.call()
    year.write("ca.crl", ca.crl([stolen.issued], issued=year.now, until=year.now + 230 * DAY))
    assert service.reload()
    with pytest.raises(HandshakeError):
        stolen.call()
    assert year.has_told("peer refused: revoked")
    caller.call_again()


def renew_a_month_ahead(year: Year, caller: Caller, service: Service, ca: Authority) -> None:
    """Renew with the same key again, and delete the certificates that are no longer in use."""
    for days in (60, 30):
        year.go_to(279 - days, caller)
        assert year.has_told(f"identity node ends in {days} days")
    year.certify("node", ca)
    assert service.reload()
    caller.call_again()
    [key] = year.command("key", "list", "room", "--json").json["keys"]
    for old in [one["serial"] for one in key["certificates"] if one["state"] == "old"]:
        year.command("key", "delete-cert", "node", "--serial", old, "--yes", old)
    caller.call_again()


def reset_a_forgotten_pin(year: Year, caller: Caller, service: Service) -> None:
    """Let a command present a wrong PIN, and set a new one as the security officer while the node works on."""
    year.go_to(256, caller)
    year.write("room.pin", "forgotten")
    year.program("key", "list", "room", status=exits.REFUSED)
    next_pin = year.write("next.pin", "user-4712")
    year.program(
        "token", "reset-pin", "room", "--so-pin", f"file:{year.folder}/so.pin", "--new-pin", f"file:{next_pin}"
    )
    next_pin.rename(year.folder / "room.pin")
    year.program("key", "list", "room")
    assert service.reload()
    caller.call_again()


def roll_over_to_another_key(year: Year, caller: Caller, service: Service, ca: Authority) -> None:
    """Give the node another key on its token; the peer knows both until the old one is retired."""
    year.go_to(329, caller)
    assert year.has_told("identity node ends in 60 days")
    year.command("key", "generate", "room", "--label", "node-2", "--type", "rsa-2048")
    successor = year.certify("room/node-2", ca, "--like", "node")
    with caller.associate() as association:
        switch(year, caller, service, SUCCESSOR, "node-2", spki_sha256(successor))
        year.command("key", "delete", "room/node", "--yes", "node")
        assert association.send_c_echo().Status == SUCCESS
    caller.call_again()


def replace_the_token(year: Year, caller: Caller, service: Service, ca: Authority, prepare: Prepare) -> None:
    """Give the node a key on another token, and delete the one on the token that it had."""
    year.go_to(343, caller)
    prepare(year, "room-2")
    year.command("key", "generate", "room-2", "--label", "node", "--type", "rsa-2048")
    successor = year.certify("room-2/node", ca, "--like", "node")
    switch(year, caller, service, ON_NEXT_TOKEN, "node-3", spki_sha256(successor))
    year.command("key", "delete", "room/node-2", "--yes", "node-2")
    caller.call_again()


def switch(year: Year, caller: Caller, service: Service, tables: str, successor: str, pin: str) -> None:
    """Switch TLS from the identity `node` to its successor, and retire the old key."""
    year.append(tables)
    year.edit("[identities.node]\n", f'[identities.node]\nnext = "{successor}"\n')
    assert "identity rollover node" in year.command("identity", "status").said
    caller.pin(caller.keys_seen[-1], pin)
    caller.call_again()
    year.command("identity", "rollover", "node", "--write")
    assert service.reload()
    caller.call_again()
    assert caller.keys_seen[-1] == pin
    year.command("identity", "retire", "node", "--write")
    assert service.reload()
    caller.pin(pin)
    caller.call_again()


def rotate_the_ca(year: Year, caller: Caller, service: Service, old: Authority, new: Authority) -> None:
    """Trust both CAs, renew both sides with the new one, then end the trust in the old one."""
    year.go_to(350, caller)
    year.write("new-ca.pem", new.pem)
    year.write("new-ca.crl", new.crl(issued=year.now, until=year.now + 230 * DAY))
    year.edit('["ca.pem"]', '["ca.pem", "new-ca.pem"]')
    year.edit('["ca.crl"]', '["ca.crl", "new-ca.crl"]')
    assert service.reload()
    caller.trust(old, new)
    caller.call_again()
    caller.be_certified_by(new)
    year.go_to(357, caller)
    year.certify("node", new)
    assert service.reload()
    year.go_to(364, caller)
    year.edit('["ca.pem", "new-ca.pem"]', '["new-ca.pem"]')
    year.edit('["ca.crl", "new-ca.crl"]', '["new-ca.crl"]')
    assert service.reload()
    caller.trust(new)
    caller.call_again()
    late = Caller(year.port, new)
    late.be_certified_by(old)
    with pytest.raises(HandshakeError):
        late.call()
    assert year.has_told("peer refused: no-path")
