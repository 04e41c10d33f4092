"""Many files by one call each, and what a verdict says by itself."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import hsm_dicom
from hsm_dicom.events import Event, SignatureMade, SignatureValidated, subscribe
from hsm_dicom.signatures import SigningRequest, sign
from hsm_dicom.signing import add_timestamp
from hsm_dicom.timestamps.protocol import TimestampError
from hsm_dicom.validation import Indication, Outcome, Verdict
from tests.hsm_dicom.validation.verdict_cases import CA, SIGNER, TIME_CA, Desk, bare_copy, image
from tests.softhsm import TestToken
from tokens import open_key
from tokens.errors import Error, TokenError

WHO = (SIGNER.key, SIGNER.certificate)
TRUST = CA.certificate


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """An image of which everything can be signed."""
    return bare_copy(image("CT_small.dcm"), tmp_path / "clean.dcm")


@pytest.fixture
def several(clean: Path, tmp_path: Path) -> list[Path]:
    """Five files, one of them no DICOM file."""
    paths = [Path(shutil.copy(clean, tmp_path / f"{number}.dcm")) for number in range(4)]
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM")
    return [*paths, tmp_path / "broken.dcm"]


def events_of(run: Callable[[], object], kind: type[Event]) -> list[Event]:
    seen: list[Event] = []
    with subscribe(seen.append):
        run()
    return [event for event in seen if isinstance(event, kind)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_files_are_signed_into_a_folder_and_verified(several: list[Path], tmp_path: Path, jobs: int) -> None:
    folder = tmp_path / "new" / "signed"
    outcomes = list(hsm_dicom.sign_files(several, folder, WHO, jobs=jobs))
    failed = [outcome.job.source for outcome in outcomes if outcome.error]
    assert (len(outcomes), failed) == (5, [str(several[-1])])
    verdicts = list(hsm_dicom.verify_files([*folder.iterdir(), several[-1]], trust=TRUST, jobs=jobs))
    assert sorted(verdict.outcome for verdict in verdicts) == [Outcome.GOOD] * 4 + [Outcome.UNREADABLE]
    assert [verdict.name for verdict in verdicts if not verdict.valid] == [str(several[-1])]
    again = list(hsm_dicom.sign_files(several[:4], folder, WHO, jobs=jobs, resume=True))
    assert all(outcome.earlier for outcome in again)


def test_files_are_signed_as_a_mapping_says(several: list[Path], tmp_path: Path) -> None:
    goals = {source: tmp_path / f"signed-{source.stem}" / "image.dcm" for source in several[:4]}
    assert not [outcome.error for outcome in hsm_dicom.sign_files(goals, goals, WHO) if outcome.error]
    assert all(hsm_dicom.verify(goal, trust=TRUST).valid for goal in goals.values())


def test_stopping_begins_no_further_file(several: list[Path], tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert list(hsm_dicom.sign_files(several, tmp_path / "out", WHO, stop=stop)) == []
    assert list(hsm_dicom.verify_files(several, stop=stop)) == []


def test_each_signature_and_each_verdict_is_an_event(several: list[Path], tmp_path: Path) -> None:
    made = events_of(lambda: list(hsm_dicom.sign_files(several, tmp_path / "out", WHO)), SignatureMade)
    assert {event.target for event in made} == {str(tmp_path / "out" / path.name) for path in several[:4]}  # type: ignore[attr-defined]
    (one,) = events_of(lambda: hsm_dicom.sign(several[0].read_bytes(), None, WHO), SignatureMade)
    assert (one.file, one.target, one.signer) == ("<bytes>", "<bytes>", SIGNER.certificate.subject.rfc4514_string())  # type: ignore[attr-defined]
    (given,) = events_of(lambda: hsm_dicom.verify(tmp_path / "out" / "0.dcm", trust=TRUST), SignatureValidated)
    assert given.verdict.startswith("valid")  # type: ignore[attr-defined]

    def fail() -> None:
        with pytest.raises(Error):
            hsm_dicom.sign(several[-1], tmp_path / "x", WHO)

    assert not events_of(fail, SignatureMade)


def test_a_lost_token_stops_a_batch_with_its_error(several: list[Path], tmp_path: Path, token: TestToken) -> None:
    token.generate("lost")
    with open_key(token.uri("lost")) as key:
        certificate = CA.issue("lost", key=key).certificate
        shutil.rmtree(token_folder(token))
        with pytest.raises(TokenError):
            list(hsm_dicom.sign_files(several[:4], tmp_path / "out", (key, certificate)))
    assert list((tmp_path / "out").iterdir()) == []


def token_folder(token: TestToken) -> Path:
    """The folder in which SoftHSM keeps this token."""
    import os

    conf = Path(os.environ["SOFTHSM2_CONF"]).read_text()
    tokens = Path(next(line.partition("=")[2].strip() for line in conf.splitlines() if "tokendir" in line))
    (found,) = [p for p in tokens.iterdir() if token.serial.encode() in (p / "token.object").read_bytes()]
    return found


@pytest.mark.interop
def test_a_time_stamp_of_another_signature_is_refused(clean: Path, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    stamp = desk.stamp_by(TIME_CA.issue("Time", extended=["1.3.6.1.5.5.7.3.8"], extended_critical=True))
    good = hsm_dicom.sign(clean, tmp_path / "good.dcm", WHO, timestamp=stamp)
    assert good.timestamped
    other = stamp(b"another signature")
    with pytest.raises(TimestampError, match="not usable, and nothing was written"):
        hsm_dicom.sign(clean, tmp_path / "bad.dcm", WHO, timestamp=lambda _: other)
    (outcome,) = hsm_dicom.sign_files([clean], {clean: tmp_path / "bad.dcm"}, WHO, timestamp=lambda _: other)
    assert isinstance(outcome.error, TimestampError)
    plain = hsm_dicom.sign(clean, tmp_path / "plain.dcm", WHO)
    with pytest.raises(TimestampError):
        add_timestamp(plain.target, plain.uid, other, tmp_path / "bad.dcm")
    assert not (tmp_path / "bad.dcm").exists()


def verdict_on(path: Path, **arguments: object) -> Verdict:
    return hsm_dicom.verify(path, **arguments)  # type: ignore[arg-type]


def test_a_verdict_is_neither_true_nor_false(clean: Path) -> None:
    with pytest.raises(TypeError, match="use its attribute valid"):
        bool(hsm_dicom.verify(clean))


def test_a_policy_may_have_rules_for_modalities_and_senders(clean: Path, tmp_path: Path) -> None:
    whole = hsm_dicom.sign(clean, tmp_path / "whole.dcm", WHO).target
    rules = [{"when": {"modalities": ["CT"], "calling_ae_titles": ["CT1"]}, "require": ["timestamp"]}]
    policy = hsm_dicom.Policy(rules=rules, otherwise="accept")
    assert verdict_on(whole, trust=TRUST, policy=policy).outcome is Outcome.EXEMPT
    unmet = verdict_on(whole, trust=TRUST, policy=policy, calling_ae_title="CT1")
    assert [one.code for one in unmet.unmet] == ["no-timestamp"]
    assert unmet.unmet[0].remedy
    (one,) = hsm_dicom.verify_files([whole], trust=TRUST, policy=policy, calling_ae_title="CT1")
    assert (one.outcome, one.rule) == (Outcome.POLICY_NOT_MET, "rule 1")
    with pytest.raises(TypeError, match="calling_ae_title must be a text"):
        hsm_dicom.verify(whole, calling_ae_title=1)  # type: ignore[arg-type]


def test_valid_is_true_only_if_everything_is(clean: Path, tmp_path: Path) -> None:
    unsigned = verdict_on(clean, trust=TRUST)
    assert (unsigned.valid, unsigned.outcome, unsigned.exit_status) == (False, Outcome.NO_SIGNATURE, 100)

    whole = Path(hsm_dicom.sign(clean, tmp_path / "whole.dcm", WHO).target)
    good = verdict_on(whole, trust=TRUST)
    assert (good.valid, good.exit_status) == (True, 0)

    nobody = verdict_on(whole)
    assert (nobody.valid, nobody.exit_status) == (False, 101)
    assert nobody.signatures[0].indication is Indication.INDETERMINATE
    assert "no trust anchors" in nobody.signatures[0].text

    policy = hsm_dicom.Policy(require=frozenset({"timestamp"}))  # type: ignore[arg-type]
    unmet = verdict_on(whole, trust=TRUST, policy=policy)
    assert (unmet.valid, unmet.exit_status) == (False, 102)

    changed = tmp_path / "changed.dcm"
    changed.write_bytes(whole.read_bytes().replace(b"CompressedSamples^CT1", b"CompressedSamples^CT2"))
    bad = verdict_on(changed, trust=TRUST)
    assert (bad.valid, bad.exit_status) == (False, 101)

    part = Path(hsm_dicom.sign(clean, tmp_path / "part.dcm", WHO, "base", tags=["Rows"]).target)
    questionable = verdict_on(part, trust=TRUST)
    assert (questionable.valid, questionable.exit_status) == (False, 102)


def test_a_signature_of_an_item_alone_does_not_make_an_object_valid(tmp_path: Path) -> None:
    source = bare_copy(image("CT_small.dcm"), tmp_path / "clean.dcm")
    import pydicom
    from pydicom.dataset import Dataset

    dataset = pydicom.dcmread(source)
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    dataset.ReferencedImageSequence = [item]
    request = SigningRequest(SIGNER.certificate, item=((0x00081140, 0),))
    dataset.save_as(tmp_path / "with-item.dcm")
    sign(tmp_path / "with-item.dcm", tmp_path / "signed.dcm", SIGNER.key, request)
    verdict = verdict_on(tmp_path / "signed.dcm", trust=TRUST)
    assert verdict.signatures[0].indication.good
    assert not verdict.valid


def test_trust_is_a_path_several_a_certificate_or_a_store(clean: Path, tmp_path: Path) -> None:
    signed = hsm_dicom.sign(clean, tmp_path / "signed.dcm", WHO).target
    (tmp_path / "anchors").mkdir()
    (tmp_path / "anchors" / "ca.pem").write_bytes(CA.pem)
    (tmp_path / "time.pem").write_bytes(TIME_CA.pem)
    folder, file = tmp_path / "anchors", tmp_path / "anchors" / "ca.pem"
    store = hsm_dicom.TrustStore.from_files([file])
    for trust in (folder, file, str(file), [tmp_path / "time.pem", file], TRUST, [TRUST, file], store):
        assert hsm_dicom.verify(signed, trust=trust).valid  # type: ignore[arg-type]
    for trust in (None, [], tmp_path / "time.pem"):
        assert not hsm_dicom.verify(signed, trust=trust).valid  # type: ignore[arg-type]


def test_a_policy_is_taken_from_its_file(clean: Path, tmp_path: Path) -> None:
    signed = hsm_dicom.sign(clean, tmp_path / "signed.dcm", WHO).target
    (tmp_path / "policy.toml").write_text('require = ["timestamp"]\n')
    assert not hsm_dicom.verify(signed, trust=TRUST, policy=tmp_path / "policy.toml").valid
