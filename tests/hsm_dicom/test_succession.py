"""An identity and its successor: which of them serves what, on which day."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hsm_dicom.config import Configuration, load_configuration
from hsm_dicom.identity import IdentityError, Stage, Succession, Use, choose_identity, load_identity
from tests.pki import Authority, new_key

DAY = date(2027, 1, 15)
DATED = Succession("node", "second", DAY, in_tls=False)


@pytest.mark.parametrize(("days", "signer"), [(-1, "node"), (0, "second"), (400, "second")])
def test_signatures_switch_on_the_day(days: int, signer: str) -> None:
    assert choose_identity({"node": DATED}, "node", Use.SIGNING, DAY + timedelta(days=days)) == signer
    assert choose_identity({"node": DATED}, "node", Use.TLS, DAY + timedelta(days=days)) == "node"


def test_tls_switches_when_told_and_signatures_without_a_day_do_not() -> None:
    told = Succession("node", "second", None, in_tls=True)
    assert choose_identity({"node": told}, "node", Use.TLS) == "second"
    assert choose_identity({"node": told}, "node", Use.SIGNING) == "node"


def test_a_successor_may_have_one_too_and_a_circle_is_refused() -> None:
    both = {"node": DATED, "second": Succession("second", "third", DAY, in_tls=False)}
    assert choose_identity(both, "node", Use.SIGNING, DAY) == "third"
    circle = {"node": DATED, "second": Succession("second", "node", DAY, in_tls=False)}
    with pytest.raises(IdentityError, match=r"lead back to 'node'. Remove next = from \[identities.second\]"):
        choose_identity(circle, "node", Use.SIGNING, DAY)


@pytest.mark.parametrize(
    ("signs_from", "in_tls", "used_for", "stage"),
    [
        (None, False, "tls signing", Stage.PLANNED),
        (DAY + timedelta(days=1), False, "tls signing", Stage.PLANNED),
        (DAY, False, "tls signing", Stage.OVERLAPPING),
        (DAY + timedelta(days=1), True, "tls signing", Stage.OVERLAPPING),
        (None, True, "tls signing", Stage.OVERLAPPING),
        (DAY, True, "tls signing", Stage.RETIRED),
        (None, True, "tls", Stage.RETIRED),
        (None, False, "signing", Stage.PLANNED),
        (DAY, False, "signing", Stage.RETIRED),
        (None, False, "", Stage.PLANNED),
    ],
)
def test_the_stage_follows_from_what_has_switched(
    signs_from: date | None, in_tls: bool, used_for: str, stage: Stage
) -> None:
    one = Succession("node", "second", signs_from, in_tls)
    assert one.find_stage(is_in_tls="tls" in used_for, may_sign="signing" in used_for, day=DAY) is stage


@pytest.mark.parametrize(
    ("use", "opened"), [("signing", "CN=second"), ("tls", "CN=first"), (None, "CN=first")], ids=str
)
def test_load_identity_opens_the_one_that_serves_the_use(tmp_path: Path, use: str | None, opened: str) -> None:
    ca = Authority()
    tables = []
    for name in ("first", "second"):
        key = new_key()
        (tmp_path / f"{name}.pem").write_bytes(ca.issue(name, key=key).pem)
        secret = tmp_path / f"{name}.key"
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        secret.chmod(0o600)
        tables.append(
            f'[identities.{name}]\nkey = "file:{name}.key"\ncertificate = "{name}.pem"\nallow = ["file-key"]\n'
        )
    file = tmp_path / "hsm-dicom.toml"
    file.write_text(tables[0] + 'next = "second"\nnext_signs_from = 2020-01-01\n' + tables[1])
    file.chmod(0o600)
    with load_identity("first", load_configuration(file), use=use) as identity:
        assert identity.subject == opened


@pytest.mark.parametrize("use", ["sign", 1])
def test_another_use_is_a_mistake_in_the_program(use: Any) -> None:
    with pytest.raises(ValueError, match="use must be 'signing' or 'tls', or None, not"):
        load_identity("node", Configuration(), use=use)
