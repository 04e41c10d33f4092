"""The chain as a picture: who is on it, in which order, and where in time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from hsm_dicom.report.chain_picture import AXIS_LEFT, AXIS_RIGHT, LONGEST_TEXT, ChainPicture, chain_picture
from hsm_dicom.trust import CertificatePurpose, CertificateValidator, Sourced, TrustStore
from tests.pki import DAY, NOW, YEAR, Authority, Identity, new_key

ROOT = Authority("Root", begins=NOW - 8 * YEAR, ends=NOW + 8 * YEAR)
BETWEEN = ROOT.authority("Between", begins=NOW - 4 * YEAR, ends=NOW + 4 * YEAR)
SIGNER = BETWEEN.issue("Signer", begins=NOW - YEAR, ends=NOW + YEAR)


def drawn(
    signer: Identity = SIGNER, *, validation_time: datetime = NOW, anchors: Any = (ROOT,), crls: Any = ()
) -> ChainPicture:
    store = TrustStore(
        [one.certificate for one in anchors], [BETWEEN.certificate], [Sourced(crl, "crl") for crl in crls]
    )
    picture = chain_picture(
        CertificateValidator(store).validate(
            signer.certificate, CertificatePurpose.SIGNING, validation_time=validation_time
        )
    )
    assert picture is not None
    return picture


def test_the_anchor_is_on_top_and_the_signer_at_the_bottom() -> None:
    picture = drawn()
    assert [(row.name, row.role) for row in picture.rows] == [
        ("CN=Root", "anchor"),
        ("CN=Between", "ca"),
        ("CN=Signer", "signer"),
    ]
    assert [row.top for row in picture.rows] == sorted(row.top for row in picture.rows)
    assert picture.summary == "CN=Root is a trust anchor, and issued CN=Between, and issued CN=Signer."


def test_time_runs_from_left_to_right_on_one_scale() -> None:
    picture = drawn()
    root, between, signer = picture.rows
    assert AXIS_LEFT < root.bar_left < between.bar_left < signer.bar_left < picture.time_x
    assert picture.time_x < signer.bar_right < between.bar_right < root.bar_right < AXIS_RIGHT
    assert picture.time_x == pytest.approx((root.bar_left + root.bar_right) / 2, abs=1)
    assert 2 <= len(picture.ticks) <= 6
    assert [x for x, _ in picture.ticks] == sorted(x for x, _ in picture.ticks)


def test_a_time_outside_the_validity_is_seen_to_be() -> None:
    late = drawn(validation_time=NOW + 2 * YEAR)
    assert late.time_x > late.rows[-1].bar_right
    early = drawn(validation_time=NOW - 2 * YEAR)
    assert early.time_x < early.rows[-1].bar_left


def test_revocation_is_seen_at_each_certificate() -> None:
    picture = drawn(crls=[BETWEEN.crl([SIGNER]), ROOT.crl()])
    assert [(row.status, row.status_kind) for row in picture.rows] == [
        ("trust anchor", "good"),
        ("not revoked", "good"),
        ("revoked", "bad"),
    ]


def test_a_chain_that_leads_nowhere_names_who_is_missing() -> None:
    picture = drawn(anchors=())
    assert [row.name for row in picture.rows] == ["CN=Between", "CN=Signer"]
    assert picture.missing_issuer == "CN=Root"
    assert "No trust anchor leads to CN=Signer" in picture.summary


@pytest.mark.parametrize("time", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), NOW])
def test_validity_without_end_and_times_at_the_ends_of_time_stay_in_the_picture(time: datetime) -> None:
    eternal = Authority("Eternal", ends=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    picture = drawn(eternal.issue("Signer", key=new_key()), validation_time=time, anchors=(eternal,))
    for x in (picture.time_x, *(x for row in picture.rows for x in (row.bar_left, row.bar_right))):
        assert AXIS_LEFT <= x <= AXIS_RIGHT
    if time == NOW:
        assert picture.rows[0].ends_after


def test_long_names_are_shortened() -> None:
    picture = drawn(BETWEEN.issue("N" * 64))
    assert len(picture.rows[-1].name) == LONGEST_TEXT
    assert picture.rows[-1].name.endswith("…")
    assert picture.rows[-1].certificate.subject == "CN=" + "N" * 64


def test_a_certificate_that_cannot_be_read_has_no_picture() -> None:
    trust = CertificateValidator(TrustStore([ROOT.certificate])).validate(
        b"\x30\x03abc", CertificatePurpose.SIGNING, validation_time=NOW + DAY
    )
    assert chain_picture(trust) is None
