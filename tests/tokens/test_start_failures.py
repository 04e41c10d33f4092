"""Modules that do not start, and return values: what is reported are facts, and likely causes in their order."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pkcs11 import exceptions as p11

from tests.softhsm import MODULE, TestToken
from tests.tokens.proxy import Proxy
from tokens.pkcs11.calls.return_values import NAMES, error_of, name_of, value_of
from tokens.pkcs11.objects import describe_request
from tokens.pkcs11.start_failures import likely_causes
from tokens.policy import KeyAttributes, KeyPolicy, assess_key
from tokens.uri import Pkcs11Uri

LOAD = """
import sys
from pathlib import Path
from tokens.errors import ModuleError
from tokens.pkcs11.module import load_module
try:
    load_module(Path(sys.argv[1]))
except ModuleError as error:
    print(error)
"""


def load(module: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(module)], env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "Exception ignored" not in done.stderr
    return done.stdout


def test_softhsm_without_its_settings_is_told_of_the_variable(softhsm: Path) -> None:
    said = load(MODULE, {**os.environ, "SOFTHSM2_CONF": "/nonexistent/softhsm2.conf"})
    assert "could not be initialised (CKR_GENERAL_ERROR)" in said
    assert "SOFTHSM2_CONF names /nonexistent/softhsm2.conf, which this user cannot read" in said
    assert "init string" not in said


@pytest.mark.interop
def test_a_tpm_without_its_service_is_told_of_variable_group_and_service_in_this_order() -> None:
    module = next(Path("/usr/lib").glob("*/pkcs11/libtpm2_pkcs11.so"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TPM2_")}
    said = load(module, {**environment, "TPM2_PKCS11_TCTI": "swtpm:host=127.0.0.1,port=9", "TSS2_LOG": "all+none"})
    assert said.index("TPM2_PKCS11_STORE") < said.index("TPM2_PKCS11_TCTI") < said.index("resource manager")
    assert "init string" not in said


@pytest.mark.parametrize(("rv", "begins"), [("0x5", "an environment variable"), ("0x7", "it needs an init string")])
def test_of_a_module_that_is_not_known_an_init_string_is_told_for_bad_arguments_only(
    node: TestToken, proxy: Proxy, rv: str, begins: str
) -> None:
    proxy.rule(f"C_Initialize rv={rv}")
    said = load(proxy.module, proxy.environment())
    assert name_of(int(rv, 16)) in said
    assert f"Likely causes, in this order: (1) {begins}" in said
    assert ("init string" in said) is (rv == "0x7")


def test_what_is_no_module_is_reported_without_words_of_a_library(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("no module " * 100)
    assert load(text, dict(os.environ)) == f"{text} is not a PKCS#11 module that can be loaded: invalid ELF header.\n"


def test_an_init_string_that_was_given_and_is_wrong_is_no_missing_one() -> None:
    said = likely_causes(Path("/usr/lib/libsoftokn3.so"), 5, "configDir='/nowhere'")
    assert said == "The likely cause: the init string is not right; it gives the folder of its database, such as " + (
        "configDir='sql:/etc/pki/nssdb'."
    )


def test_every_return_value_has_its_name_of_the_standard() -> None:
    assert name_of(value_of(p11.RandomNoRNG()) or 0) == "CKR_RANDOM_NO_RNG"
    assert name_of(value_of(p11.SlotIDInvalid()) or 0) == "CKR_SLOT_ID_INVALID"
    for value in (*NAMES, 0x80000001, 0x1234):
        if value:
            assert value_of(error_of(value)) == value
    assert name_of(0x80000042) == "CKR_VENDOR_DEFINED + 0x42"
    assert name_of(0x1234) == "CK_RV 0x1234"
    python_wording = "Initialisation error (not initialized). Should never see this."
    assert value_of(p11.PKCS11Error(python_wording)) == 0x190


def test_a_key_is_named_by_its_id_as_people_write_it() -> None:
    assert describe_request(Pkcs11Uri(id=b"\x03")) == "with id 03"
    assert describe_request(Pkcs11Uri(object="node", id=b"\x03")) == "'node'"


def test_what_a_token_does_not_say_is_not_told_as_a_fact() -> None:
    silent = KeyAttributes(key_type="RSA", size_bits=2048)
    sentences = [finding.text for finding in assess_key(silent, KeyPolicy())]
    assert len(sentences) == 3
    assert all(sentence.startswith("whether ") and "is not known" in sentence for sentence in sentences)
    half = KeyAttributes(
        key_type="RSA", size_bits=2048, sensitive=True, extractable=False, local=True, always_sensitive=True
    )
    (finding,) = assess_key(half, KeyPolicy())
    assert finding.text == "whether it was extractable or readable once is not known (the token does not say)"
