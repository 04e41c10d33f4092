"""What may be asked of signatures, how it is written down, and what is said when it is not met."""

from __future__ import annotations

import pickle
import re
import tomllib
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydantic import ValidationError

from hsm_dicom.signatures import Profile, check_integrity
from hsm_dicom.signatures.coverage.parts import PICTURE
from hsm_dicom.trust import ARCHIVE, RevocationPolicy
from hsm_dicom.validation.policies import policy as module
from hsm_dicom.validation.policies.policy import (
    DemandsSection,
    PolicyError,
    Requirement,
    VerificationPolicy,
    load_policy,
)
from hsm_dicom.validation.validator import Indication, Outcome
from tests.hsm_dicom.validation.verdict_cases import (
    IDENTITY_TAGS,
    MANUFACTURER,
    PATIENT_ID,
    PIXELS,
    STAMPER,
    Desk,
    everything_but,
    image,
    only,
    validator,
)

DOCUMENT = Path(__file__).parents[3] / "docs" / "explanation/verdicts.md"


def unmet(desk: Desk, *, require: Any = (), cover: Any = (), **wishes: Any) -> tuple[str, ...]:
    """Sign a file, and return what of the policy is not met."""
    verdict = validator(require=require, cover=cover).validate(desk.verified(**wishes))
    unmet, good = (Outcome.POLICY_NOT_MET, Outcome.QUESTIONABLE), (Outcome.GOOD,)
    assert verdict.outcome in (unmet if verdict.unmet else good)
    return tuple(one.text for one in verdict.unmet)


def test_a_demand_for_any_signature_is_met_by_one_over_the_main_data_set(desk: Desk) -> None:
    assert unmet(desk, require={"any"}, profile=Profile.NONE) == ()
    of_item = unmet(desk, require={"any"}, source="reportsi.dcm", item=((0x0040A730, 0),))
    assert of_item == ("There is no valid signature over the main Data Set.",)


def test_a_signature_that_leaves_the_picture_open_meets_no_demand(desk: Desk) -> None:
    """What readers take a signature for is the object: who asks for any signature does not ask for one of a number."""
    assert unmet(desk, require={"any"}, profile=Profile.NONE, tags=(PATIENT_ID,)) == (
        "There is no valid signature over the main Data Set.",
    )


def test_a_profile_is_met_by_what_is_covered_and_not_by_what_is_claimed(desk: Desk) -> None:
    assert unmet(desk, require={"creator", "authorization"}, profile=Profile.BASE) == ()
    assert unmet(desk, require={"creator"}, profile=Profile.BASE, tags=(PATIENT_ID,)) == (
        "No valid signature meets the Creator profile.",
    )
    assert unmet(desk, require={"authorization"}, tags=(PATIENT_ID,)) == (
        "No valid signature meets the Authorization profile.",
    )


def test_a_report_meets_the_demand_for_a_report(desk: Desk) -> None:
    assert unmet(desk, require={"sr"}, source="reportsi.dcm", profile=Profile.SR, purpose=1) == ()
    assert unmet(desk, require={"sr"}) == ("No valid signature meets the Structured Report profile.",)


@pytest.mark.interop
def test_a_time_stamp_is_asked_of_the_signature_that_meets_the_rest(desk: Desk) -> None:
    both = {"creator", "timestamp"}
    assert unmet(desk, require=both, stamper=STAMPER) == ()
    assert unmet(desk, require=both) == ("No valid signature has a valid time stamp.",)
    report = desk.sign("reportsi.dcm", tags=everything_but("reportsi.dcm", MANUFACTURER), stamper=STAMPER)
    (missing,) = validator(require=both).validate(check_integrity(desk.sign(report))).unmet
    assert missing.text == "No valid signature that meets the other demands meets the Creator profile."


