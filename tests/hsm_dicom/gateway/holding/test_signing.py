"""Objects that are signed on their way."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

import hsm_dicom
from hsm_dicom.dataset.octets.source import Content
from hsm_dicom.gateway.events import InstanceRelayed, ObjectHeld, ObjectRefused
from hsm_dicom.gateway.holding import signer
from hsm_dicom.gateway.holding.settings import AlreadySigned, OnConflict, Unsigned
from hsm_dicom.identity import Identity
from hsm_dicom.signatures import arriving
from hsm_dicom.signing.insertions import sign_insertion
from tests import softhsm
from tests.hsm_dicom.gateway.holding.conversation import (
    Holding,
    Image,
    Message,
    holding,
    intact_signatures,
    read_message,
    store,
    store_rsp,
)
from tests.hsm_dicom.gateway.routes import answered, associate_ac
from tests.hsm_dicom.network.images import ct_image, data_set_bytes
from tests.hsm_dicom.network.nodes import eventually
from tests.hsm_dicom.network.pdus import CT, associate_rq, context, echo_rq, p_data
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.soak import RUNS
from tokens import open_key

pytestmark = pytest.mark.softhsm


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image.make(tmp_path)


@pytest.fixture
def route(hospital: Hospital, tmp_path: Path) -> Iterator[Holding]:
    with holding(tmp_path, hospital.rsa) as found:
        yield found


def exchange(route: Holding, data: bytes, status: int = 0, uid: str = "1.2.3.4") -> tuple[Message, Message]:
    """What the target gets for an object, and what the caller gets for the target's status."""
    with route.associated() as (caller, far):
        caller.sendall(store(uid, data))
        request = read_message(far)
        far.sendall(store_rsp(status))
        return request, read_message(caller)


def refusal(route: Holding, data: bytes, uid: str = "1.2.3.4") -> Message:
    """The answer to an object that does not go on: the next message that the target gets is another one."""
    with route.associated() as (caller, far):
        caller.sendall(store(uid, data))
        answer = read_message(caller)
        caller.sendall(p_data(3, echo_rq(), is_command=True))
        assert read_message(far).field == 0x0030
        return answer


def test_an_object_is_signed_and_the_status_of_the_target_comes_back(
    route: Holding, image: Image, tmp_path: Path
) -> None:
    request, answer = exchange(route, image.data, 0xB007)
    assert intact_signatures(tmp_path, request.data_set, tmp_path / f"{image.uid}.dcm") == [True]
    assert request.longest <= 16384
    assert answer.status == 0xB007
    (held,) = route.held
    assert (held.outcome, held.status, held.size, held.left_out) == ("signed", None, len(image.data), ())
    assert held.signature_uid.startswith("2.25.")
    assert eventually(lambda: route.running.of(InstanceRelayed))
    assert route.running.route.status().held == {"signed": 1}
    assert route.running.route.status().instances == {"warning": 1}


def test_nothing_but_the_signature_is_added(route: Holding, image: Image, tmp_path: Path) -> None:
    request, _ = exchange(route, image.data)
    path = tmp_path / "received.dcm"
    path.write_bytes((tmp_path / "1.2.3.4.dcm").read_bytes()[: -len(image.data)] + request.data_set)
    assert request.data_set.startswith(image.data[: image.data.index(b"\xe0\x7f\x10\x00") - 200])
    signed = pydicom.dcmread(path)
    del signed.MACParametersSequence, signed.DigitalSignaturesSequence
    assert signed == pydicom.dcmread(tmp_path / "1.2.3.4.dcm")


