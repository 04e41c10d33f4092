"""One object in four forms: what is signed and verified does not depend on the form."""

from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

import hsm_dicom
from hsm_dicom.dataset.errors import DicomFileError, NotDicomError, TargetExistsError, TargetIsSourceError
from hsm_dicom.signatures import check_integrity
from hsm_dicom.validation import Indication, Verdict
from tests.hsm_dicom.validation.verdict_cases import CA, SIGNER, bare_copy, image

TRUST = CA.certificate
WHO = (SIGNER.key, SIGNER.certificate)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """An image of which everything can be signed."""
    return bare_copy(image("CT_small.dcm"), tmp_path / "clean.dcm")


def as_path(clean: Path) -> Any:
    return clean


def as_bytes(clean: Path) -> Any:
    return clean.read_bytes()


def as_buffer(clean: Path) -> Any:
    return io.BytesIO(clean.read_bytes())


def as_dataset(clean: Path) -> Any:
    return pydicom.dcmread(clean)


FORMS = [as_path, as_bytes, as_buffer, as_dataset]


def summary(verdict: Verdict) -> tuple[Any, ...]:
    """All of a verdict but what is of one signature or moment."""
    (one,) = verdict.signatures
    return (
        verdict.valid,
        verdict.outcome,
        verdict.identity,
        verdict.transfer_syntax,
        one.text,
        one.signature.profiles,
        one.signature.coverage,
        one.signer,
    )


@pytest.mark.parametrize("form", FORMS)
def test_one_object_in_four_forms_has_one_verdict(form: Callable[[Path], Any], clean: Path, tmp_path: Path) -> None:
    target = tmp_path / "signed.dcm"
    report = hsm_dicom.sign(form(clean), target, WHO)
    assert report.target == str(target)
    verdicts = [hsm_dicom.verify(verified(target), trust=TRUST) for verified in FORMS]
    verdicts.append(hsm_dicom.verify(hsm_dicom.sign(as_dataset(clean), None, WHO), trust=TRUST))
    assert verdicts[0].valid
    assert len({repr(summary(verdict)) for verdict in verdicts}) == 1


def test_bytes_give_bytes_a_dataset_a_dataset_and_a_file_takes_what_is_written(clean: Path, tmp_path: Path) -> None:
    signed = hsm_dicom.sign(as_bytes(clean), None, WHO)
    assert isinstance(signed, bytes)
    assert hsm_dicom.verify(bytearray(signed), trust=TRUST).valid
    assert hsm_dicom.verify(memoryview(signed), trust=TRUST).valid
    dataset = hsm_dicom.sign(as_dataset(clean), None, WHO)
    assert isinstance(dataset, pydicom.FileDataset)
    dataset.save_as(tmp_path / "saved.dcm")
    assert hsm_dicom.verify(tmp_path / "saved.dcm", trust=TRUST).valid
    buffer = io.BytesIO()
    report = hsm_dicom.sign(clean, buffer, WHO)
    assert (report.target, len(report.signed)) == ("<file>", len(check_integrity(signed).signatures[0].coverage.signed))  # type: ignore[union-attr]
    assert hsm_dicom.verify(buffer.getvalue(), trust=TRUST).valid


