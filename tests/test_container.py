"""The image and the manifests of Kubernetes fit each other, and the configuration in them is valid.

`make test-container` builds the image, runs it, and validates the manifests against the schemas of Kubernetes.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hsm_dicom.config import Configuration, load_configuration
from tests.ports import free_port
from tests.test_docs import DOCS, ROOT
from tokens.pins.sources import FromFile

CONTAINER = ROOT / "packaging" / "container"
DOCKERFILE = re.sub(r"\\\n", " ", (CONTAINER / "Dockerfile").read_text())
MANIFESTS: dict[str, Any] = {
    one["kind"]: one for one in yaml.safe_load_all((CONTAINER / "kubernetes.yaml").read_text())
}
PROBE = CONTAINER / "hsm-dicom-probe"


@pytest.fixture
def deployed(tmp_path: Path) -> Configuration:
    """The configuration in the ConfigMap."""
    file = tmp_path / "hsm-dicom.toml"
    file.write_text(MANIFESTS["ConfigMap"]["data"]["hsm-dicom.toml"])
    file.chmod(0o600)
    return load_configuration(file)


def test_the_gateway_may_drain_for_as_long_as_it_is_configured_to(deployed: Configuration) -> None:
    pod = MANIFESTS["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= deployed.gateway.drain_seconds + 30


def test_one_gateway_uses_the_state_folder_which_no_group_may_write() -> None:
    deployment = MANIFESTS["Deployment"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]["type"]) == (1, "Recreate")
    assert MANIFESTS["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert deployment["template"]["spec"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


def test_the_pod_has_the_limits_of_the_image() -> None:
    pod = MANIFESTS["Deployment"]["spec"]["template"]["spec"]
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == [user, "0:0", user]
    assert pod["securityContext"]["runAsNonRoot"] is True
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["args"] == ["gateway", "run"]


def test_the_probes_ask_where_the_gateway_answers(deployed: Configuration) -> None:
    [container] = MANIFESTS["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["exec"]["command"] == [PROBE.name, "healthz"]
    assert container["startupProbe"]["exec"]["command"] == [PROBE.name, "healthz"]
    assert container["readinessProbe"]["exec"]["command"] == [PROBE.name, "readyz"]
    assert f'CMD ["{PROBE.name}", "readyz"]' in DOCKERFILE
    assert deployed.status is not None
    assert deployed.status.listen == ("127.0.0.1", 9762)


def test_the_pin_is_a_secret_that_a_group_of_the_pod_may_read(deployed: Configuration) -> None:
    pod = MANIFESTS["Deployment"]["spec"]["template"]["spec"]
    [mount] = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "pin"]
    [volume] = [one for one in pod["volumes"] if one["name"] == "pin"]
    assert volume["secret"]["defaultMode"] == 0o440
    assert mount["readOnly"] is True
    assert deployed.tokens["hsm"].pin == FromFile(Path(mount["mountPath"], "pin"), group_readable=True)


def test_callers_keep_their_addresses_and_reach_the_route(deployed: Configuration) -> None:
    service = MANIFESTS["Service"]["spec"]
    assert service["externalTrafficPolicy"] == "Local"
    [container] = MANIFESTS["Deployment"]["spec"]["template"]["spec"]["containers"]
    [port] = container["ports"]
    assert port["name"] == service["ports"][0]["targetPort"]
    assert deployed.routes["to-pacs"].listen == ("0.0.0.0", port["containerPort"])


def test_the_configuration_of_the_rehearsal_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "hsm-dicom.toml"
    file.write_text((CONTAINER / "rehearsal.toml").read_text())
    file.chmod(0o600)
    assert load_configuration(file).tokens["rehearsal"].pin == FromFile(
        Path("/run/secrets/hsm-dicom/pin"), group_readable=True
    )


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    lines = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
    sources = [source for line in lines for source in shlex.split(line)[:-1]]
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert len(sources) > 8
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == one or source.startswith(f"{one}/") for one in kept), source


def test_the_page_on_kubernetes_shows_the_manifests() -> None:
    assert "literalinclude} ../../packaging/container/kubernetes.yaml" in (DOCS / "howto/kubernetes.md").read_text()


def test_a_probe_fails_if_nothing_answers() -> None:
    done = subprocess.run([sys.executable, PROBE, "readyz", str(free_port())], capture_output=True, text=True)
    assert done.returncode == 1
    assert "The gateway does not answer at 127.0.0.1:" in done.stderr
    assert subprocess.run([sys.executable, PROBE, "other"], capture_output=True).returncode == 2
