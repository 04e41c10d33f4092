"""Rehearse each feature where OpenSSL is in FIPS mode, and print the table: `rehearse.py [PAGE]`.

With a page, the exit status is 1 if its table differs from what happened. tools/platforms/run-fips starts this in a
root of its own: it writes into a new folder below /tmp, and takes ports of the loopback address.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from features import FEATURES, FIRST_PORT, IMAGE, PROFILES, Feature

HEADER = "| feature | which OpenSSL | in FIPS mode |\n|---|---|---|\n"
MODULE = "/usr/lib/softhsm/libsofthsm2.so"

PREPARE = f"""
printf 'directories.tokendir = %s/tokens\\n' "$PWD" > softhsm2.conf; mkdir tokens
printf %s "$PIN" > user.pin; chmod 600 user.pin
hsm-dicom token init --module {MODULE} --label t --so-pin env:SO --pin env:PIN
for key in rsa:rsa-2048:sign ec:p256:sign rsatls:rsa-2048:tls ectls:p384:tls; do
  IFS=: read name type usage <<< $key
  hsm-dicom key generate t --label $name --type $type --usage $usage
  hsm-dicom key csr t/$name --subject CN=$name --ip 127.0.0.1 --out $name.csr
done
openssl req -x509 -newkey rsa:3072 -nodes -keyout ca.key -out ca.pem -days 365 -subj /CN=CA \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
openssl req -new -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.csr -subj /CN=TSA
printf 'keyUsage=critical,digitalSignature,nonRepudiation\\n' > sign.ext
tls_use=extendedKeyUsage=serverAuth,clientAuth
printf '%s\\n' keyUsage=critical,digitalSignature $tls_use subjectAltName=IP:127.0.0.1 > tls.ext
printf 'keyUsage=critical,digitalSignature\\nextendedKeyUsage=critical,timeStamping\\n' > tsa.ext
for name in rsa:sign ec:sign rsatls:tls ectls:tls tsa:tsa; do
  openssl x509 -req -in ${{name%:*}}.csr -CA ca.pem -CAkey ca.key -days 200 -extfile ${{name#*:}}.ext \\
    -out ${{name%:*}}.pem
done
for name in rsa ec rsatls ectls; do hsm-dicom key import-cert t/$name $name.pem; done
OPENSSL_CONF=/etc/ssl/not-fips.cnf hsm-dicom sign {IMAGE} --key t/rsa --mac ripemd160 --allow-weak \
  --out outside-ripemd160.dcm
echo 01 > tsa.serial
"""

CONFIGURATION = f"""
[tokens.t]
module = "{MODULE}"
label = "t"
pin = "file:user.pin"

[events]
file = "events.jsonl"
"""
NETWORK = "[trust]\nanchors = ['ca.pem']\n" + "".join(
    f'[identities.{name}]\ntoken = "t"\nobject = "{name}"\n' for name in ("rsa", "ec", "rsatls", "ectls")
)
TSA = """
[tsa]
default_tsa = here
[here]
serial = tsa.serial
default_policy = 1.2.3
digests = sha256
signer_digest = sha256
accuracy = secs:1
"""
_ISCL = {
    "md5": "unique_keys = true",
    "des": 'mac = "des-mac", allow = ["des-mac-with-encryption-key"]',
    "host": 'unique_keys = true, host_session_keys = true, wire = { session_key = "decrypted-random-number" }',
}


def list_network_tables() -> Iterator[str]:
    """Return a listener for each TLS profile and each way of ISCL, and the peers that call it."""
    yield '[peers.caller]\nae_titles = ["ME"]\nhost = "127.0.0.1"\n'
    for port, profile in enumerate(PROFILES, FIRST_PORT):
        common = f'port = {port}\nprofile = "{profile}"\nhost = "127.0.0.1"\n'
        shown = 'identities = ["rsatls", "ectls"]\npeers = ["caller"]\n'
        yield f'[listeners.{profile}]\nae_title = "L{port}"\n{shown}{common}'
        for key in ("rsa", "ec"):
            called = f'calling_ae_title = "ME"\nidentity = "{key}tls"\n'
            yield f'[peers.{profile}-{key}]\nae_titles = ["L{port}"]\n{called}{common}'


def list_iscl_tables() -> Iterator[str]:
    """Return a listener and two peers for each way of ISCL."""
    yield '[iscl]\nreason = "a rehearsal"\ntoken = "t"\n'
    for port, (name, settings) in enumerate(_ISCL.items(), FIRST_PORT + 100):
        iscl = f"iscl = {{ {settings} }}\n"
        at = f'host = "127.0.0.1"\nport = {port}\n'
        yield f'[peers.caller-{name}]\nae_titles = ["ME{name}"]\n{iscl}'
        yield f'[peers.iscl-{name}]\nae_titles = ["I{name}"]\ncalling_ae_title = "ME{name}"\n{at}{iscl}'
        yield f'[listeners.iscl-{name}]\nae_title = "I{name}"\npeers = ["caller-{name}"]\n{at}{iscl}'


def run_shell(commands: str, folder: Path) -> tuple[int, str]:
    """Run commands until one fails. Returns the exit status and what they printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


@contextmanager
def listening(name: str, folder: Path) -> Iterator[None]:
    """Run a listener during the block, once it accepts connections."""
    if not name:
        yield
        return
    log = folder / "listen.log"
    with log.open("w") as file:
        process = subprocess.Popen(["hsm-dicom", "listen", name], cwd=folder, stdout=file, stderr=file)
    try:
        while "listens on" not in log.read_text() and process.poll() is None:
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)


def rehearse(feature: Feature, folder: Path) -> tuple[str, bool]:
    """Return the third cell of a feature's row, and whether the feature does what its row promises."""
    with listening(feature.listener, folder):
        status, said = run_shell(feature.commands, folder)
    plain = " ".join(said.split())
    found = re.search(feature.shows, plain)
    died = "Unexpected error" in plain or "Traceback" in plain or status < 0
    if died or found is None or bool(status) is not feature.is_refused:
        print(said, (folder / "listen.log").read_text() if feature.listener else "", file=sys.stderr)
        return "dies" if died else f"fails with exit status {status}", False
    part = next((group for group in found.groups() if group), "")
    if feature.is_refused:
        return f"refused: “{part}”" if part else "refused", True
    return f"works: {part}" if part else "works", True


def main(page: Path | None) -> int:
    """Rehearse everything, and print the table. Returns the exit status."""
    folder = Path(tempfile.mkdtemp(prefix="fips-"))
    os.environ |= {
        "PATH": f"/opt/hsm-dicom/bin:{os.environ['PATH']}",
        "HSM_DICOM_STATE": str(folder / "state"),
        "SOFTHSM2_CONF": str(folder / "softhsm2.conf"),
        **dict.fromkeys(("PIN", "SO", "PASSWORD"), "0123456789"),
    }
    os.umask(0o022)
    file = folder / "hsm-dicom.toml"
    file.write_text(CONFIGURATION)
    (folder / "tsa.cnf").write_text(TSA)
    status, said = run_shell(PREPARE, folder)
    if status:
        print(said)
        return 1
    file.write_text(CONFIGURATION + NETWORK + "".join(list_network_tables()))
    rows, fit = "", True
    for feature in FEATURES:
        if feature.listener.startswith("iscl") and "[iscl]" not in file.read_text():
            file.write_text(CONFIGURATION + NETWORK + "".join([*list_network_tables(), *list_iscl_tables()]))
        cell, fits = rehearse(feature, folder)
        rows += f"| {feature.name} | {feature.computed_by} | {cell} |\n"
        print(rows.splitlines()[-1], flush=True)
        fit = fit and fits
    if page is not None and HEADER + rows not in page.read_text():
        print(f"\nThe table of {page} is another one.", file=sys.stderr)
        return 1
    return 0 if fit else 1


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
