"""The inventory of a node, taken of real tokens, certificates and CRLs: nothing is left out, the urgent is first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from hsm_dicom.node.compiler import read_plan
from hsm_dicom.node.inventory import Entry, Inventory, Kind, Urgency, take_inventory
from hsm_dicom.node.opening import open_identity
from tests.cards.fixtures import PutIn, pcscd, put_in
from tests.hsm_dicom.ceremony import certify, configuration_text
from tests.pki import DAY, NOW, Authority
from tests.softhsm import MODULE, TestToken
from tests.tokens.proxy import Proxy
from tokens import open_token
from tokens.events import Login, subscribe
from tokens.pkcs11.ceremony import delete_key
from tokens.pkcs11.certificates import import_certificates
from tokens.uri import Pkcs11Uri

__all__ = ["pcscd", "put_in"]

Take = Callable[..., Inventory]

IDENTITY = '[identities.node]\ntoken = "test"\nobject = "node"\n'
LISTENER = '\n[listeners.main]\nae_title = "NODE"\nidentities = ["node"]\npeers = ["ct"]\n'
PEER = '\n[peers.ct]\nae_titles = ["CT1"]\nhost = "ct.example"\nidentity = "node"\n'


@pytest.fixture
def take(tmp_path: Path, state_folder: Path) -> Take:
    def taken(text: str, **options: object) -> Inventory:
        file = tmp_path / "hsm-dicom.toml"
        file.write_text(text)
        file.chmod(0o600)
        return take_inventory(file, **options)  # type: ignore[arg-type]

    return taken


def find(inventory: Inventory, kind: Kind, name: str) -> Entry:
    [found] = [one for one in inventory.entries if (one.kind, one.name) == (kind, name)]
    return found


def test_a_key_has_its_holder_size_origin_and_uses(take: Take, token: TestToken, tmp_path: Path) -> None:
    ca = Authority()
    token.generate("node")
    certify(token, "node", ca)
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    trust = '[trust]\nanchors = ["ca.pem"]\n'
    inventory = take(configuration_text(token) + IDENTITY + LISTENER + PEER + trust)
    assert not [one for one in inventory.entries if one.problem]
    assert next(one for one in inventory.entries if one.kind is Kind.ANCHOR).uses == ("listeners.main", "peers.ct")
    key = find(inventory, Kind.KEY, "node")
    assert (key.holder, key.size, key.origin) == ("token test", "RSA 2048", "made on the device")
    assert key.uses == ("identities.node",)
    identity = find(inventory, Kind.IDENTITY, "node")
    assert identity.uses == ("listeners.main", "peers.ct")
    assert identity.consequence == "Peers refuse listener main; no connection to peer ct."
    assert identity.ends is not None
    assert find(inventory, Kind.PEER, "ct").uses == ("listeners.main",)
    assert inventory.not_logged_in == ()


def test_no_pin_is_presented_if_that_is_asked_for_and_the_certificate_is_found(take: Take, token: TestToken) -> None:
    token.generate("node")
    certify(token, "node", Authority())
    logins: list[Login] = []
    with subscribe(lambda event: logins.append(event) if isinstance(event, Login) else None):
        inventory = take(configuration_text(token) + IDENTITY, log_in=False)
    assert logins == []
    assert inventory.not_logged_in == ("test",)
    assert find(inventory, Kind.IDENTITY, "node").ends is not None
    assert find(inventory, Kind.KEY, "node").size == "RSA 2048"


def test_a_refused_pin_is_presented_once_and_public_objects_are_there(
    take: Take, token: TestToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    token.generate("node")
    certify(token, "node", Authority())
    monkeypatch.setenv("WRONG", "0000")
    text = configuration_text(token).replace(str(token.pin), "env:WRONG") + IDENTITY
    logins: list[Login] = []
    with subscribe(lambda event: logins.append(event) if isinstance(event, Login) else None):
        first, second = take(text), take(text)
    assert len([one for one in logins if one.presented]) == 1
    for inventory in (first, second):
        assert inventory.entries[0].kind is Kind.TOKEN
        assert inventory.entries[0].urgency is Urgency.PROBLEM
        assert find(inventory, Kind.IDENTITY, "node").ends is not None


def test_a_token_that_is_away_is_a_row_and_the_other_is_read(take: Take, token: TestToken) -> None:
    token.generate("node")
    certify(token, "node", Authority())
    away = f'[tokens.away]\nmodule = "{MODULE}"\nlabel = "nobody has it"\npin = "env:PATH"\n\n'
    inventory = take(away + configuration_text(token) + IDENTITY)
    assert inventory.entries[0].name == "away"
    assert "No token in" in inventory.entries[0].problem
    assert find(inventory, Kind.IDENTITY, "node").urgency is Urgency.FINE


def test_the_most_urgent_is_first(take: Take, token: TestToken, tmp_path: Path) -> None:
    ca = Authority()
    for name, days in (("ended", -2), ("soon", 12), ("later", 200)):
        token.generate(name)
        certify(token, name, ca, ends=NOW + timedelta(days=days))
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    (tmp_path / "ca.crl").write_bytes(ca.crl(issued=NOW - 7 * DAY, until=NOW + DAY))
    names = ("later", "soon", "ended")
    text = "".join(f'[identities.{name}]\ntoken = "test"\nobject = "{name}"\n\n' for name in names)
    text += '[trust]\nanchors = ["ca.pem"]\ncrls = ["ca.crl"]\n'
    inventory = take(configuration_text(token) + text)
    urgent = [one.name for one in inventory.entries if one.urgency is not Urgency.FINE]
    assert urgent == ["ended", "ca.crl", "soon"]
    assert inventory.entries[0].days_left == -3  # whole days, so that 0 is the last day
    assert "No certificate of this CA is accepted." in inventory.entries[1].consequence
    assert inventory.needs_attention


def test_an_old_certificate_beside_the_one_in_use_needs_no_attention(take: Take, token: TestToken) -> None:
    ca = Authority()
    token.generate("node")
    certify(token, "node", ca, ends=NOW + timedelta(days=3))
    certify(token, "node", ca, ends=NOW + timedelta(days=300))
    inventory = take(configuration_text(token) + IDENTITY)
    assert not inventory.needs_attention
    old = find(inventory, Kind.CERTIFICATE, "node")
    assert old.days_left in (2, 3)
    assert (old.state, find(inventory, Kind.IDENTITY, "node").state) == ("old", "in use")
    assert "identity node uses another one, until 20" in old.consequence
    assert old.remedy.startswith("hsm-dicom key delete-cert test/node --serial ")
    assert (find(inventory, Kind.IDENTITY, "node").days_left or 0) > 290


def test_the_chain_on_a_token_is_shown_to_peers_and_listed_with_its_identity(take: Take, token: TestToken) -> None:
    root = Authority("Root")
    issuing = root.authority("Issuing CA")
    token.generate("node")
    own = certify(token, "node", issuing, store=False)
    with open_token(token.uri()) as connection:
        import_certificates(connection, token.uri("node"), [own, issuing.certificate, root.certificate])
    text = configuration_text(token) + IDENTITY
    inventory = take(text)
    chain = find(inventory, Kind.CHAIN, "node")
    assert (chain.subject, chain.holder, chain.uses) == ("CN=Issuing CA", "token test", ("identities.node",))
    assert [one.subject for one in inventory.entries if one.kind is Kind.CERTIFICATE] == ["CN=Root"]
    with open_identity(read_plan(inventory.file).identities["node"]) as node:
        assert node.chain == (issuing.certificate,)


def test_a_mistake_in_the_file_is_a_row(take: Take, token: TestToken) -> None:
    inventory = take(configuration_text(token) + '[identities.node]\ntoken = "test"\nobjekt = "node"\n')
    assert inventory.entries[0].kind is Kind.CONFIGURATION
    assert inventory.entries[0].name == "identities.node.objekt"


def test_a_token_that_does_not_answer_is_a_row(take: Take, token: TestToken, proxy_here: Proxy) -> None:
    token.generate("node")
    certify(token, "node", Authority())
    text = f"""
