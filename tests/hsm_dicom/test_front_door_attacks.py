"""Arguments that would quietly mean something else: each is refused before a key is used or anything is written."""

from __future__ import annotations

import io
import ssl
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import hsm_dicom
from hsm_dicom.dataset.errors import TargetIsSourceError
from hsm_dicom.identity import Identity
from hsm_dicom.tls.legacy.context import LegacyContext
from hsm_dicom.tls.settings import LegacyExemption
from hsm_dicom.trust import CertificateValidator
from tests.hsm_dicom.validation.verdict_cases import CA, SIGNER, bare_copy, image

WHO = (SIGNER.key, SIGNER.certificate)
IDENTITY = Identity("room", SIGNER.key, SIGNER.certificate)
VALIDATOR = CertificateValidator(hsm_dicom.TrustStore([CA.certificate]))


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return bare_copy(image("CT_small.dcm"), tmp_path / "clean.dcm")


@pytest.mark.parametrize("mode", ["mutual", "MUTUAL"])
def test_mutual_authentication_as_text_asks_for_the_client_certificate(mode: str) -> None:
    """A text is not the member of the enum: compared by identity it would have meant one-way."""
    context = hsm_dicom.server_context([IDENTITY], VALIDATOR, authentication=mode)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert hsm_dicom.client_context(IDENTITY, VALIDATOR, authentication=mode).verify_mode is ssl.CERT_REQUIRED
    one_way = hsm_dicom.server_context([IDENTITY], None, authentication="one-way")
    assert one_way.verify_mode is ssl.CERT_NONE


def test_mutual_authentication_as_text_counts_in_retired_profiles_too() -> None:
    with pytest.raises(ValueError, match="authentication must be one of 'mutual', 'one-way', not 'both'"):
        LegacyContext(
            LegacyExemption(profile="aes", reason="test", until=date.max),
            IDENTITY,
            VALIDATOR,
            server_side=True,
            authentication="both",
        )


@pytest.mark.parametrize(
    ("arguments", "error", "wanted"),
    [
        (([IDENTITY], VALIDATOR, {"authentication": "both"}), ValueError, "one of 'mutual', 'one-way', not 'both'"),
        (([IDENTITY], VALIDATOR, {"authentication": None}), TypeError, "one of 'mutual', 'one-way', not None"),
        (([IDENTITY], VALIDATOR, {"profile": "bcp"}), ValueError, "profile must be one of 'bcp195.*, not 'bcp'"),
        (([IDENTITY], VALIDATOR, {"profile": 13}), TypeError, "profile must be one of .*, not int"),
        ((IDENTITY, VALIDATOR, {}), TypeError, "identities must be a list of Identity .*, not Identity"),
        (("node", VALIDATOR, {}), TypeError, "identities must be a list of Identity .*, not str"),
        ((None, VALIDATOR, {}), TypeError, "identities must be a list of Identity .*, not None"),
        (([None], VALIDATOR, {}), TypeError, "must be an Identity .*, not None"),
        (([IDENTITY], "ca.pem", {}), TypeError, "trust must be a TrustStore, a CertificateValidator .*, not str"),
    ],
)
def test_a_server_context_says_what_it_wants(
    arguments: tuple[Any, Any, dict[str, Any]], error: type[Exception], wanted: str
) -> None:
    identities, validator, options = arguments
    with pytest.raises(error, match=wanted):
        hsm_dicom.server_context(identities, validator, **options)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("node", VALIDATOR, {}), "must be an Identity .*, not str"),
        ((IDENTITY, "ca.pem", {}), "trust must be a TrustStore, a CertificateValidator .*, not str"),
        ((IDENTITY, VALIDATOR, {"check_hostname": None}), "check_hostname must be True or False, not None"),
    ],
)
def test_a_client_context_says_what_it_wants(arguments: tuple[Any, Any, dict[str, Any]], wanted: str) -> None:
    identity, validator, options = arguments
    with pytest.raises(TypeError, match=wanted):
        hsm_dicom.client_context(identity, validator, **options)