def _write(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def test_any_binary_file_is_read_from_where_it_stands(clean: Path, tmp_path: Path) -> None:
    """A plain file, one that is not at its start, a decompressor, whose descriptor is of other bytes, and a pipe."""
    signed = hsm_dicom.sign(as_bytes(clean), None, WHO)
    (tmp_path / "plain").write_bytes(signed)
    (tmp_path / "behind").write_bytes(b"front" + signed)
    (tmp_path / "packed").write_bytes(gzip.compress(signed))
    reading, writing = os.pipe()
    feeder = threading.Thread(target=_write, args=(writing, signed))
    feeder.start()
    with (
        (tmp_path / "plain").open("rb") as plain,
        (tmp_path / "behind").open("rb") as behind,
        gzip.open(tmp_path / "packed") as packed,
        os.fdopen(reading, "rb") as pipe,
    ):
        behind.seek(5)
        for file in (plain, behind, packed, pipe):
            assert hsm_dicom.verify(file, trust=TRUST).valid  # type: ignore[arg-type]
            assert not file.closed
            assert file.read() == b""
    feeder.join()


def test_a_large_stream_is_copied_out_of_memory(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsm_dicom.dataset.inputs._IN_MEMORY", 1000)
    signed = io.BytesIO()
    hsm_dicom.sign(io.BytesIO(clean.read_bytes()), signed, WHO)
    assert hsm_dicom.verify(io.BytesIO(signed.getvalue()), trust=TRUST).valid


def test_a_deflated_dataset_stays_deflated(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(image("image_dfl.dcm"))
    signed = hsm_dicom.sign(dataset, None, WHO, profile="base")
    assert signed.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID
    assert check_integrity(signed).signatures[0].intact


def test_messages_call_an_object_without_a_path_by_its_form(clean: Path) -> None:
    with pytest.raises(NotDicomError, match="^<bytes>: not a DICOM file"):
        hsm_dicom.verify(b"no DICOM")
    with pytest.raises(NotDicomError, match=r"^<Dataset>: .*file_meta\.TransferSyntaxUID"):
        hsm_dicom.verify(Dataset())
    unencodable = as_dataset(clean)
    with pytest.warns(UserWarning, match="VR US"):
        unencodable.Rows = "many"
    with pytest.raises(DicomFileError, match="^<Dataset>: cannot be encoded by pydicom"):
        hsm_dicom.sign(unencodable, None, WHO)


def test_a_file_is_replaced_only_where_that_is_asked_for(clean: Path, tmp_path: Path) -> None:
    target = tmp_path / "there.dcm"
    target.write_bytes(b"")
    with pytest.raises(TargetExistsError):
        hsm_dicom.sign(clean, target, WHO)
    with pytest.raises(TargetIsSourceError):
        hsm_dicom.sign(clean, clean, WHO)
    with pytest.raises(ValueError, match="overwrite=True"):
        hsm_dicom.sign(clean, None, WHO)  # type: ignore[call-overload]
    assert not check_integrity(clean).signatures
    hsm_dicom.sign(clean, clean, WHO, overwrite=True)
    hsm_dicom.sign(clean, target, WHO, overwrite=True)
    assert len(check_integrity(target).signatures) == 2


def test_a_clean_copy_is_made_of_bytes_too(clean: Path) -> None:
    """Without its preamble a file is refused as it is."""
    cut = clean.read_bytes()[128:]
    with pytest.raises(NotDicomError):
        hsm_dicom.sign(cut, None, WHO)
    signed = hsm_dicom.sign(cut, None, WHO, repair=True)
    assert hsm_dicom.verify(signed, trust=TRUST).valid


@pytest.fixture
def association() -> Iterator[Callable[[Callable[[Any], int]], Any]]:
    """Serve an EVT_C_STORE handler on loopback, and send what is to be stored."""
    servers = []

    def store(handler: Callable[[Any], int], dataset: Dataset) -> int:
        listener = AE()
        listener.add_supported_context(CTImageStorage)
        server = listener.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handler)])
        servers.append(server)
        caller = AE()
        caller.add_requested_context(CTImageStorage, dataset.file_meta.TransferSyntaxUID)
        made = caller.associate("127.0.0.1", server.server_address[1])
        assert made.is_established
        status = made.send_c_store(dataset)
        made.release()
        return int(status.Status)

    yield store  # type: ignore[misc]
    for server in servers:
        server.shutdown()


def test_a_c_store_handler_signs_and_verifies_without_a_file(association: Any, clean: Path) -> None:
    signed: list[Any] = []
    indications: list[Indication] = []

    def sign_dataset(event: Any) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        signed.append(hsm_dicom.sign(dataset, None, WHO))
        return 0x0000

    def sign_encoded(event: Any) -> int:
        signed.append(hsm_dicom.sign(event.encoded_dataset(), None, WHO))
        return 0x0000

    def verify_both(event: Any) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        for source in (dataset, event.encoded_dataset()):
            verdict = hsm_dicom.verify(source, trust=TRUST)
            indications.append(verdict.signatures[0].indication)
            assert verdict.valid
        return 0x0000

    sent = pydicom.dcmread(clean)
    assert association(sign_dataset, sent) == 0x0000
    assert association(sign_encoded, sent) == 0x0000
    for one in signed:
        dataset = pydicom.dcmread(io.BytesIO(one)) if isinstance(one, bytes) else one
        assert association(verify_both, dataset) == 0x0000
    assert len(indications) == 4
    assert all(one.good for one in indications)
