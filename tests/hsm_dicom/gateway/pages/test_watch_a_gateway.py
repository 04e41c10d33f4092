"""The guide on watching a gateway does what it says: with nginx, Prometheus and promtool of Debian."""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import subprocess
import time
import tomllib
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from hsm_dicom.gateway.pages import StatusServer
from hsm_dicom.gateway.pages.metrics import metrics_text
from hsm_dicom.gateway.settings import StatusSettings
from tests.hsm_dicom.gateway.pages.examples import troubled
from tests.pki import Authority
from tests.ports import free_port, is_listening
from tests.test_docs import DOCS, blocks

pytestmark = pytest.mark.interop

PAGE = "howto/watch-a-gateway.md"
HOST = "gateway.hospital.example"
HANG = 30.0


@dataclass(frozen=True)
class Site:
    """A host as the guide sets it up: `path` of a file that it names, and the port of nginx."""

    folder: Path
    port: int

    def path(self, name: str) -> Path:
        return self.folder / name.removeprefix("/")

    def place(self, text: str) -> str:
        """Return a block of the guide with its paths, its port and its host moved to this site."""
        for root in ("/etc/", "/run/"):
            text = text.replace(root, f"{self.folder}{root}")
        text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{self.port} ssl;")
        return text.replace(f"{HOST}:443", f"localhost:{self.port}")

    def ask(self, path: str, method: str = "GET", *, reader: bool = True, **headers: str) -> tuple[int, str]:
        context = ssl.create_default_context(cafile=self.path("/etc/prometheus/ca.pem"))
        if reader:
            context.load_cert_chain(self.path("/etc/prometheus/reader.pem"), self.path("/etc/prometheus/reader.key"))
        connection = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=HANG)
        try:
            connection.request(method, path, headers={"Host": HOST, **headers})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The files of the guide, and a gateway that serves its status on the socket of the guide."""
    site = Site(tmp_path, free_port())
    for folder in ("/etc/nginx/conf.d", "/etc/prometheus", "/run/hsm-dicom"):
        site.path(folder).mkdir(parents=True)
    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.DNSName("localhost")])
    server_ca, readers_ca = Authority("Server CA"), Authority("Readers' CA")
    server = server_ca.issue(HOST, extended=["1.3.6.1.5.5.7.3.1"], extensions=[(names, False)])
    reader = readers_ca.issue("prometheus", extended=["1.3.6.1.5.5.7.3.2"])
    for name, pem in {
        "/etc/nginx/gateway.pem": server.pem,
        "/etc/nginx/gateway.key": server.key_pem,
        "/etc/nginx/readers-ca.pem": readers_ca.pem,
        "/etc/prometheus/ca.pem": server_ca.pem,
        "/etc/prometheus/reader.pem": reader.pem,
        "/etc/prometheus/reader.key": reader.key_pem,
    }.items():
        site.path(name).write_bytes(pem)
    [table] = [tomllib.loads(block)["status"] for block in blocks(PAGE, "toml")]
    assert list(table) == ["socket"]
    with StatusServer(StatusSettings(socket=Path(site.place(table["socket"]))), troubled):
        yield site


@contextmanager
def running(*command: object, port: int) -> Iterator[None]:
    """Run a server until the end of the block, which begins when it listens."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + HANG
        while not is_listening(port):
            assert process.poll() is None, process.communicate()[0].decode()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=HANG)


