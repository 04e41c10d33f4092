"""Reading the configuration: what is understood, and what is said of every mistake."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hsm_dicom.config import (
    Configuration,
    ConfigurationError,
    Problem,
    access_to,
    find_configuration,
    load_configuration,
    read_configuration,
)
from hsm_dicom.config.devices import NotConfiguredError, UnsafeModuleError
from hsm_dicom.config.lines import key_lines
from tokens.pins.credentials import DeviceFailure
from tokens.pins.sources import FromEnvironment, FromFile
from tokens.policy import Weakness

WHOLE = """
[tokens.ct-room]
module = "/usr/lib/hsm.so"
label = "CT room"
pin = "file:pins/ct"
sessions = 4

[identities.node]
token = "ct-room"
object = "node"
id = "01AB"
chain = "chain.pem"
allow = ["imported"]

[identities.elsewhere]
key = "pkcs11:token=other;object=x"
certificate = "elsewhere.pem"

[state]
folder = "/var/lib/somewhere"

[events]
file = "events.jsonl"
"""


@pytest.fixture
def write(tmp_path: Path):
    def written(text: str) -> Path:
        file = tmp_path / "hsm-dicom.toml"
        file.write_text(text)
        file.chmod(0o600)
        return file

    return written


def problems(file: Path) -> dict[str, Problem]:
    return {problem.key: problem for problem in read_configuration(file).problems}


def test_a_whole_file_becomes_models_with_its_paths_below_its_folder(write, tmp_path: Path) -> None:
    configuration = load_configuration(write(WHOLE))
    token = configuration.tokens["ct-room"]
    assert (token.label, token.serial, token.sessions) == ("CT room", None, 4)
    assert token.pin == FromFile(tmp_path / "pins/ct")
    node, elsewhere = configuration.identities["node"], configuration.identities["elsewhere"]
    assert (node.token, node.object, node.id, node.certificate) == ("ct-room", "node", b"\x01\xab", None)
    assert node.chain == tmp_path / "chain.pem"
    assert node.weaknesses == {Weakness.IMPORTED}
    assert elsewhere.certificate == tmp_path / "elsewhere.pem"
    assert configuration.events.file == tmp_path / "events.jsonl"
    assert configuration.state.folder == Path("/var/lib/somewhere")


def test_without_a_file_the_configuration_is_empty() -> None:
    assert load_configuration(None) == Configuration()


def test_every_mistake_is_reported_at_once_with_line_key_and_remedy(write) -> None:
    found = problems(
        write(
            """[tokens.a]
module = "x.so"
lable = "CT"

[tokens.b]
label = "b"
sessions = 0

[identities.n]
token = "c"
object = "k"

[identities.m]
token = "a"

[peer.x]
"""
        )
    )
    assert found.keys() == {
        "tokens.a.lable",
        "tokens.b.module",
        "tokens.b.sessions",
        "identities.n.token",
        "identities.m",
        "peer",
    }
    assert found["tokens.a.lable"].line == 3
    assert "Is 'label' meant?" in found["tokens.a.lable"].remedy
    assert found["tokens.b.module"].line == 5  # the table in which it is missing
    assert found["tokens.b.sessions"].line == 7
    assert "[tokens.c]" in found["identities.n.token"].what
    assert "names no key" in found["identities.m"].what
    assert all(problem.remedy for problem in found.values())


def test_a_reference_to_a_token_with_a_mistake_of_its_own_is_not_called_dangling(write) -> None:
    found = problems(write('[tokens.a]\nlabel = "x"\n[identities.n]\ntoken = "a"\nobject = "k"\n'))
    assert found.keys() == {"tokens.a.module"}


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
    assert "is not known here" in problem.what
    assert problem.remedy.startswith(f"Is '{meant}' meant?")


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
    assert access_to(configuration, "a").login_failures == kept


@pytest.mark.parametrize("value", ['["CKR_PIN_INCORRECT"]', '["CKR_DEVICE_REMOVED", "0x05"]', "[5]"])
def test_but_never_more(write, value: str) -> None:
    [problem] = read_configuration(
        write(f'[tokens.a]\nmodule = "x.so"\nlabel = "a"\nlogin_failures = {value}\n')
    ).problems
    assert problem.line == 4
    assert "does not speak of a failed device" in problem.what
    assert "CKR_HOST_MEMORY, CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, CKR_DEVICE_ERROR" in problem.remedy


def test_a_misspelt_key_is_not_called_missing_too(write) -> None:
    found = problems(write('[tokens.a]\nmodul = "x.so"\nlabel = "a"\n'))
    assert found.keys() == {"tokens.a.modul"}


def test_each_mistake_in_a_card_profile_has_its_line_and_key(write) -> None:
    found = problems(
        write(
            """[cards.h]
