"""The page for people: complete, self-contained, accessible, and deaf to what hostile files would have it do."""

from __future__ import annotations

import re
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from hsm_dicom.dataset.values import ObjectIdentity
from hsm_dicom.report import ReportError, write_html
from hsm_dicom.report.basis import describe_demands
from hsm_dicom.report.display import format_date, format_person_name
from hsm_dicom.report.html_report import html_page
from hsm_dicom.report.html_views import signature_view
from hsm_dicom.report.looks import look
from hsm_dicom.signatures import Profile, check_integrity
from hsm_dicom.validation.validator import Validator, Verdict, make_unreadable_verdict
from tests.hsm_dicom.report.chromium import rendered, seen
from tests.hsm_dicom.report.outline import Outline
from tests.hsm_dicom.validation.verdict_cases import CA, PATIENT_ID, SIGNER, STAMPER, Desk, image, validator
from tests.pki import Authority, new_key

pytestmark = pytest.mark.interop

_TEMPLATES = Path(__file__).parents[3] / "hsm_dicom/report/templates"
STYLES = "".join((_TEMPLATES / name).read_text() for name in ("look.css", "page.css"))


def page_of(*verdicts: Verdict, by: Validator | None = None, pictures: int = 200) -> str:
    return "".join(html_page(verdicts, by or validator(), pictures=pictures))


def outline(*verdicts: Verdict, by: Validator | None = None) -> Outline:
    return Outline(page_of(*verdicts, by=by))


@pytest.fixture
def many(desk: Desk) -> list[Verdict]:
    """One file of every kind."""
    stranger = Authority("Hospital CA", key=new_key("rsa2048", 5)).issue("Stranger", key=new_key("rsa2048", 6))
    broken = desk.sign("examples_rgb_color.dcm")
    broken.write_bytes(broken.read_bytes().replace(b"CompressedSamples", b"DompressedSamples", 1))
    paths = [
        desk.sign(profile=Profile.CREATOR, stamper=STAMPER),
        desk.sign("MR_small_RLE.dcm", mac="SHA1", allow_weak=True),
        desk.sign("examples_palette.dcm", stranger),
        broken,
        desk.sign("examples_ybr_color.dcm", tags=(PATIENT_ID,)),
        desk.sign("reportsi.dcm", item=((0x0040A730, 0),)),
        image(),
    ]
    verdicts = [validator().validate(check_integrity(path)) for path in paths]
    return [*verdicts, make_unreadable_verdict("/archive/bad.dcm", ValueError("not a DICOM file."))]


# --- What it says ------------------------------------------------------------------------------------------------


def test_a_page_says_what_was_validated_by_what_and_how_it_came_out(many: list[Verdict]) -> None:
    page = outline(*many)
    assert "5 of 8 files are not valid" in page.text
    assert "CN=Hospital CA, SHA-256 " in page.text
    assert "1 CRL, 0 OCSP responses." in page.text
    assert "Nothing is demanded of a file but that its signatures hold." in page.text
    for verdict in many:
        assert verdict.name.rpartition("/")[2] in page.text
        assert look(verdict).label in page.text
        for one in verdict.signatures:
            assert one.signature.uid in page.text
            for ground in one.grounds:
                assert ground.clause in page.text
                assert ground.detail in page.text


def test_a_page_about_one_file_has_its_verdict_as_title(many: list[Verdict]) -> None:
    titles = [outline(verdict).text.split(" · DICOM signatures", 1)[0] for verdict in many]
    assert titles == [
        "Valid",
        "Valid, with reservations",
        "Invalid",
        "Invalid",
        "Questionable",
        "Valid, with reservations",
        "Not signed",
        "The file could not be read",
    ]


@pytest.mark.browser
def test_a_questionable_signature_is_amber_and_unlike_a_valid_one(many: list[Verdict], tmp_path: Path) -> None:
    valid, valid_but, _, _, questionable, *_ = many
    looks = [look(verdict) for verdict in (valid, valid_but, questionable)]
    assert [one.kind for one in looks] == ["good", "but", "question"]
    page = outline(questionable)
    assert "Not protected by a valid signature" in page.text
    assert "protects none of them" not in page.text
    assert re.search(r"\b1 of \d+ elements are covered", page.text)
    assert {use["href"] for use in page.all("use")} >= {"#icon-question"}
    assert Outline(page_of(valid, questionable)).all("svg")[1]["class"] == "icon question", "the page's head"
    target = tmp_path / "page.html"
    write_html(target, [questionable], validator())
    light = {colour[:3] for colour in seen(target, tmp_path / "light").colours}
    assert (0x8D, 0x5B, 0x00) in light
    assert (0xB4, 0x26, 0x1F) not in light


