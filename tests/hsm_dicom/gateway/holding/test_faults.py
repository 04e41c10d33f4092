"""A disk that is full, and a token that hangs, in each phase of an object that is held."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hsm_dicom.identity import Identity
from hsm_dicom.validation import PolicyValidator
from tests import pki
from tests.hsm_dicom.gateway.holding.conversation import Image, holding, read_message, store, store_rsp
from tests.hsm_dicom.gateway.holding.test_signing import exchange, refusal
from tests.hsm_dicom.gateway.routes import abort_pdu
from tests.hsm_dicom.network.nodes import eventually
from tests.hsm_dicom.network.pdus import read_pdu
from tests.small_disks import MAY_MOUNT, leave_free, on_a_small_disk
from tests.softhsm import TestToken, new_token
from tests.tokens.proxy import Proxy
from tokens import open_key
from tokens.deadlines import CallDeadlines

pytestmark = pytest.mark.softhsm

_KIB = 1 << 10


@pytest.fixture(scope="module")
def signing(softhsm: Path) -> tuple[TestToken, Identity]:
    """A token with a key, and its certificate; the key is opened in each process that uses it."""
    token = new_token()
    authority = pki.Authority("CA of the faults")
    with open_key(token.generate("signing")) as key:
        return token, Identity("node", key, authority.issue("node", key=key).certificate)


@MAY_MOUNT
@pytest.mark.parametrize(("free", "what"), [(64 * _KIB, "the object"), (264 * _KIB, "the record")])
def test_a_full_disk_refuses_the_object_for_now_and_nothing_passes_unsigned(
    free: int, what: str, signing: tuple[TestToken, Identity], tmp_path: Path
) -> None:
    token, identity = signing
    image = Image.make(tmp_path, pixels=256 * _KIB)
    small = tmp_path / "small"

    def scene() -> None:
        with open_key(token.uri("signing")) as key, holding(small, replace(identity, key=key)) as route:
            filler = leave_free(small, free)
            answer = refusal(route, image.data)
            assert (answer.status, answer.comment) == (0xA700, "This node cannot write to its disk; send it again.")
            assert route.outcomes == ["no-room"]
            filler.unlink()
            assert exchange(route, image.data)[1].status == 0
            assert route.outcomes == ["no-room", "signed"]

    on_a_small_disk(small, 1 << 20, scene)


@MAY_MOUNT
def test_a_full_disk_in_quarantine_refuses_the_object_for_now(tmp_path: Path) -> None:
    image = Image.make(tmp_path, pixels=256 * _KIB)
    small = tmp_path / "small"

    def scene() -> None:
        from hsm_dicom.network.settings import Quarantine

        judge = PolicyValidator.from_stores()
        quarantine = Quarantine(folder=small / "held" / "quarantine", answers_success=True)
        with holding(small, None, validator=judge, quarantine=quarantine) as route:
            filler = leave_free(small, 260 * _KIB)
            assert refusal(route, image.data).status == 0xA700
            filler.unlink()
            assert refusal(route, image.data).status == 0
            assert route.outcomes == ["no-room", "quarantined"]
            assert {one.suffix for one in quarantine.folder.iterdir()} == {".dcm", ".json"}

    on_a_small_disk(small, 1 << 20, scene)


def test_success_is_answered_when_the_object_its_reasons_and_their_names_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hsm_dicom.network.settings import Quarantine

    done: list[str] = []

    def note(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def noting(place: int | str, *more: object, **options: object) -> object:
            path = Path(f"/proc/self/fd/{place}").resolve() if isinstance(place, int) else Path(place)
            result = function(place, *more, **options)
            kind = "folder" if path.is_dir() else path.suffix
            done.append(f"{name} {kind}")
            return result

        return noting

    image = Image.make(tmp_path)
    quarantine = Quarantine(folder=tmp_path / "held" / "quarantine", answers_success=True)
    with holding(tmp_path, None, validator=PolicyValidator.from_stores(), quarantine=quarantine) as route:
        monkeypatch.setattr(os, "fsync", note("fsync", os.fsync))
        monkeypatch.setattr(os, "link", note("link", os.link))
        assert refusal(route, image.data).status == 0
    assert done == ["fsync .part", "link .part", "fsync .json", "fsync folder"]


# -- a token that hangs ---------------------------------------------------------------------------------------


@pytest.fixture
def hanging(signing: tuple[TestToken, Identity], proxy_here: Proxy) -> Identity:
    """An identity whose key is behind a module that hangs when the test says so; signing may take 0.5 s."""
    token, identity = signing
    uri = replace(token.uri("signing"), module_path=proxy_here.module)
    return replace(identity, key=open_key(uri, deadlines=CallDeadlines(sign=0.5, session=0.5)))


def test_a_token_that_hangs_refuses_the_object_for_now(hanging: Identity, proxy_here: Proxy, tmp_path: Path) -> None:
    image = Image.make(tmp_path)
    with holding(tmp_path, hanging) as route:
        exchange(route, image.data)
        proxy_here.rule("C_Sign hang=1")
        answer = refusal(route, Image.make(tmp_path, "1.2.3.5").data, uid="1.2.3.5")
        assert (answer.status, answer.comment) == (0xA700, "The signing key cannot be used now; send it again.")
        assert route.outcomes == ["signed", "no-key"]
        proxy_here.rule()


def test_a_caller_that_aborts_while_the_token_hangs_is_heard_at_once(
    hanging: Identity, proxy_here: Proxy, tmp_path: Path
) -> None:
    image = Image.make(tmp_path)
    with holding(tmp_path, hanging) as route:
        proxy_here.rule("C_Sign hang=1")
        with route.associated() as (caller, far):
            caller.sendall(store(image.uid, image.data))
            assert eventually(lambda: proxy_here.calls()["C_Sign"] > 0)
            began = time.monotonic()
            caller.sendall(abort_pdu())
            assert read_pdu(far)[0] == 7
            assert time.monotonic() - began < 0.3
        proxy_here.rule()


def test_an_object_that_needs_no_key_passes_while_the_token_hangs(
    hanging: Identity, proxy_here: Proxy, tmp_path: Path
) -> None:
    """What was signed before is sent again with the same signature."""
    image = Image.make(tmp_path)
    with holding(tmp_path, hanging) as route:
        first, _ = exchange(route, image.data, 0xA700)
        proxy_here.rule("C_Sign hang=1")
        with route.associated() as (caller, far):
            caller.sendall(store(image.uid, image.data))
            assert read_message(far).data_set == first.data_set
            far.sendall(store_rsp())
            assert read_message(caller).status == 0
        proxy_here.rule()
