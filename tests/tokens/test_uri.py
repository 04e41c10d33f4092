"""RFC 7512: parsing, formatting, and what is refused."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import softhsm as hsm
from tokens.errors import UriError
from tokens.uri import Pkcs11Uri


def test_all_attributes_are_read() -> None:
    uri = Pkcs11Uri.parse(
        "pkcs11:token=CT%20room%3b1;manufacturer=ACME%20%26%20Co;serial=0A;model=v2;object=n%C3%B6de;type=private;"
        "id=%01%fF;slot-id=7;slot-description=left;slot-manufacturer=x;library-manufacturer=l;library-version=3.1;"
        "library-description=d?pin-source=file:/run/pin&module-path=/usr/lib/a%20b.so&module-name=p11"
    )
    assert uri.token == "CT room;1"
    assert uri.manufacturer == "ACME & Co"
    assert uri.object == "nöde"
    assert uri.id == b"\x01\xff"
    assert uri.slot_id == 7
    assert uri.pin_source == "file:/run/pin"
    assert uri.module_path == Path("/usr/lib/a b.so")
    assert (uri.type, uri.others) == ("private", (("module-name", "p11"),))
    assert vars(uri)["library_version"] == "3.1"
    assert Pkcs11Uri.parse(str(uri)) == uri


def test_the_empty_uri_matches_everything_and_names_nothing() -> None:
    uri = Pkcs11Uri.parse("pkcs11:")
    assert uri == Pkcs11Uri()
    assert not uri.names_an_object


def test_the_scheme_is_not_case_sensitive() -> None:
    assert Pkcs11Uri.parse("PKCS11:token=a").token == "a"


def test_an_unknown_query_attribute_is_kept_and_ignored() -> None:
    uri = Pkcs11Uri.parse("pkcs11:token=a?x-vendor=1%20")
    assert uri.others == (("x-vendor", "1%20"),)
    assert str(uri) == "pkcs11:token=a?x-vendor=1%20"


def test_the_token_part_leaves_the_object_out() -> None:
    uri = Pkcs11Uri.parse("pkcs11:token=a;object=b;id=%01;type=private?module-path=/m.so")
    assert str(uri.token_part()) == "pkcs11:token=a?module-path=/m.so"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pkcs12:token=a", "does not begin with 'pkcs11:'"),
        ("1234", "does not begin with 'pkcs11:'"),
        ("pkcs11:token", "not of the form name=value"),
        ("pkcs11:to ken=a", "white space"),
        ("pkcs11:token=a b", "%20"),
        ("pkcs11:token=%2", "two hexadecimal digits"),
        ("pkcs11:token=%ff", "not UTF-8"),
        ("pkcs11:token=a;token=b", "'token' more than once"),
        ("pkcs11:x-other=a", "not supported"),
        ("pkcs11:type=secret", "none of public, private"),
        ("pkcs11:slot-id=-1", "decimal number"),
        ("pkcs11:slot-id=²", "decimal number"),
        ("pkcs11:?module-path=lib.so", "absolute path"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(UriError, match=said.replace("(", r"\(")):
        Pkcs11Uri.parse(text)


def test_a_pin_value_is_refused_and_not_repeated() -> None:
    with pytest.raises(UriError, match="pin-source") as caught:
        Pkcs11Uri.parse("pkcs11:token=a?pin-value=271828")
    assert "271828" not in str(caught.value)


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=20)


@given(
    st.builds(
        Pkcs11Uri,
        token=st.none() | TEXT,
        serial=st.none() | TEXT,
        object=st.none() | TEXT,
        id=st.none() | st.binary(min_size=1, max_size=20),
        slot_id=st.none() | st.integers(0, 2**64 - 1),
        type=st.none() | st.sampled_from(["private", "cert"]),
        pin_source=st.none() | TEXT,
    )
)
def test_what_is_written_is_read_back(uri: Pkcs11Uri) -> None:
    assert Pkcs11Uri.parse(str(uri)) == uri


@pytest.mark.softhsm
@pytest.mark.interop
def test_p11tools_uris_are_read(tmp_path: Path) -> None:
    environment = os.environ | hsm.provision_environment(tmp_path)
    label = "CT room;1"
    initialise = ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", "1234"]
    subprocess.run(initialise, check=True, capture_output=True, env=environment)
    listing = ["p11tool", "--provider", hsm.MODULE, "--list-token-urls"]
    shown = subprocess.run(listing, check=True, capture_output=True, text=True, env=environment).stdout
    uris = [Pkcs11Uri.parse(line) for line in shown.split() if line.startswith("pkcs11:")]
    assert [uri.manufacturer for uri in uris if uri.token == label] == ["SoftHSM project"]
