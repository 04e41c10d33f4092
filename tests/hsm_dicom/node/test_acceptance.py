"""What is made of a device that was tried: from operations that work to the jobs that it will do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hsm_dicom.node.acceptance import (
    USES,
    SessionKeys,
    assess_iscl,
    can_make_dicom_signatures,
    can_sign_dicom,
    is_ready_for_dicom,
)
from tests.softhsm import TestToken
from tests.tokens.secrets.devices import nss_device
from tokens import open_token, trials
from tokens.pkcs11.check import TokenCheck, check_token
from tokens.pkcs11.secret_keys.check import FormCheck, SecretCheck, SecretOperation, check_secrets
from tokens.policy import Finding, KeyPolicy, Weakness


@pytest.fixture(scope="module")
def checked(node: TestToken) -> TokenCheck:
    """A token with keys that sign and one that decrypts, tried as a whole."""
    with pytest.MonkeyPatch.context() as quick, open_token(node.uri()) as connection:
        quick.setattr(trials, "_SECONDS", 0.01)
        return check_token(connection, node.uri(), KeyPolicy())


@pytest.fixture(scope="module")
def single_des(softhsm: Path) -> FormCheck:
    """CKK_DES on NSS softokn, which runs it, but derives nothing from it."""
    with pytest.MonkeyPatch.context() as quick, nss_device().open() as secrets:
        quick.setattr(trials, "_SECONDS", 0.01)
        return check_secrets(secrets.device.connection, KeyPolicy()).forms[0]  # type: ignore[attr-defined]


def verdict_without(form: FormCheck, *failing: SecretOperation) -> tuple[bool, str]:
    """Whether ISCL is ready, and the sentence, where these operations of the form fail."""
    operations = tuple(replace(o, problem="It fails.") if o.operation in failing else o for o in form.operations)
    taken = replace(form, operations=operations)
    verdict = assess_iscl(SecretCheck((taken,), taken))
    return verdict.is_ready, verdict.text


def test_what_is_needed_for_something_is_what_is_really_tried(checked: TokenCheck) -> None:
    assert checked.secrets is not None
    tried = {o.operation for key in checked.keys for o in key.operations}
    tried |= {o.operation for form in checked.secrets.forms for o in form.operations}
    # What is tried only where something else does not work: tests/interop/modules/test_tpm.py sees it tried.
    instead = {"RSASSA-PKCS1-v1_5, SHA256, hashed by the device"}
    assert set(USES) - instead <= tried


def test_a_token_is_ready_if_one_key_makes_the_signatures_of_dicom(checked: TokenCheck) -> None:
    assert [key.label for key in checked.keys if can_sign_dicom(key)] == ["rsa"]
    assert is_ready_for_dicom(checked)
    assert not is_ready_for_dicom(replace(checked, keys=tuple(key for key in checked.keys if key.label != "rsa")))


def test_a_key_that_may_not_be_used_does_not_make_a_token_ready(checked: TokenCheck) -> None:
    [rsa] = [key for key in checked.keys if key.label == "rsa"]
    refused = replace(rsa, findings=(Finding(Weakness.EXTRACTABLE, "it can leave its token", refusal=True),))
    for key in (refused, replace(rsa, readable=True)):
        assert can_make_dicom_signatures(key.operations)
        assert not is_ready_for_dicom(replace(checked, keys=(key,)))


def test_a_token_that_does_all_keeps_session_keys(checked: TokenCheck) -> None:
    assert checked.secrets is not None
    verdict = assess_iscl(checked.secrets)
    assert verdict.is_ready
    assert verdict.session_keys is SessionKeys.TOKEN
    assert verdict.text == "ISCL: yes, CKK_DES2 K‖K, session keys stay on the token."


def test_a_token_that_derives_nothing_needs_the_host_for_session_keys(single_des: FormCheck) -> None:
    verdict = assess_iscl(SecretCheck((single_des,), single_des))
    assert verdict.is_ready
    assert verdict.session_keys is SessionKeys.HOST
    assert "CKK_DES K, with the fixed keys" in verdict.text
    assert "host_session_keys" in verdict.text


def test_a_token_without_cbc_authenticates_only(single_des: FormCheck) -> None:
    ready, sentence = verdict_without(single_des, SecretOperation.CBC_ENCRYPTION, SecretOperation.MAC)
    assert not ready
    assert sentence.startswith("ISCL: authentication only, CKK_DES K.")


@pytest.mark.parametrize("lacking", [SecretOperation.GET_CHALLENGE, SecretOperation.EXTERNAL_AUTHENTICATE])
def test_without_authentication_there_is_no_iscl(single_des: FormCheck, lacking: SecretOperation) -> None:
    ready, sentence = verdict_without(single_des, lacking)
    assert not ready
    assert sentence.startswith("ISCL: no, CKK_DES K does not authenticate")


def test_a_token_that_runs_no_form_is_reported(single_des: FormCheck) -> None:
    verdict = assess_iscl(SecretCheck((single_des,), None))
    assert not verdict.is_ready
    assert verdict.session_keys is None
    assert "runs no form of DES" in verdict.text
