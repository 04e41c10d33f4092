"""The page on installing from a release: its commands are run, in their order (`make test-install`, after `make dist`).

Needs the network, and root for the part on smart cards, which installs Debian packages in a root of its own. Otherwise
`/opt/hsm-dicom` of the page is a folder of the test. A PATH without a compiler shows that none is needed; a network
namespace, that the offline installation uses no network.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.pki import Authority
from tests.ports import free_port
from tests.softhsm import new_token, provision
from tests.test_docs import blocks
from tests.test_release import sign_with_token

ROOT = Path(__file__).parent.parent.parent
VERIFY, INSTALL, FETCH, OFFLINE, COMPILER, BUILD, CARDS, PROXY, MIRROR, REMOVE = blocks(
    "howto/install-from-a-release.md", "sh"
)
NO_NETWORK = ["/usr/bin/unshare", "--net", "--map-root-user"]
OF_THIS_MACHINE = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
"""Where a certificate store of this machine is named, without which pip reaches no index here."""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `make dist`, signed by a key on a token."""
    place = tmp_path_factory.mktemp("release")
    folder = place / "release"
    assert (ROOT / "dist").exists(), "Run make dist first."
    shutil.copytree(ROOT / "dist", folder)
    provision(place / "softhsm")
    token = new_token("release")
    token.generate("signer")
    authority = Authority("Release CA")
    sign_with_token(token, "signer", authority, place, folder)
    (folder / "release-ca.pem").write_bytes(authority.pem)
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with Debian's Python and what the page names, and no compiler."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("sh", "python3", "openssl", "sha256sum", "rm", "ln"):
        (folder / name).symlink_to(Path("/usr/bin") / name)
    return str(folder)


