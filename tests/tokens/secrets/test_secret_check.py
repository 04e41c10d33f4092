"""The acceptance test of secrets, on a token that runs no single DES and on one that does; nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pkcs11 import Attribute, ObjectClass

from tests.softhsm import MODULE, TestToken
from tests.tokens.secrets.devices import Device
from tokens import open_token, trials
from tokens.errors import TokenLostError
from tokens.events import KeyUse, subscribe
from tokens.pkcs11.connection import Connection
from tokens.pkcs11.module import load_module
from tokens.pkcs11.secret_keys.ceremony import import_secret
from tokens.pkcs11.secret_keys.check import FormCheck, SecretCheck, SecretOperation, check_secrets
from tokens.pkcs11.sessions import Worker
from tokens.policy import KeyPolicy
from tokens.secrets import Use
from tokens.trials import OperationCheck


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates are measured for a moment only."""
    monkeypatch.setattr(trials, "_SECONDS", 0.05)


@pytest.fixture
def connection(token: TestToken) -> Iterator[Connection]:
    """SoftHSM, empty."""
    with open_token(token.uri()) as opened:
        yield opened


@pytest.fixture
def nss_connection(nss: Device) -> Iterator[Connection]:
    """NSS softokn, with the suite's keys on it."""
    with nss.open() as secrets:
        yield secrets.device.connection  # type: ignore[attr-defined]


def secret_keys(connection: Connection) -> list[str]:
    """The labels of all secret keys that this process sees, session objects among them."""
    wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY}

    def read(worker: Worker) -> list[str]:
        objects = connection.objects(worker.session)
        return sorted(objects.name(found).label for found in objects.find(wanted))

    return connection.run(read, "list")


def outcomes(form: FormCheck) -> dict[str, OperationCheck]:
    """By operation."""
    return {o.operation: o for o in form.operations}


def form_of(check: SecretCheck, name: str) -> FormCheck:
    """The form with this PKCS#11 name."""
    return next(each for each in check.forms if each.form.name == name)


def test_softhsm_does_all_with_a_doubled_key_and_reports_why_not_with_single_des(connection: Connection) -> None:
    check = check_secrets(connection, KeyPolicy())
    taken = check.taken
    assert taken is form_of(check, "CKK_DES2 K‖K")
    assert {o.operation: o.mechanism for o in taken.operations} == {
        SecretOperation.IMPORT: "C_CreateObject",
        SecretOperation.GET_CHALLENGE: "C_GenerateRandom",
        SecretOperation.INTERNAL_AUTHENTICATE: "CKM_DES3_ECB",
        SecretOperation.EXTERNAL_AUTHENTICATE: "CKM_DES3_ECB",
        SecretOperation.CBC_ENCRYPTION: "CKM_DES3_CBC",
        SecretOperation.CBC_DECRYPTION: "CKM_DES3_CBC",
        SecretOperation.MAC: "CKM_DES3_CBC",
        SecretOperation.SESSION_KEY: "CKM_DES3_ECB_ENCRYPT_DATA",
    }
    assert taken.works(*SecretOperation)
    assert taken.rate_with_1_session > 0
    assert taken.rate_with_4_sessions > 0
    single = form_of(check, "CKK_DES K")
    assert single.works(SecretOperation.IMPORT)
    assert not single.works(SecretOperation.INTERNAL_AUTHENTICATE)
    assert "CKR_MECHANISM_INVALID" in outcomes(single)[SecretOperation.INTERNAL_AUTHENTICATE].problem
    assert single.rate_with_1_session == 0


def test_nss_makes_macs_of_its_own_and_derives_from_triple_des_only(nss_connection: Connection) -> None:
    check = check_secrets(nss_connection, KeyPolicy())
    assert check.taken is form_of(check, "CKK_DES2 K‖K")
    assert check.taken.works(*SecretOperation)
    assert outcomes(check.taken)[SecretOperation.MAC].mechanism == "CKM_DES3_MAC_GENERAL"
    single = form_of(check, "CKK_DES K")
    assert [o.operation for o in single.operations if not o.works] == [SecretOperation.SESSION_KEY]
    assert outcomes(single)[SecretOperation.MAC].mechanism == "CKM_DES_MAC_GENERAL"
    assert "CKM_DES_ECB_ENCRYPT_DATA" in outcomes(single)[SecretOperation.SESSION_KEY].problem


def test_the_form_that_is_told_is_the_one_that_an_import_takes(connection: Connection) -> None:
    check = check_secrets(connection, KeyPolicy())
    entry = import_secret(connection, Use.ENCRYPTION, 1, bytearray.fromhex("7ca110454a1a6e57"))
    assert check.taken is not None
    assert check.taken.form is entry.info.form


def test_the_check_uses_the_driver_that_serves(connection: Connection) -> None:
    heard: list[str] = []
    with subscribe(lambda event: heard.append(event.operation) if isinstance(event, KeyUse) else None):
        check_secrets(connection, KeyPolicy())
    assert {"internal authenticate", "external authenticate", "mac", "derive a session key"} <= set(heard)


@pytest.mark.usefixtures("softhsm")
@pytest.mark.parametrize("device", ["connection", "nss_connection"])
def test_secrets_that_are_there_stay_and_nothing_is_added(device: str, request: pytest.FixtureRequest) -> None:
    held: Connection = request.getfixturevalue(device)
    before = secret_keys(held)
    during: list[list[str]] = []
    check_secrets(held, KeyPolicy(), lambda doing: during.append(secret_keys(held)))
    assert secret_keys(held) == before
    # While the rate is measured the temporary ones are seen, so that their absence means something.
    assert len(before) + 2 in map(len, during)


@pytest.mark.usefixtures("softhsm")
@pytest.mark.parametrize("device", ["connection", "nss_connection"])
def test_an_interrupted_check_leaves_nothing(device: str, request: pytest.FixtureRequest) -> None:
    held: Connection = request.getfixturevalue(device)
    before = secret_keys(held)
    with pytest.raises(KeyboardInterrupt):
        check_secrets(held, KeyPolicy(), when_it_is_measured(interrupt))
    assert secret_keys(held) == before


def test_a_token_that_lost_its_keys_in_the_middle_is_not_assessed(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load_module(MODULE)
    lost: list[str] = []

    def lose_the_keys_once(event: object) -> None:
        if isinstance(event, KeyUse) and event.mechanism == "CKM_DES3_CBC" and not lost:
            lost.append(event.key_label)
            module.reinitialise(module.epoch)

    with subscribe(lose_the_keys_once), pytest.raises(TokenLostError, match="lost its temporary secret keys"):
        check_secrets(connection, KeyPolicy())
    assert lost
    assert secret_keys(connection) == []


def interrupt() -> None:
    """As Ctrl-C does."""
    raise KeyboardInterrupt


def when_it_is_measured(act: Callable[[], None]) -> Callable[[str], None]:
    """A progress function that acts while the temporary secrets exist."""

    def progress(doing: str) -> None:
        if ": rate" in doing:
            act()

    return progress