def test_without_trust_anchors_the_page_says_so(desk: Desk) -> None:
    nobody = Validator.from_stores()
    page = outline(nobody.validate(desk.verified()), by=nobody)
    assert "Cannot tell who signed, because" in page.text
    assert "no trust anchors were given" in page.text
    assert page.text.count("None was given.") == 3


def test_what_an_invalid_signature_lists_is_not_called_covered(many: list[Verdict]) -> None:
    view = signature_view(many[3].signatures[0])
    assert "protects none of them" in view.coverage_text
    assert {kind for kind, _, _ in view.chips} == {"neutral"}
    assert view.chains == ()
    assert dict(view.facts)["Signed by"] == "CN=CT room, not proven"


def test_the_bar_shows_shares_that_add_up(many: list[Verdict]) -> None:
    for verdict in many:
        for one in verdict.signatures:
            view = signature_view(one)
            covers = one.signature.coverage
            assert covers is not None
            assert sum(part.count for part in view.segments) == (
                len(covers.signed) + len(covers.open) + len(covers.unsignable) + len(covers.missing)
            )
            last = view.segments[-1]
            assert last.left + last.width == pytest.approx(1000, abs=0.1)


def test_a_picture_says_whether_it_is_protected(many: list[Verdict]) -> None:
    for verdict, protected in zip(many[:5], (True, True, False, False, False), strict=True):
        page = outline(verdict)
        (picture,) = page.all("img")
        assert (picture["src"] or "").startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
        assert ("Protected by a valid signature" in page.text) is protected
        assert ("Not protected by a valid signature" in page.text) is not protected


def test_pictures_can_be_left_out_and_are_bounded(many: list[Verdict]) -> None:
    assert Outline(page_of(*many, pictures=0)).all("img") == []
    one = Outline(page_of(*many, pictures=1))
    assert len(one.all("img")) == 1
    assert one.text.count("only the first files of a long run have one") == 6


def test_the_page_of_an_archive_tells_what_is_not_valid_in_detail_and_lists_the_rest(many: list[Verdict]) -> None:
    page = Outline("".join(html_page(many, validator(), detailed=5)))
    worst_first = ["file-3", "file-4", "file-8", "file-7", "file-5"]
    assert [article["id"] for article in page.all("article")] == worst_first
    assert "5 of the 8 files follow in detail" in page.text
    for verdict in many:
        assert verdict.name in page.text
    links = {link["href"] or "" for link in page.all("a")}
    assert {link for link in links if "file" in link} == {"#file-3", "#file-4", "#file-5", "#file-7", "#file-8"}


def test_of_a_long_run_the_worst_files_come_first_and_have_the_pictures(many: list[Verdict]) -> None:
    good, failed = many[0], many[3]
    page = "".join(html_page([good] * 6 + [failed], validator(), pictures=1, detailed=3))
    outline = Outline(page)
    assert [article["id"] for article in outline.all("article")] == ["file-7", "file-1", "file-2"]
    assert page.index("<img") < page.index('id="file-1"')