def run(release: Path, commands: str, path: str = os.defpath, *, before: list[str] | None = None) -> str:
    """Run a block of the page, with an installation folder beside the release."""
    environment = {name: os.environ[name] for name in OF_THIS_MACHINE if name in os.environ}
    environment |= {"PATH": path, "HOME": str(release.parent), "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}
    script = "set -eu\n" + commands.replace("/opt/hsm-dicom", str(release.parent / "installed"))
    done = subprocess.run([*(before or []), "/bin/sh", "-c", script], cwd=release, env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def remove(release: Path) -> None:
    """Remove the installation, whatever is there of it."""
    (release.parent / "installed").unlink(missing_ok=True)
    shutil.rmtree(release.parent / "installed-0.1.0", ignore_errors=True)


def program(release: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    command = [release.parent / "installed" / "bin" / "hsm-dicom", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={"HOME": str(release.parent)})


def test_the_files_are_verified_and_installed_without_a_compiler(release: Path, bare: str) -> None:
    said = run(release, VERIFY, bare)
    assert "erification successful" in said
    assert "hsm_dicom-0.1.0-py3-none-any.whl: OK" in said
    assert run(release, INSTALL, bare).splitlines()[-1] == "hsm-dicom 0.1.0"
    missing = program(release, "card", "list")
    assert "gcc python3-dev libpcsclite-dev" in missing.stderr
    run(release, REMOVE, bare)
    assert not list(release.parent.glob("installed*"))


def test_the_offline_installation_uses_no_network(release: Path, bare: str) -> None:
    run(release, FETCH, bare)
    shutil.rmtree(release / "fetch")
    run(release, OFFLINE, bare, before=NO_NETWORK)
    assert program(release, "--version").stdout == "hsm-dicom 0.1.0\n"
    run(release, BUILD)
    assert "card list" in run(release, CARDS, bare, before=NO_NETWORK)
    assert "pyscard" not in program(release, "card", "list").stderr


def test_a_changed_package_is_refused(release: Path, bare: str) -> None:
    changed = next((release / "packages").glob("idna-*.whl"))
    octets = changed.read_bytes()
    changed.write_bytes(octets + b"\0")
    remove(release)
    with pytest.raises(AssertionError, match="DO NOT MATCH THE HASHES"):
        run(release, OFFLINE, bare, before=NO_NETWORK)
    changed.write_bytes(octets)


def test_smart_cards_need_what_the_page_installs_and_nothing_else(release: Path, tmp_path: Path) -> None:
    """The page in a root of Debian $P that has what "You need" names: up to a built pyscard, as root, in /opt."""
    suite = os.environ.get("P", "bookworm")
    make = [ROOT / "tools" / "debian-root", suite, "install", "ca-certificates", "openssl", "python3-venv"]
    archive = Path(subprocess.check_output(make, text=True).strip())
    root, carried = tmp_path / "root", tmp_path / "release"
    root.mkdir()
    subprocess.run(["tar", "-x", "-f", archive, "-C", root, "--exclude=./dev/*"], check=True)
    shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
    shutil.copy(archive.parent / "apt.conf", root / "etc" / "apt" / "apt.conf.d" / "99fetch")
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "mnt" / "authorities.crt")
    carried.mkdir()
    for file in release.iterdir():
        if file.is_file():
            shutil.copy(file, carried)
    enter = ["systemd-nspawn", "--quiet", f"--directory={root}", "--as-pid2", "--register=no", "--keep-unit"]
    enter += ["--console=pipe", "--resolv-conf=off", f"--bind={carried}:/srv/release", "--chdir=/srv/release"]
    enter += ["--setenv=LANG=C.UTF-8", "--setenv=PIP_CERT=/mnt/authorities.crt", "sh", "-euc"]
    commands = f"apt-get -qq update\necho y | {COMPILER}{VERIFY}{INSTALL}{BUILD}{CARDS}"
    commands += "/opt/hsm-dicom/bin/hsm-dicom card list || true"
    done = subprocess.run(
        [*enter, commands], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "hsm-dicom 0.1.0\n" in done.stdout
    assert "apt-get install gcc" not in done.stdout
    assert list((carried / "packages").glob("pyscard-*.whl"))


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Debian's tinyproxy on loopback: its host and port, and its log."""
    port, log, settings = free_port(), tmp_path / "proxy.log", tmp_path / "tinyproxy.conf"
    settings.write_text(f'Port {port}\nListen 127.0.0.1\nLogFile "{log}"\nLogLevel Connect\nConnectPort 443\n')
    with subprocess.Popen(["tinyproxy", "-d", "-c", settings], stdout=subprocess.DEVNULL) as running:
        try:
            await_port(port)
            yield f"127.0.0.1:{port}", log
        finally:
            running.terminate()


def await_port(port: int, seconds: float = 10.0) -> None:
    """Wait until something listens on a port of loopback. Raises OSError after `seconds`."""
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def test_pip_goes_through_the_proxy(release: Path, bare: str, proxy: tuple[str, Path]) -> None:
    address, log = proxy
    remove(release)
    run(release, PROXY.replace("proxy.example:3128", address) + INSTALL, bare)
    assert "CONNECT pypi.org:443" in log.read_text()


@pytest.fixture
def mirror(release: Path, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """An index of the downloaded packages (PEP 503), and the paths that were requested."""
    requested: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            requested.append(self.path)

    for package in (release / "packages").glob("*.whl"):
        place = tmp_path / "simple" / package.name.partition("-")[0].replace("_", "-").replace(".", "-").lower()
        place.mkdir(parents=True, exist_ok=True)
        (place / package.name).symlink_to(package)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", requested
        server.shutdown()
        thread.join()


def test_pip_takes_the_packages_from_a_mirror(release: Path, bare: str, mirror: tuple[str, list[str]]) -> None:
    address, requested = mirror
    remove(release)
    run(release, MIRROR.replace("https://mirror.example", address) + INSTALL, bare)
    assert [path for path in requested if path.startswith("/simple/cryptography/cryptography-")]