def test_what_must_be_covered_is_asked_of_the_signature_that_meets_the_rest(desk: Desk) -> None:
    parts = {"pixel data", "identity"}
    assert unmet(desk, require={"creator"}, cover={*parts, "geometry", "content"}) == ()
    assert unmet(desk, cover=parts, tags=(PIXELS,)) == (
        "No valid signature covers the pixel data.",  # of which the pixels alone are a part
        "No valid signature covers the identity.",
    )
    assert unmet(desk, cover=parts, tags=IDENTITY_TAGS) == ("No valid signature covers the pixel data.",)
    assert unmet(desk, cover=parts, require={"timestamp"}) == ("No valid signature has a valid time stamp.",)
    assert unmet(desk, cover=parts, require={"timestamp"}, tags=IDENTITY_TAGS) == (
        "No valid signature covers the pixel data.",
        "No valid signature has a valid time stamp.",
    )


def test_pixel_data_is_covered_with_what_says_how_it_is_read(desk: Desk) -> None:
    assert unmet(desk, cover={"pixel data"}, tags=(*IDENTITY_TAGS, PIXELS)) == (
        "No valid signature covers the pixel data.",
    )
    picture = tuple(sorted(PICTURE & {int(element.tag) for element in pydicom.dcmread(image())}))
    assert unmet(desk, cover={"pixel data"}, tags=(*IDENTITY_TAGS, *picture)) == (
        "There is no valid signature over the main Data Set.",
    )
    assert unmet(desk, cover={"geometry"}, tags=(*IDENTITY_TAGS, *picture)) == (
        "No valid signature covers the geometry.",
    )


def test_the_content_of_a_report_can_be_demanded(desk: Desk) -> None:
    report = "reportsi.dcm"
    assert unmet(desk, cover={"content"}, source=report) == ()
    assert unmet(desk, cover={"content"}, source=report, tags=everything_but(report, 0x0040A730)) == (
        "No valid signature covers the content.",
    )


def test_an_absent_picture_deceives_nobody_but_an_object_must_say_which_one_it_is(desk: Desk) -> None:
    assert unmet(desk, cover={"pixel data", "identity"}, source="reportsi.dcm") == ()
    anonymous = pydicom.dcmread(image())
    del anonymous.SOPInstanceUID
    source = desk.folder / "anonymous.dcm"
    anonymous.save_as(source)
    assert unmet(desk, cover={"identity"}, source=source) == ("No valid signature covers the identity.",)


def test_a_signature_that_is_not_valid_meets_nothing(desk: Desk) -> None:
    path = desk.sign()
    path.write_bytes(path.read_bytes().replace(b"CompressedSamples", b"DompressedSamples", 1))
    verdict = validator(require={"any"}).validate(check_integrity(path))
    assert [one.text for one in verdict.unmet] == ["There is no valid signature over the main Data Set."]
    assert verdict.outcome is Outcome.SIGNATURE_FAILED


def test_an_unsigned_file_is_unsigned_whatever_is_required() -> None:
    verdict = validator(require={"any"}).validate(check_integrity(image()))
    assert verdict.unmet
    assert verdict.outcome is Outcome.NO_SIGNATURE


def test_requirements_of_a_command_line_add_to_those_of_a_file() -> None:
    policy = VerificationPolicy(require={"timestamp"}).with_requirements([Requirement.CREATOR])
    assert policy.require == {Requirement.TIMESTAMP, Requirement.CREATOR}


def test_the_policy_reaches_the_judgement_on_certificates() -> None:
    trust = VerificationPolicy(minimum_rsa_bits=3072, revocation="required", curves={"ed25519"}).trust
    assert trust.algorithms.minimum_rsa_bits == trust.algorithms.advised_rsa_bits == 3072
    assert trust.revocation is RevocationPolicy.REQUIRED
    assert trust.algorithms.curves == {"ed25519"}
    assert VerificationPolicy().trust.algorithms == ARCHIVE


def test_a_policy_is_frozen_and_travels() -> None:
    policy = VerificationPolicy(cover={"identity"})
    with pytest.raises(ValidationError):
        policy.minimum_rsa_bits = 512  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(policy)) == policy


# --- The file ----------------------------------------------------------------------------------------------------


def examples() -> list[str]:
    """The policies that are shown, in the module and to the officer."""
    in_module = re.findall(r"(?m)^    require .*\n(?:    .*\n)+", module.__doc__ or "")
    in_document = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return [re.sub(r"(?m)^    ", "", text) for text in in_module] + in_document


