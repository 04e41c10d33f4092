"""The walker and the verifier against files that somebody made up: python -m fuzz.signatures [libFuzzer options].

Whatever the bytes are, there is a verdict or a `DicomFileError`, and never a false "intact": a signature is intact only
over a byte stream that its signer signed, and the seeds hold all that were signed.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["hsm_dicom.dataset", "hsm_dicom.signatures"]):
    from hsm_dicom.dataset.dicom_file import DicomFile
    from hsm_dicom.errors import HsmDicomError
    from hsm_dicom.signatures import Profile, SigningRequest, sign, verify
    from hsm_dicom.signatures.read import signature_items
    from hsm_dicom.signatures.verify import mac_stream

from tests.hsm_dicom.dataset.samples import sample
from tests.pki import Authority, new_key

LARGEST = 64 * 1024
"""Bytes of a made-up file at the most: enough for every structure, little enough to be quick."""


class Target:
    """The seeds, the streams that were signed, and the one file that is written anew for each input."""

    def __init__(self, folder: Path) -> None:
        self.input = folder / "input.dcm"
        self.corpus = folder / "corpus"
        self.corpus.mkdir()
        self.signed: set[bytes] = set()
        signer = Authority("Fuzz CA").issue("Signer", key=new_key("rsa2048"))
        plain = folder / "plain.dcm"
        plain.write_bytes(sample())
        for profile in (Profile.NONE, Profile.BASE):
            seed = self.corpus / f"{profile.value}.dcm"
            sign(plain, seed, signer.key, SigningRequest(signer.der, profile))
            self.signed.update(self._streams(seed))

    def one_input(self, data: bytes) -> None:
        """What libFuzzer calls."""
        self.input.write_bytes(data[:LARGEST])
        with contextlib.suppress(HsmDicomError):
            for signature, stream in zip(verify(self.input).signatures, self._streams(self.input), strict=True):
                assert not signature.intact or stream in self.signed, "intact over bytes that nobody signed"

    def _streams(self, path: Path) -> list[bytes]:
        """SHA-256 of each signature's MAC byte stream, in the order of `verify`."""
        found = []
        with DicomFile.open(path) as file:
            for item in signature_items(file):
                digest = hashlib.sha256()
                mac_stream(file, item, digest.update)
                found.append(digest.digest())
        return found


def main() -> None:
    """Fuzz until libFuzzer's options end it."""
    with tempfile.TemporaryDirectory() as folder:
        target = Target(Path(folder))
        atheris.Setup([sys.argv[0], str(target.corpus), f"-max_len={LARGEST}", *sys.argv[1:]], target.one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
