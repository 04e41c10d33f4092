"""A machine that loses its power while an object is held: only what was forced to disk is there afterwards."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.hsm_dicom.gateway.holding.conversation import Image
from tests.hsm_dicom.gateway.holding.test_kill import STEPS, child, key, send
from tests.hsm_dicom.gateway.routes import scripted_target
from tests.small_disks import MAY_MOUNT, play_apart
from tests.softhsm import TestToken
from tokens.uri import Pkcs11Uri

__all__ = ["key"]
pytestmark = [
    pytest.mark.softhsm,
    MAY_MOUNT,
    pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="this machine has no loop devices"),
]

_MIB = 1 << 20


class Disk:
    """A file system in an image file. What it has not written to the image is lost when the power is cut."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.place = folder, folder / "disk"
        self._image = folder / "1.img"
        self._image.write_bytes(bytes(16 * _MIB))
        subprocess.run(["mkfs.ext4", "-q", self._image], check=True)
        self.place.mkdir()
        self._mount()

    def cut_power(self) -> None:
        """Go on with what is in the image now."""
        rest = self._folder / "2.img"
        shutil.copy(self._image, rest)
        subprocess.run(["umount", "-l", self.place], check=True)
        self._image = rest
        self._mount()

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self._image, self.place], check=True)


def test_the_disk_of_this_test_loses_what_was_not_forced_to_it(tmp_path: Path) -> None:
    def scene() -> None:
        disk = Disk(tmp_path)
        (disk.place / "earlier").write_text("kept")
        subprocess.run(["sync", "-f", disk.place], check=True)
        (disk.place / "later").write_text("lost")
        disk.cut_power()
        assert (disk.place / "earlier").exists()
        assert not (disk.place / "later").exists()

    play_apart(scene)


@pytest.mark.parametrize("step", ["the signature is recorded", "a part was sent", "the target has answered"])
def test_the_same_object_is_sent_again_after_a_power_cut(
    step: str, key: tuple[TestToken, Pkcs11Uri, Any], tmp_path: Path
) -> None:
    _, uri, certificate = key
    image = Image.make(tmp_path)

    def scene() -> None:
        disk = Disk(tmp_path)
        held = disk.place / "held"
        with scripted_target() as target:
            with child(target, held, uri, certificate, *STEPS[step]) as port:
                before = send(port, target, image)
            signed = read_signature_uids(held)
            disk.cut_power()
            assert read_signature_uids(held) == signed
            with child(target, held, uri, certificate) as port:
                after = send(port, target, image)
            assert after.answer == 0
            assert after.came
            assert not before.came or after.came == before.came
            assert read_signature_uids(held) == signed

    play_apart(scene)


def read_signature_uids(held: Path) -> list[str]:
    """The signatures that are on record, read from a copy, so that reading changes nothing."""
    import sqlite3
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        for file in held.glob("signatures.sqlite*"):
            shutil.copy(file, name)
        found = sqlite3.connect(Path(name) / "signatures.sqlite").execute("SELECT signature_uid FROM signatures")
        return [uid for (uid,) in found]
