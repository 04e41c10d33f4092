"""The guide is complete and true: every function of the other toolkit, every reconstructed item, every code."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from hsm_dicom.iscl import ErrorCode, ISCLContext, ISCLHooks, ISCLSettings, ISCLSocket, Weakness, WireProfile
from hsm_dicom.iscl.wire.messages import MESSAGES, describe

DOCS = Path(__file__).parents[3] / "docs"
GUIDE = (DOCS / "explanation/iscl.md").read_text()
THREATS = (DOCS / "explanation/threat-model-iscl.md").read_text()

LEADTOOLS = re.findall(
    r"\w+",
    """
CreateNet GetSecureMode SetMaxCommBlockLengthISCL GetCommBlockLengthISCL SetMaxMessageLengthISCL SetMutualAuthAlgISCL
SetMutualAuthKeyISCL SetIndexForMutualAuthISCL GetIndexForMutualAuthISCL SetAuthDataISCL GetPeerAuthDataISCL
SetEncryptKeyISCL SetIndexForEncryptISCL GetIndexForEncryptISCL SetDefaultEncryptionISCL SetDefaultSigningISCL
GetPeerEncryptionISCL GetPeerMACISCL GetPeerRequestedMessageLengthISCL SendNonSecureISCL IsISCLQueueEmpty GetStatusISCL
GetErrorSecure CloseForced SetIsSecureConnected GetIsSecureConnected
GetChallengeISCL InternalAuthenticateISCL ExternalAuthenticateISCL OnSecureLinkReady OnNonSecureSendISCL
OnNonSecureReceivedISCL OnReceivedISCLPacket OnConnect OnAccept OnClose OnReceive OnSend
""",
)
"""The ISCL functions and events of its public C and C++ interface."""


@pytest.mark.parametrize("name", LEADTOOLS)
def test_every_leadtools_function_and_event_has_its_row(name: str) -> None:
    rows = [row for row in GUIDE.splitlines() if row.startswith("|") and f"`{name}`" in row]
    assert len(rows) == 1
    ours = rows[0].split("|")[2].strip()
    assert ours


def test_what_the_guide_names_exists() -> None:
    kinds = {kind.__name__: kind for kind in (ISCLContext, ISCLSettings, ISCLSocket, ISCLHooks, ErrorCode)}
    named = [(kinds[kind], name) for kind, name in re.findall(r"`(\w+)\.(\w+)`", GUIDE) if kind in kinds]
    assert len(named) >= 30
    for kind, name in named:
        assert hasattr(kind, name) or name in kind.__annotations__, f"{kind.__name__}.{name}"


def test_every_reconstructed_item_has_a_row_and_every_field_an_item() -> None:
    rows = dict(re.findall(r"^\| (R\d+) \|.*\| (.*) \|$", GUIDE, re.M))
    assert list(rows) == [f"R{number}" for number in range(1, 26)]
    named = {name for cell in rows.values() for name in re.findall(r"`(\w+)`", cell)}
    assert named == {field.name for field in dataclasses.fields(WireProfile)}


def test_every_field_of_the_profile_says_which_item_it_is() -> None:
    text = (DOCS.parent / "hsm_dicom" / "iscl" / "wire" / "profile.py").read_text()
    body = text[text.index("class WireProfile") : text.index("def items")]
    documented = re.findall(r'^    (\w+): .*\n    """(R\d+)', body, re.M)
    assert [name for name, _ in documented] == [field.name for field in dataclasses.fields(WireProfile)]


def test_every_error_code_is_listed_with_its_number() -> None:
    listed = dict(re.findall(r"^\| (\d{3}) \| `(\w+)` \|", GUIDE, re.M))
    assert listed == {str(int(code)): code.name for code in ErrorCode}


def test_every_message_is_listed_with_its_id() -> None:
    listed = dict(re.findall(r"^\| ([0-9A-F]{8}) \| ([\w ]+) \|", GUIDE, re.M))
    assert listed == {f"{number:08X}": describe(kind) for number, kind in MESSAGES.items()}


def test_every_weakness_is_explained() -> None:
    for weakness in Weakness:
        assert f"| `{weakness}` |" in GUIDE


def test_the_guide_says_plainly_that_interoperability_is_unverified() -> None:
    assert "Interoperability with other ISCL products is unverified." in GUIDE
    assert "unverified" in (DOCS.parent / "hsm_dicom" / "iscl" / "wire" / "profile.py").read_text()


def test_the_threat_model_has_all_seven_notes() -> None:
    assert re.findall(r"^### N(\d):", THREATS, re.M) == [str(number) for number in range(1, 8)]


def test_every_field_of_the_profile_is_read_somewhere() -> None:
    """A field that nothing reads could be set, and would change nothing on the wire."""
    room = DOCS.parent / "hsm_dicom" / "iscl"
    code = "".join(path.read_text() for path in sorted(room.rglob("*.py")))
    unread = [field.name for field in dataclasses.fields(WireProfile) if not re.search(rf"\.{field.name}\b", code)]
    assert unread == []
