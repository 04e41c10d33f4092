"""The images as an engine runs them: not as root, read-only, without a capability. In this order: one set of volumes.

`make test-container` runs these.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import BUILD, GROUP, HERE, PAGE, PIN, ROOT, USER
from engine import Engine

from tests.test_docs import as_pattern

LIMITS = (
    "--cgroups=disabled --network=host --read-only --cap-drop=all --security-opt=no-new-privileges "
    f"--user={USER}:{USER} --group-add={GROUP} --add-host=pacs.rehearsal:127.0.0.1"
)
VOLUMES = (
    "--volume=/volumes/secret:/run/secrets/hsm-dicom:ro --volume=/volumes/config:/etc/hsm-dicom:ro "
    "--volume=/volumes/state:/var/lib/hsm-dicom"
)
PORT = 11112


def eventually(holds: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Wait until something holds. Raises AssertionError after `seconds`."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.2)


def run_once(engine: Engine, *arguments: str, volumes: str = VOLUMES, status: int = 0) -> str:
    """Run a command in a container of its own."""
    return engine.run(f"podman run --rm {LIMITS} {volumes} hsm-dicom-rehearsal {' '.join(arguments)}", status=status)


def probe(engine: Engine, path: str) -> tuple[bool, str]:
    """Ask the gateway as a probe of Kubernetes does: whether it answers with 200, and its answer."""
    said = engine.run(f"podman exec gateway hsm-dicom-probe {path}; echo $?", status=None)
    answer, _, status = said.strip().rpartition("\n")
    return status == "0", answer


def is_echoed(engine: Engine) -> bool:
    """Call the gateway as the CT, with DCMTK's echoscu, and return whether it is answered."""
    said = engine.run(f"echoscu -to 10 -aet CT1 -aec PACS 127.0.0.1 {PORT} 2>&1 && echo answered", status=None)
    return said.endswith("answered\n")


@pytest.fixture(scope="module")
def prepared(engine: Engine, volumes: Path) -> Path:
    """The volumes with a token, and certificates for the gateway and its PACS."""
    run_once(engine, "prepare")
    return volumes


@pytest.fixture(scope="module")
def gateway(engine: Engine, prepared: Path) -> Engine:
    """The gateway in a container called `gateway`, which is ready, and a PACS with TLS, DCMTK's storescp."""
    engine.run(
        "cd /volumes/state/pacs; storescp +tls pacs.key pacs.pem +cf ca.pem -aet PACS -od /tmp 2762 >/dev/null 2>&1 &"
    )
    engine.run(f"podman run --detach --name=gateway {LIMITS} {VOLUMES} hsm-dicom-rehearsal gateway run")
    try:
        eventually(lambda: probe(engine, "readyz")[0], "The gateway is not ready.")
    except AssertionError:
        raise AssertionError(engine.run("podman logs gateway", status=None)) from None
    return engine


def test_the_page_leads_to_a_gateway(engine: Engine) -> None:
    """The commands of the section, in one shell, with the output that the page shows."""
    section = re.split(r"^## (?:\d+\. )?", (ROOT / "docs" / PAGE).read_text(), flags=re.MULTILINE)
    [text] = [one for one in section if one.startswith("Run a gateway in it")]
    pairs = re.findall(r"^```bash\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", text, re.MULTILINE | re.DOTALL)
    assert len(pairs) == 3
    end = "=== end of a block ==="
    commands = "".join(f"{block}echo '{end}'\n" for block, _ in pairs).replace(
        "podman run", "podman run --cgroups=disabled"
    )
    said = engine.run(f"rm -rf /volumes/page; mkdir /volumes/page; cd /volumes/page\n{commands}")
    for (block, shown), printed in zip(pairs, said.split(f"{end}\n"), strict=False):
        assert re.fullmatch(as_pattern(shown), printed), f"{block}\n{printed}\nis not\n{shown}"


