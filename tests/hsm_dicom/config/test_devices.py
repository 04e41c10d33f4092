"""Tokens of a configuration, found by name or by URI."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.config import (
    find_token_access,
    load_configuration,
)
from hsm_dicom.config.devices import NotConfiguredError, UnsafeModuleError
from tokens.pins.sources import FromEnvironment

TWO = """
[tokens.one]
module = "/usr/lib/one.so"
label = "one"
pin = "env:PIN_ONE"
init_string = "configDir='x'"

[tokens.two]
module = "/usr/lib/two.so"
serial = "22"
"""


def test_a_token_is_named_by_its_name_or_by_a_uri_that_fits_it(write) -> None:
    configuration = load_configuration(write(TWO))
    by_name = find_token_access(configuration, "one")
    by_uri = find_token_access(configuration, "pkcs11:token=one;object=k")
    assert by_name.module_path == by_uri.module_path == Path("/usr/lib/one.so")
    assert by_name.pin == by_uri.pin == FromEnvironment("PIN_ONE")
    assert by_uri.init_string == "configDir='x'"
    assert (by_uri.name, by_uri.uri.object) == ("one", "k")


def test_what_is_named_on_the_spot_goes_before_the_configuration(write) -> None:
    configuration = load_configuration(write(TWO))
    access = find_token_access(configuration, "one", pin=FromEnvironment("OTHER"), module=Path("/other.so"))
    assert (access.pin, access.module_path) == (FromEnvironment("OTHER"), Path("/other.so"))
    assert access.init_string is None  # it was meant for the configured module
    by_uri = find_token_access(configuration, "pkcs11:token=one?pin-source=env:OF_URI")
    assert by_uri.pin == FromEnvironment("OF_URI")
    assert find_token_access(configuration, str(by_uri.uri), pin=FromEnvironment("OTHER")).pin == FromEnvironment(
        "OTHER"
    )


def test_a_uri_of_an_unknown_token_takes_nothing_from_the_configured_ones(write) -> None:
    access = find_token_access(load_configuration(write(TWO)), "pkcs11:token=three")
    assert (access.name, access.module_path, access.pin) == (None, None, None)


def test_the_only_module_serves_a_token_that_is_not_configured(write) -> None:
    configuration = load_configuration(write(TWO.split("[tokens.two]")[0]))
    access = find_token_access(configuration, "pkcs11:token=three")
    assert (access.module_path, access.pin) == (Path("/usr/lib/one.so"), None)


def test_an_unknown_name_says_which_are_known(write) -> None:
    with pytest.raises(NotConfiguredError, match="one, two"):
        find_token_access(load_configuration(write(TWO)), "three")


def test_a_configured_module_that_others_may_write_is_not_used(write, tmp_path: Path) -> None:
    module = tmp_path / "module.so"
    module.touch()
    module.chmod(0o666)
    configuration = load_configuration(write(f'[tokens.a]\nmodule = "{module}"\nlabel = "a"\n'))
    with pytest.raises(UnsafeModuleError, match="may be written by others"):
        find_token_access(configuration, "a")
    assert find_token_access(configuration, "a", module=Path("/named/by/hand.so")).module_path == Path(
        "/named/by/hand.so"
    )
    with pytest.raises(UnsafeModuleError, match="may be written by others"):
        find_token_access(load_configuration(None), f"pkcs11:token=a?module-path={module}")
