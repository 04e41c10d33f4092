"""The images, built once by Podman from the Dockerfile, and the volumes as Kubernetes mounts them.

The base image is a Debian root from this machine's mirror, since it has no image registry; so are Podman's root and
what is in it. All of it is kept in build/.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE)]

from engine import Engine  # noqa: E402

from tests.test_docs import blocks  # noqa: E402

PAGE = "howto/container.md"

BUILD = ROOT / "build"
BASE = "docker.io/library/debian:12-slim"
USER, GROUP = 10001, 10002
"""The user of the image, and fsGroup."""
OFFLINE = (
    "--isolation chroot --network host --pull=never --volume /wheels:/wheels:ro "
    "--build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels"
)
"""How the page's `podman build` goes on without a registry and an index; apt has the network of this machine."""
PIN = "6027-container-8813"


def _make_root(name: str, *packages: str) -> Path:
    tool = [ROOT / "tools" / "debian-root", "bookworm", name, *packages]
    return Path(subprocess.check_output(tool, text=True).strip())


def _extract(archive: Path) -> Path:
    """Return the folder of a root, extracted anew if the archive is newer."""
    folder = archive.with_suffix("")
    stamp = folder.with_suffix(".extracted")
    if not stamp.exists() or stamp.stat().st_mtime < archive.stat().st_mtime:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        subprocess.run(["tar", "-x", "-f", archive, "-C", folder, "--exclude=./dev/*"], check=True)
        stamp.touch()
    shutil.copy("/etc/resolv.conf", folder / "etc" / "resolv.conf")
    return folder


def _fetch_wheels() -> Path:
    """Return a folder with the locked wheels, which replace an index during the build of the image."""
    folder = BUILD / "wheels" / "container"
    locks = [ROOT / "packaging" / "locks" / f"{name}.txt" for name in ("build", "runtime")]
    stamp = "".join(lock.read_text() for lock in locks)
    if not (folder / "of").exists() or (folder / "of").read_text() != stamp:
        shutil.rmtree(folder, ignore_errors=True)
        for lock in locks:
            subprocess.run(
                [ROOT / ".venv/bin/pip", "download", "-qq", "--only-binary=:all:", "--python-version=3.11",
                 "--implementation=cp", f"--dest={folder}", "--require-hashes", "--no-deps", f"--requirement={lock}"],
                check=True,
            )  # fmt: skip
        (folder / "of").write_text(stamp)
    return folder


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Podman with the images `hsm-dicom` and `hsm-dicom-rehearsal`, made by the commands of the page."""
    base = _make_root("slim", "ca-certificates")
    packages = ("podman", "crun", "catatonit", "ca-certificates", "dcmtk", "kubernetes-client")
    root = _extract(_make_root("engine", *packages))
    volumes = BUILD / "container"
    shutil.rmtree(volumes, ignore_errors=True)
    volumes.mkdir()
    shares = {"/clone": ROOT, "/roots": base.parent, "/wheels": _fetch_wheels(), "/volumes": volumes}
    with Engine(root, shares) as made:
        made.run(f"podman image exists {BASE} || podman import /roots/{base.name} {BASE}")
        [commands] = [block for block in blocks(PAGE, "bash") if "podman build" in block]
        made.run(f"cd /clone\n{commands.replace('podman build', f'podman build {OFFLINE}')}", online=True, seconds=900)
        yield made


def mount_secret(folder: Path, files: dict[str, str], mode: int) -> None:
    """Make a folder as Kubernetes mounts one for a pod with fsGroup: files of root, behind links."""
    version = folder / "..2026_11_27_00_00_00.1"
    version.mkdir(parents=True)
    (folder / "..data").symlink_to(version.name)
    for name, text in files.items():
        (version / name).write_text(text)
        (version / name).chmod(mode)
        (folder / name).symlink_to(f"..data/{name}")
    for path in (version, *version.iterdir()):
        os.chown(path, 0, GROUP)
    version.chmod(0o2755)
    os.chown(folder, 0, GROUP)
    folder.chmod(0o3777)


@pytest.fixture(scope="session")
def volumes(engine: Engine) -> Path:
    """The volumes of a rehearsal, in which the image has prepared a token."""
    folder = BUILD / "container"
    mount_secret(folder / "secret", {"pin": f"{PIN}\n"}, 0o440)
    mount_secret(folder / "shared", {"pin": f"{PIN}\n"}, 0o444)
    text = (ROOT / "packaging" / "container" / "rehearsal.toml").read_text()
    mount_secret(folder / "config", {"hsm-dicom.toml": text}, 0o644)
    (folder / "state").mkdir()
    os.chown(folder / "state", 0, GROUP)
    (folder / "state").chmod(0o2775)  # a PersistentVolume with fsGroup
    return folder