def test_the_examples_show_every_key_and_are_accepted(tmp_path: Path, desk: Desk) -> None:
    shown = examples()
    assert len(shown) == 2
    for number, text in enumerate(shown):
        file = tmp_path / f"{number}.toml"
        file.write_text(text)
        assert set(tomllib.loads(text)) == set(DemandsSection.model_fields)
        policy = load_policy(file)
        strict = validator(**policy.model_dump(exclude_unset=True)).validate(desk.verified())
        assert only(strict).indication is Indication.VALID_BUT
        assert strict.unmet


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "requires = ['any']",
            "1: requires: The key 'requires' is unknown here. Did you mean 'require'? Known keys: advised_rsa_bits,",
        ),
        ("\nrequire = ['all']", "2: require.0: The value is not allowed. Write one of: 'any', 'creator'"),
        ("require = 'any'", '1: require: The value must be a list. Write it like ["one", "two"].'),
        ("cover = ['name']", "Write one of: 'pixel data', 'geometry', 'content' or 'identity'."),
        ("mac_algorithms = ['SHA3']", "1: mac_algorithms.0: The value is not allowed. Write one of: 'SHA256'"),
        ("curves = ['P-256']", "1: curves.0: The value is not allowed. Write one of: brainpoolP256r1,"),
        ("certificate_hashes = ['crc']", "1: certificate_hashes.0: The value is not allowed. Write one of: md5,"),
        (
            "extended_key_usages = ['any']",
            "emailProtection, codeSigning, clientAuth, serverAuth, or a dotted identifier.",
        ),
        (
            "minimum_rsa_bits = '2048'",
            "minimum_rsa_bits: The value must be a whole number. Write it in digits, without quotation marks.",
        ),
        ("minimum_rsa_bits = 1", "minimum_rsa_bits: The number is too small. Write at least 512."),
        ("clock_tolerance = 100000", "clock_tolerance: The number is too large. Write at most 86400."),
        (
            "minimum_rsa_bits = 3072\nadvised_rsa_bits = 2048",
            "advised_rsa_bits is below minimum_rsa_bits. Raise it, or leave it out.",
        ),
        ("revocation = 'never'", "revocation: The value is not allowed. Write one of: 'when-given', 'required'"),
        ("require = [", "policy.toml:1: The value is not TOML"),
        ("a = 1\nb = 2", "The key 'a' is unknown here. Known keys:"),
        ("clock_tolerance = 1.5", "clock_tolerance: The value must be a whole number."),
        (
            "issuers = ['Hospital CA']",
            'The value is not a name in the form of RFC 4514. Write it like "CN=Hospital CA,O=',
        ),
        ("pins = ['ab']", "The pin is not a SHA-256 value. Write 64 hexadecimal digits"),
        ("[[rules]]\nwhen = {sop_classes = ['CT']}", "2: rules.0.when.sop_classes.0: The value is not a SOP Class."),
        (
            "[[rules]]\n[rules.when]\nmodality = ['CT']",
            "3: rules.0.when.modality: The key 'modality' is unknown here. Did",
        ),
        ("[[rules]]\nwhen = {modalities = []}", "2: rules.0.when.modalities: The list is empty."),
        ("otherwise = 'accept'", "otherwise is for objects that no rule matches, and the policy has no rules."),
        ("revocation_age_days = 0", "The number is too small. Write more than 0."),
        ("[require]\nany = true", "require: The value must be a list."),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place_and_remedy(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    with pytest.raises(PolicyError) as refused:
        load_policy(file)
    assert str(refused.value).startswith(f"{file}:")
    assert words in str(refused.value)


def test_a_second_mistake_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("a = 1\nb = 2")
    with pytest.raises(PolicyError, match=r"\(And 1 more\.\)"):
        load_policy(file)


def test_a_file_that_is_no_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"absent\.toml: the policy cannot be read \(No such file"):
        load_policy(tmp_path / "absent.toml")
    with pytest.raises(PolicyError, match=r"the policy cannot be read \(Is a directory\)"):
        load_policy(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# \xe4")
    with pytest.raises(PolicyError, match=r"latin\.toml:1:3: The line contains a character that is not UTF-8"):
        load_policy(tmp_path / "latin.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(PolicyError, match="is larger than 1 MiB"):
        load_policy(tmp_path / "large.toml")