famly = "piv"
aid = "zz"
timeout = "long"

[[cards.h.keys]]
name = "sign"
refrence = "9c"

[cards.i]
family = "cac"
"""
        )
    )
    assert {key: problem.line for key, problem in found.items()} == {
        "cards.h.famly": 2,
        "cards.h.aid": 3,
        "cards.h.timeout": 4,
        "cards.h.keys.0.refrence": 6,
        "cards.i.family": 11,
    }
    assert "Is 'family' meant? Known are: aid, extended, family" in found["cards.h.famly"].remedy
    assert "hexadecimal" in found["cards.h.aid"].what
    assert "Is 'reference' meant?" in found["cards.h.keys.0.refrence"].remedy
    assert "'iso7816', 'piv' or 'openpgp'" in found["cards.i.family"].remedy


def test_a_card_profile_has_the_name_of_its_table(write) -> None:
    cards = load_configuration(write('[cards.h]\nfamily = "piv"\naid = "a000000308"\n')).cards
    assert {name: profile.name for name, profile in cards.items()} == {"h": "h"}


def test_what_names_a_table_with_a_mistake_is_left_out_and_not_blamed(write) -> None:
    reading = read_configuration(
        write(
            """[tokens.a]
module = "x.so"
lable = "a"

[tokens.b]
module = "x.so"
label = "b"

[identities.of-a]
token = "a"
object = "k"

[identities.of-b]
token = "b"
object = "k"

[identities.of-nothing]
token = "c"
object = "k"

[identities.of-card]
key = "card:profile=h;key=sign"

[cards.h]
family = "cac"

[iscl]
reason = "It is needed."
token = "a"

[peers.known]
ae_titles = ["A"]
identity = "of-b"

[peers.unknown]
ae_titles = ["B"]
identity = "of-nothing"

[peers.iscl]
ae_titles = ["C"]
iscl = {}

[listeners.one]
ae_title = "X"
identities = ["of-b"]
peers = ["known", "unknown"]