def test_a_picture_that_fails_does_not_cost_the_page(many: list[Verdict], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError(1)

    monkeypatch.setattr("hsm_dicom.report.pictures.draw", fail)
    assert "No picture: it could not be drawn (the log says why)." in Outline(page_of(*many)).text


def test_a_file_that_was_replaced_since_has_no_picture(desk: Desk) -> None:
    path = desk.sign()
    verdict = validator().validate(check_integrity(path))
    shutil.copy(image("MR_small.dcm"), path)
    assert "the file was changed after it was validated" in outline(verdict).text


def test_a_policy_is_said_in_sentences() -> None:
    strict = validator(
        require={"creator", "timestamp"}, cover={"identity"}, weak_mac_algorithms=(), revocation="required"
    ).policy
    assert describe_demands(strict) == [
        "A signature that meets: creator.",
        "A time stamp.",
        "Covered: identity.",
        "MAC algorithms: SHA256, SHA384, SHA512.",
        "RSA keys from 1024 bits, with a warning below 2048.",
        "Revocation: without data no signature is valid.",
    ]


def test_the_page_leads_with_what_needs_attention(many: list[Verdict]) -> None:
    page = page_of(*many)
    heads = re.findall(r'<h2 class="\w+" id="(group-[a-z-]+)-head">', page)
    assert heads == [
        "group-invalid",
        "group-questionable",
        "group-unreadable",
        "group-not-signed",
        "group-valid-but",
        "group-valid",
    ]
    text = Outline(page).text
    assert "3 files can be relied on; 5 need attention." in text
    counters = re.findall(r'<a href="#(group-[a-z-]+)"><i class="dot"></i><b>(\d+)</b>', page)
    assert dict(counters) == dict(zip(heads, "211121", strict=True))
    reasons = text[text.index("What is wrong, and what to do") : text.index("Trust anchors and policy")]
    assert "Ask the sender for the object as it was signed. Find out which system changed it." in reasons
    assert re.search(r"Patients and studies \d+ patients, \d+ studies", text)
    assert "Trusted signers CN=CT room (" in text


def test_good_files_of_a_long_run_are_folded(many: list[Verdict]) -> None:
    page = page_of(*([many[0]] * 12), many[3])
    assert page.count("<summary>Show these files</summary>") == 1
    assert page.index("Invalid: do not rely") < page.index("Show these files")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Doe^John^Robert^Dr.^MD", "Doe, Dr. John Robert, MD"),
        ("Doe^John", "Doe, John"),
        ("Doe", "Doe"),
        ("^John", "John"),
        ("", ""),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田, 太郎; やまだ, たろう)"),
        ("=山田^太郎", "山田, 太郎"),
        ("A^B^C^D^E^F", "A, D B C, E"),
    ],
)
def test_names_are_shown_as_names(value: str, shown: str) -> None:
    assert format_person_name(value) == shown


def test_dates_are_shown_as_dates() -> None:
    assert [format_date(one) for one in ("20040119", "2004.01.19", "2004", "")] == ["2004-01-19"] * 2 + ["2004", ""]


# --- Hostile content ---------------------------------------------------------------------------------------------

SCRIPT = "<script>document.title='taken'</script>"
HANDLER = "\"><img src=x onerror=document.title='taken'>"


@pytest.fixture
def hostile(desk: Desk) -> Verdict:
    """A valid file whose every text would be something else."""
    data_set = pydicom.dcmread(image())
    data_set.PatientName = SCRIPT
    data_set.PatientID = "'><svg onload=document.title='taken'>"
    data_set.StudyDate = None
    source = desk.folder / "source.dcm"
    data_set.save_as(source)
    signer = CA.issue(HANDLER + "\u202e", key=new_key("rsa2048", 5))
    path = desk.sign(source, signer)
    moved = path.with_name("a&amp;<b>'\"\udcff\u202e {{ 7*7 }}.dcm")
    path.rename(moved)
    verdict = validator().validate(check_integrity(moved))
    assert verdict.identity.patient_name == SCRIPT
    return verdict


def test_hostile_texts_stay_texts(hostile: Verdict) -> None:
    page = outline(hostile, hostile)
    assert page.all("script") == []
    shown = format_person_name(SCRIPT)  # which takes "=" for the end of a group of components
    assert shown == "<script>document.title ('taken'</script>)"
    assert [name for _, attributes in page.elements for name in attributes if name.startswith("on")] == []
    assert shown in page.text
    assert "onerror" in page.text
    assert "{{ 7*7 }}" in page.text
    assert page.text.isprintable()


@pytest.mark.browser
def test_a_browser_sees_texts_where_hostile_files_have_elements(hostile: Verdict, tmp_path: Path) -> None:
    target = tmp_path / "hostile.html"
    write_html(target, [hostile, hostile], validator())
    document = rendered(target, tmp_path / "profile")
    page = Outline(document)
    assert page.text.startswith("All 2 files are valid · DICOM signatures")
    assert format_person_name(SCRIPT) in page.text
    assert page.all("script") == []
    assert len(page.all("article")) == 2
    assert {image["alt"] for image in page.all("img")} == {"A small picture of the object's first frame"}


def test_nothing_is_loaded_from_anywhere(many: list[Verdict]) -> None:
    page = outline(*many)
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert (policy or "").startswith("default-src 'none'; img-src data:;")
    links = [
        value or ""
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset")
    ]
    assert links
    assert all(link.startswith(("#", "data:image/")) for link in links)
    assert "url(" not in STYLES
    assert "@import" not in STYLES


