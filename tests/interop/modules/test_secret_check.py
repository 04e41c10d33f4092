"""The acceptance test of secrets on modules that do less: one in FIPS mode, one behind p11-kit's remoting.

Each is loaded in a process of its own. NSS softokn has its FIPS mode behind another entry point than PKCS#11's, which a
module of one line leads to.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.modules.devices import nss
from tests.interop.modules.test_p11_kit import Client
from tests.remote import CLIENT, PASSES_PARAMETERS, Server
from tests.softhsm import new_token

FIPS_ENTRY = """
unsigned long FC_GetFunctionList(void **list);
unsigned long C_GetFunctionList(void **list) { return FC_GetFunctionList(list); }
"""

CHECK = """
import sys, tokens
from hsm_dicom.node.acceptance import assess_iscl
from tokens import trials
from tokens.pkcs11.secret_keys.check import check_secrets
from tokens.policy import KeyPolicy
from tokens.uri import Pkcs11Uri
trials._SECONDS = 0.05
label, module, pin, init_string = sys.argv[1:]
with tokens.open_token(Pkcs11Uri(token=label), module=module, pin=pin, init_string=init_string or None) as connection:
    check = check_secrets(connection, KeyPolicy())
print(assess_iscl(check).text)
for form in check.forms:
    for tried in form.operations:
        print(form.form.name, tried.operation, tried.mechanism or tried.problem, sep=" | ")
"""


def checked(label: str, module: Path, pin: str, init_string: str = "", **environment: str) -> tuple[str, list[str]]:
    """The verdict, and a line for each operation."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK, label, module, pin, init_string],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    verdict, *lines = done.stdout.splitlines()
    return verdict, lines


@pytest.fixture
def fips(tmp_path: Path) -> tuple[Path, str]:
    """NSS softokn in FIPS mode: the module, and its init string."""
    nss.new_database(tmp_path)
    (tmp_path / "entry.c").write_text(FIPS_ENTRY)
    module = tmp_path / "fips.so"
    for command in (
        ["modutil", "-fips", "true", "-dbdir", f"sql:{tmp_path}", "-force"],
        ["gcc", "-shared", "-fPIC", "-o", module, tmp_path / "entry.c", nss.SOFTOKN],
    ):
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    return module, nss.init_string(tmp_path)


def test_a_module_in_fips_mode_takes_no_secret_and_the_verdict_says_so(
    fips: tuple[Path, str], tmp_path: Path, state_folder: Path
) -> None:
    module, init_string = fips
    verdict, lines = checked("NSS FIPS 140-2 Certificate DB", module, f"file:{tmp_path}/pin", init_string)
    assert verdict.startswith("ISCL: no, this token runs no form of DES. In FIPS mode")
    assert len(lines) == 3
    assert all("could not import a secret key as" in line and "CKR_ATTRIBUTE_VALUE_INVALID" in line for line in lines)


def test_a_connection_that_passes_no_cbc_leaves_authentication_and_a_newer_one_passes_it(
    tmp_path: Path, softhsm: Path, state_folder: Path
) -> None:
    server = Server(tmp_path, new_token())
    server.start()
    try:
        verdict, lines = checked(server.token.label, CLIENT, server.token.pin, **server.client_environment)
    finally:
        server.kill()
    if PASSES_PARAMETERS:
        assert verdict.startswith("ISCL: yes, CKK_DES2 K‖K, with the fixed keys.")
        return
    assert verdict.startswith("ISCL: authentication only, CKK_DES2 K‖K.")
    assert "CKK_DES2 K‖K | EXTERNAL AUTHENTICATE | CKM_DES3_ECB" in lines
    [encryption] = [line for line in lines if line.startswith("CKK_DES2 K‖K | DES-CBC encryption")]
    assert "CKR_MECHANISM_INVALID" in encryption


def test_a_token_that_goes_away_meanwhile_is_not_assessed(tmp_path: Path, softhsm: Path, state_folder: Path) -> None:
    server = Server(tmp_path, new_token())
    server.start()
    try:
        client = Client(
            server,
            f"""
            from tokens.pkcs11.secret_keys.check import check_secrets
            from tokens.policy import KeyPolicy

            def progress(doing):
                if "CKK_DES3" in doing:
                    say("ready")
                    wait()

            with tokens.open_token(Pkcs11Uri(token=sys.argv[1]), module={str(CLIENT)!r}, pin=sys.argv[2]) as connection:
                try:
                    check_secrets(connection, KeyPolicy(), progress)
                except TokenError as error:
                    say(f"{{type(error).__name__}}: {{error}}")
            """,
        )
        assert client.line() == "ready"
        server.kill()
        client.go_on()
        said = client.end()
    finally:
        server.kill()
    assert said.startswith("TokenLostError: Token 'test")
    assert "Put the token back" in said
