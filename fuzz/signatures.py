"""The walker and the validator against files that somebody made up: python -m fuzz.signatures [libFuzzer options].

Whatever the bytes are, there is a verdict or an `DicomError`, and never a false "intact": a signature is intact only
over a byte stream that its signer signed, and the seeds hold all that were signed. A stream says less than an object,
so half of the mutations keep it and change the object (`forging`): what a verdict may rest on is content that was
signed, as pydicom reads it, and in the main Data Set without a remark only where it was signed there.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import atheris
from pydicom import Dataset, dcmread

with atheris.instrument_imports(include=["hsm_dicom.dataset", "hsm_dicom.signatures"]):
    from hsm_dicom.dataset.dicom_file import DicomFile
    from hsm_dicom.dataset.tags import never_signable
    from hsm_dicom.errors import DicomError
    from hsm_dicom.signatures import Profile, SigningRequest, VerifiedSignature, check_integrity, sign
    from hsm_dicom.signatures.anomalies.record import Weight, has_weight
    from hsm_dicom.signatures.integrity import feed_mac_stream
    from hsm_dicom.signatures.read import SignatureItem, read_signature_items

from fuzz.forging import forge
from tests.hsm_dicom.dataset.frames import jpeg_frame, rle_frame
from tests.hsm_dicom.dataset.samples import sample
from tests.hsm_dicom.signatures.encapsulated_objects import (
    JPEG,
    RLE,
    encapsulated_object,
    functional_groups,
    icon,
    in_order,
    pixels,
    report,
)
from tests.hsm_dicom.signatures.mac_streams import encode_sequence
from tests.pki import Authority, new_key

LARGEST = 64 * 1024
"""Bytes of a made-up file at the most: enough for every structure, little enough to be quick."""

REFERENCES = 0x00081140

Content = tuple[object, ...]


def _plain_objects() -> dict[str, bytes]:
    """What is signed: native and compressed, with icons, several frames, and an Item that is signed by itself."""
    item = {REFERENCES: encode_sequence(REFERENCES, in_order(report("An Item")))}
    one, two = jpeg_frame(b"one"), jpeg_frame(b"two")
    return {
        "sample": sample(),
        "report": encapsulated_object(JPEG, item),
        "icon": encapsulated_object(JPEG, icon(one), report("TUMOUR"), functional_groups(), pixels(two), item),
        "frames": encapsulated_object(JPEG, pixels(one, two, frames=2), item),
        "rle": encapsulated_object(RLE, pixels(rle_frame(b"one"), rle_frame(b"two"), frames=2), item),
    }


class Target:
    """The seeds, what was signed in them, and the files that are written anew for each input."""

    def __init__(self, folder: Path) -> None:
        self.input = folder / "input.dcm"
        self.scratch = folder / "scratch.dcm"
        self.corpus = folder / "corpus"
        self.corpus.mkdir()
        self.signed: set[bytes] = set()
        self.contents: dict[Content, set[bool]] = {}
        signer = Authority("Fuzz CA").issue("Signer", key=new_key("rsa2048"))
        request = SigningRequest(signer.der, Profile.CREATOR)
        requests = {
            "none": [replace(request, profile=Profile.NONE)],
            "creator": [request],
            "two": [replace(request, profile=Profile.BASE, purpose=1), replace(request, tags=(REFERENCES,))],
            "item": [replace(request, profile=Profile.BASE, item=((REFERENCES, 0),))],
        }
        for name, data in _plain_objects().items():
            for kind, wishes in requests.items():
                seed = self.corpus / f"{name}-{kind}.dcm"
                seed.write_bytes(data)
                for wish in wishes:
                    sign(seed, None, signer.key, wish)
                for item, stream, content in self._looked_at(seed):
                    self.signed.add(stream)
                    self.contents.setdefault(content, set()).add(not item.level.path)

    def one_input(self, data: bytes) -> None:
        """What libFuzzer calls."""
        self.input.write_bytes(data[:LARGEST])
        with contextlib.suppress(DicomError):
            found = check_integrity(self.input).signatures
            if any(signature.intact for signature in found):
                for signature, (item, stream, content) in zip(found, self._looked_at(self.input), strict=True):
                    self._check(signature, item, stream, content)

    def mutate(self, data: bytes, largest: int, seed: int) -> bytes:
        """What libFuzzer calls for the next input."""
        forged = forge(data, self.scratch, seed) if seed % 2 else None
        if forged is None or len(forged) > largest:
            return bytes(atheris.Mutate(data, largest))
        return forged

    def _check(self, signature: VerifiedSignature, item: SignatureItem, stream: bytes, content: Content) -> None:
        if not signature.intact:
            return
        assert stream in self.signed, "intact over bytes that nobody signed"
        if has_weight(signature.anomalies, Weight.QUESTION):
            return
        assert content in self.contents, "relied on, and nobody signed this content"
        if not item.level.path and not has_weight(signature.anomalies, Weight.REMARK):
            assert True in self.contents[content], "an Item's signature passes for one of the object"

    def _looked_at(self, path: Path) -> list[tuple[SignatureItem, bytes, Content]]:
        """Each signature with the SHA-256 of its MAC byte stream, and what it covers as pydicom reads it."""
        found = []
        whole = dcmread(path)
        with DicomFile.open(path) as file:
            for item in read_signature_items(file):
                digest = hashlib.sha256()
                feed_mac_stream(file, item, digest.update)
                level = whole
                for tag, number in item.level.path:
                    level = level[tag].value[number]
                tags = item.mac.tags if item.mac else ()
                found.append((item, digest.digest(), _content(level, tags)))
        return found


def _content(level: Dataset, tags: tuple[int, ...] | None = None) -> Content:
    """The elements of a level, all that can be signed or those with these tags, with their values."""
    found: list[object] = []
    for tag in sorted(level.keys()):
        if never_signable(tag) or (tags is not None and tag not in tags):
            continue
        one = level[tag]
        value = tuple(map(_content, one.value)) if one.VR == "SQ" else repr(one.value)
        found.append((int(tag), one.VR, value))
    return tuple(found)


def main() -> None:
    """Fuzz until libFuzzer's options end it."""
    with tempfile.TemporaryDirectory() as folder:
        target = Target(Path(folder))
        arguments = [sys.argv[0], str(target.corpus), f"-max_len={LARGEST}", *sys.argv[1:]]
        atheris.Setup(arguments, target.one_input, custom_mutator=target.mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
