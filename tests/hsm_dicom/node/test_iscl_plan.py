"""ISCL from the configuration file: what the tables mean, and what check-config says of them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom import events
from hsm_dicom.events import Event
from hsm_dicom.iscl import PORT, Encryption, IsclReady, Mac
from hsm_dicom.iscl.wire.profile import ByteOrder
from hsm_dicom.network.echo import echo
from hsm_dicom.network.errors import AssociationRejectedError, PeerNotAuthorisedError
from hsm_dicom.network.requestor import associate
from hsm_dicom.node.check import check_configuration
from hsm_dicom.node.compiler import read_plan
from hsm_dicom.node.opening import OpenedListener, open_listener, open_peer
from hsm_dicom.node.plan import NodePlan
from hsm_dicom.node.service import Service
from hsm_dicom.tls import FailureReason, HandshakeError
from hsm_dicom.transport.events import AssociationRejected, HandshakeFailed
from hsm_dicom.transport.iscl_keys import ISCLKeys
from tests.hsm_dicom.network.iscl_site import ISCLSite
from tests.hsm_dicom.network.nodes import TIMEOUTS, eventually
from tests.softhsm import MODULE, new_token, set_pin
from tests.tokens.secrets.devices import KEYS
from tokens import open_token
from tokens.errors import TokenError
from tokens.events import DeviceEvent, Login, OperationOutcome, subscribe
from tokens.pkcs11.secret_keys.ceremony import delete_secret, import_secret
from tokens.secrets import Use

KEYS_OF_THEIR_OWN = "authentication_key = 2\nencryption_key = 2"


def planned(iscl_site: ISCLSite) -> NodePlan:
    return read_plan(iscl_site.config)


def opener(file: Path) -> Callable[[], OpenedListener]:
    return lambda: open_listener(read_plan(file), "archive")


def test_a_peer_takes_what_it_leaves_out_from_the_general_table(iscl_site: ISCLSite) -> None:
    iscl_site.write(
        iscl='mac = "des-mac"\nallow = ["no-encryption"]\nencryption = "none"\nwire = { byte_order = "little" }',
        peer='authentication_key = 2\nencryption = "des-cbc"\nmac_key = 2\nunique_keys = true',
    )
    found = planned(iscl_site).peer("archive").peer.iscl
    assert found is not None
    settings = found.settings
    assert (settings.mac, settings.encryption, settings.unique_keys) == (Mac.DES_MAC, Encryption.DES_CBC, True)
    assert (settings.authentication_key, settings.encryption_key, settings.mac_key) == (2, 1, 2)
    assert settings.profile.byte_order is ByteOrder.LITTLE
    assert settings.reason == "The archive speaks nothing else."
    assert (settings.authentication_data, settings.peer_authentication_data) == (b"CT1", b"ARCHIVE")
    assert not found.over_tls
    general = planned(iscl_site).listener().settings.iscl
    assert general is not None
    assert general.settings.encryption is Encryption.NONE
    assert (general.settings.authentication_data, general.settings.peer_authentication_data) == (b"ARCHIVE", None)


def test_the_port_of_iscl_is_the_default(iscl_site: ISCLSite) -> None:
    text = iscl_site.write().read_text()
    iscl_site.config.write_text(text.replace(f"port = {iscl_site.port}\n", ""))
    assert (
        (planned(iscl_site).peer("archive").peer.port, planned(iscl_site).listener().settings.port)
        == (PORT, PORT)
        == (2761, 2761)
    )
    assert planned(iscl_site).listener().settings.host == "127.0.0.1"


def test_transports_do_not_share_a_listener(iscl_site: ISCLSite) -> None:
    tls = '[peers.tls]\nae_titles = ["TLS"]\nhost = "tls.example"\n'
    iscl_site.write(more=tls)
    assert [one.name for one in planned(iscl_site).listener().settings.peers] == ["archive", "ct"]
    iscl_site.write(listener='over = "tls"', peer='over = "tls"', more=tls)
    assert [one.name for one in planned(iscl_site).listener().settings.peers] == ["archive"]
    text = iscl_site.config.read_text().replace('store = "received"', 'peers = ["tls"]')
    iscl_site.config.write_text(text)
    (found,) = planned(iscl_site).problems
    assert (found.key, found.text, found.remedy) == (
        "listeners.archive.peers",
        "Peer 'tls' uses TLS, and the listener 'archive' ISCL in TLS.",
        "Give 'tls' a listener of its own.",
    )


@pytest.mark.parametrize(
    ("tables", "place", "sentence"),
    [
        (
            {"peer": 'mac = "des-mac"'},
            "peers.archive.iscl",
            'allow it explicitly (allow = ["des-mac-with-encryption-key"])',
        ),
        ({"peer": 'mac = "none"'}, "peers.archive.iscl", "no mac"),
        (
            {"peer": 'allow = ["everything"]'},
            "peers.archive.iscl.allow",
            "'everything' is not a weakness that ISCL can allow",
        ),
        (
            {"peer": 'wire = { iv_chain = "x" }'},
            "peers.archive.iscl.wire",
            "iv_chain of wire must be one of: connection, ",
        ),
        ({"peer": 'authentication_data = "é"'}, "peers.archive.iscl.authentication_data", "is no authentication data"),
        (
            {"peer": 'unique_keys = true\nwire = { session_key = "decrypted-random-number" }'},
            "peers.archive.iscl.unique_keys",
            "Write host_session_keys = true",
        ),
        ({"peer": 'token = "nobody"'}, "peers.archive.iscl.token", "'nobody' is neither a token of the configuration"),
        ({"peer": "authentication_key = 7"}, "peers.archive.iscl", "authentication-7"),
        ({"peer": 'prefix = "other"'}, "peers.archive.iscl", "other"),
        ({"peer": "encryption_key = 9"}, "peers.archive.iscl.encryption_key", "too large"),
        ({"peer": "wire = 1"}, "peers.archive.iscl.wire", "wire is not a table"),
        ({"peer": "wire = { handshake_timeout = inf }"}, "peers.archive.iscl.wire", "larger than any of its bounds"),
        ({"peer": f"wire = {{ message_timeout = 1{'0' * 400} }}"}, "peers.archive.iscl.wire", "larger than any of"),
        ({"peer": "encryption_key = 1.5"}, "peers.archive.iscl.encryption_key", "The value must be a whole number"),
        ({"peer": f"mac_key = 1{'0' * 5000}"}, "", "a number of thousands of digits"),
        ({"peer": f"allow = {'[' * 3000}"}, "", "or lists nested in lists"),
        ({"peer": 'macc = "md5"'}, "peers.archive.iscl.macc", "Did you mean 'mac'?"),
        ({"peer": 'over = "ssh"'}, "peers.archive.iscl.over", "is not allowed"),
        ({"listener": 'mac = "none"'}, "listeners.archive.iscl", "no mac"),
    ],
)
def test_check_config_says_what_is_wrong_and_where(
    iscl_site: ISCLSite, tables: dict[str, str], place: str, sentence: str
) -> None:
    report = check_configuration(iscl_site.write(**tables))
    found = {problem.key: f"{problem.text} {problem.remedy}" for problem in report.problems}
    assert sentence in found[place], found
    assert not report.is_usable
    # A listener serves the peer whose table is wrong; that is said once.
    assert len(found) == 1


def test_iscl_without_a_reason_or_a_token_is_not_opened(iscl_site: ISCLSite) -> None:
    text = iscl_site.write().read_text()
    iscl_site.config.write_text(text.replace('reason = "The archive speaks nothing else."', ""))
    assert "no reason for its use is given. Write reason = in [iscl]." in "".join(map(str, planned(iscl_site).problems))
    iscl_site.config.write_text(text.replace('token = "iscl"', ""))
    assert "No token for the secret keys of ISCL is named." in "".join(map(str, planned(iscl_site).problems))


def test_a_listener_inside_tls_needs_a_certificate_and_one_without_does_not(iscl_site: ISCLSite) -> None:
    text = iscl_site.write(listener='over = "tls"').read_text().replace('identities = ["node"]', "")
    iscl_site.config.write_text(text)
    assert "has no certificate to show. Write identities" in "".join(map(str, planned(iscl_site).problems))
    iscl_site.config.write_text(text.replace('over = "tls"', ""))
    assert not planned(iscl_site).problems


def test_check_config_finds_the_secrets_on_their_token(iscl_site: ISCLSite) -> None:
    report = check_configuration(iscl_site.write(peer=KEYS_OF_THEIR_OWN))
    assert report.is_usable, report.problems
    assert report.secret_keys == {
        "peers.archive.iscl": "authentication key 2, encryption key 2",
        "peers.ct.iscl": "authentication key 1, encryption key 1",
        "listeners.archive.iscl": "authentication key 1, encryption key 1",
    }
    unseen = check_configuration(iscl_site.config, log_in=False)
    assert set(report.secret_keys) <= set(unseen.not_checked)


def test_the_secrets_of_a_token_that_refused_its_pin_are_not_asked_for(iscl_site: ISCLSite) -> None:
    """Neither the refusal nor what follows from it is told once more for each table; the other token is no way in."""
    refusing = new_token()
    iscl_site.write(
        iscl='authentication_token = "refusing"',
        more=f'[tokens.refusing]\nmodule = "{MODULE}"\nserial = "{refusing.serial}"\npin = "{set_pin("0000")}"\n',
    )
    told: list[DeviceEvent] = []
    with subscribe(told.append):
        report = check_configuration(iscl_site.config)
    logins = [event for event in told if isinstance(event, Login) and event.token_serial == refusing.serial]
    assert [login.outcome for login in logins] == [OperationOutcome.REFUSED]
    assert [problem.key for problem in report.problems] == ["tokens.refusing.pin"]
    assert report.not_checked == ("peers.archive.iscl", "peers.ct.iscl", "listeners.archive.iscl")


def test_a_token_that_is_named_by_its_uri_is_looked_at_too(iscl_site: ISCLSite) -> None:
    secrets, text = iscl_site.secrets, iscl_site.write().read_text()
    iscl_site.config.write_text(
        text.replace('token = "iscl"', f'token = "pkcs11:serial={secrets.serial}?pin-source={secrets.pin}"')
        .replace("[tokens.iscl]", "[tokens.other]")
        .replace(f'serial = "{secrets.serial}"', 'label = "other"')
    )
    report = check_configuration(iscl_site.config)
    assert len(report.secret_keys) == 3, report


@pytest.mark.parametrize("over", ["", 'over = "tls"'], ids=["bare", "inside TLS"])
def test_an_echo_over_iscl_and_its_event(iscl_site: ISCLSite, over: str) -> None:
    file = iscl_site.write(iscl=f"unique_keys = true\n{over}")
    told: list[Event] = []
    plan = planned(iscl_site)
    with Service(opener(file)), events.subscribe(told.append):
        with open_peer(plan, "archive") as (found, transport, calling):
            result = echo(found, transport, calling, TIMEOUTS)
        assert result.done
        assert result.facts.entity == "ARCHIVE"
        assert (result.facts.certificate.subject if result.facts.certificate else "") == ("CN=node rsa" if over else "")
        assert eventually(lambda: len([event for event in told if isinstance(event, IsclReady)]) == 2)
    for ready in (event for event in told if isinstance(event, IsclReady)):
        assert ready.reason == "The archive speaks nothing else."
        assert "single DES and MD5 are broken" in ready.describe()
        assert "a session key for each message" in ready.describe()


def test_a_caller_with_another_ae_title_is_rejected(iscl_site: ISCLSite) -> None:
    """All that share a key can say the same; who says something else is not the peer."""
    file = iscl_site.write(peer='authentication_data = "CT2"')
    told: list[Event] = []
    with Service(opener(file)), events.subscribe(told.append):
        with (
            open_peer(planned(iscl_site), "archive") as (found, transport, calling),
            pytest.raises(AssociationRejectedError, match="calling ae title not recognised"),
        ):
            echo(found, transport, calling, TIMEOUTS)
        refused = next(event for event in told if isinstance(event, AssociationRejected) and event.name == "archive")
        assert "no peer of this listener has the authentication data 'CT2'" in refused.text
        assert refused.subject == "CT2"


@pytest.mark.parametrize("own", ["authentication_key = 2", 'prefix = "ct2"', 'authentication_token = "node"'])
def test_who_has_the_key_of_a_listener_cannot_be_a_peer_with_a_key_of_its_own(iscl_site: ISCLSite, own: str) -> None:
    ct2 = f'[peers.ct2]\nae_titles = ["CT2"]\n[peers.ct2.iscl]\n{own}\n'
    file = iscl_site.write(peer='authentication_data = "CT2"', more=ct2)
    with (
        Service(opener(file)),
        open_peer(planned(iscl_site), "archive") as (found, transport, _),
        pytest.raises(AssociationRejectedError, match="calling ae title not recognised"),
    ):
        echo(found, transport, "CT2", TIMEOUTS)
    named = file.read_text().replace('store = "received"', 'peers = ["ct", "ct2"]')
    file.write_text(named)
    (problem,) = planned(iscl_site).problems
    assert problem.key == "listeners.archive.peers"
    assert "Peer 'ct2' has another authentication key than the listener 'archive' asks for" in problem.text


def test_a_peer_with_other_authentication_data_is_not_spoken_with(iscl_site: ISCLSite) -> None:
    file = iscl_site.write(listener='authentication_data = "IMPOSTOR"')
    with (
        Service(opener(file)),
        open_peer(planned(iscl_site), "archive") as (found, transport, calling),
        pytest.raises((HandshakeError, PeerNotAuthorisedError), match="IMPOSTOR|authentication data"),
    ):
        echo(found, transport, calling, TIMEOUTS)


def test_another_authentication_key_is_refused_with_a_sentence_on_both_sides(iscl_site: ISCLSite) -> None:
    file = iscl_site.write(listener="authentication_key = 2", peer="authentication_key = 1")
    told: list[Event] = []
    with Service(opener(file)), events.subscribe(told.append):
        with (
            open_peer(planned(iscl_site), "archive") as (found, transport, calling),
            pytest.raises(HandshakeError) as caught,
        ):
            echo(found, transport, calling, TIMEOUTS)
        assert caught.value.reason is FailureReason.NO_COMMON_PARAMETERS
        assert eventually(
            lambda: [event for event in told if isinstance(event, HandshakeFailed) and event.name == "archive"]
        )


def test_reloading_reads_secrets_and_peers_again(iscl_site: ISCLSite) -> None:
    file = iscl_site.write(peer=KEYS_OF_THEIR_OWN)
    with Service(opener(file)) as service:
        with (
            open_peer(planned(iscl_site), "archive") as (found, transport, calling),
            pytest.raises(HandshakeError),
        ):
            echo(found, transport, calling, TIMEOUTS)
        iscl_site.write(iscl=KEYS_OF_THEIR_OWN)
        assert service.reload()
        with open_peer(planned(iscl_site), "archive") as (found, transport, calling):
            assert echo(found, transport, calling, TIMEOUTS).done
        iscl_site.write(listener='token = "nobody"')
        assert not service.reload()
        iscl_site.write(peer=KEYS_OF_THEIR_OWN)
        with open_peer(planned(iscl_site), "archive") as (found, transport, calling):
            assert echo(found, transport, calling, TIMEOUTS).done


def _is_closed(keys: ISCLKeys) -> bool:
    try:
        keys.secrets.data_key(1).encrypt(bytes(8), bytes(8))
    except TokenError as error:
        return "were closed" in str(error)
    return False


@pytest.mark.parametrize("keys", ["unique_keys = true", "unique_keys = false"])
def test_an_association_outlives_the_reloading_of_its_secrets(iscl_site: ISCLSite, keys: str) -> None:
    """Each message needs the device, long after the handshake; the login ends with the last association of before."""
    text = iscl_site.write(iscl=keys).read_text()
    iscl_site.config.write_text(text.replace("[listeners.archive]\n", "[listeners.archive]\nhandshake_seconds = 0.2\n"))
    with (
        Service(opener(iscl_site.config)) as service,
        open_peer(planned(iscl_site), "archive") as (found, transport, calling),
    ):
        before = service._opened.resources.keys
        assert before is not None
        with associate(found, transport, calling, [build_context(Verification)], TIMEOUTS) as opened:
            assert opened.association.send_c_echo().Status == 0
            assert service.reload()
            assert service._opened.resources.keys is not before
            time.sleep(0.5)  # beyond handshake_seconds, after which what held before is let go of
            assert opened.association.send_c_echo().Status == 0
        assert eventually(lambda: _is_closed(before))


def test_peers_that_send_a_part_of_a_tls_record_hold_nobody_up(iscl_site: ISCLSite) -> None:
    """More of them than there are workers: TLS is done, and the first octets of ISCL never come whole."""
    file = iscl_site.write(iscl='over = "tls"')
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    text = file.read_text()
    file.write_text(text.replace("[listeners.archive]\n", '[listeners.archive]\nauthentication = "one-way"\n'))
    with Service(opener(file)) as service, contextlib.ExitStack() as stalling:
        for _ in range(service.settings.limits.workers + 2):
            plain = socket.create_connection(service.address, timeout=5)
            secured = trusting.wrap_socket(plain)
            raw = stalling.enter_context(socket.socket(fileno=secured.detach()))
            raw.sendall(b"\x17\x03\x03\x40\x00part")
        with open_peer(planned(iscl_site), "archive") as (found, transport, calling):
            assert echo(found, transport, calling, TIMEOUTS).done


def test_check_config_sees_a_key_that_is_for_the_other_direction(iscl_site: ISCLSite) -> None:
    """As directional keys are imported at the client's side: the first answers, the second verifies."""
    with open_token(iscl_site.secrets.uri()) as connection:
        for index, answers in ((1, True), (2, False)):
            key = bytearray.fromhex(KEYS[Use.AUTHENTICATION, index])
            import_secret(
                connection, Use.AUTHENTICATION, index, key, prefix="directed", answers=answers, verifies=not answers
            )
        import_secret(connection, Use.ENCRYPTION, 1, bytearray.fromhex(KEYS[Use.ENCRYPTION, 1]), prefix="directed")
    try:
        directed = 'prefix = "directed"\nwire = { directional_keys = true }\n'
        right = f"{directed}authentication_key = 1\nserver_authentication_key = 2"
        wrong = f"{directed}authentication_key = 2\nserver_authentication_key = 1"
        report = check_configuration(iscl_site.write(peer=right))
        assert report.secret_keys["peers.archive.iscl"] == "authentication keys 1 and 2, encryption key 1"
        for tables in ({"peer": wrong}, {"peer": 'prefix = "directed"'}, {"listener": right}):
            report = check_configuration(iscl_site.write(**tables))
            assert "was imported for the other direction" in str(report.problems), tables
        assert "peers.archive.iscl" in check_configuration(iscl_site.write(listener=wrong)).secret_keys
        # A peer that only calls us has its part at the other end.
        caller = f'[peers.caller]\nae_titles = ["CALLER"]\n[peers.caller.iscl]\n{wrong}'
        assert "peers.caller.iscl" in check_configuration(iscl_site.write(more=caller)).secret_keys
    finally:
        with open_token(iscl_site.secrets.uri()) as connection:
            for use, index in ((Use.AUTHENTICATION, 1), (Use.AUTHENTICATION, 2), (Use.ENCRYPTION, 1)):
                delete_secret(connection, use, index, prefix="directed")