def test_a_long_object_is_hashed_while_it_comes(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is signed, and the signatures that are checked before, are not read again when the last octet has come."""
    monkeypatch.setattr(arriving, "LOOKS", (200_000,))
    sources: list[Content] = []

    def record(source: Content, *others: Any) -> Any:
        sources.append(source)
        return sign_insertion(source, *others)

    monkeypatch.setattr(signer, "sign_insertion", record)
    image = Image.make(tmp_path, pixels=2 << 20)
    with holding(tmp_path, hospital.rsa) as route:
        request, _ = exchange(route, image.data)
    assert intact_signatures(tmp_path, request.data_set, tmp_path / f"{image.uid}.dcm") == [True]
    (span,) = sources[0].hashed
    assert span.end - span.start > 2 << 20
    signed_before = Image(image.uid, request.data_set)
    with holding(tmp_path / "next", hospital.rsa) as route:
        request, _ = exchange(route, signed_before.data)
        assert route.outcomes == ["signed"]
    assert intact_signatures(tmp_path, request.data_set, tmp_path / f"{image.uid}.dcm") == [True, True]
    assert len(sources[1].hashed) == 2


# -- sent again -----------------------------------------------------------------------------------------------


def test_the_same_octets_get_the_same_signature_also_after_a_restart(
    hospital: Hospital, image: Image, tmp_path: Path
) -> None:
    with holding(tmp_path, hospital.rsa) as route:
        first, _ = exchange(route, image.data, 0xA700)
        again, _ = exchange(route, image.data)
        assert route.outcomes == ["signed", "signed-before"]
    with holding(tmp_path, hospital.rsa) as route:
        later, _ = exchange(route, image.data)
        assert route.outcomes == ["signed-before"]
    assert first.data_set == again.data_set == later.data_set


def test_a_status_that_the_caller_did_not_get_is_the_answer_to_the_same_octets(route: Holding, image: Image) -> None:
    with route.associated() as (caller, far):
        caller.sendall(store(image.uid, image.data))
        assert read_message(far).field == 0x0001
        caller.close()
        far.sendall(store_rsp(0xB000))
        assert far.recv(1)
    assert refusal(route, image.data).status == 0xB000
    assert route.outcomes == ["signed", "answered-before"]
    request, _ = exchange(route, image.data)  # the caller has the answer now: whoever sends again wants it sent
    assert request.field == 0x0001


def test_a_failure_that_the_caller_did_not_get_is_no_answer(route: Holding, image: Image) -> None:
    with route.associated() as (caller, far):
        caller.sendall(store(image.uid, image.data))
        first = read_message(far)
        caller.close()
        far.sendall(store_rsp(0xA700))
        assert far.recv(1)
    again, answer = exchange(route, image.data)
    assert (again.data_set, answer.status) == (first.data_set, 0)


def test_other_octets_under_one_uid_are_refused(route: Holding, image: Image, tmp_path: Path) -> None:
    exchange(route, image.data)
    answer = refusal(route, Image.make(tmp_path, value=1).data)
    assert (answer.status, answer.comment) == (0xC002, "Another object with this SOP Instance UID was signed.")
    assert [one.outcome for one in route.running.of(ObjectRefused)] == ["conflict"]


def test_other_octets_under_one_uid_go_on_if_the_route_says_so(
    hospital: Hospital, image: Image, tmp_path: Path
) -> None:
    with holding(tmp_path, hospital.rsa, signing={"on_conflict": OnConflict.FORWARD}) as route:
        exchange(route, image.data)
        other = Image.make(tmp_path, value=1)
        request, _ = exchange(route, other.data)
        assert intact_signatures(tmp_path, request.data_set, tmp_path / "1.2.3.4.dcm") == [True]
        assert [one.outcome for one in route.running.of(ObjectRefused)] == ["conflict"]
        again, _ = exchange(route, other.data)
        assert again.data_set == request.data_set


# -- signed already -------------------------------------------------------------------------------------------


def signed_image(hospital: Hospital, folder: Path) -> bytes:
    path = folder / "signed.dcm"
    hsm_dicom.sign(ct_image(folder, "plain.dcm", uid="1.2.3.4"), path, hospital.peer("CT 1"), "none")
    return data_set_bytes(path)


def test_a_signed_object_gets_another_signature(route: Holding, hospital: Hospital, tmp_path: Path) -> None:
    request, _ = exchange(route, signed_image(hospital, tmp_path))
    assert intact_signatures(tmp_path, request.data_set, tmp_path / "signed.dcm") == [True, True]


def test_a_signed_object_whose_signature_does_not_hold_is_refused(
    route: Holding, hospital: Hospital, tmp_path: Path
) -> None:
    answer = refusal(route, signed_image(hospital, tmp_path).replace(b"Test^Image", b"Test^Other"))
    assert (answer.status, answer.comment) == (0xC005, "A digital signature does not hold: it was changed.")


@pytest.mark.parametrize(("how", "outcome"), [(AlreadySigned.PASS, "passed"), (AlreadySigned.REFUSE, "already-signed")])
def test_a_signed_object_passes_or_is_refused_as_the_route_says(
    how: AlreadySigned, outcome: str, hospital: Hospital, tmp_path: Path
) -> None:
    data = signed_image(hospital, tmp_path)
    with holding(tmp_path, hospital.rsa, signing={"already_signed": how}) as route:
        if how is AlreadySigned.PASS:
            assert exchange(route, data)[0].data_set == data
        else:
            assert refusal(route, data).status == 0xC005
        assert route.outcomes == [outcome]


def test_what_the_route_has_signed_comes_back_and_goes_on_as_it_is(route: Holding, image: Image) -> None:
    """A copy that an archive has sent to the device: no other object, and in no need of another signature."""
    signed, _ = exchange(route, image.data)
    again, answer = exchange(route, signed.data_set)
    assert (again.data_set, answer.status) == (signed.data_set, 0)
    assert route.outcomes == ["signed", "passed"]


def test_a_signature_that_only_has_the_uid_of_the_routes_own_is_another_object(
    route: Holding, hospital: Hospital, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange(route, image.data)
    number = int(route.held[0].signature_uid.removeprefix("2.25."))
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=number))
    forged = tmp_path / "forged.dcm"
    hsm_dicom.sign(ct_image(tmp_path, "other.dcm", uid=image.uid, value=1), forged, hospital.peer("CT 1"), "none")
    monkeypatch.undo()
    assert str(number).encode() in data_set_bytes(forged)
    assert refusal(route, data_set_bytes(forged)).status == 0xC002
    assert route.outcomes == ["signed", "conflict"]


# -- what cannot be signed ------------------------------------------------------------------------------------


def test_a_data_set_that_is_cut_off_is_refused(route: Holding, image: Image) -> None:
    answer = refusal(route, image.data[:-100])
    assert answer.status == 0xC000
    assert answer.comment.startswith("The Data Set is malformed: ")
    assert route.outcomes == ["malformed"]


def test_an_object_of_another_uid_is_refused(route: Holding, image: Image) -> None:
    assert refusal(route, image.data, uid="1.2.3.5").status == 0xA900


def test_an_object_that_is_too_large_is_refused(hospital: Hospital, tmp_path: Path) -> None:
    image = Image.make(tmp_path, pixels=1 << 20)
    with holding(tmp_path, hospital.rsa, largest_object_mib=1) as route:
        assert refusal(route, image.data).status == 0xC003
        assert route.outcomes == ["too-large"]


def test_too_little_free_space_refuses_objects_for_now(hospital: Hospital, image: Image, tmp_path: Path) -> None:
    with holding(tmp_path, hospital.rsa, minimum_free_mib=1 << 30) as route:
        answer = refusal(route, image.data)
        assert (answer.status, answer.comment) == (
            0xA700,
            "This node has too little free disk space; send it again.",
        )
        assert route.outcomes == ["no-room"]


def test_content_that_cannot_be_covered_is_refused(route: Holding, tmp_path: Path) -> None:
    path = ct_image(tmp_path, uid="1.2.3.4")
    dataset = pydicom.dcmread(path)
    data = data_set_bytes(path)
    at = data.index(b"\x10\x00\x20\x00LO")  # Patient ID as UN
    assert dataset.PatientID == "1"
    value = data[at + 8 : at + 10]
    changed = data[:at] + b"\x10\x00\x20\x00UN\0\0\2\0\0\0" + value + data[at + 10 :]
    answer = refusal(route, changed)
    assert (answer.status, answer.comment) == (0xC004, "This object cannot be signed as the route requires.")
    (held,) = route.running.of(ObjectRefused)
    assert held.outcome == "not-signable"
    assert "(0010,0020)" in held.text


def test_private_elements_in_implicit_vr_are_not_covered_and_named(hospital: Hospital, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(ct_image(tmp_path, uid="1.2.3.4"))
    dataset.private_block(0x0029, "TEST", create=True).add_new(1, "LO", "private")
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    path = tmp_path / "implicit.dcm"
    dataset.save_as(path, enforce_file_format=True)
    request = associate_rq(context(1, CT), context(3), called=b"PACS")
    with holding(tmp_path, hospital.rsa) as route:
        with route.associated(request, associate_ac(answered(1), answered(3))) as (caller, far):
            caller.sendall(store("1.2.3.4", data_set_bytes(path)))
            assert intact_signatures(tmp_path, read_message(far).data_set, path) == [True]
            far.sendall(store_rsp())
            assert read_message(caller).status == 0
        (held,) = route.running.of(ObjectHeld)
        assert "(0029,1001)" in held.left_out


def test_a_deflated_object_is_signed(hospital: Hospital, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(ct_image(tmp_path, uid="1.2.3.4"))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = tmp_path / "deflated.dcm"
    dataset.save_as(path, enforce_file_format=True)
    syntax = str(DeflatedExplicitVRLittleEndian)
    request = associate_rq(context(1, CT, [syntax]), context(3), called=b"PACS")
    with holding(tmp_path, hospital.rsa) as route:
        answer = associate_ac(answered(1, syntax=syntax), answered(3))
        received = []
        for _ in range(2):
            with route.associated(request, answer) as (caller, far):
                caller.sendall(store("1.2.3.4", data_set_bytes(path)))
                received.append(read_message(far).data_set)
                far.sendall(store_rsp(0xA700))
                assert read_message(caller).status == 0xA700
        assert received[0] == received[1]
        assert intact_signatures(tmp_path, received[0], path) == [True]
        assert zlib.decompress(received[0], -zlib.MAX_WBITS)


def test_an_encapsulated_object_is_signed_in_its_transfer_syntax(hospital: Hospital, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(ct_image(tmp_path, uid="1.2.3.4"))
    dataset.compress(RLELossless)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    path = tmp_path / "encapsulated.dcm"
    dataset.save_as(path, enforce_file_format=True)
    syntax = str(RLELossless)
    request = associate_rq(context(1, CT, [syntax]), context(3), called=b"PACS")
    answer = associate_ac(answered(1, syntax=syntax), answered(3))
    with holding(tmp_path, hospital.rsa) as route, route.associated(request, answer) as (caller, far):
        caller.sendall(store("1.2.3.4", data_set_bytes(path)))
        assert intact_signatures(tmp_path, read_message(far).data_set, path) == [True]
        far.sendall(store_rsp())
        assert read_message(caller).status == 0


def test_one_object_that_is_malformed_holds_up_no_other(hospital: Hospital, tmp_path: Path) -> None:
    """Many objects on one association, of which one is cut off."""
    count = 20 if RUNS == 1 else 1000
    with holding(tmp_path, hospital.rsa) as route, route.associated() as (caller, far):
        for number in range(count):
            image = Image.make(tmp_path, f"1.2.3.{number + 1}")
            is_bad = number == count // 2
            caller.sendall(store(image.uid, image.data[:-64] if is_bad else image.data, message_id=number + 1))
            if not is_bad:
                assert read_message(far).command[0x1000].rstrip(b"\0") == image.uid.encode()
                far.sendall(store_rsp(message_id=number + 1))
            assert read_message(caller).status == (0xC000 if is_bad else 0)
        assert route.running.route.status().held == {"signed": count - 1, "malformed": 1}


# -- the key --------------------------------------------------------------------------------------------------


@pytest.fixture
def fleeting(hospital: Hospital) -> Iterator[tuple[Identity, softhsm.TestToken]]:
    """An identity whose key the test may remove from its token."""
    token = softhsm.new_token()
    uri = token.generate("fleeting")
    with open_key(uri) as key:
        issued = hospital.ca.issue("fleeting", key=key, usages=("digital_signature",))
        yield Identity("node", key, issued.certificate), token


def remove_key(token: softhsm.TestToken) -> None:
    from tokens import open_token
    from tokens.pkcs11.ceremony import delete_key

    with open_token(token.uri()) as connection:
        delete_key(connection, token.uri("fleeting"))


def test_an_object_is_not_forwarded_unsigned_when_the_key_is_gone(
    fleeting: tuple[Identity, softhsm.TestToken], image: Image, tmp_path: Path
) -> None:
    identity, token = fleeting
    with holding(tmp_path, identity) as route:
        exchange(route, image.data)
        remove_key(token)
        answer = refusal(route, Image.make(tmp_path, "1.2.3.5").data, uid="1.2.3.5")
        assert (answer.status, answer.comment) == (0xA700, "The signing key cannot be used now; send it again.")
        assert route.outcomes == ["signed", "no-key"]
        exchange(route, image.data)  # what was signed before needs no key
        assert route.outcomes[-1] == "signed-before"


@pytest.mark.parametrize(("days", "outcome"), [(0, "unsigned"), (-1, "no-key")])
def test_objects_go_on_unsigned_until_the_end_of_a_day_if_the_route_says_so(
    days: int, outcome: str, fleeting: tuple[Identity, softhsm.TestToken], image: Image, tmp_path: Path
) -> None:
    identity, token = fleeting
    remove_key(token)
    unsigned = Unsigned(until=date.today() + timedelta(days=days), reason="the HSM is repaired")
    with holding(tmp_path, identity, signing={"unsigned": unsigned}) as route:
        if outcome == "unsigned":
            assert exchange(route, image.data)[0].data_set == image.data
            assert "the HSM is repaired" in route.held[0].text
        else:
            assert refusal(route, image.data).status == 0xA700
        assert route.outcomes == [outcome]
        assert [one.outcome for one in route.running.of(ObjectRefused)] == [outcome]


def test_an_ec_key_signs_without_a_profile(hospital: Hospital, image: Image, tmp_path: Path) -> None:
    with holding(tmp_path, hospital.ec) as route:
        request, _ = exchange(route, image.data)
        assert intact_signatures(tmp_path, request.data_set, tmp_path / "1.2.3.4.dcm") == [True]
