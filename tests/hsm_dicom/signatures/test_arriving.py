"""MACs that are hashed while the object arrives: the same digest, of octets that are not read again."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from hsm_dicom.dataset import DicomFile
from hsm_dicom.dataset.errors import DicomFileError
from hsm_dicom.dataset.octets.hashed import StreamHash
from hsm_dicom.dataset.octets.source import Content
from hsm_dicom.signatures import SigningRequest, arriving, check_integrity, sign
from hsm_dicom.signatures.algorithms import MAC_ALGORITHMS
from hsm_dicom.signatures.arriving import ArrivingMacs, MacChoice, choose_signable, choose_stated
from hsm_dicom.signatures.mac import feed_covered
from tests.hsm_dicom.dataset.samples import data_set, encode, sample
from tests.pki import Identity
from tests.soak import RUNS

SHA256 = MAC_ALGORITHMS["SHA256"]
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
LENGTH = 1_500_000


@pytest.fixture(autouse=True)
def looks_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving, "LOOKS", (1000, 100_000, 1_200_000))


def choose(file: DicomFile) -> Iterable[MacChoice]:
    yield choose_signable(SHA256, file)
    yield from choose_stated(file)


def make(kind: str = "native", *, document: bool = False, undefined: bool = False) -> bytes:
    """The rich Data Set with long Pixel Data, or with a long document, which more elements follow."""
    ds = data_set(undefined=undefined)
    long = random.Random(1).randbytes(LENGTH)
    if document:
        ds.EncapsulatedDocument = long
    else:
        ds.Rows, ds.Columns, ds.PixelData = 500, 1500, long
    return encode(ds, kind)


@contextmanager
def arrived(
    path: Path, octets: bytes, parts: Iterator[int], syntax: str = EXPLICIT
) -> Iterator[tuple[Content, ArrivingMacs]]:
    """A file that came in parts of these sizes, and what of it was hashed meanwhile."""
    macs, at = ArrivingMacs("an object", syntax, choose), 0
    with path.open("wb+", buffering=0) as file:
        while at < len(octets):
            part = memoryview(octets)[at : at + next(parts)]
            file.write(part)
            at += len(part)
            if macs.wants_to_look(at):
                macs.look(file.fileno(), at)
            else:
                macs.take(part)
        yield Content(str(path), fd=file.fileno(), hashed=macs.spans), macs


def sizes(seed: int) -> Iterator[int]:
    draw = random.Random(seed)
    while True:
        yield draw.choice((1, 100, 9_000, 60_000, 300_000))


def digest(source: Path | Content) -> bytes:
    with DicomFile.open(source) as file:
        stream = StreamHash(SHA256.new())
        stream.begin(file.source, partial(feed_covered, file, file.main, file.main.signable_tags))
        return stream.digest()


def spoil_pixels(path: Path) -> None:
    """Change octets in the middle of the long value: who reads them again gets another digest."""
    with path.open("rb+") as file:
        file.seek(LENGTH // 2)
        file.write(b"spoilt")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("octets", "syntax"),
    [
        (make(), EXPLICIT),
        (make("implicit"), IMPLICIT),
        (make(undefined=True), EXPLICIT),
        (make(document=True), EXPLICIT),
    ],
    ids=["explicit", "implicit", "undefined lengths", "more behind"],
)
def test_the_digest_is_that_of_the_whole_object_and_no_octet_is_read_again(
    octets: bytes, syntax: str, seed: int, tmp_path: Path
) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(octets)
    wanted = digest(path)
    with arrived(path, octets, sizes(seed), syntax) as (source, macs):
        (span,) = macs.spans
        assert span.end - span.start >= LENGTH
        spoil_pixels(path)
        assert digest(source) == wanted
        assert digest(path) != wanted


@pytest.mark.parametrize("kind", ["big-endian", "deflated", "rle-with-offset-table"])
def test_other_encodings_are_hashed_when_they_are_whole(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(octets := sample(kind) if kind.startswith("rle") else make(kind))
    with DicomFile.open(path) as file:
        syntax = file.syntax.uid
    with arrived(path, octets, sizes(1), syntax) as (source, macs):
        assert macs.spans == ()
        assert digest(source) == digest(path)


def test_what_does_not_belong_to_the_stream_is_not_used(tmp_path: Path) -> None:
    """The head of the file is another one than that which was there when the hash began."""
    path = tmp_path / "x.dcm"
    with arrived(path, make(), sizes(2)) as (source, macs):
        assert macs.spans
        before = digest(path)
        path.write_bytes(make().replace(b"4711", b"4712"))
        spoil_pixels(path)
        assert digest(source) == digest(path) != before


def test_a_signature_is_made_and_judged_with_what_was_hashed(
    base: SigningRequest, signer: Identity, tmp_path: Path
) -> None:
    path, signed = tmp_path / "x.dcm", tmp_path / "signed.dcm"
    with arrived(path, make(), sizes(3)) as (source, _):
        sign(source, signed, signer.key, base)
    assert [one.intact for one in check_integrity(signed).signatures] == [True]
    octets = signed.read_bytes()
    with arrived(path, octets, sizes(4)) as (source, macs):
        assert len(macs.spans) == 2  # the MAC of the signature, and one over all that can be signed
        spoil_pixels(path)
        assert [one.intact for one in check_integrity(source).signatures] == [True]
        assert [one.intact for one in check_integrity(path).signatures] == [False]
    changed = octets.replace(octets[LENGTH // 2 : LENGTH // 2 + 32], bytes(32))
    with arrived(path, changed, sizes(5)) as (source, macs):
        assert len(macs.spans) == 2
        assert [one.intact for one in check_integrity(source).signatures] == [False]


def test_whatever_comes_the_result_is_that_of_the_whole_file(tmp_path: Path) -> None:
    """Octets changed anywhere before the pixels: nothing is raised while they come, and the end is the same."""
    octets, path, draw = make(), tmp_path / "x.dcm", random.Random(6)
    head = len(octets) - LENGTH
    for _ in range(40 * RUNS):
        hostile = bytearray(octets)
        for _ in range(draw.randint(1, 3)):
            hostile[draw.randrange(132, head)] = draw.randrange(256)
        with arrived(path, bytes(hostile), sizes(7)) as (source, _):
            assert outcome(source) == outcome(path)


def outcome(source: Path | Content) -> bytes | str:
    try:
        return digest(source)
    except DicomFileError as error:
        return str(error)