def write_nginx(site: Site, server: str) -> list[str]:
    """Write the server of the guide, and what Debian's nginx.conf has around it; return the command."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {site.folder}/{kind};" for kind in kinds)
    site.path("/etc/nginx/conf.d/gateway.conf").write_text(site.place(server))
    configuration = site.path("/etc/nginx/nginx.conf")
    configuration.write_text(
        f"{'user root;' if os.geteuid() == 0 else ''} daemon off; pid {site.folder}/nginx.pid; worker_processes 1;"
        f"events {{}} http {{ access_log off; {temporary} include {site.folder}/etc/nginx/conf.d/*.conf; }}"
    )
    return ["/usr/sbin/nginx", "-e", f"{site.folder}/error.log", "-c", str(configuration)]


@contextmanager
def nginx(site: Site, server: str) -> Iterator[None]:
    command = write_nginx(site, server)
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=True)
    assert "test is successful" in checked.stderr
    assert "[warn]" not in checked.stderr
    with running(*command, port=site.port):
        yield


def server_block() -> str:
    return blocks(PAGE, "nginx")[0]


def test_a_reader_with_a_certificate_reads_the_page_and_nobody_changes_anything(site: Site) -> None:
    with nginx(site, server_block()):
        status, page = site.ask("/")
        assert status == 200
        assert page.startswith("<!DOCTYPE html>")
        assert site.ask("/readyz") == (503, f"{troubled().problem}\n")
        assert site.ask("/healthz") == (200, "ok\n")
        assert site.ask("/metrics")[0] == 200
        status, refusal = site.ask("/", reader=False)
        assert status == 400
        assert "No required SSL certificate was sent" in refusal
        assert site.ask("/", "POST")[0] == 403
        assert site.ask("/../../etc/passwd")[0] in (400, 404)


def test_passwords_take_the_place_of_certificates(site: Site) -> None:
    with_passwords = re.sub(
        r"    # Only readers.*?ssl_verify_client      on;\n", blocks(PAGE, "nginx")[1], server_block(), flags=re.DOTALL
    )
    assert "ssl_verify_client" not in with_passwords
    hashed = subprocess.run(["openssl", "passwd", "-apr1", "secret"], capture_output=True, text=True, check=True).stdout
    site.path("/etc/nginx/gateway.users").write_text(f"reader:{hashed}")
    with nginx(site, with_passwords):
        assert site.ask("/healthz", reader=False)[0] == 401
        assert site.ask("/healthz", reader=False, Authorization="Basic cmVhZGVyOnNlY3JldA==") == (200, "ok\n")
        assert site.ask("/healthz", reader=False, Authorization="Basic cmVhZGVyOndyb25n")[0] == 401


def test_a_name_that_is_passed_on_is_refused_until_it_is_configured(site: Site) -> None:
    passed_on = server_block().replace("proxy_pass", "proxy_set_header Host $host;\n        proxy_pass", 1)
    with nginx(site, passed_on):
        status, text = site.ask("/healthz")
        assert status == 421
        assert "hosts in [status]" in text
    socket = site.path("/run/hsm-dicom/second.sock")
    with (
        StatusServer(StatusSettings(socket=socket, hosts=(HOST,)), troubled),
        nginx(site, passed_on.replace("status.sock", "second.sock")),
    ):
        assert site.ask("/healthz") == (200, "ok\n")


def write_prometheus(site: Site) -> Path:
    scrape, rules = (site.place(block) for block in blocks(PAGE, "yaml"))
    site.path("/etc/prometheus/hsm-dicom.rules.yml").write_text(rules)
    configuration = site.path("/etc/prometheus/prometheus.yml")
    configuration.write_text(
        "global:\n  evaluation_interval: 1s\n" + scrape.replace("scrape_interval: 15s", "scrape_interval: 1s")
    )
    return configuration


def test_prometheus_collects_the_metrics_through_nginx(site: Site) -> None:
    configuration = write_prometheus(site)
    checked = subprocess.run(["promtool", "check", "config", configuration], capture_output=True, text=True, check=True)
    assert "SUCCESS: 2 rules found" in checked.stdout
    port = free_port()

    def query(path: str, **parameters: str) -> object:
        address = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=HANG) as response:
            return json.load(response)["data"]

    prometheus = ["prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={site.folder}/tsdb"]
    with (
        nginx(site, server_block()),
        running(*prometheus, f"--web.listen-address=127.0.0.1:{port}", port=port),
    ):
        deadline = time.monotonic() + HANG
        found: list[dict[str, dict[str, str]]] = []
        while not found:
            assert time.monotonic() < deadline, query("targets")
            time.sleep(0.2)
            found = query("query", query='{__name__=~"hsm_dicom_.*"}')["result"]  # type: ignore[index]
        rules = query("rules")["groups"][0]["rules"]  # type: ignore[index]
    collected = {(series["metric"]["__name__"], series["metric"].get("route")) for series in found}
    families = text_string_to_metric_families(metrics_text(troubled()).decode())
    assert collected == {(sample.name, sample.labels.get("route")) for family in families for sample in family.samples}
    assert [rule["name"] for rule in rules] == ["GatewayNotReady", "CertificateEndsSoon"]


def test_the_alerts_come_when_they_should_and_name_what_they_are_about(site: Site) -> None:
    write_prometheus(site)
    instance, job = "gateway:443", "hsm-dicom-gateway"

    def alert(at: str, name: str, *expected: tuple[dict[str, str], str]) -> dict[str, object]:
        alerts = [{"exp_labels": labels, "exp_annotations": {"summary": text}} for labels, text in expected]
        return {"eval_time": at, "alertname": name, "exp_alerts": alerts}

    lost = {"instance": instance, "job": job, "severity": "critical"}
    dead = {**lost, "instance": "other:443"}
    ending = {"instance": instance, "kind": "identity", "name": "node", "severity": "warning"}
    unit = {
        "rule_files": [str(site.path("/etc/prometheus/hsm-dicom.rules.yml"))],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": f'hsm_dicom_ready{{instance="{instance}",job="{job}"}}', "values": "1x4 0x200"},
                    {"series": f'up{{instance="{instance}",job="{job}"}}', "values": "1x205"},
                    {"series": f'up{{instance="other:443",job="{job}"}}', "values": "1x100 0x100"},
                    {"series": 'up{instance="elsewhere",job="another"}', "values": "0x200"},
                    *(
                        {
                            "series": "hsm_dicom_certificate_expires_timestamp"
                            f'{{instance="{instance}",kind="identity",name="{name}"}}',
                            "values": f"{days * 86_400}x200",
                        }
                        for name, days in (("node", 10), ("other", 31))
                    ),
                ],
                "alert_rule_test": [
                    alert("4m", "GatewayNotReady"),
                    alert("6m", "GatewayNotReady"),
                    alert(
                        "8m", "GatewayNotReady", (lost, f"The gateway {instance} is not ready, or cannot be reached.")
                    ),
                    alert(
                        "110m",
                        "GatewayNotReady",
                        (lost, f"The gateway {instance} is not ready, or cannot be reached."),
                        (dead, "The gateway other:443 is not ready, or cannot be reached."),
                    ),
                    alert("30m", "CertificateEndsSoon"),
                    alert("90m", "CertificateEndsSoon", (ending, f"node on {instance} ends in 10 days.")),
                ],
            }
        ],
    }
    tests = site.path("/etc/prometheus/alerts.test.yml")
    # YAML 1.2 contains JSON.
    tests.write_text(json.dumps(unit))
    done = subprocess.run(["promtool", "test", "rules", tests], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_no_fault_in_the_metrics() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics_text(troubled()), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_each_metric_that_the_guide_names_exists() -> None:
    text = metrics_text(troubled()).decode()
    names = set(re.findall(r"\bhsm_dicom_\w+", (DOCS / PAGE).read_text()))
    assert len(names) > 7
    assert {name for name in names if f"\n{name}" not in text} == set()