[listeners.two]
ae_title = "Y"
identities = ["of-b"]
peers = ["known"]
"""
        )
    )
    assert {problem.key for problem in reading.problems} == {
        "tokens.a.lable",
        "identities.of-nothing.token",
        "cards.h.family",
    }
    configuration = reading.configuration
    assert configuration.identities.keys() == {"of-b"}
    assert configuration.peers.keys() == {"known"}
    assert configuration.listeners.keys() == {"two"}
    assert configuration.iscl is None


def test_a_pin_in_a_uri_is_refused_with_the_reason(write) -> None:
    found = problems(write('[identities.n]\nkey = "pkcs11:object=k?pin-value=s3cret-pin"\n'))
    assert "pin-source instead" in found["identities.n.key"].what
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    ("body", "key", "words"),
    [
        ("[state]\nfolder = 3", "state.folder", "path in quotation marks"),
        ("[identities.n]\ntoken = 'a'\nid = 'xyz'", "identities.n.id", "hexadecimal"),
        ("[identities.n]\nkey = 'pkcs11:object=k'\ntoken = 'a'", "identities.n", "twice"),
        ("[identities.n]\nkey = 'file:k.pem'\ncertificate = 'c.pem'", "identities.n", "whoever reads the file"),
        ("[identities.n]\nkey = 'file:k.pem'\nallow = ['file-key']", "identities.n", "no certificate"),
        ("[identities.n]\nkey = 'nonsense'", "identities.n.key", "does not begin with 'pkcs11:'"),
        ("[identities.n]\ntoken = 'a'\nobject = 'k'\nallow = ['all']", "identities.n.allow.0", "not known"),
        ("tokens = 3", "tokens", "Tables with names"),
        ("[tokens.a]\nlabel = 'a'\nmodule = \"a\\u0000b\"", "tokens.a.module", "null character"),
        ("[tokens.a]\nmodule = 'a'\nlabel = \"a\\u0000b\"", "tokens.a.label", "null character"),
        ("[tokens]\na = 3", "tokens.a", "A table must stand here"),
        ("[tokens.a]\nmodule = 'x.so'", "tokens.a", "neither a label nor a serial"),
        ("[tokens.a]\nmodule = 'x.so'\nlabel = ''", "tokens.a.label", "empty"),
    ],
)
def test_each_mistake_has_its_sentence(write, body: str, key: str, words: str) -> None:
    problem = problems(write(body + "\n"))[key]
    assert words in problem.what


def test_what_is_not_toml_says_where(write) -> None:
    [problem] = read_configuration(write("[tokens.a\n")).problems
    assert (problem.line, problem.what) == (1, "The line that begins a table has no closing bracket.")


def test_a_file_that_is_not_there_is_one_problem(tmp_path: Path) -> None:
    [problem] = read_configuration(tmp_path / "none.toml").problems
    assert "No such file" in problem.what


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_is_not_used(write, mode: int) -> None:
    file = write("")
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match="may be written by others"):
        load_configuration(file)
    assert read_configuration(file).unsafe


def test_a_file_in_a_folder_that_all_may_write_is_not_used(write, tmp_path: Path) -> None:
    file = write("")
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigurationError, match="can be replaced by anybody"):
        load_configuration(file)
    tmp_path.chmod(0o1777)
    load_configuration(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_used(write) -> None:
    file = write("")
    os.chown(file, 12345, -1)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        load_configuration(file)


def test_the_file_is_looked_for_in_the_order_that_is_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HSM_DICOM_CONFIG", raising=False)
    system = tmp_path / "etc.toml"
    monkeypatch.setattr("hsm_dicom.config.loading.SYSTEM", system)
    assert find_configuration() is None
    system.touch()
    assert find_configuration() == system
    Path("hsm-dicom.toml").touch()
    assert find_configuration() == Path("hsm-dicom.toml")
    monkeypatch.setenv("HSM_DICOM_CONFIG", "/named/by/environment")
    assert find_configuration() == Path("/named/by/environment")
    assert find_configuration(Path("named")) == Path("named")


def test_lines_are_found_through_quoted_and_dotted_keys() -> None:
    lines = key_lines('[tokens."CT room"]\n"label" = 1 # x\n\n[identities]\nn.token = "a=b"\n  n.id = 2\n')
    assert lines[("tokens", "CT room")] == 1
    assert lines[("tokens", "CT room", "label")] == 2
    assert lines[("identities", "n", "token")] == 5
    assert lines[("identities", "n", "id")] == 6


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
    by_name = access_to(configuration, "one")
    by_uri = access_to(configuration, "pkcs11:token=one;object=k")
    assert by_name.module_path == by_uri.module_path == Path("/usr/lib/one.so")
    assert by_name.pin == by_uri.pin == FromEnvironment("PIN_ONE")
    assert by_uri.init_string == "configDir='x'"
    assert (by_uri.name, by_uri.uri.object) == ("one", "k")


def test_what_is_named_on_the_spot_goes_before_the_configuration(write) -> None:
    configuration = load_configuration(write(TWO))
    access = access_to(configuration, "one", pin=FromEnvironment("OTHER"), module=Path("/other.so"))
    assert (access.pin, access.module_path) == (FromEnvironment("OTHER"), Path("/other.so"))
    assert access.init_string is None  # it was meant for the configured module
    by_uri = access_to(configuration, "pkcs11:token=one?pin-source=env:OF_URI")
    assert by_uri.pin == FromEnvironment("OF_URI")
    assert access_to(configuration, str(by_uri.uri), pin=FromEnvironment("OTHER")).pin == FromEnvironment("OTHER")


def test_a_uri_of_an_unknown_token_takes_nothing_from_the_configured_ones(write) -> None:
    access = access_to(load_configuration(write(TWO)), "pkcs11:token=three")
    assert (access.name, access.module_path, access.pin) == (None, None, None)


def test_the_only_module_serves_a_token_that_is_not_configured(write) -> None:
    configuration = load_configuration(write(TWO.split("[tokens.two]")[0]))
    access = access_to(configuration, "pkcs11:token=three")
    assert (access.module_path, access.pin) == (Path("/usr/lib/one.so"), None)


def test_an_unknown_name_says_which_are_known(write) -> None:
    with pytest.raises(NotConfiguredError, match="one, two"):
        access_to(load_configuration(write(TWO)), "three")


def test_a_configured_module_that_others_may_write_is_not_used(write, tmp_path: Path) -> None:
    module = tmp_path / "module.so"
    module.touch()
    module.chmod(0o666)
    configuration = load_configuration(write(f'[tokens.a]\nmodule = "{module}"\nlabel = "a"\n'))
    with pytest.raises(UnsafeModuleError, match="may be written by others"):
        access_to(configuration, "a")
    assert access_to(configuration, "a", module=Path("/named/by/hand.so")).module_path == Path("/named/by/hand.so")
    with pytest.raises(UnsafeModuleError, match="may be written by others"):
        access_to(load_configuration(None), f"pkcs11:token=a?module-path={module}")
