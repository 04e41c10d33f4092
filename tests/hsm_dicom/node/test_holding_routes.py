"""Routes that judge or sign objects, from the configuration file to their settings, and the mistakes in them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from hsm_dicom.config import Severity
from hsm_dicom.config.holding_section import HOLDING_KEYS
from hsm_dicom.gateway.holding.settings import (
    AlreadySigned,
    HoldingSettings,
    OnConflict,
    SigningSettings,
    Unsigned,
)
from hsm_dicom.gateway.settings import Objects
from hsm_dicom.network.settings import Quarantine
from hsm_dicom.node.check import check_configuration
from hsm_dicom.node.compiler import read_plan
from hsm_dicom.node.tables.holding import _JUDGING, _SIGNING
from tests.hsm_dicom.node.conftest import Write
from tests.hsm_dicom.node.test_routes import CT, FORTH, PACS, errors

POLICY = "[policies.ct]\nsignatures = 1\n"
ROUTE = CT + PACS + POLICY + FORTH


def test_everything_of_a_route_that_judges_and_signs_is_understood(write: Write, tmp_path: Path) -> None:
    file = write(
        ROUTE
        + """
objects = "verify-and-sign"
folder = "held"
policy = "ct"
on_unmet = "quarantine"
quarantine_answer = "success"
identity = "node"
signature_profile = "authorization"
mac = "sha384"
purpose = 14
already_signed = "pass"
on_conflict = "forward"
unsigned = { until = 2030-12-31, reason = "change 4711" }
keep_hours = 48
largest_object_mib = 100
minimum_free_mib = 10
answer_seconds = 30
far_idle_seconds = 20
"""
    )
    plan = read_plan(file)
    assert [one.key for one in plan.problems if one.severity is Severity.ERROR] == []
    route = plan.routes["to-pacs"]
    assert route.settings.objects is Objects.VERIFY_AND_SIGN
    assert route.settings.holding == HoldingSettings(
        folder=tmp_path / "held",
        policy="ct",
        quarantine=Quarantine(folder=tmp_path / "held" / "quarantine", answers_success=True),
        signing=SigningSettings(
            identity="node",
            profile="authorization",
            mac="sha384",
            purpose=14,
            already_signed=AlreadySigned.PASS,
            on_conflict=OnConflict.FORWARD,
            unsigned=Unsigned(until=date(2030, 12, 31), reason="change 4711"),
            keep_hours=48.0,
        ),
        largest_object_mib=100,
        minimum_free_mib=10,
        answer_seconds=30.0,
        far_idle_seconds=20.0,
    )
    assert route.signer is plan.identities["node"]


def test_a_route_that_only_judges_names_no_signer(write: Write) -> None:
    route = read_plan(write(ROUTE + 'objects = "verify"\npolicy = "ct"\nfolder = "held"\n')).routes["to-pacs"]
    assert route.signer is None
    assert route.settings.holding is not None
    assert route.settings.holding.signing is None


MISTAKES = {
    "no folder": ('objects = "sign"\nidentity = "node"\n', "objects", "no folder for the objects that it holds."),
    "a folder that is a file": (
        'objects = "sign"\nidentity = "node"\nfolder = "hsm-dicom.toml"\n',
        "folder",
        "is not a folder.",
    ),
    "no identity": ('objects = "sign"\nfolder = "held"\n', "objects", 'Write identity = "NAME"'),
    "an identity that is not there": (
        'objects = "sign"\nfolder = "held"\nidentity = "other"\n',
        "identity",
        "There is no [identities.other] in this file.",
    ),
    "no policy": ('objects = "verify"\nfolder = "held"\n', "objects", 'Write policy = "NAME"'),
    "a policy that is not there": (
        'objects = "verify"\nfolder = "held"\npolicy = "mr"\n',
        "policy",
        "There is no policy 'mr' in the configuration. Write [policies.mr], or name one of: ct.",
    ),
    "a policy for a route that does not judge": (
        'objects = "sign"\nfolder = "held"\nidentity = "node"\npolicy = "ct"\n',
        "policy",
        'Write objects = "verify", or remove policy.',
    ),
    "an identity for a route that does not sign": (
        'identity = "node"\n',
        "identity",
        'identity is without effect, because the route has objects = "inspect".',
    ),
    "a folder for a route that holds nothing": ('folder = "held"\n', "folder", 'objects = "verify" or "sign"'),
    "a quarantine that is not used": (
        'objects = "verify"\nfolder = "held"\npolicy = "ct"\nquarantine = "q"\n',
        "quarantine",
        'Write on_unmet = "quarantine"',
    ),
    "no storage": (
        'objects = "sign"\nfolder = "held"\nidentity = "node"\nservices = ["echo"]\n',
        "services",
        "The route admits no storage",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_check_config_tells(write: Write, mistake: str) -> None:
    text, key, said = MISTAKES[mistake]
    found = errors(check_configuration(write(ROUTE + text), log_in=False))
    assert said in found[f"routes.to-pacs.{key}"]
    assert [one for one in found if one.startswith("routes")] == [f"routes.to-pacs.{key}"]


def test_every_key_has_its_place() -> None:
    both = {"folder", "largest_object_mib", "minimum_free_mib", "answer_seconds", "far_idle_seconds"}
    assert both | set(_JUDGING) | set(_SIGNING) == set(HOLDING_KEYS)


def test_a_folder_in_tmp_is_a_warning(write: Write) -> None:
    text = ROUTE + 'objects = "sign"\nidentity = "node"\nfolder = "/tmp/held"\n'
    (found,) = [one for one in read_plan(write(text)).problems if one.key == "routes.to-pacs.folder"]
    assert "is in /tmp" in found.text