def test_an_empty_path_is_not_the_current_folder(clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a variable that is not set would trust every certificate that lies about."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("ca.pem").write_bytes(CA.pem)
    signed = hsm_dicom.sign(clean.read_bytes(), None, WHO)
    for attempt in (
        lambda: hsm_dicom.verify(signed, trust=""),
        lambda: hsm_dicom.verify(signed, timestamp_trust=[""]),
        lambda: hsm_dicom.verify(signed, policy=""),
        lambda: hsm_dicom.verify(""),
        lambda: hsm_dicom.sign(clean, "", WHO),
        lambda: hsm_dicom.sign_files([clean], "", WHO),
        lambda: hsm_dicom.verify_files([""]),
        lambda: hsm_dicom.TrustStore.from_files([""]),
        lambda: hsm_dicom.load_identity("node", ""),
    ):
        with pytest.raises(ValueError, match="must be a path, not an empty text"):
            attempt()  # type: ignore[no-untyped-call]
    assert [path.name for path in Path().iterdir()] == ["ca.pem"]
    with pytest.raises(ValueError, match="a path has no NUL character"):
        hsm_dicom.verify("a\0b")


class Trickle(io.RawIOBase):
    """A file that does not block: it has nothing to read yet, although more will come."""

    def __init__(self, data: bytes) -> None:
        self._parts: list[bytes | None] = [data, None, b"the rest"]

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes | None:
        return self._parts.pop(0)


def test_what_has_not_come_yet_is_not_left_out(clean: Path) -> None:
    for work in (lambda file: hsm_dicom.sign(file, io.BytesIO(), WHO), hsm_dicom.verify):
        with pytest.raises(BlockingIOError, match="cannot be read without waiting"):
            work(Trickle(clean.read_bytes()))


def test_an_open_target_that_is_the_source_is_left_alone(clean: Path, tmp_path: Path) -> None:
    before = clean.read_bytes()
    linked = tmp_path / "linked.dcm"
    linked.hardlink_to(clean)
    with clean.open("r+b") as both, linked.open("r+b") as other, clean.open("rb") as reading:
        for source, target in ((both, both), (str(clean), both), (linked, both), (reading, other)):
            with pytest.raises(TargetIsSourceError, match="is the source itself"):
                hsm_dicom.sign(source, target, WHO)  # type: ignore[arg-type, call-overload]
    buffer = io.BytesIO(before)
    with pytest.raises(TargetIsSourceError, match="is the source itself"):
        hsm_dicom.sign(buffer, buffer, WHO)
    assert clean.read_bytes() == buffer.getvalue() == before


def test_a_file_that_is_open_for_the_other_use_is_refused_before_a_signature(clean: Path, tmp_path: Path) -> None:
    with clean.open("rb") as reading, pytest.raises(ValueError, match="open for reading only"):
        hsm_dicom.sign(image(), reading, WHO)
    with (tmp_path / "w").open("wb") as writing, pytest.raises(ValueError, match="open for writing only"):
        hsm_dicom.verify(writing)
    closed = io.BytesIO()
    closed.close()
    with pytest.raises(ValueError, match="closed file"):
        hsm_dicom.verify(closed)
    with pytest.raises(ValueError, match="closed file"):
        hsm_dicom.sign(clean, closed, WHO)


def test_stop_and_sources_of_pins_are_checked(clean: Path) -> None:
    with pytest.raises(TypeError, match=r"stop must be a threading\.Event, not bool"):
        hsm_dicom.verify_files([clean], stop=True)  # type: ignore[arg-type]
    for name in ("pin", "default_pin"):
        with pytest.raises(TypeError, match=f"^{name} must be a source of a PIN, .*, not int") as caught:
            hsm_dicom.load_identity("node", **{name: 123456})  # type: ignore[arg-type]
        assert "123456" not in repr(caught.value)
        with pytest.raises(hsm_dicom.Error, match="A PIN source is one of") as refused:
            hsm_dicom.load_identity("node", **{name: "123456"})  # type: ignore[arg-type]
        assert "123456" not in str(refused.value)


def test_a_trust_store_says_what_it_wants(tmp_path: Path) -> None:
    for anchors in (CA.certificate, "ca.pem", CA.pem, None, 7):
        with pytest.raises(TypeError, match=r"anchors must be a list of x509\.Certificate, not "):
            hsm_dicom.TrustStore(anchors)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"One of the trust anchors must be an x509\.Certificate, not str"):
        hsm_dicom.TrustStore(["ca.pem"])  # type: ignore[list-item]
    for files in ("ca.pem", Path("ca.pem"), b"ca.pem", None):
        with pytest.raises(TypeError, match="Files must be a list of paths, not "):
            hsm_dicom.TrustStore.from_files(files)  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_made_is_the_outcome_of_its_file(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    goal = tmp_path / "file" / "out.dcm"
    outcomes = list(
        hsm_dicom.sign_files([clean, image("MR_small.dcm")], {clean: goal, image("MR_small.dcm"): tmp_path / "mr"}, WHO)
    )
    errors = {outcome.job.target: outcome.error for outcome in outcomes}
    assert isinstance(errors[str(goal)], hsm_dicom.Error)
    assert len(errors) == 2


@pytest.mark.parametrize("count", [0, -5, 10**9, "all"])
def test_a_target_that_does_not_say_what_it_wrote_is_refused(clean: Path, count: Any) -> None:
    """Without an end, or with bytes left out."""
    calls: list[int] = []

    class Target:
        def write(self, data: memoryview) -> Any:
            calls.append(len(data))
            assert len(calls) < 100
            return count

    with pytest.raises(OSError, match=r"write\(\) returned .* the object is incomplete"):
        hsm_dicom.sign(clean, Target(), WHO)  # type: ignore[call-overload]
    assert len(calls) == 1


def test_an_identity_says_what_it_wants() -> None:
    with pytest.raises(TypeError, match="key of an identity must be an RSA or EC private key, not None"):
        Identity("room", None, SIGNER.certificate)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"certificate of an identity must be an x509\.Certificate, not bytes"):
        Identity("room", SIGNER.key, SIGNER.der)  # type: ignore[arg-type]