def test_an_identity_of_any_letters_is_shown(desk: Desk) -> None:
    verdict = validator().validate(desk.verified())
    name = "Äneas^Jürgen 山田^太郎 שלום \x1b[2J\u202etxet"
    page = outline(replace(verdict, identity=ObjectIdentity(patient_name=name)))
    assert "Äneas, Jürgen 山田 太郎 שלום \N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}txet" in page.text


# --- For everybody -----------------------------------------------------------------------------------------------


def test_a_page_can_be_heard(many: list[Verdict]) -> None:
    page = outline(*many)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    for drawing in page.all("svg"):
        said = drawing.get("aria-label") or drawing.get("aria-labelledby")
        assert drawing.get("aria-hidden") == "true" or (drawing.get("role") == "img" and said)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    referred = [attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes]
    assert set(referred) <= set(ids)
    assert {(link["href"] or "")[1:] for link in (*page.all("a"), *page.all("use"))} <= set(ids)


def colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))


def luminance(colour: str) -> float:
    """WCAG 2 relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(scheme: str) -> None:
    light, dark = re.findall(r":root \{(.*?)\}", STYLES, re.DOTALL)[:2]
    shades = colours(light) | (colours(dark) if scheme == "dark" else {})
    for text in ("ink", "soft", "link"):
        for ground in ("paper", "card", "well"):
            assert contrast(shades[text], shades[ground]) >= 4.5, (text, ground)
    for tone in ("good", "but", "question", "bad", "unsure", "historic"):
        for ground in ("card", "well", f"{tone}-wash"):
            assert contrast(shades[tone], shades[ground]) >= 4.5, (tone, ground)
        for text in ("ink", "soft"):
            assert contrast(shades[text], shades[f"{tone}-wash"]) >= 4.5, (text, tone)
        assert contrast(shades["sign"], shades[tone]) >= 3, tone


@pytest.mark.browser
def test_a_browser_draws_the_page_light_and_dark(many: list[Verdict], tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    write_html(target, many[2:3], validator())
    light = seen(target, tmp_path / "light")
    assert light.at(0, 0)[:3] == (0xF3, 0xF5, 0xF8)
    assert (0xB4, 0x26, 0x1F) in {colour[:3] for colour in light.colours}, "the word and sign of an invalid signature"
    assert len(light.colours) > 500, "a picture, letters, an icon"
    dark = seen(target, tmp_path / "dark", dark=True)
    assert dark.at(0, 0)[:3] == (0x0F, 0x14, 0x1B)
    assert (0xFF, 0x8A, 0x80) in {colour[:3] for colour in dark.colours}


# --- Writing -----------------------------------------------------------------------------------------------------


def test_a_page_is_for_its_owner_and_replaces_an_older_one_when_it_is_complete(desk: Desk, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("an older page")
    verdict = validator().validate(desk.verified())
    write_html(target, [verdict], validator())
    assert target.read_text().endswith("</html>")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_page_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"report\.html: the report cannot be written \(No such file"):
        write_html(tmp_path / "absent" / "report.html", [], validator())
    (tmp_path / "folder").mkdir()
    with pytest.raises(ReportError, match=r"folder: the report cannot be written \(Is a directory\)"):
        write_html(tmp_path / "folder", [], validator())
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_run_without_files_says_so() -> None:
    assert outline().text.startswith("No file was validated")


def test_revoked_and_stamped_chains_are_drawn(desk: Desk) -> None:
    page = outline(validator(revoked=[SIGNER]).validate(desk.verified(stamper=STAMPER)))
    assert "Who vouches for the signer" in page.text
    assert "Who vouches for the time" in page.text
    assert "revoked" in page.text
    assert [svg["viewbox"] for svg in page.all("svg") if svg.get("class") == "chain"]


@pytest.mark.parametrize("sheet", sorted(_TEMPLATES.glob("*.css")), ids=lambda path: path.name)
def test_no_rule_is_written_twice(sheet: Path) -> None:
    """A pasted copy of the rules, in the part for print, made the printing of a large page endless."""
    rules = [tuple(map(str.strip, rule)) for rule in re.findall(r"([^{}@]+)\{([^{}]*)\}", sheet.read_text())]
    assert rules
    assert [rule for rule in set(rules) if rules.count(rule) > 1] == []
