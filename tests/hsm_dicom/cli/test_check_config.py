"""`hsm-dicom check-config`: what the officer reads. (What is found is tested with `hsm_dicom.node.check`.)"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hsm_dicom.cli import exits
from tests.hsm_dicom.cli.conftest import PROGRAM, Node, Run


def test_a_sound_configuration_is_exit_0(run: Run, signing_node: Node) -> None:
    result = run("check-config", "--config", signing_node.config)
    assert result.status == exits.OK
    assert "Token ct-room accepted its PIN." in result.said
    assert "Identity node is CN=Signer node" in result.said
    assert "can be used: no errors, no warnings" in result.said


def test_every_problem_is_shown_with_place_and_remedy(run: Run, signing_node: Node) -> None:
    text = signing_node.config.read_text()
    signing_node.config.write_text(text.replace("object =", "objekt =") + '\n[tokens.b]\npin = "12345678"\n')
    result = run("check-config", "--config", signing_node.config)
    assert result.status == exits.FAILED
    place = f"{signing_node.config}:"
    assert (
        f"{place}8: identities.node.objekt error: The key 'objekt' is unknown here. Did you mean 'object'?"
        in result.said
    )
    assert "tokens.b.module" in result.said
    assert "The configuration contains a PIN" in result.said
    assert "12345678" not in result.said
    assert "cannot be used: 3 errors, no warnings" in result.said


def test_what_expires_is_a_failure_if_that_is_asked_for(run: Run, signing_node: Node) -> None:
    ends_soon = ("check-config", "--config", signing_node.config, "--warn-days", "99999")
    assert run(*ends_soon).status == exits.OK
    assert run(*ends_soon, "--fail-if-expiring").status == exits.FAILED
    assert run(*ends_soon, "--json").json["expiring"] is True
    in_time = run("check-config", "--config", signing_node.config, "--warn-days", "0", "--fail-if-expiring", "--json")
    assert (in_time.status, in_time.json["expiring"]) == (exits.OK, False)


def test_a_trust_anchor_that_expires_is_a_failure_too(run: Run, signing_node: Node) -> None:
    with signing_node.config.open("a") as file:
        file.write('\n[trust]\nanchors = ["ca.pem"]\n')
    asked = ("check-config", "--config", signing_node.config, "--no-login", "--fail-if-expiring", "--warn-days")
    assert run(*asked, "0").status == exits.OK
    assert run(*asked, "99999").status == exits.FAILED


def test_in_json(run: Run, signing_node: Node) -> None:
    document = run("check-config", "--config", signing_node.config, "--json").json
    assert document["schema"] == "hsm-dicom/check-config/2"
    assert (document["usable"], document["problems"]) == (True, [])
    assert document["identities"][0]["subject"] == "CN=Signer node"


def test_without_login_the_keys_are_not_looked_at(run: Run, signing_node: Node) -> None:
    result = run("check-config", "--config", signing_node.config, "--no-login")
    assert result.status == exits.OK
    assert "node: its keys were not checked" in result.said


GATEWAY = """
[trust]
anchors = ["ca.pem"]

[peers.pacs]
ae_titles = ["PACS"]
host = "pacs.example"

[plain.ct1]
ae_titles = ["CT1"]
addresses = ["192.168.10.21"]
reason = "cannot be changed"

[routes.to-pacs]
from = ["ct1"]
listen = "192.168.10.1:104"
to = "pacs"
services = ["query-retrieve", "storage"]
"""


def test_routes_are_listed_with_those_who_may_read_without_proof(run: Run, signing_node: Node) -> None:
    signing_node.config.write_text(signing_node.config.read_text() + GATEWAY)
    result = run("check-config", "--config", signing_node.config, "--no-login")
    assert result.status == exits.OK
    assert (
        "? Route to-pacs: ct1 to pacs by TLS, listen 192.168.10.1:104, called PACS; storage, query-retrieve; objects: "
        "inspect. Its keys were not checked (no login)."
    ) in result.said
    assert (
        "! Plain device ct1 may read patients' data from pacs (query-retrieve, route to-pacs). "
        "So can anyone who takes its address and AE title."
    ) in result.said
    document = run("check-config", "--config", signing_node.config, "--no-login", "--json").json
    assert document["routes"] == [
        {
            "name": "to-pacs",
            "from": ["ct1"],
            "entrance": {"listen": "192.168.10.1:104"},
            "to": "pacs",
            "transport": "TLS",
            "called": ["PACS"],
            "services": ["storage", "query-retrieve"],
            "objects": "inspect",
            "plain_readers": ["ct1"],
            "reading_services": ["query-retrieve"],
            "ready": None,
        }
    ]


def test_a_route_that_works_is_marked(run: Run, signing_node: Node) -> None:
    signing_node.config.write_text(signing_node.config.read_text() + GATEWAY.replace('"query-retrieve", ', ""))
    result = run("check-config", "--config", signing_node.config)
    assert result.status == exits.OK
    assert "✓ Route to-pacs: ct1 to pacs by TLS" in result.said
    assert "may read" not in result.said


def test_without_any_configuration_the_places_are_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("check-config")
    assert result.status == exits.USAGE
    assert "/etc/hsm-dicom/hsm-dicom.toml" in result.said


def test_a_warning_fails_only_if_strict(run: Run, signing_node: Node) -> None:
    asked = ("check-config", "--config", signing_node.config, "--warn-days", "99999")
    assert run(*asked).status == exits.OK
    assert run(*asked, "--strict").status == exits.FAILED
    assert run("check-config", "--config", signing_node.config, "--warn-days", "0", "--strict").status == exits.OK


def test_a_mistake_in_the_form_of_toml_has_line_and_column(run: Run, signing_node: Node) -> None:
    signing_node.config.write_text("[events]\nfile = events.jsonl\n")
    result = run("check-config", "--config", signing_node.config, "--json")
    [problem] = result.json["problems"]
    assert (problem["line"], problem["column"]) == (2, 8)


def test_a_folder_that_this_user_may_not_read_has_a_remedy(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o700)
    # Root reads every folder, unless it gives up the capability to.
    without_rights = ["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    environment = {name: value for name, value in os.environ.items() if name != "HSM_DICOM_CONFIG"}
    script = f'cd "{locked}" && /bin/chmod 000 . && exec "$@"'
    try:
        done = subprocess.run(
            ["sh", "-c", script, "sh", *without_rights, *PROGRAM, "check-config"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=60,
        )
    finally:
        locked.chmod(0o700)
    assert done.returncode == exits.FAILED
    assert f"cannot be looked for in {locked} (Permission denied)" in done.stderr
    assert "name a file with --config" in done.stderr
