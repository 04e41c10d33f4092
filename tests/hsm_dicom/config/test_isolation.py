"""`isolation` of a token in the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.config import find_token_access, load_configuration, read_configuration
from tests.hsm_dicom.ceremony import configuration_text
from tests.softhsm import TestToken
from tests.tokens.scenes import sign
from tokens.pkcs11.isolation import Isolation

TOKEN = '[tokens.a]\nmodule = "/x.so"\nlabel = "a"\n'


def test_a_module_is_isolated_by_name_only(write) -> None:
    assert find_token_access(load_configuration(write(TOKEN)), "a").isolation is Isolation.NONE
    configuration = load_configuration(write(f'{TOKEN}isolation = "process"\n'))
    assert find_token_access(configuration, "a").isolation is Isolation.PROCESS
    assert find_token_access(configuration, "pkcs11:token=other").isolation is Isolation.NONE


@pytest.mark.parametrize("value", ['"thread"', "true", '""', '["process"]'])
def test_a_mistake_is_reported_with_what_is_allowed(write, value: str) -> None:
    [problem] = read_configuration(write(f"{TOKEN}isolation = {value}\n")).problems
    assert (problem.key, problem.line) == ("tokens.a.isolation", 4)
    assert problem.text == "The value is not allowed."
    assert problem.remedy == "Write one of: 'none' or 'process'."


def test_a_configured_token_is_checked_and_used_in_its_process(token: TestToken, tmp_path: Path) -> None:
    token.generate("key")
    file = tmp_path / "hsm-dicom.toml"
    file.write_text(f'{configuration_text(token, "a").rstrip()}\nisolation = "process"\n')
    file.chmod(0o600)
    access = find_token_access(load_configuration(file), "a/key")
    with access.open_key() as key:
        sign(key)
        assert key.device._connection.module.is_isolated
        module, found = access.find_token()
        assert module is key.device._connection.module
        assert found.serial == token.serial
    with access.open() as connection:
        assert connection.module.is_isolated
    with access.open_secrets() as secrets:
        assert secrets.device.connection.module.is_isolated