def test_the_image_has_what_runs_and_nothing_that_builds(engine: Engine) -> None:
    [image] = json.loads(engine.run("podman image inspect hsm-dicom"))
    settings = image["Config"]
    assert settings["User"] == "10001:10001"
    assert settings["StopSignal"] == "SIGTERM"
    assert settings["Entrypoint"] + settings["Cmd"] == ["hsm-dicom", "gateway", "run"]
    assert set(settings["Volumes"]) == {"/etc/hsm-dicom", "/var/lib/hsm-dicom"}
    assert image["Healthcheck"]["Test"] == ["CMD", "hsm-dicom-probe", "readyz"]
    inside = f"podman run --rm {LIMITS} --entrypoint=sh hsm-dicom -c"
    assert engine.run(f"{inside} 'hsm-dicom --version'").startswith("hsm-dicom 0")
    builds = "gcc cc make pip pip3 /opt/hsm-dicom/bin/pip"
    assert engine.run(f"{inside} 'for one in {builds}; do command -v $one || true; done'") == ""
    assert engine.run(f"{inside} 'find / -xdev -perm /6000 -type f 2>/dev/null || true'") == ""


def test_the_process_has_the_limits_of_the_page(gateway: Engine) -> None:
    assert gateway.run("podman exec gateway id").strip() == (
        f"uid={USER}(hsm-dicom) gid={USER}(hsm-dicom) groups={USER}(hsm-dicom),{GROUP}"
    )
    assert "CapEff:\t0000000000000000" in gateway.run("podman exec gateway cat /proc/1/status")
    assert "Read-only" in gateway.run("podman exec gateway touch /x", status=1)
    assert "gateway\0run" in gateway.run("podman exec gateway cat /proc/1/cmdline")
    state = gateway.run("podman exec gateway stat -c %u:%a /var/lib/hsm-dicom/state").strip()
    assert state in (f"{USER}:700", f"{USER}:2700")


def test_the_pin_is_read_from_a_file_of_root_that_a_group_may_read(gateway: Engine) -> None:
    stat = gateway.run("podman exec gateway stat -L -c %u:%g:%a /run/secrets/hsm-dicom/pin").strip()
    assert stat == f"0:{GROUP}:440"
    checked = run_once(gateway, "check-config")
    assert "✓ Token rehearsal accepted its PIN." in checked
    assert PIN not in checked + gateway.run("podman logs gateway")


@pytest.mark.parametrize(("secret", "group"), [("shared", f"{GROUP}"), ("secret", "")])
def test_a_pin_that_others_may_read_or_that_is_not_of_this_group_is_refused(
    gateway: Engine, secret: str, group: str
) -> None:
    volumes = VOLUMES.replace("/volumes/secret:", f"/volumes/{secret}:")
    limits = LIMITS if group else LIMITS.replace(f"--group-add={GROUP}", "")
    said = gateway.run(f"podman run --rm {limits} {volumes} hsm-dicom-rehearsal check-config", status=1)
    if group:
        assert f"may be used by more than a group of this process that reads it (mode 0444, group {GROUP})" in said
        assert "group_readable permits no more" in said
    else:
        assert "cannot be read from /run/secrets/hsm-dicom/pin: Permission denied" in said


def test_the_probes_answer_and_the_engine_calls_it_healthy(gateway: Engine) -> None:
    assert probe(gateway, "healthz") == (True, "ok")
    assert probe(gateway, "readyz") == (True, "ready")
    gateway.run("podman healthcheck run gateway")
    assert "does not answer" in gateway.run("podman exec gateway hsm-dicom-probe readyz 1", status=1)


def test_a_c_echo_reaches_the_pacs_over_tls(gateway: Engine) -> None:
    assert is_echoed(gateway), gateway.run("podman logs gateway")


def test_the_status_is_read_in_the_container(gateway: Engine) -> None:
    status = gateway.run("podman exec gateway hsm-dicom gateway status")
    assert "to-pacs" in status