[tokens.silent]
module = "{proxy_here.module}"
serial = "{token.serial}"
pin = "{token.pin}"
deadlines = {{ session = 1 }}

"""
    proxy_here.rule("C_FindObjectsInit hang=1")
    try:
        inventory = take(text + configuration_text(token) + IDENTITY)
    finally:
        proxy_here.rule()
    assert (inventory.entries[0].kind, inventory.entries[0].name) == (Kind.TOKEN, "silent")
    assert "did not" in inventory.entries[0].problem
    assert find(inventory, Kind.IDENTITY, "node").urgency is Urgency.FINE


# The library of the smart card service keeps the first address that it is given, so the service comes first.
@pytest.mark.usefixtures("pcscd")
def test_a_card_that_is_away_is_a_row_and_so_is_its_identity(take: Take) -> None:
    inventory = take('[identities.card]\nkey = "card:profile=piv;serial=nobody-has-it;key=9c"\n')
    assert [one.kind for one in inventory.entries] == [Kind.CARD, Kind.IDENTITY]
    assert all(one.urgency is Urgency.PROBLEM and one.problem for one in inventory.entries)


def test_a_card_in_a_reader_that_no_table_names_is_present_and_not_configured(take: Take, put_in: PutIn) -> None:
    put_in(card="piv")
    cards = [one for one in take("", in_readers=True).entries if one.kind is Kind.CARD]
    found = next(one for one in cards if "profile=piv" in one.name)
    assert (found.urgency, found.state, found.uses) == (Urgency.FINE, "present, not configured", ())
    named = take(f'[identities.card]\nkey = "{found.name};key=9a"\n', in_readers=True)
    assert not [one for one in named.entries if one.state == "present, not configured" and one.name == found.name]


@pytest.mark.parametrize("certificate", ["token", "file"])
def test_an_identity_whose_token_was_initialised_again_names_the_cause(
    take: Take, token: TestToken, tmp_path: Path, certificate: str
) -> None:
    text = configuration_text(token) + IDENTITY
    if certificate == "file":
        (tmp_path / "node.pem").write_bytes(Authority().issue("node").pem)
        text += 'certificate = "node.pem"\n'
    token.generate("other")
    assert "which holds others" in find(take(text), Kind.IDENTITY, "node").problem
    with open_token(token.uri()) as connection:
        delete_key(connection, Pkcs11Uri(object="other"))
    row = find(take(text), Kind.IDENTITY, "node")
    assert (row.urgency, row.days_left) == (Urgency.PROBLEM, None)
    assert "it was initialised again, or it is another token of the same name" in row.problem
    unseen = find(take(text, log_in=False), Kind.IDENTITY, "node")
    assert "initialised again" not in unseen.problem, "without a login, nobody knows"


@pytest.mark.usefixtures("pcscd")
def test_a_token_of_a_configured_module_that_no_table_names_is_present_and_not_configured(
    take: Take, token: TestToken, node: TestToken
) -> None:
    listed = take(configuration_text(token), in_readers=True, log_in=False)
    other = next(one for one in listed.entries if one.kind is Kind.TOKEN and node.serial in one.holder)
    assert (other.name, other.state, other.urgency) == (node.label, "present, not configured", Urgency.FINE)
    assert [one.state for one in listed.entries if token.serial in one.holder] == [""]
    assert not any(node.serial in one.holder for one in take(configuration_text(token), log_in=False).entries)
