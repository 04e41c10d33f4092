"""PINs in a configuration: never in the file itself, never repeated in a message."""

from __future__ import annotations

import pytest

from hsm_dicom.config import (
    ConfigurationError,
    find_token_access,
    load_configuration,
    read_configuration,
)
from tests.hsm_dicom.config.conftest import problems
from tokens.pins.credentials import DeviceFailure
from tokens.pins.sources import FromCredential, FromFile


@pytest.mark.parametrize(
    "line",
    [
        'pin = "s3cret-pin"',
        "pin = 7531902",
        'pin = ["s3cret-pin"]',
        'password = "s3cret-pin"',
        'pin_value = "s3cret-pin"',
        'user-pin = "s3cret-pin"',
    ],
)
def test_a_pin_in_the_file_is_found_and_never_repeated(write, line: str) -> None:
    file = write(f'[tokens.a]\nmodule = "x.so"\nlabel = "a"\n{line}\n')
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(file)
    [problem] = caught.value.problems
    assert problem.line == 4
    assert "change it" in problem.remedy
    for said in (str(caught.value), repr(caught.value), repr(problem), repr(read_configuration(file))):
        assert "s3cret" not in said
        assert "7531902" not in said


@pytest.mark.parametrize(
    ("line", "meant"),
    [('pinn = "file:pins/ct"', "pin"), ('pni = "env:NODE_PIN"', "pin"), ('serail = "secretly"', "serial")],
)
def test_a_misspelt_key_with_a_source_of_a_pin_is_no_alarm(write, line: str, meant: str) -> None:
    [problem] = read_configuration(write(f'[tokens.a]\nmodule = "x.so"\nlabel = "a"\n{line}\n')).problems
    assert "is unknown here" in problem.text
    assert problem.remedy.startswith(f"Did you mean '{meant}'?")


@pytest.mark.parametrize(
    "line", ['pinn = "7531902"', "pinn = 7531902", 'userpin = "7531902"', 'mypassword = "7531902"']
)
def test_a_misspelt_key_with_what_is_no_source_is_feared_to_hold_a_pin(write, line: str) -> None:
    [problem] = read_configuration(write(f'[tokens.a]\nmodule = "x.so"\nlabel = "a"\n{line}\n')).problems
    assert "change it" in problem.remedy
    assert "7531902" not in repr(problem)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("", set(DeviceFailure)),
        ("login_failures = []", set()),
        ('login_failures = ["CKR_DEVICE_REMOVED"]', {DeviceFailure.CKR_DEVICE_REMOVED}),
    ],
)
def test_the_answers_that_speak_of_a_failed_device_can_be_made_fewer(
    write, line: str, kept: set[DeviceFailure]
) -> None:
    configuration = load_configuration(write(f'[tokens.a]\nmodule = "/x.so"\nlabel = "a"\n{line}\n'))
    assert find_token_access(configuration, "a").login_failures == kept


@pytest.mark.parametrize("value", ['["CKR_PIN_INCORRECT"]', '["CKR_DEVICE_REMOVED", "0x05"]', "[5]"])
def test_but_never_more(write, value: str) -> None:
    [problem] = read_configuration(
        write(f'[tokens.a]\nmodule = "x.so"\nlabel = "a"\nlogin_failures = {value}\n')
    ).problems
    assert problem.line == 4
    assert "does not mean a failed device" in problem.text
    assert "CKR_HOST_MEMORY, CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, CKR_DEVICE_ERROR" in problem.remedy


@pytest.mark.parametrize(("value", "kept"), [("1", 1), ("0x80000001", 0x80000001), ("2147483649", 0x80000001)])
def test_the_user_type_of_a_maker_is_kept(write, value: str, kept: int) -> None:
    configuration = load_configuration(write(f'[tokens.a]\nmodule = "/x.so"\nlabel = "a"\nuser_type = {value}\n'))
    assert find_token_access(configuration, "a").user_type == kept


@pytest.mark.parametrize("value", ["0", "2", "-1", "0x100000000", "1.0"])
def test_the_officer_is_no_user_type(write, value: str) -> None:
    written = write(f'[tokens.a]\nmodule = "x.so"\nlabel = "a"\nuser_type = {value}\n')
    [problem] = read_configuration(written).problems
    assert problem.line == 4
    assert "0x80000001" in problem.remedy


def test_attributes_for_generated_keys_are_kept_and_those_of_hsm_dicom_refused(write) -> None:
    head = '[tokens.a]\nmodule = "/x.so"\nlabel = "a"\n'
    written = write(f'{head}private_key_attributes = {{ CKA_MODIFIABLE = false, 0x80000001 = "0x01ff" }}\n')
    access = find_token_access(load_configuration(written), "a")
    assert access.private_key_attributes == ((0x170, b"\0"), (0x80000001, b"\1\xff"))
    [problem] = read_configuration(write(f"{head}public_key_attributes = {{ CKA_EXTRACTABLE = true }}\n")).problems
    assert "that hsm-dicom sets itself" in problem.text


def test_a_pin_in_a_uri_is_refused_with_the_reason(write) -> None:
    found = problems(write('[identities.n]\nkey = "pkcs11:object=k?pin-value=s3cret-pin"\n'))
    assert "with pin-source" in found["identities.n.key"].text
    assert "s3cret" not in str(found)


@pytest.mark.parametrize("source", ["file:/run/pin", "credential:pin"])
@pytest.mark.parametrize(("line", "readable"), [("group_readable = true", True), ("group_readable = false", False)])
def test_a_group_may_read_the_file_with_the_pin_if_the_configuration_says_so(
    write, source: str, line: str, readable: bool
) -> None:
    # The order of the keys does not matter.
    for lines in (f'pin = "{source}"\n{line}', f'{line}\npin = "{source}"'):
        configuration = load_configuration(write(f'[tokens.a]\nmodule = "/x.so"\nlabel = "a"\n{lines}\n'))
        pin = find_token_access(configuration, "a").pin
        assert isinstance(pin, FromFile | FromCredential)
        assert pin.group_readable is readable


@pytest.mark.parametrize("line", ["", 'pin = "env:NODE_PIN"', 'pin = "prompt"'])
def test_without_a_file_nothing_can_be_readable_by_a_group(write, line: str) -> None:
    [problem] = read_configuration(
        write(f'[tokens.a]\nmodule = "/x.so"\nlabel = "a"\ngroup_readable = true\n{line}\n')
    ).problems
    assert problem.text == "group_readable is for a PIN in a file."
    assert 'pin = "file:PATH"' in problem.remedy