def test_sigterm_drains(gateway: Engine) -> None:
    """An open association goes on, new ones are rejected, and the gateway ends with 0 when the last one is released."""
    marks = BUILD / "container" / "marks"
    marks.mkdir()
    held = HERE.parent / "units" / "hold_association.py"
    command = [sys.executable, str(held), "127.0.0.1", str(PORT), str(marks)]
    with subprocess.Popen(gateway.outside(command)) as association:
        eventually((marks / "open").exists, "The association is not open.")
        gateway.run("podman kill --signal=TERM gateway")  # what an engine and Kubernetes send
        eventually(lambda: not probe(gateway, "readyz")[0], "The gateway is ready although it drains.")
        assert probe(gateway, "healthz") == (True, "ok")
        assert not is_echoed(gateway)
        (marks / "go on").touch()
        assert association.wait(30) == 0
    assert (marks / "done").exists()
    assert gateway.run("podman wait gateway").strip() == "0"
    assert "Traceback" not in gateway.run("podman logs gateway")


def test_another_container_goes_on_with_the_same_state(gateway: Engine) -> None:
    gateway.run("podman rm gateway")
    gateway.run(f"podman run --detach --name=gateway {LIMITS} {VOLUMES} hsm-dicom-rehearsal gateway run")
    eventually(lambda: probe(gateway, "readyz")[0], "The gateway is not ready again.")
    second = gateway.run(f"podman run --rm {LIMITS} {VOLUMES} hsm-dicom-rehearsal gateway run", status=None)
    assert "already runs with the state folder" in second
    gateway.run("podman stop --time=30 gateway")
    assert gateway.run("podman wait gateway").strip() == "0"


def test_a_state_folder_that_the_group_may_write_is_refused(gateway: Engine, volumes: Path) -> None:
    """fsGroupChangePolicy: Always lets the group write everything below the volume at each start."""
    folder = volumes / "state" / "state"
    folder.chmod(0o2770)
    said = run_once(gateway, "gateway", "run", status=1)
    assert "chmod go-w /var/lib/hsm-dicom/state" in said
    folder.chmod(0o2700)


def validate(manifests: Path) -> None:
    """Validate manifests against the schemas of Kubernetes. Raises AssertionError."""
    validator = BUILD / "kubernetes-validate"
    if not validator.exists():
        subprocess.run(
            [ROOT / ".venv/bin/pip", "install", "-qq", "--disable-pip-version-check", "--no-deps",
             f"--target={validator}", "--require-hashes", f"--requirement={HERE / 'validator.txt'}"],
            check=True,
        )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "kubernetes_validate", "--strict", str(manifests)],
        env={"PYTHONPATH": str(validator)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_manifests_are_valid_for_kubernetes() -> None:
    validate(ROOT / "packaging" / "container" / "kubernetes.yaml")


def test_the_commands_of_kubernetes_make_what_the_manifests_refer_to(engine: Engine, tmp_path: Path) -> None:
    """`kubectl create` of the page makes its objects without a cluster; what only a cluster can do is not run."""
    text = (ROOT / "docs" / "howto" / "kubernetes.md").read_text()
    commands = re.findall(r"^kubectl create .*$", text, re.MULTILINE)
    assert len(commands) == 2
    dry = "\necho ---\n".join(f"{command} --dry-run=client --output=yaml" for command in commands)
    made = engine.run(f"cd $(mktemp -d); echo {PIN} > user.pin; echo CA > ca.pem\n{dry}")
    (tmp_path / "made.yaml").write_text(made)
    validate(tmp_path / "made.yaml")
    secret, trust = yaml.safe_load_all(made)
    manifests = (ROOT / "packaging" / "container" / "kubernetes.yaml").read_text()
    [deployment] = [one for one in yaml.safe_load_all(manifests) if one["kind"] == "Deployment"]
    volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    assert secret["metadata"]["name"] == volumes["pin"]["secret"]["secretName"]
    assert base64.b64decode(secret["data"]["pin"]).decode() == f"{PIN}\n"
    sources = volumes["config"]["projected"]["sources"]
    assert trust["metadata"]["name"] in [source["configMap"]["name"] for source in sources]
    assert trust["data"] == {"ca.pem": "CA\n"}
